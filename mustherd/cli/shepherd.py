"""`mustherd shepherd`: the daemon in the middle."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mustherd.cli.verbose import Verbose
from mustherd.wire.members import MAX_MUSTERS

if TYPE_CHECKING:
    from mustherd.scrape import Gauge
    from mustherd.shepherd.shepherd import Shepherd

app = typer.Typer(help="The daemon in the middle of a herd.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def run(
    experiment: Annotated[Path | None, typer.Option(help="Folder of the experiment to conduct.")] = None,
    logs: Annotated[
        Path | None, typer.Option(help="Without --experiment: folder for rows of logs that are started by hand.")
    ] = None,
    logs_mib: Annotated[
        int | None,
        typer.Option(min=1, help="With --logs: remove the oldest files when all have more than so many MiB."),
    ] = None,
    listen: Annotated[str, typer.Option(help="Address to listen on; beyond loopback only with --keys.")] = "127.0.0.1",
    ports: Annotated[
        str,
        typer.Option(help="Ports of pulse, log, control and coordinate; 0: any free one."),
    ] = "",
    keys: Annotated[Path | None, typer.Option(help="Key folder.")] = None,
    musters: Annotated[int, typer.Option(min=1, max=MAX_MUSTERS, help="How many musters an experiment waits for.")] = 1,
    metrics: Annotated[
        str,
        typer.Option(
            metavar="[ADDRESS:]PORT", help="Answer a Prometheus there at /metrics, on loopback without an address."
        ),
    ] = "",
    make_key: Annotated[
        list[str] | None, typer.Option(help="First make keys, for this muster too.", hidden=True)
    ] = None,
    parent: Annotated[int, typer.Option(help="End when this process, the parent, ends.", hidden=True)] = 0,
    verbose: Verbose = False,
) -> None:
    """Listen for musters; with --experiment conduct it and end, without serve operators until stopped."""
    import logging

    from mustherd.cli.serving import Serving, ports_of
    from mustherd.experiment.serve import serve
    from mustherd.log_lines import log_to_stderr
    from mustherd.wire.keys import create as make
    from mustherd.wire.members import SHEPHERD, Role

    if experiment is not None and logs is not None:
        raise typer.BadParameter("an experiment has its own folder for logs", param_hint="--logs")
    if logs is None and logs_mib is not None:
        raise typer.BadParameter("there is no folder of logs without --logs", param_hint="--logs-mib")
    log_to_stderr(logging.DEBUG if verbose else logging.INFO)
    where = ports_of(ports)
    if keys is not None and make_key:
        make(keys, [SHEPHERD, Role.OPERATOR, *make_key], durable=False)
    serving = Serving(parent)
    with _scraped(metrics, experiment, serving.shepherds):
        code = serve(
            experiment,
            logs_folder=logs,
            logs_bytes=None if logs_mib is None else logs_mib * 1024**2,
            listen=listen,
            ports=where,
            keys_folder=keys,
            expected=musters,
            stop=serving.stop,
            ready=serving.ready,
        )
    raise serving.exit(code)


@contextlib.contextmanager
def _scraped(where: str, experiment: Path | None, running: "Sequence[Shepherd]") -> Iterator[None]:
    """Within, a Prometheus is answered about the herd of the newest shepherd and about the experiment, if asked for."""
    if not where:
        yield
        return
    import logging

    from mustherd.report.prometheus import told
    from mustherd.report.view import View
    from mustherd.scrape import served
    from mustherd.store.store import Store

    def gauges() -> "Iterator[Gauge]":
        view = None
        if experiment is not None:
            with Store.open(experiment, read_only=True) as store:
                view = View.of(store)
        return told((view, [*running[-1].musters().values()] if running else []))

    with served(where, gauges) as address:
        logging.getLogger(__name__).info("metrics at %s", address)
        yield
