"""The report of an experiment: one HTML file with everything in it, the same bytes each time it's made.

It loads nothing and runs nothing: pictures are inline SVG, there is no script, and the page forbids both to itself.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mustherd import files, metrics
from mustherd.definition.units import duration
from mustherd.experiment import wording
from mustherd.experiment.lead import Lead
from mustherd.experiment.verdict import AtLoad, Side
from mustherd.learn.base import Observation
from mustherd.metrics import Direction
from mustherd.report import labels
from mustherd.report.labels import clean
from mustherd.report.method import dig, method
from mustherd.report.pictures import pictures
from mustherd.report.story import story, total_of
from mustherd.report.table import (
    SIGNS,
    day_rows,
    days_differ,
    drifting,
    kind_of,
    log_cells,
    number_of,
    result_of,
    side_value,
)
from mustherd.report.view import View
from mustherd.rowlog.accounting import RowAccounting
from mustherd.store.errors import StoreError
from mustherd.store.store import Store
from mustherd.trial import Trial, TrialState

if TYPE_CHECKING:
    from jinja2 import Environment

REPORT = "report.html"

MOST_EVENTS = 200
"""Lines of the journal in a report: the last ones."""

ROWS_TOGETHER = 250
"""Rows of the table of trials that are folded together where there are more."""


class Column(msgspec.Struct, frozen=True):
    """A metric's column."""

    name: str
    title: str
    unit: str


