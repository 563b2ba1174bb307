"""What each knob matters: what its values change, whatever the others are set to."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mustherd import metrics
from mustherd.experiment import wording
from mustherd.goal import GUARD
from mustherd.report.labels import clean
from mustherd.report.plots import drawable, legend, limit_of
from mustherd.report.svg import BREAKS, KEEPS, MUTED, draw
from mustherd.report.view import View
from mustherd.trial import Trial

MOST_LEVELS = 8
"""Values of a knob that have a level each; more are put together, as many trials in each."""

Levels = list[tuple[float, float]]
"""A knob's value, and what the metric is there, in per cent of its mean over all values."""


class _Fit:
    """A metric's logarithm as a sum of a level for each value of each knob, and of each load."""

    def __init__(self, trials: Sequence[Trial], keys: Sequence[str], metric: str) -> None:
        import numpy as np  # noqa: PLC0415

        groups = {key: _groups([t.settings[key] for t in trials]) for key in keys}
        columns: list[tuple[str, int]] = [(key, i) for key, found in groups.items() for i in range(len(found))]
        loads = sorted({t.qps for t in trials})
        rows = [
            [
                *(float(t.settings[key] in groups[key][i]) for key, i in columns),
                *(float(t.qps == qps) for qps in loads),
            ]
            for t in trials
        ]
        design = np.array(rows)
        wanted = np.log([t.metrics[metric] for t in trials])
        # A ridge so light that it only chooses between what the trials can't tell apart.
        ridge = 1e-3 * np.eye(design.shape[1])
        found = np.linalg.solve(design.T @ design + ridge, design.T @ (wanted - wanted.mean()))
        self.levels: dict[str, Levels] = {}
        for key in keys:
            own = [(groups[key][i], found[n]) for n, (name, i) in enumerate(columns) if name == key]
            middle = math.fsum(level for _, level in own) / len(own)
            self.levels[key] = [(sum(values) / len(values), 100 * math.expm1(level - middle)) for values, level in own]


def _groups(values: Sequence[int]) -> list[list[int]]:
    """The values of a knob, each alone where there are few, else neighbours together."""
    distinct = sorted(set(values))
    size = -(-len(distinct) // MOST_LEVELS)
    return [distinct[i : i + size] for i in range(0, len(distinct), size)]


def effects_of(view: View) -> dict[str, dict[str, Levels]]:
    """Metric (the objective and the limited one) to knob to its levels; empty where too little was tried."""
    objective, other = view.goal.objective, limit_of(view)[0]
    keys = [k for k in view.knob_keys() if len({t.settings[k] for t in view.trials if k in t.settings}) > 1]
    found: dict[str, dict[str, Levels]] = {}
    for metric in dict.fromkeys((objective, other)):
        trials = [
            t
            for t in drawable(view, metric)
            if all(k in t.settings for k in keys)
            and t.metrics[metric] > 0
            and GUARD not in {c.metric for c in view.broken(t)}
        ]
        varied = [k for k in keys if len({t.settings[k] for t in trials}) > 1]
        levels = sum(len(_groups([t.settings[k] for t in trials])) - 1 for k in varied)
        if varied and len(trials) >= levels + 3:
            found[metric] = _Fit(trials, varied, metric).levels
    return found


def effects_plot(view: View) -> tuple[str, str] | None:
    """For each knob, what its values change of the objective and of the limited metric: drawn, and in words; None where
    it can't be told.
    """
    found = effects_of(view)
    keys = list(dict.fromkeys(key for levels in found.values() for key in levels))
    if not keys:
        return None

    def paint(figure: Any) -> Mapping[str, str]:
        entries: dict[str, Any] = {}
        columns = min(3, len(keys))
        panels = figure.subplots(-(-len(keys) // columns), columns, squeeze=False).flat
        for axes, key in zip(panels, keys, strict=False):
            for metric, colour, marker, style in zip(
                found, (KEEPS, BREAKS), ("o", "s"), ("solid", (0, (4, 2))), strict=False
            ):
                places = found[metric].get(key, [])
                [line] = axes.plot(
                    range(len(places)), [y for _, y in places], color=colour, marker=marker, markersize=4,
                    linewidth=1.5, linestyle=style,
                )  # fmt: skip
                entries.setdefault(metrics.of(metric).label, line)
            ticks = [x for x, _ in next(iter(found.values())).get(key, [])]
            some = range(0, len(ticks), max(1, -(-len(ticks) // 6)))
            axes.set_xticks(list(some), [_tick(key, ticks[i], view) for i in some])
            axes.axhline(0, color=MUTED, linewidth=0.8, zorder=0)
            unit = next((k.unit for k in view.knobs if k.name == key.partition("@")[0]), "")
            axes.set_xlabel(clean(f"{key} ({unit})" if unit else key))
            axes.set_ylabel("against its mean (%)")
        for axes in list(panels):
            axes.set_visible(False)
        legend(figure, [(line, label) for label, line in entries.items()])
        return {}

    rows = -(-len(keys) // 3)
    said = effects_text(found)
    return draw("effects", "What each knob matters", said, 0.5 + 2.3 * rows, paint), said


def _tick(key: str, value: float, view: View) -> str:
    if value != int(value):
        return f"{value:.0f}"
    named = wording.value(key, int(value), view.knobs)
    return str(int(value)) if named.startswith(str(int(value))) else clean(named)


def effects_text(found: Mapping[str, Mapping[str, Levels]]) -> str:
    """The same in words: by how much each knob changes each metric from its least to its greatest level."""
    said = []
    for key in dict.fromkeys(key for levels in found.values() for key in levels):
        changes = [
            f"{metrics.of(metric).label} by {_span(levels[key]):.0f} %"
            for metric, levels in found.items()
            if key in levels
        ]
        said.append(f"{key} changes {wording.together(changes)}")
    return f"{'; '.join(said)}, from its best value to its worst, the other knobs left where they are."


def _span(levels: Levels) -> float:
    values = [1 + y / 100 for _, y in levels]
    return 100 * (max(values) / min(values) - 1)
