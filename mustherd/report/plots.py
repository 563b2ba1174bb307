"""The pictures of a report: trials over time, the objective against the limit, and the knobs' surface."""

import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from mustherd import metrics
from mustherd.experiment import wording
from mustherd.goal import GUARD as LOAD
from mustherd.goal import Constraint
from mustherd.metrics import ENERGY, READ_P99, Direction
from mustherd.report import labels
from mustherd.report.labels import clean
from mustherd.report.svg import BEST, BREAKS, DEFAULT, GUARD, INCHES_WIDE, INK, KEEPS, MUTED, PAPER, draw
from mustherd.report.table import kind_of, number_of
from mustherd.report.view import View
from mustherd.trial import Trial, TrialKind, TrialState

LOG_FROM = 8.0
"""An axis is logarithmic when its greatest value is so many times its least."""


class Look(msgspec.Struct, frozen=True):
    """How a class of trials is drawn: never by colour alone."""

    label: str
    marker: str
    colour: str
    filled: bool = True
    size: float = 5.5


LOOKS = {
    "keeps": Look("keeps the limits", "o", KEEPS),
    "breaks": Look("breaks a limit", "x", BREAKS),
    "load": Look("load not reached", "v", GUARD, filled=False),
    "confirm": Look("repeat", "s", KEEPS, filled=False),
    "default": Look("default", "D", DEFAULT, size=4.8),
    "best": Look("best", "*", BEST, size=13),
}


def look_of(trial: Trial, view: View) -> str:
    """Which of LOOKS a finished trial has."""
    if view.of_default(trial):
        return "default"
    broken = {c.metric for c in view.broken(trial)}
    if LOAD in broken:
        return "load"
    if broken:
        return "breaks"
    return "confirm" if trial.kind is TrialKind.CONFIRM else "keeps"


def limit_of(view: View) -> tuple[str, Constraint | None]:
    """The metric that the objective is drawn against, and its limit: the first limited one, else p99."""
    for constraint in view.goal.constraints:
        if constraint.metric not in (LOAD, view.goal.objective):
            return constraint.metric, constraint
    return (READ_P99 if view.goal.objective != READ_P99 else ENERGY), None


def drawable(view: View, *names: str) -> list[Trial]:
    """Finished trials that have every one of the metrics called `names`, in the order of their numbers."""
    return [t for t in view.finished if all(math.isfinite(t.metrics.get(m, math.nan)) for m in names)]


def describe(trial: Trial, view: View) -> str:
    """A trial in a line, for whoever points at its mark."""
    values = [
        f"{metrics.of(m).label} {labels.quantity(m, trial.metrics[m])}" for m in view.metrics() if m in trial.metrics
    ]
    where = f" on {trial.muster}" if trial.muster else ""
    return (
        f"trial {number_of(trial)}, {kind_of(trial, view)}{where}: {wording.settings(trial.settings, view.knobs)}; "
        f"{', '.join(values)}"
    )


MOST_HINTS = 400
"""Marks of a picture that have a hint each; where there are more, those of a kind are one path and have none."""


