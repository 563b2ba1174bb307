"""Two objectives at once: the front, how much it covers, and a pick by a limit that is named afterwards."""

import math
from collections.abc import Iterable, Sequence

from mustherd.goal import Constraint, Objective
from mustherd.learn.base import Observation

Pair = tuple[float, float]


def front(
    observations: Iterable[Observation], objectives: Sequence[Objective], guards: Sequence[Constraint] = ()
) -> list[Observation]:
    """The observations that no other beats in both of two objectives, the best in the first one first.

    Observations that miss one of `guards` (such as the throughput guard) are left out: a
    setting that drops a tenth of the load is no bargain. Of equal ones the first stays.
    """
    kept = [o for o in observations if all(g.met_by(o.metrics[g.metric]) for g in guards)]
    found: list[Observation] = []
    least = math.inf
    for _, other, observation in sorted(((*_costs(o, objectives), o) for o in kept), key=lambda row: row[:2]):
        if other < least:
            found.append(observation)
            least = other
    return found


def hypervolume(pairs: Iterable[Pair], reference: Pair) -> float:
    """The area that pairs dominate below `reference`, less being better; in the product of both units.

    Pairs that don't lie below the reference in both add nothing. With two objectives the area is a staircase, summed
    from one end to the other (Zitzler and Thiele, PPSN 1998).
    """
    area, ceiling = 0.0, reference[1]
    for x, y in sorted(p for p in pairs if p[0] < reference[0] and p[1] < reference[1]):
        if y < ceiling:
            area += (reference[0] - x) * (ceiling - y)
            ceiling = y
    return area


def hypervolumes(
    observations: Sequence[Observation],
    objectives: Sequence[Objective],
    reference: Pair,
    guards: Sequence[Constraint] = (),
) -> list[float]:
    """The hypervolume of costs after each observation, in their order: how the front grew over an experiment's trials.

    `reference` is a pair of costs too.
    """
    pairs: list[Pair] = []
    volumes = []
    for observation in observations:
        if all(g.met_by(observation.metrics[g.metric]) for g in guards):
            pairs.append(_costs(observation, objectives))
        volumes.append(hypervolume(pairs, reference))
    return volumes


def pick(observations: Iterable[Observation], objective: Objective, limits: Sequence[Constraint]) -> Observation | None:
    """The observation with the best objective within limits that may be other ones than were searched with."""
    met = [o for o in observations if all(c.met_by(o.metrics[c.metric]) for c in limits)]
    return min(met, key=lambda o: objective.cost(o.metrics), default=None)


def _costs(observation: Observation, objectives: Sequence[Objective]) -> Pair:
    first, second = objectives
    return first.cost(observation.metrics), second.cost(observation.metrics)
