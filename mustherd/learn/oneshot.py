"""One shot: given settings, each tried once, to compare with the baseline."""

from collections.abc import Sequence

from mustherd.learn.base import Observation, Problem, Settings
from mustherd.learn.history import History


class OneShotSearch:
    """A `Search` that proposes the points that it was given, in their order, and then nothing."""

    def __init__(self, problem: Problem, points: Sequence[Settings], seed: int = 0) -> None:
        """ValueError for a point outside the space."""
        self._history = History(problem)
        self._indices = [self._history.space.index(point) for point in points]
        self._seed = seed

    def ask(self, pending: Sequence[Settings] = ()) -> Settings | None:
        done = self._history.told.keys() | self._history.proposed | self._history.pending(pending)
        left = [index for index in self._indices if index not in done]
        return self._history.propose(pending, lambda _: left[0]) if left else None

    def tell(self, observations: Sequence[Observation]) -> None:
        self._history.tell(observations)

    def state(self) -> dict[str, object]:
        done = all(index in self._history.told for index in self._indices)
        count = "the one setting was" if len(self._indices) == 1 else "every given setting was"
        return self._history.state("one-shot", self._seed, f"{count} tried" if done else "")