class Marks:
    """Puts trials on axes, remembers what was used for the legend and what to say of each mark."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.hints: dict[str, str] = {}
        self._used: dict[str, Any] = {}

    def put_all(self, axes: Any, trials: Iterable[Trial], place: Callable[[Trial], tuple[float, float]]) -> None:
        """A mark for each trial, where `place` says."""
        placed = [(trial, place(trial), look_of(trial, self.view)) for trial in trials]
        if len(placed) <= MOST_HINTS:
            for trial, at, look in placed:
                self.put(axes, trial, at, look)
            return
        for look in LOOKS:
            if points := [at for _, at, its in placed if its == look]:
                self._draw(axes, [x for x, _ in points], [y for _, y in points], look, None)

    def put(self, axes: Any, trial: Trial, at: tuple[float, float], look: str) -> None:
        """One mark, with its hint."""
        gid = f"t{len(self.hints)}"
        self._draw(axes, [at[0]], [at[1]], look, gid)
        self.hints[gid] = describe(trial, self.view)

    def _draw(self, axes: Any, xs: Sequence[float], ys: Sequence[float], look: str, gid: str | None) -> None:
        style = LOOKS[look]
        open_mark = style.marker == "x" or not style.filled
        [line] = axes.plot(
            xs,
            ys,
            marker=style.marker,
            linestyle="none",
            markersize=style.size,
            markeredgecolor=style.colour if open_mark else PAPER,
            markerfacecolor="none" if open_mark else style.colour,
            markeredgewidth=1.4 if open_mark else 0.7,
            gid=gid,
            zorder=5 if look == "best" else 3,
        )
        self._used.setdefault(look, line)

    def legend(self, figure: Any, extra: Sequence[tuple[Any, str]] = ()) -> None:
        """A legend above the axes, of what was put on them."""
        legend(figure, [*((self._used[look], LOOKS[look].label) for look in LOOKS if look in self._used), *extra])


def legend(figure: Any, entries: Sequence[tuple[Any, str]]) -> None:
    """A legend above everything else in the figure: handles and what they are called."""
    if entries:
        figure.legend(
            [handle for handle, _ in entries],
            [label for _, label in entries],
            loc="outside upper left",
            ncols=_columns(len(entries), figure.get_figwidth()),
            columnspacing=1.6,
            handletextpad=0.5,
            borderaxespad=0.1,
        )


def _columns(entries: int, inches: float) -> int:
    """Entries in a line, so that lines are about equally long."""
    lines = -(-entries // max(1, int(inches / 1.5)))
    return -(-entries // lines)


def scale(axes: Any, which: str, values: Sequence[float]) -> None:
    """Make an axis logarithmic where the values span much, and its numbers plain either way."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator  # noqa: PLC0415

    axis = axes.xaxis if which == "x" else axes.yaxis
    positive = [v for v in values if v > 0]
    if len(positive) == len(values) and positive and max(positive) / min(positive) > LOG_FROM:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        axis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0)))
        axis.set_minor_locator(LogLocator(10, subs=()))
    else:
        axis.set_major_locator(MaxNLocator(6))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}" if value >= 10_000 else f"{value:.10g}"))


def shown(metric: str, value: float) -> float:
    """A value as its axis shows it: ratios in percent."""
    return value * 100 if metrics.of(metric).shown_unit == "%" else value


def over_time(view: View, name: str = "time", width: float = INCHES_WIDE) -> str:
    """Objective and limited metric of every trial in order, with the best so far and the default's level."""
    objective = view.goal.objective
    other, constraint = limit_of(view)
    trials = drawable(view, objective)
    improvements = view.improvements()

    def paint(figure: Any) -> Mapping[str, str]:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2.2, 1))
        marks = Marks(view)
        lines = _levels(view, upper, trials, improvements)
        marks.put_all(upper, trials, lambda trial: (trial.number, shown(objective, trial.metrics[objective])))
        both = [trial for trial in trials if other in trial.metrics]
        marks.put_all(lower, both, lambda trial: (trial.number, shown(other, trial.metrics[other])))
        best = view.winner()
        if best is not None:
            marks.put(upper, best, (best.number, shown(objective, best.metrics[objective])), "best")
        void = [t for t in view.trials if t.state in (TrialState.INVALID, TrialState.FAILED)]
        if void:
            [line] = lower.plot(
                [t.number for t in void], [0.03] * len(void), marker="|", linestyle="none", markersize=9,
                markeredgewidth=1.4, color=MUTED, transform=lower.get_xaxis_transform(), clip_on=False,
            )  # fmt: skip
            lines.append((line, "invalid or failed attempt"))
        upper.set_ylabel(metrics.of(objective).title)
        lower.set_ylabel(metrics.of(other).title)
        lower.set_xlabel("trial")
        lower.set_xlim(0, max((t.number for t in view.trials), default=0) + 1)
        scale(upper, "y", [shown(objective, t.metrics[objective]) for t in trials])
        scale(lower, "y", [shown(other, t.metrics[other]) for t in trials if other in t.metrics])
        if constraint is not None:
            limit_line(lower, "y", constraint)
        marks.legend(figure, lines)
        return marks.hints

    first = f" It began at {labels.quantity(objective, view.objective(improvements[0]))}" if improvements else ""
    last = f" and ended at {labels.quantity(objective, view.objective(improvements[-1]))}." if improvements else ""
    description = (
        f"{metrics.of(objective).title} and {metrics.of(other).title} of {len(trials)} finished trials by number."
        f" The line of the best so far among those that keep the limits has {len(improvements)} steps.{first}{last}"
    )
    return draw(name, "Trials over time", description, 5.0 if width == INCHES_WIDE else 4.4, paint, width=width)


