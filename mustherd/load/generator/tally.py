"""What a worker counts: kept one by one for a moment, so that a window's ends are exact, then by bins."""

import math
from array import array
from typing import TypedDict

import numpy as np

from mustherd.load.generator.histogram import Counts

KEEP = 8192
"""Latest answers that are kept one by one: more than come in before a worker hears that a window opens or closes."""
BLOCK = 1024
"""Answers that are worth counting at once."""


class Counted(TypedDict):
    """The tally's share of what a worker reports."""

    answered: int
    misses: int
    errors: int
    reads: bytes
    updates: bytes
    lags: bytes
    read_sum_us: float
    update_sum_us: float
    lag_sum_us: float


def _doubles() -> "array[float]":
    return array("d")


class Series:
    """Values in seconds with the times at which they were found, counted when those lie in the window."""

    def __init__(self) -> None:
        self.values, self.ends = _doubles(), _doubles()
        self.counts = Counts()

    def settle(self, keep: int, t0: float, t1: float) -> None:
        """Count all but the last `keep`, and let go of them."""
        share = len(self.values) - keep
        if share <= 0:
            return
        if t0 < t1:
            ends = np.frombuffer(self.ends, count=share)
            self.counts.add(np.frombuffer(self.values, count=share)[(ends >= t0) & (ends < t1)])
            # An array can't shrink while numpy looks at it.
            del ends
        del self.values[:share]
        del self.ends[:share]


class Tally:
    """Latencies of reads and updates, how late requests were sent, misses and errors."""

    def __init__(self) -> None:
        self._t0 = math.inf
        self.reads, self.updates, self.lags = Series(), Series(), Series()
        self.misses, self.errors = Series(), Series()
        self._all = (self.reads, self.updates, self.lags, self.misses, self.errors)

    def missed(self, now: float) -> None:
        """A read found nothing."""
        self.misses.values.append(0.0)
        self.misses.ends.append(now)

    def erred(self, now: float) -> None:
        """An answer was an error."""
        self.errors.values.append(0.0)
        self.errors.ends.append(now)

    def open(self, t0_s: float) -> None:
        """Count what was found from `t0_s` on."""
        self._t0 = t0_s

    def fold(self, block: int = BLOCK) -> bool:
        """Count what is old enough and piled up to `block`; False when there was nothing to do."""
        due = [series for series in self._all if len(series.values) >= KEEP + block]
        for series in due:
            series.settle(KEEP, self._t0, math.inf)
        return bool(due)

    def close(self, t1_s: float) -> Counted:
        """Count what was found before `t1_s`, and report."""
        for series in self._all:
            series.settle(0, self._t0, t1_s)
        reads, updates, lags = self.reads.counts, self.updates.counts, self.lags.counts
        return Counted(
            answered=reads.count + updates.count,
            misses=self.misses.counts.count,
            errors=self.errors.counts.count,
            reads=reads.encode(),
            updates=updates.encode(),
            lags=lags.encode(),
            read_sum_us=reads.sum_s * 1e6,
            update_sum_us=updates.sum_s * 1e6,
            lag_sum_us=lags.sum_s * 1e6,
        )
