"""The first points: what is worth measuring before any model knows anything."""

import math
from collections.abc import Iterator

from mustherd import metrics
from mustherd.learn.base import Problem, Settings
from mustherd.learn.space import Space

KNEE_US = 45.0
"""Wire and stack take about 45 us whatever the delay (fitted to a 2 x E5-2690 node under memcached), so delays far
below that can't be told apart by their effect."""


DELAY_SHARE = 0.4
"""How much of a latency limit is given to a delay at first. Not more than half: the rest is for wire, queues and work,
and while requests wait they occupy the load's places in flight, which caps throughput long before the limit is
reached. Between 0.33 and 0.5 it makes little difference on average over limits and loads."""


DELAYS_IN_FLIGHT = 1.36
"""How many delays a request is under way when nothing but the delay holds it: with 256 in flight a c6220 carries
188.8e6 / delay requests per second, and 256e6 / 188.8e6 is 1.36."""


def knees(problem: Problem) -> dict[str, float]:
    """Where each log scale bends, by dimension; see mustherd.learn.space.Axis."""
    return {d.name: KNEE_US for d in problem.space.dimensions if d.role == "delay"}


def latency_limit(problem: Problem) -> float | None:
    """The tightest upper limit on a latency, in us; None without one."""
    limits = [c.limit for c in problem.goal.aimed if not c.at_least and metrics.of(c.metric).unit == "us"]
    return min(limits, default=None)


def longest_delay(problem: Problem) -> float:
    """The delay to begin with, in us, as far as limits and places in flight allow one; infinite where nothing does."""
    limit = latency_limit(problem)
    share = math.inf if limit is None else limit * DELAY_SHARE
    return share if problem.space.in_flight_us is None else min(share, problem.space.in_flight_us / DELAYS_IN_FLIGHT)


def corners(problem: Problem, space: Space) -> Iterator[Settings]:
    """Points that physics makes informative, the most promising first.

    1. The default: what every saving is measured against, and feasible on a node that was sized for its load.
    2. The lowest clock, with DELAY_SHARE of the latency limit given to the delay, or less where so long a delay would
       fill the places in flight: the cheapest corner that may hold. A delay takes its own length out of the limit, and
       the wire, the queues and the work need theirs.
    3. Half way between the two: where the lowest clock is too slow, this says how much more is needed.
    """
    default = problem.space.default
    if default is not None:
        yield default
    delay = longest_delay(problem)
    cheap: dict[str, float] = {}
    for axis, dimension in zip(space.axes, problem.space.dimensions, strict=True):
        low, high = (axis.ordered[0], axis.ordered[-1]) if axis.ordered else (axis.values[0], axis.values[0])
        match dimension.role:
            case "clock":
                cheap[axis.name] = low
            case "delay":
                cheap[axis.name] = min(high, delay)
            case _:
                cheap[axis.name] = (low + high) / 2 if default is None else default[axis.name]
    if any(d.role for d in problem.space.dimensions):
        yield space.nearest(cheap)
        between = {
            a.name: (cheap[a.name] + (a.ordered[-1] if d.role == "clock" else cheap[a.name])) / 2
            for a, d in zip(space.axes, problem.space.dimensions, strict=True)
            if a.ordered
        }
        yield space.nearest({**cheap, **between})


def spread(space: Space, chosen: list[int], among: list[int]) -> int:
    """The point of `among` that is farthest from all of `chosen`; the middle of the space when there is none."""
    coordinates = [space.encode(space.point(i)) for i in chosen] or [(0.5,) * space.width]
    sign = 1.0 if chosen else -1.0

    def distance(index: int) -> float:
        here = space.encode(space.point(index))
        return sign * min(sum((a - b) ** 2 for a, b in zip(here, c, strict=True)) for c in coordinates)

    return max(among, key=distance)
