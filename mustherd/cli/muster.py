"""`mustherd muster`: the daemon of a node."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The daemon on every node.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def run(
    config: Annotated[Path, typer.Option(help="The muster's configuration.")] = Path("/etc/mustherd/muster.toml"),
    parent: Annotated[int, typer.Option(help="End when this process, the parent, ends.", hidden=True)] = 0,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
) -> None:
    """Act on this node for a shepherd until told to stop; the node is then put back as it was found."""
    from mustherd.cli.daemon import end_with, log_to_stderr, on_stop_signal
    from mustherd.muster.service import serve

    log_to_stderr(verbose)

    def ready(stop: Callable[[], None]) -> None:
        on_stop_signal(stop)
        if parent:
            end_with(parent)

    raise typer.Exit(serve(config, ready))
