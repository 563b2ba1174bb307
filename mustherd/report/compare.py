"""Experiments beside one another: what each found, and in what their definitions differ."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mustherd import metrics
from mustherd.definition.units import duration
from mustherd.experiment import wording
from mustherd.learn.windows import key_of
from mustherd.report import labels
from mustherd.report.paired import forms
from mustherd.report.provenance import differing
from mustherd.report.story import total_of
from mustherd.report.view import View


def row_of(view: View) -> dict[str, Any]:
    """One experiment's row, JSON types. Keys that end in `_text` are for people."""
    found = view.verdict()
    best, default, objective = found.best, found.default, view.goal.objective
    best_value = best.metrics.get(objective) if best else None
    default_value = default.metrics.get(objective) if default else None
    interval = found.saving_ci_percent
    saving = "" if found.saving_percent is None else labels.percent(found.saving_percent)
    if interval:
        saving += f" ({interval[0]:.1f} to {interval[1]:.1f})"
    found_at = None
    if best is not None:
        found_at = next((t.number for t in view.trials if key_of(t.settings) == key_of(best.knobs)), None)
    return {
        "experiment": view.experiment.name,
        "folder": view.folder,
        "status": view.status,
        "verdict": found.verdict if view.stored else None,
        "objective": objective,
        "constraints": [wording.limit(c) for c in view.goal.constraints],
        "best": best.knobs if best else None,
        "best_objective": best_value,
        "default_objective": default_value,
        "saving_percent": found.saving_percent,
        "saving_ci_percent": list(interval) if interval else None,
        "read_p99_us": best.read_p99_us if best else None,
        "found_at_trial": found_at,
        "finished": view.counts["finished"],
        "attempts": sum(view.counts.values()),
        "wall_seconds": round(view.wall_seconds, 3),
        "best_text": wording.settings(best.knobs, view.knobs) if best else "",
        "best_text_objective": labels.amount(objective, best_value),
        "default_text_objective": labels.amount(objective, default_value),
        "best_text_quantity": _quantity(objective, best_value),
        "default_text_quantity": _quantity(objective, default_value),
        "saving_text": saving,
        "p99_text": labels.amount("read_p99_us", best.read_p99_us) if best else "",
        "limits_text": wording.together([wording.limit(c) for c in view.goal.constraints]),
        "total_text": "" if view.compares else total_of(view),
        "kept_text": _kept(view),
        "wall_text": duration(view.wall_seconds),
    }


def _quantity(objective: str, value: float | None) -> str:
    return "" if value is None else f"{metrics.of(objective).label} {labels.quantity(objective, value)}"


def _kept(view: View) -> str:
    """Of an experiment that compares nothing: how many of its windows kept every limit."""
    if view.compares or not view.goal.constraints or not view.finished:
        return ""
    return f"{sum(view.feasible(t) for t in view.finished)} of {len(view.finished)}"


def differences(views: Sequence[View]) -> dict[str, list[Any]]:
    """What differs between the definitions: the path of a value (`workload.qps`) to each experiment's, in order.

    None stands for a value that a definition doesn't have. The names differ by nature and are left out.
    """
    leaves = [dict(_leaves(view.experiment.resolved)) for view in views]
    paths = dict.fromkeys(path for found in leaves for path in found)
    found = {path: [leaf.get(path) for leaf in leaves] for path in paths if path != "name"}
    return {path: values for path, values in found.items() if any(value != values[0] for value in values[1:])}


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def compare(views: Sequence[View]) -> dict[str, Any]:
    """The comparison as JSON types: `experiments`, a row each, `differences` between their definitions, what differs in
    their `provenance`, by part and name, and `paired`: what those that compare nothing themselves save against the last
    one, window beside window."""
    rows = [
        {key: value for key, value in row_of(view).items() if not key.endswith("_text") and "_text_" not in key}
        for view in views
    ]
    return {
        "experiments": rows,
        "differences": differences(views),
        "provenance": differing(views),
        "paired": forms(views),
    }
