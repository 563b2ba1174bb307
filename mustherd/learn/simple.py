"""Random search: the points of the space in an order that the seed alone decides."""

import random
from collections.abc import Sequence

from mustherd.learn.base import Observation, Problem, Settings
from mustherd.learn.history import History


class RandomSearch:
    """A `Search` that takes points at random without repeating one.

    The n-th draw depends on the seed and n alone, so that a resumed search goes on as if it had never stopped.
    """

    def __init__(self, problem: Problem, seed: int = 0) -> None:
        self._history = History(problem)
        self._seed = seed

    def ask(self, pending: Sequence[Settings] = ()) -> Settings | None:
        return self._history.propose(pending, self._draw)

    def _draw(self, blocked: set[int]) -> int | None:
        size = self._history.space.size
        # In a space that is mostly used up, draws would mostly hit what is blocked: choose among the rest instead.
        for n in range(min(size, 64) + 2 * len(blocked)):
            index = random.Random(f"{self._seed}/{n}").randrange(size)
            if index not in blocked:
                return index
        free = [i for i in range(size) if i not in blocked]
        return random.Random(f"{self._seed}/left/{len(free)}").choice(free)

    def tell(self, observations: Sequence[Observation]) -> None:
        self._history.tell(observations)

    def state(self) -> dict[str, object]:
        return self._history.state("random", self._seed)
