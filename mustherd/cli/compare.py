"""`mustherd experiment compare`: experiments beside one another."""

from pathlib import Path
from typing import Annotated

import typer

from mustherd.cli import complete
from mustherd.cli.printing import console, print_json, told

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]


def compare(
    folders: Annotated[list[Path], typer.Argument(help="Two experiments or more.", autocompletion=complete.folders)],
    html: Annotated[Path | None, typer.Option(help="Write the comparison there as one HTML file.")] = None,
    json: Json = False,
) -> None:
    """Put experiments side by side: what they found, what differs in their definitions and their provenance, and what
    one that follows its load saves against the last one named, under the same loads."""
    from mustherd import api
    from mustherd.report.compare import compare as compare_views
    from mustherd.report.compare import row_of
    from mustherd.report.frame import emit
    from mustherd.report.paired import all_paired
    from mustherd.report.provenance import differing_table
    from mustherd.report.table import compare_table

    if len(folders) < 2:
        raise typer.BadParameter("name at least two experiments", param_hint="FOLDERS")
    views = [told(api.open(folder).view()) for folder in folders]
    if html is not None:
        from mustherd.report.compare_page import write

        write(views, html)
    found = compare_views(views)
    if json:
        print_json(found)
        return
    terminal = console()
    emit(terminal, compare_table([row_of(view) for view in views], terminal))
    for pairing in all_paired(views):
        terminal.print(pairing.text, markup=False, soft_wrap=True)
    if found["provenance"]:
        emit(terminal, differing_table(views, found["provenance"], terminal))
    if html is not None:
        terminal.print(f"page: {html}", markup=False, soft_wrap=True)
