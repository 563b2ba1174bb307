"""`mustherd keys`: who may talk to whom beyond loopback."""

from pathlib import Path
from typing import Annotated

import typer

from mustherd.wire.members import Role

app = typer.Typer(help="Keys for everything beyond loopback.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def create(
    names: Annotated[list[str], typer.Argument(help="Members of the herd: shepherd, musters, operators.")],
    folder: Annotated[Path, typer.Option(help="Key folder.")] = Path("keys"),
    role: Annotated[
        Role | None,
        typer.Option(
            help="What the keys are for; without it 'operator' and 'observer' are what they are called, others musters."
        ),
    ] = None,
) -> None:
    """Make a key pair for every NAME that has none, and let the shepherd accept it for its role.

    The shepherd needs its own secret key and the folder's accepted/; a muster needs its own pair and shepherd.key. A
    key that is taken out of accepted/ is nobody's from then on; the shepherd sees it by itself.
    """
    from mustherd.wire.keys import create as make

    made = make(folder, names, role=role)
    for name in names:
        typer.echo(f"{name}: {'made' if name in made else 'kept'} {folder / name}.key and .key_secret")
