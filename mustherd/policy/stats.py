"""Stats: what a herd does as it is found, measured until it is known well enough."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from mustherd.definition import Experiment
from mustherd.definition.problem import CONTEXT
from mustherd.learn.base import Observation, Problem, Settings
from mustherd.learn.inference import Estimate, interval

LEAST = 3
"""Windows of a load before anything is known of how much they differ."""


@dataclass(frozen=True)
class StatsOptions:
    """What is to be known, and how well."""

    percent: dict[str, float] = field(default_factory=lambda: {"power_watts": 2.0})
    """Metric to half the width of its mean's interval, in per cent of the mean."""

    def __post_init__(self) -> None:
        for metric, percent in self.percent.items():
            if not (isinstance(percent, int | float) and percent > 0):
                raise ValueError(f"percent: {metric}: {percent!r} is no number above 0")


class Stats:
    """Leaves nodes as they were found, and ends once each load's metrics are known as well as its options ask for."""

    Options = StatsOptions
    compares: ClassVar[bool] = False

    def __init__(self, experiment: Experiment, _problem: Problem) -> None:
        self._wanted = StatsOptions(**experiment.policy.options).percent
        self._loads = tuple(int(load) for load in experiment.workload.loads)
        self._seen: dict[int, dict[str, list[float]]] = {load: {} for load in self._loads}

    def observe(self, observations: Sequence[Observation]) -> None:
        for one in observations:
            load = one.point.get(CONTEXT, self._loads[0] if self._loads else 0)
            of = self._seen.setdefault(load, {})
            for metric, value in one.metrics.items():
                of.setdefault(metric, []).append(value)

    def propose(self, pending: Sequence[Settings]) -> Settings | None:
        if self._known():
            return None
        if len(self._loads) < 2:
            return {}
        # The load that was measured least, those under way counted.
        under_way = [point.get(CONTEXT) for point in pending]
        count = {load: self._count(load) + under_way.count(load) for load in self._loads}
        return {CONTEXT: min(self._loads, key=lambda load: (self._enough(load), count[load], load))}

    def why_enough(self) -> str:
        told = []
        for load, of in self._seen.items():
            figures = ", ".join(
                f"{metric} {mean.mean:,.6g} ({mean.low:,.6g} to {mean.high:,.6g})"
                for metric in self._wanted
                if (mean := _mean(of.get(metric, ()))) is not None
            )
            told.append(f"{self._count(load)} windows at {load:,} requests a second: {figures}")
        return "; ".join(told)

    def close(self) -> None:
        pass

    def _known(self) -> bool:
        return bool(self._seen) and all(self._enough(load) for load in self._seen)

    def _enough(self, load: int) -> bool:
        means = {metric: _mean(self._seen[load].get(metric, ())) for metric in self._wanted}
        return all(
            mean is not None and (mean.high - mean.low) / 2 <= abs(mean.mean) * self._wanted[metric] / 100
            for metric, mean in means.items()
        )

    def _count(self, load: int) -> int:
        return max((len(values) for values in self._seen[load].values()), default=0)


def _mean(values: Sequence[float]) -> Estimate | None:
    """Of windows, with its interval; None of too few."""
    known = [value for value in values if math.isfinite(value)]
    return interval(known) if len(known) >= LEAST else None
