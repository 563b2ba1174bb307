"""An experiment as a notebook shows it: a piece of HTML that needs nothing else."""

from html import escape

from mustherd import metrics
from mustherd.experiment import wording
from mustherd.experiment.verdict import Side
from mustherd.report import labels
from mustherd.report.labels import clean
from mustherd.report.table import based_on, side_value
from mustherd.report.view import View


def card(view: View) -> str:
    """The verdict, default and best side by side, and what it rests on."""
    found = view.verdict()
    best = found.best or found.closest
    parts = [f"<b>{_text(view.experiment.name)}</b> ({_text(view.status)})"]
    if view.detail:
        parts.append(_text(view.detail))
    if view.trials:
        parts.append(_text(found.reason if view.stored else f"so far {found.reason}"))
    if view.today:
        parts.append(_text(view.today))
    if found.loads:
        parts.append(_loads(view))
    elif best is not None or found.default is not None:
        parts.append(_sides(view, found.default, best, view.lead.column))
    parts += [_text(based_on(view, found)), f"<code>{_text(view.folder)}</code>"]
    return "<div>" + "".join(f"<div>{part}</div>" for part in parts) + "</div>"


def _sides(view: View, default: Side | None, best: Side | None, named: str) -> str:
    sides = (default, best)
    keys = dict.fromkeys(key for side in (best, default) if side for key in side.knobs)
    rows = [
        (
            key,
            *(wording.value(key, side.knobs[key], view.knobs) if side and key in side.knobs else "" for side in sides),
        )
        for key in keys
    ]
    rows += [(metrics.of(name).title, *(side_value(side, name) for side in sides)) for name in view.metrics()]
    return _table(("", "default", named), rows)


def _loads(view: View) -> str:
    rows: list[tuple[str, ...]] = [
        (
            f"{row.qps:,.0f}",
            row.verdict,
            wording.settings(row.best.knobs, view.knobs) if row.best else "",
            "" if row.saving_percent is None else labels.percent(row.saving_percent),
        )
        for row in view.verdict().loads
    ]
    return _table(("qps", "verdict", "settings", "better by"), rows)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    titles = "".join(f"<th>{_text(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>"


def _text(value: str) -> str:
    """Escaped: names and reasons come from files and from the wire."""
    return escape(clean(value))
