"""What commands print: tables for people, JSON for programs."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console


def console(*, stderr: bool = False) -> "Console":
    """The terminal, or the pipe."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def print_json(value: Any) -> None:
    """Print JSON types on stdout."""
    typer.echo(json.dumps(value, indent=2))


def print_rows(rows: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    """Print rows with the same keys: as JSON, or as a table with the keys above; None is an empty cell."""
    from mustherd.report.table import emit, new_table

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
