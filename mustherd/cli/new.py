"""`mustherd experiment new`: a definition from a few answers."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mustherd.cli import complete

if TYPE_CHECKING:
    from mustherd.definition.draft import Answers

QUESTIONS = {
    "herd": ("Nodes: simulated, local (a memcached on this machine), or an inventory", False),
    "objective": ("What is to be small", False),
    "limit": ("What must be kept, commas between", True),
    "load": ("Requests per second", False),
    "knob": ("What may be set, commas between", True),
}
"""Option to its question, and whether several answers are taken."""
FIELDS = {"limit": "limits", "knob": "knobs"}
"""Options that an answer has under another name."""


def new(
    file: Annotated[Path, typer.Argument(metavar="[FILE.yml]", help="The file to write; it must not exist.")] = Path(
        "mine.yml"
    ),
    herd: Annotated[
        str | None, typer.Option(metavar="HERD", help="simulated, local, or the inventory of real nodes.")
    ] = None,
    objective: Annotated[str | None, typer.Option(metavar="METRIC", help="What is to be small.")] = None,
    limit: Annotated[
        list[str] | None, typer.Option(help="What a setting has to keep, as in 'read_p99_us <= 300'; any number.")
    ] = None,
    load: Annotated[str | None, typer.Option(metavar="QPS", help="Requests per second, as in 200k.")] = None,
    knob: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KNOB[=VALUES]",
            help="What may be set, as in dvfs or 'itr-delay=[20, 50]'; any number.",
            autocompletion=complete.knob_values,
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask nothing: what no option says is as is usual for the herd.")
    ] = False,
) -> None:
    """Ask a few questions and write the definition of an experiment, with comments on what else it may say."""
    from mustherd import files
    from mustherd.definition.draft import SIMULATED, Answers, name_of, text
    from mustherd.definition.read import loads
    from mustherd.errors import UserError

    if file.exists() or file.is_symlink():
        raise UserError(f"{file} is there already; nothing was written: name another file")
    given = {"herd": herd, "objective": objective, "limit": limit, "load": load, "knob": knob}
    missing = [name for name, value in given.items() if value is None]
    answers = Answers(
        herd or SIMULATED, objective or "", tuple(limit or ()), load or "", tuple(knob or ()), name=name_of(file)
    )
    if missing and not yes:
        if not sys.stdin.isatty():
            asked = ", ".join(f"--{name}" for name in missing)
            raise UserError(f"nobody is here to be asked: say {asked}, or --yes for what is usual")
        answers = _asked(answers, missing)
    check_herd(answers.herd)
    loads(text(answers), str(file))
    try:
        files.write(file, text(answers))
    except FileExistsError:
        raise UserError(f"{file} is there already; nothing was written: name another file") from None
    typer.echo(f"{file}: written")
    typer.echo(f"what it takes: mustherd experiment plan {file}")
    typer.echo(f"run it: mustherd experiment start {file}")


def _asked(answers: "Answers", missing: Sequence[str]) -> "Answers":
    """The answers with those that were missing, each asked for until a definition can be made of it."""
    for name in QUESTIONS:
        if name in missing:
            answers = _one(answers, name)
    return answers


def _one(answers: "Answers", name: str) -> "Answers":
    from dataclasses import replace

    from mustherd.definition.draft import SIMULATED, text
    from mustherd.definition.errors import DefinitionError
    from mustherd.definition.read import loads
    from mustherd.errors import UserError

    question, many = QUESTIONS[name]
    field = FIELDS.get(name, name)
    usual = SIMULATED if name == "herd" else getattr(answers.usual, field)
    default = ", ".join(usual) if many else usual
    while True:
        try:
            said = typer.prompt(question, default=default)
        except typer.Abort:
            raise KeyboardInterrupt from None
        change: dict[str, Any] = {field: tuple(_parts(said)) if many else said.strip()}
        tried = replace(answers, **change)
        try:
            check_herd(tried.herd)
            loads(text(tried), "")
        except DefinitionError as error:
            typer.echo(error.sentence(), err=True)
        except UserError as error:
            typer.echo(str(error), err=True)
        else:
            return tried


def check_herd(herd: str) -> None:
    """See that a herd that isn't of the usual kinds is an inventory. Raises UserError."""
    from mustherd.definition.draft import USUAL
    from mustherd.errors import UserError, shown

    if herd not in USUAL and not Path(herd).exists():
        raise UserError(
            f"herd: there is no inventory '{shown(herd)}'; allowed: {', '.join(USUAL)}, or a folder or file"
        )


def _parts(said: str) -> list[str]:
    """What is between commas, but for those within brackets and braces."""
    return [part.strip() for part in re.split(r",(?![^\[{]*[\]}])", said) if part.strip()]
