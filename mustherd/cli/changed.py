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


def words(sets: Sequence[str] | None, seed: int | None, name: str | None) -> list[str]:
    """All of them as `KEY=VALUE`, the short ones last."""
    short = [("search.seed", seed), ("name", name)]
    return [*(sets or ()), *(f"{key}={value}" for key, value in short if value is not None)]


def asked(definition: Path | None, changes: Sequence[str]) -> "Experiment | Path | None":
    """The definition that was asked for: the file itself where nothing is said otherwise. Raises DefinitionError."""
    from mustherd.definition.changed import changed

    return changed(definition, changes) if changes else definition
