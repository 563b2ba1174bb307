"""The grid: every point of the space in order, the last dimension varying fastest."""

from collections.abc import Sequence

from mustherd.learn.base import Observation, Problem, Settings
from mustherd.learn.history import History


class GridSearch:
    """A `Search` that takes the points in the space's own order. It learns nothing; the seed changes nothing."""

    def __init__(self, problem: Problem, seed: int = 0) -> None:
        self._history = History(problem)
        self._seed = seed

    def ask(self, pending: Sequence[Settings] = ()) -> Settings | None:
        return self._history.propose(pending, self._first_free)

    def _first_free(self, blocked: set[int]) -> int | None:
        return next(i for i in range(self._history.space.size) if i not in blocked)

    def tell(self, observations: Sequence[Observation]) -> None:
        self._history.tell(observations)

    def state(self) -> dict[str, object]:
        return self._history.state("grid", self._seed)
