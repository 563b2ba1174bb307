"""What experiments were measured with, for people."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mustherd.experiment import provenance
from mustherd.report.frame import new_table
from mustherd.report.labels import clean
from mustherd.report.view import View


def rows(view: View) -> list[tuple[str, list[tuple[str, str]]]]:
    """Each part with what was kept of it."""
    return [(part, list(found.items())) for part, found in view.provenance.items()]


def differing(views: Sequence[View]) -> dict[str, list[str]]:
    """What differs between experiments: `PART: NAME` to each one's, '' where it has none; names and paths of their
    definitions, which differ by nature, are left out."""
    of = [{**view.provenance, provenance.DEFINITION: _of_git(view)} for view in views]
    return provenance.table(of, provenance.not_alike)


def _of_git(view: View) -> dict[str, str]:
    found = view.provenance.get(provenance.DEFINITION, {})
    return {name: text for name, text in found.items() if name not in ("file", "sha256")}


def differing_table(views: Sequence[View], differs: Mapping[str, Sequence[str]], console: Console) -> Table:
    """What differs, a row each."""
    table = new_table(console)
    table.add_column("provenance that differs")
    names = [view.experiment.name for view in views]
    for name, view in zip(names, views, strict=True):
        table.add_column(Text(clean(name if names.count(name) == 1 else Path(view.folder).name)))
    for what, texts in differs.items():
        table.add_row(Text(clean(what)), *(Text(clean(text)) for text in texts))
    return table
