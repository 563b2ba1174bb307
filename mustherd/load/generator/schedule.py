"""When requests fall due: each connection a renewal process of its own, all of them merged in order of time."""

import math
from bisect import bisect_left

import numpy as np
import numpy.typing as npt

from mustherd.load.generator.distributions import gaps
from mustherd.load.generator.options import SendPlan

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BLOCK = 512
"""Requests planned at once, about: some 0.1 ms of work, so that planning hardly delays a request."""


class Warp:
    """Turns numbers of requests into times: the inverse of the load curve's integral."""

    def __init__(self, plan: SendPlan) -> None:
        """Of one worker's share of the curve."""
        seconds = np.array([p.seconds for p in plan.curve])
        self._qps = np.array([p.qps for p in plan.curve]) / plan.workers
        ends = np.array([p.end_qps for p in plan.curve]) / plan.workers
        self._slope = (ends - self._qps) / seconds
        requests = seconds * (self._qps + ends) / 2
        self._starts = np.concatenate(([0.0], np.cumsum(seconds)))
        self._before = np.concatenate(([0.0], np.cumsum(requests)))
        # After its end the last value holds.
        self._qps = np.append(self._qps, ends[-1])
        self._slope = np.append(self._slope, 0.0)
        self.constant = bool(np.all(self._qps == self._qps[0]) and not np.any(self._slope))
        self.first_qps = float(self._qps[0])

    def times(self, requests: Floats) -> Floats:
        """Seconds since the curve's start at which so many requests have fallen due; inf: never.

        Within a piece that starts at q and rises by a per second, n = q x + a x^2 / 2, so x = 2 n / (q + sqrt(q^2 + 2 a
        n)): this form of the root loses no digits when a is small.
        """
        index = np.searchsorted(self._before, requests, side="right") - 1
        n, q, slope = requests - self._before[index], self._qps[index], self._slope[index]
        with np.errstate(divide="ignore", invalid="ignore"):
            root = np.sqrt(np.maximum(q * q + 2 * slope * n, 0.0))
            seconds = np.where(n == 0, 0.0, 2 * n / (q + root))
        return self._starts[index] + seconds


class Schedule:
    """The requests of one worker: `dues` (seconds of CLOCK_MONOTONIC, rising), `links` and `requests`, as lists.

    `requests` are numbers: below `records` a read of that key, from there on an update of key minus `records`.
    """

    def __init__(self, plan: SendPlan, rng: np.random.Generator, start_s: float) -> None:
        """ValueError for a distribution of arrivals that can't be read."""
        self._plan = plan
        self._rng = rng
        self._gaps = gaps(plan.arrivals)
        self._curve = Warp(plan)
        # Until the window opens the curve's first value holds.
        self._rate: float | None = self._curve.first_qps
        self._start = start_s
        self.dues: list[float] = []
        self.links: list[int] = []
        self.requests: list[int] = []
        self._earlier: list[float] = []
        self._first = 0
        self._spare: tuple[list[float], list[int], list[int]] | None = None
        self._mark = -math.inf
        self._marked: int | None = 0
        self._renew()

    def _renew(self) -> None:
        count = self._plan.connections
        # A start somewhere within a gap, so that connections don't begin in step.
        self._last = self._rng.random(count) * count
        self._horizon = 0.0
        self._left: tuple[Floats, Ints] = (self._last.copy(), np.arange(count))
        self._spare = None

    def prepare(self) -> bool:
        """Plan the next block ahead, in a quiet moment; False when that was done before."""
        if self._spare is not None:
            return False
        self._spare = self._block()
        return True

    def advance(self) -> None:
        """Go on to the next block; the one before is forgotten but for counting."""
        self.prepare()
        assert self._spare is not None  # noqa: S101 - prepare() made it
        self._first += len(self.dues)
        self._earlier = self.dues
        (self.dues, self.links, self.requests), self._spare = self._spare, None
        self._count_mark()

    @property
    def due_before_window(self) -> int:
        """How many requests fell due before the window opened. RuntimeError until a block reaches that far."""
        if self._marked is None:
            raise RuntimeError("the window's start is not planned yet")
        return self._marked

    def due_before(self, at_s: float) -> int:
        """How many requests fell due before `at_s`, which lies in this block or the one before, or after."""
        if self._earlier and at_s <= self._earlier[-1]:
            return self._first - len(self._earlier) + bisect_left(self._earlier, at_s)
        return self._first + bisect_left(self.dues, at_s)

    def taken(self, index: int) -> int:
        """The number of the request at `index` of this block since the start."""
        return self._first + index

    def open(self, t0_s: float, index: int) -> None:
        """The window opens: a curve begins now. What is before `index` in this block was sent."""
        if not self._curve.constant:
            cut = max(index, bisect_left(self.dues, t0_s))
            self.dues, self.links, self.requests = self.dues[:cut], self.links[:cut], self.requests[:cut]
            self._start, self._rate = t0_s, None
            self._renew()
        # Who sends late may not have planned as far as this yet.
        self._mark, self._marked = t0_s, None
        self._count_mark()

    def _count_mark(self) -> None:
        if self._marked is None and self.dues and self.dues[-1] >= self._mark:
            self._marked = self.due_before(self._mark)

    def _block(self) -> tuple[list[float], list[int], list[int]]:
        """Requests up to the next horizon, on a scale where the worker's load is 1 a unit, then turned into times."""
        plan, count = self._plan, self._plan.connections
        self._horizon += BLOCK
        # Enough for nearly every connection to get past the horizon: each round costs more than what it draws.
        draws = BLOCK // count + 4 * math.isqrt(BLOCK // count) + 4
        times, links = [self._left[0]], [self._left[1]]
        behind = np.flatnonzero(self._last < self._horizon)
        while len(behind):
            steps = self._gaps(self._rng, len(behind) * draws).reshape(len(behind), draws) * count
            found = self._last[behind, None] + np.cumsum(steps, axis=1)
            self._last[behind] = found[:, -1]
            times.append(found.ravel())
            links.append(np.repeat(behind, draws))
            behind = behind[found[:, -1] < self._horizon]
        every, owner = np.concatenate(times), np.concatenate(links)
        inside = every < self._horizon
        self._left = (every[~inside], owner[~inside])
        every, owner = every[inside], owner[inside]
        order = np.argsort(every)
        every, owner = every[order], owner[order]
        if self._rate is None:
            dues = self._start + self._curve.times(every)
        else:
            dues = self._start + every / self._rate if self._rate > 0 else np.full(len(every), np.inf)
        requests = self._rng.integers(0, plan.records, len(every))
        requests += plan.records * (self._rng.random(len(every)) < plan.update_ratio)
        return dues.tolist(), owner.tolist(), requests.tolist()
