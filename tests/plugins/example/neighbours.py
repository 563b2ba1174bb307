"""An example of a search in a package of its own; docs/extend/search.md shows it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec

from mustherd.learn.base import Observation, Problem, Settings
from mustherd.learn.history import History


class Neighbours:
    """Climb: try what lies beside the best point so far, and when that has all been tried, the rest in order."""

    @dataclass(frozen=True)
    class Options:
        reach: Annotated[int, msgspec.Meta(ge=1, le=10)] = 1  # places that a step may go along a knob's values

    @staticmethod
    def check(problem: Problem, options: Options) -> None:
        if options.reach > 1 and len(problem.space.dimensions) > 4:
            raise ValueError("with more than 4 knobs it steps by 1")

    def __init__(self, problem: Problem, *, seed: int, options: Options) -> None:
        self._history = History(problem)  # what was told and proposed, and what of the space is left
        self._seed = seed
        self._options = options

    def ask(self, pending: Sequence[Settings] = ()) -> Settings | None:
        return self._history.propose(pending, self._choose)

    def _choose(self, blocked: set[int]) -> int | None:
        space, best = self._history.space, self._history.best()
        if best is not None:
            for distance in range(1, self._options.reach + 1):
                for point in space.steps(best.point, distance):
                    if space.index(point) not in blocked:
                        return space.index(point)
        return next(index for index in range(space.size) if index not in blocked)

    def tell(self, observations: Sequence[Observation]) -> None:
        self._history.tell(observations)

    def state(self) -> dict[str, object]:
        return self._history.state("neighbours", self._seed)