def _levels(view: View, axes: Any, trials: Sequence[Trial], improvements: Sequence[Trial]) -> list[tuple[Any, str]]:
    """The default's level and the stair of the best so far; with their entries for the legend."""
    objective = view.goal.objective
    lines: list[tuple[Any, str]] = []
    end = max((t.number for t in view.trials), default=1)
    defaults = [shown(objective, t.metrics[objective]) for t in trials if view.of_default(t)]
    if defaults:
        level = statistics.fmean(defaults)
        line = axes.axhline(level, color=DEFAULT, linewidth=1.1, linestyle=(0, (5, 3)), zorder=1)
        lines.append((line, f"default's mean, {wording.number(level)}"))
    if improvements:
        numbers = [t.number for t in improvements]
        values = [shown(objective, t.metrics[objective]) for t in improvements]
        # In order of numbers: two musters may end trials in another order than they began them.
        order = sorted(zip(numbers, values, strict=True))
        best = max if view.goal.direction(objective) is Direction.MORE else min
        stair = list(itertools.accumulate((v for _, v in order), best))
        [line] = axes.step(
            [*(n for n, _ in order), end], [*stair, stair[-1]], where="post", color=BEST, linewidth=1.8,
            zorder=2,
        )  # fmt: skip
        lines.append((line, "best so far"))
    return lines


def limit_line(axes: Any, which: str, constraint: Constraint) -> None:
    """The limit's line, and the side that breaks it shaded."""
    at = shown(constraint.metric, constraint.limit)
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    low, high = min(low, at * 0.97), max(high, at * 1.03)
    beyond = (low, at) if constraint.at_least else (at, high)
    text = f"limit {wording.number(at, 6)} {metrics.of(constraint.metric).shown_unit}".rstrip()
    if which == "x":
        axes.axvspan(*beyond, color=BREAKS, alpha=0.08, linewidth=0, zorder=0)
        axes.axvline(at, color=BREAKS, linewidth=1.1, linestyle=(0, (5, 3)), zorder=1)
        axes.set_xlim(low, high)
        # Beside the line, on the side where there is room.
        across = axes.transAxes.inverted().transform(axes.transData.transform((at, axes.get_ylim()[0])))[0]
        side = -1 if across > 0.2 else 1
        axes.annotate(
            text, (at, 1), xycoords=("data", "axes fraction"), xytext=(4 * side, -4), textcoords="offset points",
            ha="right" if side < 0 else "left", va="top", fontsize=8.5, color=BREAKS,
        )  # fmt: skip
    else:
        axes.axhspan(*beyond, color=BREAKS, alpha=0.08, linewidth=0, zorder=0)
        axes.axhline(at, color=BREAKS, linewidth=1.1, linestyle=(0, (5, 3)), zorder=1)
        axes.annotate(
            text, (1, at), xycoords=("axes fraction", "data"), xytext=(-3, 3), textcoords="offset points",
            ha="right", va="bottom", fontsize=8.5, color=BREAKS,
        )  # fmt: skip
        axes.set_ylim(low, high)


