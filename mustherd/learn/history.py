"""The history of a search: what it was told, what it proposed, and what is left."""

import math
from collections.abc import Callable, Iterable, Sequence

from mustherd.goal import keeps
from mustherd.learn.base import Observation, Problem, Settings
from mustherd.learn.space import Space


def feasible(problem: Problem, observation: Observation) -> bool:
    """Whether every constraint was met where the observation was made."""
    return keeps(observation.metrics, problem.goal.aimed)


class History:
    """What all searches remember. Points are kept by their number in the space."""

    def __init__(self, problem: Problem, space: Space | None = None) -> None:
        self.problem = problem
        self.space = Space.of(problem.space) if space is None else space
        self.observations: list[Observation] = []
        self.told: dict[int, list[Observation]] = {}
        self.used: set[int] = set()
        """What was told or proposed."""
        self._metrics = problem.goal.metrics

    def tell(self, observations: Sequence[Observation]) -> None:
        """Take all of the observations in, or none: ValueError says what is wrong with the first bad one."""
        indices = [self.space.index(o.point) for o in observations]
        for observation in observations:
            for metric in self._metrics:
                value = observation.metrics.get(metric)
                if value is None:
                    raise ValueError(f"the observation at {observation.point} has no {metric}")
                if not math.isfinite(value):
                    raise ValueError(f"{metric} at {observation.point} is {value}, not a finite number")
        for index, observation in zip(indices, observations, strict=True):
            self.told.setdefault(index, []).append(observation)
            self.used.add(index)
        self.observations.extend(observations)

    def pending(self, points: Iterable[Settings]) -> set[int]:
        """The numbers of points under way; ValueError for one outside the space."""
        return {self.space.index(p) for p in points}

    def propose(self, pending: Iterable[Settings], choose: Callable[[set[int]], int | None]) -> Settings | None:
        """Let `choose` pick a number outside the set it is given and may not change, remember it and return its point.

        What was proposed and never told is offered again, once nothing else is left: its trial may have been invalid.
        """
        # Kept up with, not made anew: in a long search most of the space is in these sets.
        self.used |= (under_way := self.pending(pending))
        if len(self.told) + len(under_way - self.told.keys()) >= self.space.size:
            return None
        blocked = self.used
        if len(blocked) >= self.space.size:
            blocked = self.told.keys() | under_way
        index = choose(blocked)
        if index is None:
            return None
        self.used.add(index)
        return self.space.point(index)

    def best(self) -> Observation | None:
        """The observation with the best objective among those that met every constraint; None if none did."""
        met = [o for o in self.observations if feasible(self.problem, o)]
        return min(met, key=self.problem.cost, default=None)

    def state(self, method: str, seed: int, reason: str = "") -> dict[str, object]:
        """The part of a search's state that all have in common."""
        best = self.best()
        if not reason and len(self.told) >= self.space.size:
            reason = "every point of the space was tried"
        return {
            "method": method,
            "seed": seed,
            "observations": len(self.observations),
            "tried": len(self.told),
            "space": self.space.size,
            "best": None if best is None else {"point": dict(best.point), "metrics": dict(best.metrics)},
            "reason": reason,
        }
