"""Windows one after another: what a policy that follows or watches did, and what came of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from mustherd import metrics
from mustherd.experiment import wording
from mustherd.goal import GUARD
from mustherd.metrics import ENERGY
from mustherd.report import labels
from mustherd.report.labels import clean
from mustherd.report.plots import LOOKS, MOST_HINTS, describe, drawable, legend, limit_line, limit_of, shown
from mustherd.report.svg import BREAKS, DEFAULT, INK, KEEPS, draw
from mustherd.report.svg import GUARD as UNREACHED
from mustherd.report.view import View
from mustherd.trial import Trial

POWER = "power_watts"


def timeline(
    view: View, beside: View | None = None, name: str = "timeline", called: tuple[str, str] = ("", "")
) -> str | None:
    """Load, settings, objective and limited metric of each window, in order; None where nothing was measured.

    `beside`: an experiment under the same loads, drawn as a second line; `called`: other names than the experiments'.
    """
    objective = view.goal.objective
    other, constraint = limit_of(view)
    trials = drawable(view, objective)
    if not trials:
        return None
    against = drawable(beside, objective) if beside is not None else []
    rate = POWER if objective == ENERGY and all(POWER in t.metrics for t in (*trials, *against)) else objective
    keys = [key for key in view.knob_keys() if any(key in t.settings for t in trials)]
    loaded = any(t.qps for t in trials)
    rows = [*(["load"] if loaded else []), *keys, rate, *([other] if any(other in t.metrics for t in trials) else [])]

    def paint(figure: Any) -> Mapping[str, str]:
        from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

        panels = figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
        hints: dict[str, str] = {}
        entries: list[tuple[Any, str]] = []
        lines: list[tuple[Any, str]] = []
        for axes, row in zip(panels, rows, strict=True):
            axes.margins(0.02, 0.18)
            if row == "load":
                _stairs(axes, trials, [t.qps / 1000 for t in trials], INK)
                if mark := _unanswered(axes, trials, view):
                    entries.append((mark, LOOKS["load"].label))
                axes.set_ylabel("load\n(1,000 qps)")
                axes.set_ylim(bottom=0)
            elif row in keys:
                _knob(axes, row, view, trials)
            else:
                lines = [_metric(axes, row, trials, KEEPS, called[0] or view.experiment.name)]
                if against and beside is not None:
                    lines.append(_metric(axes, row, against, DEFAULT, called[1] or beside.experiment.name))
                axes.set_ylabel(metrics.of(row).title.replace(" (", "\n("))
                if row == other and constraint is not None:
                    limit_line(axes, "y", constraint)
                _points(axes, row, trials, view, hints)
        panels[-1].set_xlabel("window")
        panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        legend(figure, [*(lines if against else []), *entries])
        return hints

    description = (
        f"{len(trials)} windows in their order: {wording.together(['load'] * loaded + keys)}"
        f"{' and ' if loaded or keys else ''}{metrics.of(rate).title} and {metrics.of(other).title} of each."
    )
    return draw(name, "Window by window", description, 0.8 + 1.05 * len(rows), paint)


def _unanswered(axes: Any, trials: Sequence[Trial], view: View) -> Any:
    """A mark at what was answered, in windows whose load was not reached; None where there are none."""
    places = [
        (t.number, t.metrics["achieved_qps"] / 1000)
        for t in trials
        if "achieved_qps" in t.metrics and GUARD in {c.metric for c in view.broken(t)}
    ]
    if not places:
        return None
    [mark] = axes.plot(
        [x for x, _ in places], [y for _, y in places], marker=LOOKS["load"].marker, linestyle="none", markersize=5.5,
        color=UNREACHED, markerfacecolor="none", zorder=3,
    )  # fmt: skip
    return mark


def _stairs(axes: Any, trials: Sequence[Trial], values: Sequence[float], colour: str) -> Any:
    """A level for each window, from its beginning to its end."""
    edges = [t.number - 0.5 for t in trials]
    [line] = axes.step(
        [*edges, trials[-1].number + 0.5], [*values, values[-1]], where="post", color=colour, linewidth=1.5
    )
    return line


def _metric(axes: Any, metric: str, trials: Sequence[Trial], colour: str, name: str) -> tuple[Any, str]:
    have = [t for t in trials if metric in t.metrics]
    return _stairs(axes, have, [shown(metric, t.metrics[metric]) for t in have], colour), clean(name)


def _points(axes: Any, metric: str, trials: Sequence[Trial], view: View, hints: dict[str, str]) -> None:
    """A mark for each window, a cross for one that breaks this metric's limit."""
    if len(trials) > MOST_HINTS:
        return
    for trial in trials:
        if metric not in trial.metrics:
            continue
        breaks = metric in {c.metric for c in view.broken(trial)}
        gid = f"w{len(hints)}"
        axes.plot(
            [trial.number], [shown(metric, trial.metrics[metric])], marker="x" if breaks else "o", linestyle="none",
            markersize=5 if breaks else 3.5, color=BREAKS if breaks else KEEPS, gid=gid, zorder=3,
        )  # fmt: skip
        hints[gid] = describe(trial, view)


def _knob(axes: Any, key: str, view: View, trials: Sequence[Trial]) -> None:
    """A knob's value in each window, each value a line of its own; a gap where it was left as found."""
    values = sorted({t.settings[key] for t in trials if key in t.settings})
    places = [values.index(t.settings[key]) if key in t.settings else float("nan") for t in trials]
    _stairs(axes, trials, places, INK)
    some = range(0, len(values), max(1, -(-len(values) // 4)))
    axes.set_yticks(list(some), [labels.clean(wording.value(key, values[i], view.knobs)) for i in some])
    axes.set_ylabel(clean(key))
