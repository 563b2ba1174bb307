"""`mustherd herd keep`: a keeper as a process."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from mustherd.experiment.local_herd import Operator


def run(
    source: Path,
    *,
    to: Path,
    config: Path | None,
    inventory: Path | None,
    definition: Path | None,
    listen: str | None,
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

    log_to_stderr(logging.DEBUG if verbose else logging.INFO)
    where = _where(inventory, listen, ports, keys)
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
        definition=definition,
        where=where,
        stop=stop,
        ready=ready,
    )
    raise typer.Exit(signals.exit_code(0))


def _where(inventory: Path | None, listen: str | None, ports: str, keys: Path | None) -> "Operator | None":
    """Where the musters of an inventory, or of elsewhere, connect to; None: they run on this machine.

    What isn't given is the inventory's. A shepherd without an experiment that has the ports gives way.
    """
    if inventory is None and listen is None:
        if ports or keys is not None:
            what = "are for musters of elsewhere: give --inventory or --listen"
            raise typer.BadParameter(what, param_hint="--ports and --keys")
        return None
    import msgspec

    from mustherd.experiment.ready import resolved
    from mustherd.experiment.way import make_way
    from mustherd.provision.placement import read
    from mustherd.wire.ports import Ports

    herd = read(inventory) if inventory is not None else None
    operator = resolved(herd, musters=None, listen=listen, keys=keys)
    try:
        if ports or herd is None:
            operator = msgspec.structs.replace(operator, ports=Ports.parse(ports) if ports else Ports())
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--ports") from None
    make_way(operator.listen, operator.ports, operator.keys)
    return operator
