"""Two objectives at once: the front, how much it covers, and a pick by a limit that is named afterwards."""

from collections.abc import Iterable, Sequence

from mustherd.learn.search import Constraint, Observation

Pair = tuple[float, float]


def front(
    observations: Iterable[Observation], first: str, second: str, guards: Sequence[Constraint] = ()
) -> list[Observation]:
    """The observations that no other beats in both metrics, by ascending `first`.

    Less is better in both. Observations that miss one of `guards` (such as the throughput guard) are left out: a
    setting that drops a tenth of the load is no bargain. Of equal ones the first stays.
    """
    kept = [o for o in observations if all(g.met_by(o.metrics[g.metric]) for g in guards)]
    found: list[Observation] = []
    for observation in sorted(kept, key=lambda o: (o.metrics[first], o.metrics[second])):
        if not found or observation.metrics[second] < found[-1].metrics[second]:
            found.append(observation)
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
    first: str,
    second: str,
    reference: Pair,
    guards: Sequence[Constraint] = (),
) -> list[float]:
    """The hypervolume after each observation, in their order: how the front grew over an experiment's trials."""
    pairs: list[Pair] = []
    volumes = []
    for observation in observations:
        if all(g.met_by(observation.metrics[g.metric]) for g in guards):
            pairs.append((observation.metrics[first], observation.metrics[second]))
        volumes.append(hypervolume(pairs, reference))
    return volumes


def pick(observations: Iterable[Observation], objective: str, limits: Sequence[Constraint]) -> Observation | None:
    """The observation with the least objective within limits that may be other ones than were searched with."""
    met = [o for o in observations if all(c.met_by(o.metrics[c.metric]) for c in limits)]
    return min(met, key=lambda o: o.metrics[objective], default=None)
