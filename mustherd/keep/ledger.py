"""The ledger: what was saved against controls, per day and in all, and what MustHerd used itself.

Each node spends a share of its time, in blocks at random moments, at the baseline. A control block is held against the
blocks before and after it on the same node: the mean of both has, to first order, the load and the weather of the
middle. What is saved is the joules spent at learnt settings times what the pairs say of the ratio, with Student's
interval (mustherd.learn.inference). Only sums by day are kept, so that a keeper can run for ever.
"""

import math
from collections.abc import Callable

import msgspec

from mustherd.keep.events import Paired, Used
from mustherd.learn.inference import CONFIDENCE, Estimate, quantile

DAYS_KEPT = 400


class Day(msgspec.Struct):
    """Sums of one day."""

    number: int
    pairs: int = 0
    total: float = 0.0
    """Of logarithms of default over kept power."""
    squares: float = 0.0
    kept_s: float = 0.0
    """Node seconds at learnt settings."""
    kept_joules: float = 0.0
    control_s: float = 0.0
    control_joules: float = 0.0
    other_s: float = 0.0
    """Node seconds at safe settings or as found, which save nothing."""
    used_cpu_s: float = 0.0
    used_joules: float = 0.0


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """What a day, or all of them, came to."""

    percent: Estimate
    """Of what the default would have used."""
    joules: Estimate
    pairs: int
    kept_s: float
    kept_joules: float
    used_cpu_s: float
    used_joules: float


class Ledger:
    """Days, the newest last."""

    def __init__(self, day_s: float) -> None:
        self._day_s = day_s
        self.days: list[Day] = []

    def pair(self, pair: Paired) -> None:
        """A control block and what was in force around it."""
        day = self._day(pair.at_s)
        ratio = math.log(pair.default_power / pair.kept_power)
        day.pairs += 1
        day.total += ratio
        day.squares += ratio**2

    def spend(self, at_s: float, seconds: float, joules: float, what: str) -> None:
        """A node spent energy: `kept`, `control` or `other`."""
        day = self._day(at_s)
        if what == "kept":
            day.kept_s += seconds
            day.kept_joules += joules
        elif what == "control":
            day.control_s += seconds
            day.control_joules += joules
        else:
            day.other_s += seconds

    def use(self, at_s: float, used: Used) -> None:
        """MustHerd itself used something."""
        day = self._day(at_s)
        day.used_cpu_s += used.cpu_s
        day.used_joules += used.joules

    def saved(self, number: int | None = None) -> Saved:
        """Of a day, or of all days."""
        days = [day for day in self.days if number is None or day.number == number]
        pairs = sum(day.pairs for day in days)
        ratio = _estimate(pairs, sum(d.total for d in days), sum(d.squares for d in days))
        joules = sum(day.kept_joules for day in days)
        return Saved(
            percent=_map(ratio, lambda x: 100 * -math.expm1(-x)),
            joules=_map(ratio, lambda x: joules * math.expm1(min(x, 700.0)) if joules else 0.0),
            pairs=pairs,
            kept_s=sum(d.kept_s for d in days),
            kept_joules=joules,
            used_cpu_s=sum(d.used_cpu_s for d in days),
            used_joules=sum(d.used_joules for d in days),
        )

    def _day(self, at_s: float) -> Day:
        number = int(at_s // self._day_s)
        if not self.days or self.days[-1].number < number:
            self.days.append(Day(number))
            del self.days[:-DAYS_KEPT]
        return self.days[-1]


def _estimate(count: int, total: float, squares: float) -> Estimate:
    if not count:
        return Estimate(mean=0.0, low=-math.inf, high=math.inf)
    mean = total / count
    if count < 2:
        return Estimate(mean=mean, low=-math.inf, high=math.inf)
    deviation = math.sqrt(max(0.0, squares - count * mean**2) / (count - 1))
    half = quantile(0.5 + CONFIDENCE / 2, count - 1) * deviation / math.sqrt(count)
    return Estimate(mean=mean, low=mean - half, high=mean + half)


def _map(estimate: Estimate, what: Callable[[float], float]) -> Estimate:
    """An estimate through something that rises."""
    ends = (estimate.mean, estimate.low, estimate.high)
    mean, low, high = (x if math.isinf(x) else what(x) for x in ends)
    return Estimate(mean=mean, low=low, high=high)
