"""Write the manual pages, docs/man/*.1, from the commands' own help: `python docs/make_man.py`.

The wheel puts them into share/man, where `man` looks beside the commands of an environment, and pipx links them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from mustherd import __version__
from mustherd.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "man"


def pages() -> dict[str, str]:
    """Each page's file name and text: one of the program, and one of each noun or verb right below it."""
    root: Any = typer.main.get_command(app)
    below = {f"mustherd-{name}": command for name, command in sorted(root.commands.items())}
    found = {"mustherd.1": _page("mustherd", _of_program(root), root, [f"{name}(1)" for name in below])}
    for name, command in below.items():
        words = name.replace("-", " ", 1)
        body = _of_noun(words, command) if hasattr(command, "commands") else _of_verb(words, command)
        found[f"{name}.1"] = _page(name, body, command, ["mustherd(1)"])
    return found


def _page(name: str, body: Iterator[str], command: Any, related: list[str]) -> str:
    first = _paragraphs(command.help)[0].rstrip(".")
    return "\n".join(
        [
            f'.TH {_text(name.upper())} 1 "" "mustherd {__version__}" "MustHerd"',
            ".SH NAME",
            f"{_text(name)} \\- {_text(first[0].lower() + first[1:])}",
            *body,
            ".SH SEE ALSO",
            _text(", ".join(related)),
            "",
        ]
    )


def _of_program(root: Any) -> Iterator[str]:
    yield from (".SH SYNOPSIS", ".B mustherd", _text("COMMAND VERB [OPTIONS] ..."), ".SH COMMANDS")
    for name, command in sorted(root.commands.items()):
        words = " ".join([name, *(["|".join(command.commands)] if hasattr(command, "commands") else [])])
        yield from (".TP", f".B {_text(words)}", _text(_paragraphs(command.help)[0]))
    yield from (".SH OPTIONS", *_options(root))
    title, _, codes = root.epilog.partition(": ")
    yield from (f".SH {_text(title.upper())}", _text(codes))


def _of_noun(words: str, noun: Any) -> Iterator[str]:
    yield from (".SH SYNOPSIS", f".B {_text(words)}", _text("VERB [OPTIONS] ..."))
    if len(_paragraphs(noun.help)) > 1:
        yield from (".SH DESCRIPTION", *_described(noun))
    yield ".SH VERBS"
    for name, verb in noun.commands.items():
        yield from (f".SS {_text(f'{words} {name}{_taken(verb)}')}", *_described(verb), *_options(verb))


def _of_verb(words: str, verb: Any) -> Iterator[str]:
    yield from (".SH SYNOPSIS", f".B {_text(words)}", _text(f"[OPTIONS]{_taken(verb)}"))
    yield from (".SH DESCRIPTION", *_described(verb), ".SH OPTIONS", *_options(verb))


def _taken(verb: Any) -> str:
    """The arguments of a verb, as its usage has them."""
    return "".join(f" {_metavar(p)}" for p in verb.params if p.param_type_name == "argument")


def _metavar(param: Any) -> str:
    if param.metavar:
        return str(param.metavar)
    name = param.name.strip("_").upper() + (" ..." if param.nargs == -1 else "")
    return name if param.required else f"[{name}]"


def _described(command: Any) -> Iterator[str]:
    for index, paragraph in enumerate(_paragraphs(command.help)):
        yield from ([".PP"] if index else [])
        yield _text(paragraph)


def _options(command: Any) -> Iterator[str]:
    """Arguments and options, each with what it means, as the command's own help has them."""
    context = command.make_context(command.name, [], resilient_parsing=True)
    for param in command.params:
        told = param.get_help_record(context)
        if told is not None and told[1].strip():
            named = _metavar(param) if param.param_type_name == "argument" else told[0]
            yield from (".TP", f".B {_text(named)}", _text(" ".join(told[1].split())))


def _paragraphs(text: str) -> list[str]:
    """A docstring's paragraphs, each in one line."""
    return [" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n")]


def _text(text: str) -> str:
    """Text that roff prints as it stands."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga").replace("'", "\\(aq")
    return f"\\&{escaped}" if escaped.startswith(".") else escaped


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.1"):
        old.unlink()
    for file, page in pages().items():
        (FOLDER / file).write_text(page)
