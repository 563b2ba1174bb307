"""What an experiment's commands say otherwise than the file: `--set KEY=VALUE`, and short words for two of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mustherd.cli import complete

if TYPE_CHECKING:
    from mustherd.definition import Experiment

Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Say a key otherwise than the file: --set trials=5; any number.",
        autocompletion=complete.changes,
    ),
]
Seed = Annotated[int | None, typer.Option(min=0, help="The search's seed: --set search.seed=N.")]
Name = Annotated[str | None, typer.Option(help="The experiment's name: --set name=TEXT.")]


Herd = Annotated[
    str | None,
    typer.Option(metavar="HERD", help="Instead of a file: what is usual for simulated, local or an inventory."),
]


def words(sets: Sequence[str] | None, seed: int | None, name: str | None) -> list[str]:
    """All of them as `KEY=VALUE`, the short ones last."""
    short = [("search.seed", seed), ("name", name)]
    return [*(sets or ()), *(f"{key}={value}" for key, value in short if value is not None)]


def asked(definition: Path | None, changes: Sequence[str], herd: str | None = None) -> "Experiment | Path | str | None":
    """The definition that was asked for: the file itself, or the text for a `herd`, where nothing is said otherwise.

    Raises DefinitionError; UserError and a usage error for a herd that there isn't, and for one beside a file.
    """
    from mustherd.definition.changed import changed

    given = definition if herd is None else _usual(definition, herd)
    return changed(given, changes) if changes else given


def _usual(definition: Path | None, herd: str) -> str:
    """What `experiment new --herd HERD --yes` writes."""
    from mustherd.cli.new import check_herd
    from mustherd.definition.draft import Answers, name_of, text

    if definition is not None:
        raise typer.BadParameter(f"{definition} says what its herd is: leave one of them out", param_hint="--herd")
    check_herd(herd)
    return text(Answers(herd, name=name_of(Path(herd))))
