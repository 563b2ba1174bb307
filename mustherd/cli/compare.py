"""`mustherd experiment compare`."""

from pathlib import Path
from typing import Annotated

import typer

from mustherd.cli.printing import console, print_json, told

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]


def compare(
    folders: Annotated[list[Path], typer.Argument(help="Two experiments or more.")],
    json: Json = False,
) -> None:
    """Put experiments side by side: what they found, and what differs in their definitions and their provenance."""
    from mustherd import api
    from mustherd.report.compare import compare as compare_views
    from mustherd.report.compare import row_of
    from mustherd.report.provenance import differing_table
    from mustherd.report.table import compare_table, emit

    if len(folders) < 2:
        raise typer.BadParameter("name at least two experiments", param_hint="FOLDERS")
    views = [told(api.open(folder).view()) for folder in folders]
    found = compare_views(views)
    if json:
        print_json(found)
        return
    terminal = console()
    emit(terminal, compare_table([row_of(view) for view in views], terminal))
    if found["provenance"]:
        emit(terminal, differing_table(views, found["provenance"], terminal))
