"""What commands print: tables for people, JSON for programs."""

import codecs
import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO, cast

import typer

from mustherd.daemon import OnStderr, hush

if TYPE_CHECKING:
    from rich.console import Console

    from mustherd.report.view import View
    from mustherd.wire.messages import MusterView


def console(*, stderr: bool = False) -> "Console":
    """The terminal, or the pipe. Where nobody reads it any more, printing raises BrokenPipeError."""
    from rich.console import Console

    class Terminal(Console):
        def on_broken_pipe(self) -> None:
            """Rich would point stdout at nothing, whichever output broke, and end the command."""
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    return Terminal(stderr=stderr, highlight=False)


_SPELT = {"±": "+-", "…": "...", "·": "-", "µ": "u", "≤": "<=", "≥": ">="}
"""What signs are where the output has none of them."""


def spell_out() -> None:
    """From now on print what the output has no sign for in signs that it has: a locale may know ASCII alone."""

    def spelt(error: UnicodeError) -> tuple[str, int]:
        if not isinstance(error, UnicodeEncodeError):
            raise error
        lost = error.object[error.start : error.end]
        found = "".join(_SPELT.get(sign) or sign.encode("ascii", "backslashreplace").decode() for sign in lost)
        return found, error.end

    codecs.register_error("mustherd-spelt", spelt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="mustherd-spelt")


_kept: list[TextIO] = []
"""The stdout that waits for JSON."""


def keep_for_json(words: Sequence[str]) -> None:
    """Where a command is asked for JSON, send what is printed before it to stderr: packages may print at any call."""
    own = words[: words.index("--")] if "--" in words else words
    if "--json" in own and not {"-h", "--help"} & set(own) and sys.stdout is not None:
        _kept.append(sys.stdout)
        sys.stdout = cast(TextIO, OnStderr())


def open_for_json() -> None:
    """From now on what is printed is the JSON that was asked for."""
    if _kept:
        sys.stdout = _kept.pop()


@contextlib.contextmanager
def ends_with(code: int) -> Iterator[None]:
    """The command ends with `code`; where that isn't 0, also if what is printed within is not taken."""
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        if not code:
            raise
        hush(sys.stdout)
    raise typer.Exit(code)


class Progress:
    """Prints what a command does while it does it, until that isn't taken any more: no reason to leave work half done.

    `end()` raises what was in the way, within `ends_with`: the command's code is of all that it did.
    """

    def __init__(self) -> None:
        self._lost: OSError | None = None

    def tell(self, line: Callable[[], object]) -> None:
        """Call `line`, which prints one."""
        if self._lost is None:
            try:
                line()
            except OSError as error:
                self._lost = error

    def end(self) -> None:
        """Raise the OSError of the first line that was not taken."""
        if self._lost is not None:
            raise self._lost


def aside(text: str) -> None:
    """A word on stderr, beside what a command prints; one that isn't taken is no reason to print nothing else."""
    with contextlib.suppress(OSError):
        typer.echo(text, err=True)


def print_json(value: Any) -> None:
    """Print JSON types on stdout."""
    import json

    open_for_json()
    typer.echo(json.dumps(value, indent=2))


def print_rows(rows: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    """Print rows with the same keys: as JSON, or as a table with the keys above; None is an empty cell."""
    from mustherd.report.frame import emit, new_table

    if as_json:
        print_json(list(rows))
        return
    if not rows:
        return
    terminal = console()
    table = new_table(terminal)
    for column in rows[0]:
        table.add_column(column)
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    emit(terminal, table)


def told(view: "View") -> "View":
    """The view, and a line on stderr for each thing in the folder that can't be read."""
    from mustherd.report.labels import clean

    for line in view.unreadable:
        aside(f"mustherd: {clean(line)}")
    return view


def print_left(musters: "Iterable[MusterView]", terminal: "Console") -> None:
    """Print which nodes could not be put back: knob, what was found, what it is at."""
    from mustherd.terms import not_as_found

    for muster in musters:
        if muster.unrestored:
            what = not_as_found(muster.readings) or f"{muster.unrestored} knobs could not be put back"
            terminal.print(f"{muster.name}: the node is NOT as it was found: {what}", markup=False, soft_wrap=True)
