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

    from mustherd.cli.serving import Serving
    from mustherd.daemon import notify
    from mustherd.keep.serve import keep
    from mustherd.log_lines import log_to_stderr
    from mustherd.shepherd.shepherd import Shepherd

    log_to_stderr(logging.DEBUG if verbose else logging.INFO)
    where = _where(inventory, listen, ports, keys)
    serving = Serving(parent)

    def ready(shepherd: Shepherd) -> None:
        serving.ready(shepherd)
        notify("READY=1")

    keep(
        source,
        folder=to,
        config=config,
        definition=definition,
        where=where,
        stop=serving.stop,
        ready=ready,
    )
    raise serving.exit(0)


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

    from mustherd.cli.serving import ports_of
    from mustherd.experiment.ready import resolved
    from mustherd.experiment.way import make_way
    from mustherd.provision.placement import read

    herd = read(inventory) if inventory is not None else None
    operator = resolved(herd, musters=None, listen=listen, keys=keys)
    if ports or herd is None:
        operator = msgspec.structs.replace(operator, ports=ports_of(ports))
    make_way(operator.listen, operator.ports, operator.keys)
    return operator
