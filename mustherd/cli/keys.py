"""`mustherd keys`: who may talk to whom beyond loopback."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Keys for everything beyond loopback.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def create(
    names: Annotated[list[str], typer.Argument(help="Members of the herd: shepherd, musters, operators.")],
    folder: Annotated[Path, typer.Option(help="Key folder.")] = Path("keys"),
) -> None:
    """Make a key pair for every NAME that has none, and let the shepherd accept it.

    The shepherd needs its own secret key and the folder's accepted/; a muster needs its own pair and shepherd.key.
    """
    from mustherd.wire.keys import create as make

    made = make(folder, names)
    for name in names:
        typer.echo(f"{name}: {'made' if name in made else 'kept'} {folder / name}.key and .key_secret")
