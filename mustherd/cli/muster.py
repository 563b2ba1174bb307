"""`mustherd muster`: the daemon of a node."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from mustherd.cli.verbose import Verbose

app = typer.Typer(help="The daemon on every node.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def run(
    config: Annotated[Path, typer.Option(help="The muster's configuration.")] = Path("/etc/mustherd/muster.toml"),
    verbose: Verbose = False,
) -> None:
    """Act on this node for a shepherd until told to stop; the node is then put back as it was found."""
    # The same process goes on without the command line in its memory: it shares the node with what is measured.
    arguments = [sys.executable, "-m", "mustherd.muster", "--config", str(config)]
    os.execv(sys.executable, [*arguments, *(["--verbose"] if verbose else [])])  # noqa: S606 (no shell is wanted)
