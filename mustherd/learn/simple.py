"""The searches that learn nothing: chance, the grid, and settings that were given."""

import random
from collections.abc import Mapping, Sequence

import msgspec

from mustherd.learn.base import Observation, Problem, Settings
from mustherd.learn.history import History
from mustherd.learn.space import Space


class RandomSearch:
    """A `Search` that takes points at random without repeating one.

    The n-th draw depends on the seed and n alone, so that a resumed search goes on as if it had never stopped.
    """

    def __init__(self, problem: Problem, *, seed: int = 0, options: None = None) -> None:  # noqa: ARG002 - the interface's
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


class GridSearch:
    """A `Search` that takes the points in the space's own order, the last dimension varying fastest.

    It learns nothing; the seed changes nothing.
    """

    def __init__(self, problem: Problem, *, seed: int = 0, options: None = None) -> None:  # noqa: ARG002 - the interface's
        self._history = History(problem)
        self._seed = seed
        self._last = 0

    def ask(self, pending: Sequence[Settings] = ()) -> Settings | None:
        return self._history.propose(pending, self._first_free)

    def _first_free(self, blocked: set[int]) -> int | None:
        size = self._history.space.size
        # What lies before the last one is mostly blocked: looked at only when nothing is left behind it.
        after = next((i for i in range(self._last, size) if i not in blocked), size)
        self._last = after if after < size else next(i for i in range(size) if i not in blocked)
        return self._last

    def tell(self, observations: Sequence[Observation]) -> None:
        self._history.tell(observations)

    def state(self) -> dict[str, object]:
        return self._history.state("grid", self._seed)


class OneShotSearch:
    """A `Search` that proposes the points that it was given, in their order, and then nothing."""

    class Options(msgspec.Struct, frozen=True, kw_only=True):
        """What it tries."""

        settings: Settings | tuple[Settings, ...] = ()
        """A point or several; none: the problem's default."""

    def __init__(self, problem: Problem, *, seed: int = 0, options: Options) -> None:
        """ValueError for a point outside the space."""
        self._history = History(problem)
        self._indices = _given(problem, options)
        self._seed = seed

    @staticmethod
    def check(problem: Problem, options: Options) -> None:
        """ValueError for a point outside the space."""
        _given(problem, options)

    def ask(self, pending: Sequence[Settings] = ()) -> Settings | None:
        done = self._history.used | self._history.pending(pending)
        left = [index for index in self._indices if index not in done]
        return self._history.propose(pending, lambda _: left[0]) if left else None

    def tell(self, observations: Sequence[Observation]) -> None:
        self._history.tell(observations)

    def state(self) -> dict[str, object]:
        done = all(index in self._history.told for index in self._indices)
        count = "the one setting was" if len(self._indices) == 1 else "every given setting was"
        return self._history.state("one-shot", self._seed, f"{count} tried" if done else "")


def _given(problem: Problem, options: OneShotSearch.Options) -> list[int]:
    given = options.settings or problem.space.default
    points = [given] if isinstance(given, Mapping) else list(given or ())
    if not points:
        raise ValueError("needs settings: a value for each dimension")
    space = Space.of(problem.space)
    return [space.index(point) for point in points]
