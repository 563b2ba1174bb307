"""What an experiment is about at this moment: the windows that ended last, and how far those under way are."""

from collections.abc import Sequence
from typing import Any

import msgspec

from mustherd import metrics
from mustherd.experiment import wording
from mustherd.metrics import READ_P99
from mustherd.report import labels
from mustherd.report.labels import clean
from mustherd.report.method import dig
from mustherd.report.timeline import POWER
from mustherd.report.view import View
from mustherd.trial import Trial, TrialState

BARS = "▁▂▃▄▅▆▇█"
PLAIN_BARS = ".:-=+*#@"

SHORTEST_S = 2.0
"""Trials that take less of a watcher's time than this are over before anybody has read how far they are."""


class Recent(msgspec.Struct, frozen=True, kw_only=True):
    """A metric over the windows that ended last, oldest first."""

    metric: str
    values: tuple[float, ...]
    limit: float | None

    @property
    def label(self) -> str:
        """The metric as people call it."""
        return metrics.of(self.metric).label

    @property
    def text(self) -> str:
        """The newest value with its unit."""
        return labels.quantity(self.metric, self.values[-1])

    @property
    def limit_text(self) -> str:
        """The limit with its unit; empty where there is none."""
        return "" if self.limit is None else labels.quantity(self.metric, self.limit, 6)


def recent(view: View, most: int) -> list[Recent]:
    """Power, p99 and the objective, as far as they are measured: the `most` windows that ended last."""
    ended = [trial for trial in view.ended() if trial.state is TrialState.FINISHED]
    limits = {c.metric: c.limit for c in view.goal.constraints}
    found = []
    for metric in dict.fromkeys((POWER, READ_P99, view.goal.objective)):
        values = [t.metrics[metric] for t in ended if metric in t.metrics and labels.amount(metric, t.metrics[metric])]
        if values:
            found.append(Recent(metric=metric, values=tuple(values[-most:]), limit=limits.get(metric)))
    return found


def sparkline(values: Sequence[float], *, plain: bool = False) -> str:
    """A character for each value, the least the lowest and the greatest the highest; equal ones in the middle."""
    bars, low, high = PLAIN_BARS if plain else BARS, min(values), max(values)
    if low == high:
        return bars[len(bars) // 2] * len(values)
    return "".join(bars[min(len(bars) - 1, int(len(bars) * (value - low) / (high - low)))] for value in values)


def under_way(view: View, now: float) -> list[str]:
    """Each trial that runs, a line each: its muster, its settings, and about how far it is; `now` in Unix seconds."""
    found = []
    for trial in view.trials:
        if trial.state is TrialState.RUNNING:
            far = how_far(trial, view, now)
            settings = wording.settings(trial.settings, view.knobs)
            found.append(clean(f"trial {trial.number} on {trial.muster}: {settings}{f': {far}' if far else ''}"))
    return found


def how_far(trial: Trial, view: View, now: float) -> str:
    """About how far a running trial is, by the times that its definition gives it; nothing for one that is over soon.

    A rest after the last trial isn't counted, so a muster that rests is somewhat behind what is said here.
    """
    moved = max((k.settle_seconds for k in view.knobs), default=0.0)
    steps = [
        ("settling", max(moved, _seconds(view, "settle_seconds"))),
        ("load before the window", _seconds(view, "ramp_seconds")),
        ("window", _seconds(view, "window_seconds")),
    ]
    speed: Any = dig(view.experiment.resolved, "herd", "simulated", "speed")
    speed = speed if isinstance(speed, int | float) and speed > 0 else 1.0
    if sum(seconds for _, seconds in steps) / speed < SHORTEST_S:
        return ""
    elapsed = max(0.0, now - trial.started_at) * speed
    for name, seconds in steps:
        if elapsed < seconds:
            return f"{name}, {elapsed:.0f} of {seconds:g} s"
        elapsed -= seconds
    return "after its window"


def _seconds(view: View, name: str) -> float:
    value = dig(view.experiment.resolved, "workload", name)
    return float(value) if isinstance(value, int | float) else 0.0
