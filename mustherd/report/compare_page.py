"""Experiments beside one another as a page: one file that loads nothing, like a report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mustherd import files
from mustherd.report.compare import differences, row_of
from mustherd.report.labels import clean
from mustherd.report.paired import with_views
from mustherd.report.plots import trade_off
from mustherd.report.side_by_side import compare_lines, told_apart
from mustherd.report.story import story
from mustherd.report.svg import INCHES_HALF
from mustherd.report.timeline import timeline
from mustherd.report.view import View
from mustherd.store.errors import StoreError


def write(views: Sequence[View], path: Path) -> Path:
    """Write the page to `path`, whole or not at all; StoreError where it can't be written."""
    try:
        files.deliver(path, render(views))
    except OSError as error:
        raise StoreError(f"the comparison can't be written to {path}: {error.strerror or error}") from error
    return path


def render(views: Sequence[View]) -> str:
    """The page as text."""
    from markupsafe import Markup  # noqa: PLC0415

    from mustherd.report.html import environment  # noqa: PLC0415

    called = told_apart([(view.experiment.name, view.folder) for view in views])
    pairs = [
        (one.text, Markup(plot))  # noqa: S704
        for number, (one, view) in enumerate(with_views(views))
        if (plot := timeline(view, views[-1], f"pair{number}", (one.experiment, one.against)))
    ]
    singles = [
        (called[number], Markup(trade_off(view, f"trade{number}", INCHES_HALF)))  # noqa: S704
        for number, view in enumerate(views)
        if view.compares and not view.loads and view.measured
    ]
    names, rows = compare_lines([row_of(view) for view in views])
    return environment().get_template("compare.html.j2").render(
        names=names,
        rows=rows,
        pairs=pairs,
        singles=singles,
        stories=[(name, view.folder, story(view)) for name, view in zip(called, views, strict=True)],
        differences=[(path, [_spoken(v) for v in values]) for path, values in differences(views).items()],
    )  # fmt: skip


def _spoken(value: Any) -> str:
    return "" if value is None else clean(str(value))