class KnobRow(msgspec.Struct, frozen=True, kw_only=True):
    """A trial's row."""

    number: str
    kind: str
    muster: str
    knobs: list[str]
    metrics: list[tuple[str, bool]]
    """Text, and whether it breaks a limit."""
    log_rows: tuple[str, str]
    """Written, and lost and why."""
    result: str
    css: str
    detail: str


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A line of default beside best."""

    name: str
    default: str
    best: str
    limit: str = ""


def write(store: Store, path: Path | None = None) -> Path:
    """Write the report to `path`, by default `report.html` in the experiment's folder; gives where it is.

    A file is replaced whole. StoreError when it can't be written or the experiment can't be read.
    """
    target = path or store.folder / REPORT
    page = render(View.of(store))
    try:
        if path is None:
            files.replace(target, page)
        else:
            files.deliver(target, page)
    except OSError as error:
        raise StoreError(f"the report can't be written to {target}: {error.strerror or error}") from error
    return target


def render(view: View) -> str:
    """The report as text."""
    return environment().get_template("report.html.j2").render(_content(view))


def environment() -> "Environment":
    """Where templates are made pages: what they are given is text, and stays it."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415

    made = Environment(
        loader=PackageLoader("mustherd.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["clean"] = clean
    return made


def _content(view: View) -> dict[str, Any]:
    from markupsafe import Markup  # noqa: PLC0415

    from mustherd.report.fronts import front_plot  # noqa: PLC0415
    from mustherd.report.provenance import rows  # noqa: PLC0415

    verdict = view.verdict()
    names, aim = view.metrics(), view.goal.objectives[0]
    saving = verdict.saving_percent
    facts = [muster.facts.rows() for muster in view.musters]
    return {
        "name": view.experiment.name,
        "status": view.status,
        "status_detail": view.detail,
        "decided": view.stored is not None,
        "simulated": bool(dig(view.experiment.resolved, "herd", "simulated")),
        "verdict": verdict,
        "sentence": verdict.reason,
        "saving": None if saving is None else labels.percent(abs(saving)),
        "more": saving is not None and (saving > 0) == (aim.direction is Direction.MORE),
        "improvement": aim.direction.improvement,
        "objective": metrics.of(view.goal.objective).label,
        "interval": _interval(verdict.saving_ci_percent),
        "comparison": list(_comparison(view, verdict.default, verdict.best or verdict.closest)),
        "total": "" if view.compares else total_of(view),
        "other": view.lead.column,
        "story": story(view),
        "began": bool(view.begun),
        "compares": view.compares,
        "headline": _headline(view),
        "sign": "-" if not view.begun else {"met": "✓", "not certain": "?"}.get(verdict.verdict, "✗"),
        # The SVG is ours, and every word in it was escaped when it was made.
        "pictures": [
            (p.id, p.title, [(name, Markup(svg)) for name, svg in p.parts], p.caption, p.beside)  # noqa: S704
            for p in pictures(view)
        ],
        "knobs": [(key, _unit(key, view)) for key in view.knob_keys()],
        "columns": [Column(name, metrics.of(name).label, metrics.of(name).shown_unit) for name in names],
        "parts": list(_parts(view)),
        "logged": bool(view.logged),
        "loads": [_at_load(row, view) for row in verdict.loads],
        "front": [_on_front(one, view) for one in view.front()],
        "front_columns": _front_columns(view),
        "front_plot": Markup(front_plot(view)) if view.front() else None,  # noqa: S704
        "days": day_rows(view),
        "days_text": view.again.text(),
        "days_differ": days_differ(view),
        "days_columns": drifting(view),
        "baseline": verdict.baseline,
        "search_ended": verdict.search_ended,
        "counts": {state: n for state, n in view.counts.items() if n},
        "method": list(method(view)),
        "musters": view.musters,
        "facts": [(name, [of.get(name, "") for of in facts]) for name in sorted({n for of in facts for n in of})],
        "provenance": rows(view),
        "provenance_changes": view.provenance_changes,
        "knob_infos": [(k.name, k.allowed_text()) for k in view.knobs],
        "events": [(labels.clock(e.at), e.kind, e.text) for e in view.events[-MOST_EVENTS:]],
        "events_left_out": max(0, len(view.events) - MOST_EVENTS),
        "unreadable": view.unreadable,
        "definition": view.experiment.definition,
        "digest": view.experiment.digest,
        "versions": view.experiment.versions,
        "created": labels.clock(view.experiment.created_at),
        "wall": duration(view.wall_seconds),
    }


def _headline(view: View) -> str:
    """The verdict in a word or two; of what compares nothing, whether the limits were kept."""
    if not view.begun:
        return "nothing measured"
    if view.compares and view.lead is Lead.NOTHING and view.stored is None:
        return "nothing compared yet"
    word: str = view.verdict().verdict
    if not view.compares:
        word = "limits kept" if word == "met" else "limits not always kept"
    return word if view.stored is not None else f"so far: {word}"


def _front_columns(view: View) -> list[Column]:
    names = dict.fromkeys((view.goal.objective, view.goal.second, *view.metrics())) if view.goal.second else {}
    return [Column(name, metrics.of(name).label, metrics.of(name).shown_unit) for name in names]


def _on_front(one: Observation, view: View) -> list[str]:
    """A setting of the front: what to set, and each of the front's columns."""
    values = [labels.amount(column.name, one.metrics.get(column.name)) for column in _front_columns(view)]
    return [wording.settings(one.point, view.knobs), *values]


def _at_load(row: AtLoad, view: View) -> list[str]:
    """A load of several: what is announced there, and each metric."""
    saved = "" if row.saving_percent is None else labels.percent(row.saving_percent)
    if row.saving_ci_percent:
        saved += f" ({_interval(row.saving_ci_percent)})"
    settings = wording.settings(row.best.knobs, view.knobs) if row.best else ""
    return [f"{row.qps:,.0f}", row.verdict, settings, *(side_value(row.best, m) for m in view.metrics()), saved]


def _interval(interval: tuple[float, float] | None) -> str:
    return f"{interval[0]:.1f} to {interval[1]:.1f} %" if interval else ""


def _unit(key: str, view: View) -> str:
    return next((k.unit for k in view.knobs if k.name == key.partition("@")[0]), "")


def _comparison(view: View, default: Side | None, best: Side | None) -> Iterator[Comparison]:
    if default is None and best is None:
        return
    sides = (default, best)
    for key in dict.fromkeys(key for side in (best, default) if side for key in side.knobs):
        texts = [
            wording.value(key, side.knobs[key], view.knobs) if side and key in side.knobs else "" for side in sides
        ]
        yield Comparison(name=key, default=texts[0], best=texts[1])
    limits = {c.metric: c for c in view.goal.constraints}
    for name in view.metrics():
        limit = ""
        if name in limits:
            limit = f"{'≥' if limits[name].at_least else '≤'} {labels.quantity(name, limits[name].limit, 6)}"
        texts = [_with_interval(side, name) for side in sides]
        yield Comparison(name=metrics.of(name).label, default=texts[0], best=texts[1], limit=limit)
    yield Comparison(name="trials", default=str(default.n) if default else "", best=str(best.n) if best else "")


def _with_interval(side: Side | None, name: str) -> str:
    if side is None or name not in side.metrics:
        return ""
    text = labels.amount(name, side.metrics[name])
    if metrics.of(name).shown_unit != "%":
        text += labels.plus_minus(side.intervals.get(name))
    return f"{text} {metrics.of(name).shown_unit}".rstrip()


class Part(msgspec.Struct, frozen=True):
    """Rows that are shown together; all but the last are folded where there are many."""

    title: str
    rows: list[KnobRow]


def _parts(view: View) -> Iterator[Part]:
    begun = view.begun
    places = {
        name: labels.decimals(name, [t.metrics[name] for t in begun if name in t.metrics]) for name in view.metrics()
    }
    for first in range(0, len(begun), ROWS_TOGETHER):
        some = begun[first : first + ROWS_TOGETHER]
        yield Part(f"{number_of(some[0])} to {number_of(some[-1])}", [_row(trial, view, places) for trial in some])


def _row(trial: Trial, view: View, places: Mapping[str, int]) -> KnobRow:
    finished = trial.state is TrialState.FINISHED
    broken = {c.metric for c in view.broken(trial)} if finished else set()
    names = view.metrics()
    best = view.winners()
    css = "best" if any(trial is one for one in best) else "" if finished else "void"
    if finished and view.of_default(trial):
        css = "default"
    elif finished and not css:
        css = "breaks" if broken else "keeps"
    return KnobRow(
        number=number_of(trial),
        kind=kind_of(trial, view),
        muster=trial.muster,
        knobs=[_knob(trial, key, view) for key in view.knob_keys()],
        metrics=[(labels.aligned(m, trial.metrics.get(m), places[m]), m in broken) for m in names],
        log_rows=_log_rows(view.account(trial)),
        result=result_of(trial, view, SIGNS, best).plain,
        css=css,
        detail=trial.detail,
    )


def _log_rows(account: RowAccounting | None) -> tuple[str, str]:
    written, lost = log_cells(account)
    return written, f"{lost} ({account.why_lost()})" if account is not None and account.lost else lost


def _knob(trial: Trial, key: str, view: View) -> str:
    if key not in trial.settings:
        return "as found" if not trial.settings else ""
    named = wording.value(key, trial.settings[key], view.knobs)
    return str(trial.settings[key]) if named.startswith(str(trial.settings[key])) else named
