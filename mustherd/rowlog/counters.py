"""Counters of a log's columns, as numbers that go on; pure, and apart from the readers: a shepherd needs no pandas."""

import numpy as np
import numpy.typing as npt

COUNTER_BITS = 48
"""Width of a core's performance counters on the CPUs that intlog is for (Intel SDM, volume 3, chapter on performance
monitoring: CPUID.0AH:EAX[23:16] is 48 from Nehalem on)."""


class Unwrapped:
    """A counter that wraps, as doubles counted from its first value that isn't 0, a part of its values at a time.

    0 is what the driver's older versions print for rows less than 1 ms after the one before: not a reading, so not a
    number in the result. Between two readings the counter may wrap once at most (RAPL's takes minutes).
    """

    def __init__(self, counts_per_wrap: int, last: int | None = None, total: int = 0) -> None:
        """`last` and `total` are what `state` was behind the values before."""
        self._per_wrap = counts_per_wrap
        self._last, self._total = last, total

    @property
    def state(self) -> tuple[int | None, int]:
        """The last value, and what was counted since the first one."""
        return self._last, self._total

    def begins_anew(self) -> None:
        """What comes next is no further reading of the counter before, as after a restart of its machine."""
        self._last = None

    def more(self, counts: "npt.NDArray[np.uint64]", unit: float = 1.0) -> "npt.NDArray[np.float64]":
        """The next values, in a unit of so much a count."""
        found = np.full(len(counts), np.nan)
        read = slice(None) if bool(counts.all()) else counts != 0
        values = counts[read].view(np.int64)
        if not len(values):
            return found
        steps = np.empty(len(values), np.int64)
        steps[0] = 0 if self._last is None else values[0] - self._last
        np.subtract(values[1:], values[:-1], out=steps[1:])
        if bool((steps < 0).any()):
            steps %= self._per_wrap
        np.cumsum(steps, out=steps)
        steps += self._total
        self._last, self._total = int(values[-1]), int(steps[-1])
        found[read] = steps * unit
        return found


def unwrapped(counts: np.ndarray, counts_per_wrap: int) -> np.ndarray:
    """All values of such a counter at once."""
    return Unwrapped(counts_per_wrap).more(counts.astype(np.uint64, copy=False))
