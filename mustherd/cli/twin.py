"""`mustherd twin`: likenesses of one's own machines."""

from pathlib import Path
from typing import Annotated

import typer

from mustherd.cli import complete
from mustherd.cli.printing import console

app = typer.Typer(
    help="Likenesses of your own machines, which experiments and policies can be tried on.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def _twin() -> None:
    pass


@app.command()
def fit(
    folders: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of experiments on one kind of machine that set itr-delay and dvfs.",
            autocompletion=complete.folders,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write; it ends in .toml.")] = Path(
        "my-profile.toml"
    ),
) -> None:
    """Write a profile of the machine that experiments ran on, with how well it foretells what it was not fitted to.

    A definition names it by `herd: {simulated: {profile: my-profile.toml}}`.
    """
    from mustherd.experiment.twin_fit import fitted, text
    from mustherd.files import replace
    from mustherd.node.twin.profiles import FILE
    from mustherd.report.frame import emit, new_table

    if out.suffix != FILE:
        raise typer.BadParameter(f"{out} doesn't end in {FILE}", param_hint="--out")
    found = fitted(folders, out.stem)
    replace(out, text(found).encode())
    terminal = console()
    table = new_table(terminal)
    for column in ("foretold", "median error", "90th percentile", "largest"):
        table.add_column(column)
    for name, error in found.errors.items():
        table.add_row(name, f"{error.median:.1%}", f"{error.p90:.1%}", f"{error.most:.1%}")
    emit(terminal, table)
    typer.echo(f"from {found.windows} windows, each foretold by a fit without it; profile: {out}")
    for note in found.notes:
        typer.echo(note)
