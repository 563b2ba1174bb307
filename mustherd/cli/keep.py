"""`mustherd herd keep`: a keeper as a process."""

from pathlib import Path

import typer


def run(
    source: Path,
    *,
    to: Path,
    config: Path | None,
    inventory: Path | None,
    definition: Path | None,
    listen: str,
    ports: str,
    keys: Path | None,
    parent: int,
    verbose: bool,
) -> None:
    """Run it until a signal says that it is enough."""
    import logging
    import sys

    from mustherd.daemon import Stop, StopSignals, end_with, log_to_stderr, notify
    from mustherd.keep.serve import keep
    from mustherd.shepherd.shepherd import Shepherd
    from mustherd.wire.ports import Ports

    log_to_stderr(logging.DEBUG if verbose else logging.INFO)
    try:
        where = Ports.parse(ports) if ports else Ports()
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--ports") from None
    stop = Stop()
    running: list[Shepherd] = []

    def ready(shepherd: Shepherd) -> None:
        running.append(shepherd)
        notify("READY=1")

    signals = StopSignals(
        lambda: stop.ask(signals.who(parent)),
        None if sys.stderr.isatty() else lambda: [*map(Shepherd.reread_keys, running)],
    )
    if parent:
        end_with(parent)
    keep(
        source,
        folder=to,
        config=config,
        inventory=inventory is not None,
        definition=definition,
        listen=listen,
        ports=where,
        keys=keys,
        stop=stop,
        ready=ready,
    )
    raise typer.Exit(signals.exit_code(0))
