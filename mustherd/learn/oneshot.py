"""One shot: a single setting, tried once, to compare with the baseline."""

from collections.abc import Sequence

from mustherd.learn.history import History
from mustherd.learn.search import Observation, Point, Problem


class OneShot:
    """A `Search` that proposes one given point and then nothing."""

    def __init__(self, problem: Problem, settings: Point, seed: int = 0) -> None:
        """ValueError for settings outside the space."""
        self._history = History(problem)
        self._index = self._history.space.index(settings)
        self._seed = seed

    def ask(self, pending: Sequence[Point] = ()) -> Point | None:
        done = self._history.told.keys() | self._history.proposed | self._history.pending(pending)
        return None if self._index in done else self._history.propose(pending, lambda _: self._index)

    def tell(self, observations: Sequence[Observation]) -> None:
        self._history.tell(observations)

    def state(self) -> dict[str, object]:
        done = self._index in self._history.told
        return self._history.state("one-shot", self._seed, "the one setting was tried" if done else "")
