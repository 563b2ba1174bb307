"""Experiments beside one another as a page: one file that loads nothing, like a report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mustherd import files
from mustherd.report.compare import differences, row_of
from mustherd.report.labels import clean
from mustherd.report.paired import all_paired
from mustherd.report.plots import trade_off
from mustherd.report.side_by_side import compare_lines
from mustherd.report.story import story
from mustherd.report.svg import INCHES_HALF
from mustherd.report.timeline import timeline
from mustherd.report.view import View
from mustherd.store.errors import StoreError


def write(views: Sequence[View], path: Path) -> Path:
    """Write the page to `path`, whole or not at all; StoreError where it can't be written."""
    try:
        files.replace(path, render(views))
    except OSError as error:
        raise StoreError(f"the comparison can't be written to {path}: {error}") from error
    return path


def render(views: Sequence[View]) -> str:
    """The page as text."""
    from markupsafe import Markup  # noqa: PLC0415

    from mustherd.report.html import environment  # noqa: PLC0415

    found = all_paired(views)
    by_name = {view.experiment.name: view for view in views[:-1]}
    lines = [(one, by_name[one.experiment]) for one in found]
    pairs = [
        (one.text, Markup(plot))  # noqa: S704
        for number, (one, view) in enumerate(lines)
        if (plot := timeline(view, views[-1], f"pair{number}"))
    ]
    singles = [
        (view.experiment.name, Markup(trade_off(view, f"trade{number}", INCHES_HALF)))  # noqa: S704
        for number, view in enumerate(views)
        if view.compares and not view.loads and view.measured
    ]
    names, rows = compare_lines([row_of(view) for view in views])
    return environment().get_template("compare.html.j2").render(
        names=names,
        rows=rows,
        pairs=pairs,
        singles=singles,
        stories=[(view.experiment.name, view.folder, story(view)) for view in views],
        differences=[(path, [_spoken(v) for v in values]) for path, values in differences(views).items()],
    )  # fmt: skip


def _spoken(value: Any) -> str:
    return "" if value is None else clean(str(value))