def trade_off(view: View, name: str = "trade", width: float = INCHES_WIDE) -> str:
    """The objective against the limited metric, with the limit, and what other limits would cost: the front."""
    objective = view.goal.objective
    other, constraint = limit_of(view)
    trials = drawable(view, objective, other)
    front = front_of(view, trials, other)

    def paint(figure: Any) -> Mapping[str, str]:
        axes = figure.subplots()
        marks = Marks(view)
        marks.put_all(axes, trials, lambda trial: _place(trial, other, objective))
        best = view.winner()
        if best is not None and other in best.metrics:
            marks.put(axes, best, _place(best, other, objective), "best")
            named = clean(wording.settings(best.settings, view.knobs))
            _name_best(axes, named, _place(best, other, objective), [shown(other, t.metrics[other]) for t in trials])
        defaults = [_place(t, other, objective) for t in trials if view.of_default(t)]
        if defaults:
            axes.annotate(
                "default", defaults[0], xytext=(9, 0), textcoords="offset points", va="center", fontsize=8.5, color=INK
            )
        axes.set_xlabel(metrics.of(other).title)
        axes.set_ylabel(metrics.of(objective).title)
        axes.margins(0.06, 0.1)
        scale(axes, "x", [shown(other, t.metrics[other]) for t in trials])
        scale(axes, "y", [shown(objective, t.metrics[objective]) for t in trials])
        if constraint is not None:
            limit_line(axes, "x", constraint)
        marks.legend(figure, _front_line(view, axes, front, other))
        return marks.hints

    kept = sum(view.feasible(t) for t in trials)
    limit = f" The limit is {wording.limit(constraint)}." if constraint else ""
    limit += f" {len(front)} trials are on the front: what the best costs at any other limit."
    description = (
        f"{metrics.of(objective).title} against {metrics.of(other).title} for {len(trials)} finished trials,"
        f" {kept} of which keep every limit.{limit}"
    )
    title = f"{metrics.of(objective).label} against {metrics.of(other).label}"
    return draw(name, title, description, 4.4, paint, width=width)


LONGEST_NAME = 48
"""Letters beside the best's mark; longer settings are named above the pictures alone."""


def _name_best(axes: Any, text: str, place: tuple[float, float], across: Sequence[float]) -> None:
    """The best's settings below its mark, towards the side where there is room."""
    if len(text) > LONGEST_NAME:
        text = "best"
    left = place[0] < (min(across) + max(across)) / 2
    axes.annotate(
        text, place, xytext=(9 if left else -9, -11), textcoords="offset points", ha="left" if left else "right",
        va="top", fontsize=8.5, color=INK,
    )  # fmt: skip


def front_of(view: View, trials: Sequence[Trial], other: str) -> list[Trial]:
    """Of trials that carried their load, those that no other beats in both the objective and `other`, `other`'s best
    first."""
    sign = view.goal.direction(other)
    carried = [t for t in trials if LOAD not in {c.metric for c in view.broken(t)}]
    front: list[Trial] = []
    for trial in sorted(carried, key=lambda t: (sign.as_cost(t.metrics[other]), view.goal.cost(t.metrics))):
        if not front or view.goal.cost(trial.metrics) < view.goal.cost(front[-1].metrics):
            front.append(trial)
    return front


def _front_line(view: View, axes: Any, front: Sequence[Trial], other: str) -> list[tuple[Any, str]]:
    if len(front) < 2:
        return []
    places = sorted(_place(t, other, view.goal.objective) for t in front)
    # The stair stands where a setting of the front is beaten: on the side where `other` is worse.
    where = "pre" if view.goal.direction(other) is Direction.MORE else "post"
    [line] = axes.step([x for x, _ in places], [y for _, y in places], where=where, color=BEST, linewidth=1.4, zorder=2)
    return [(line, "front: the best at any other limit")]


def _place(trial: Trial, x: str, y: str) -> tuple[float, float]:
    return shown(x, trial.metrics[x]), shown(y, trial.metrics[y])
