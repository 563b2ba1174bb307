"""The searches that learn nothing: chance, the grid, and settings that were given."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

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
    """A `Search` that goes through all points, once or several times, in the order that its options say.

    It learns nothing. The n-th point depends on options, seed and n alone, so that a resumed search goes on as if it
    had never stopped.
    """

    class Options(msgspec.Struct, frozen=True, kw_only=True):
        """In which order, and how often."""

        order: Literal["as-written", "random", "blocked"] = "as-written"
        """The space's own, the last dimension varying fastest; or at random over all repetitions; or block after block,
        each of which has every point once, at random."""
        repetitions: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1

    def __init__(self, problem: Problem, *, seed: int = 0, options: Options) -> None:
        self._history = History(problem)
        self._seed = seed
        self._points = schedule(self._history.space.size, options.repetitions, options.order, seed)
        self._over = 0
        """How many places of the schedule, from its begin, were told."""
        self._told: Counter[int] = Counter()
        """Points that were told, beyond those places."""
        self._asked: Counter[int] = Counter()
        """Points that were proposed and not told."""

    def ask(self, pending: Sequence[Settings] = ()) -> Settings | None:
        under_way = Counter(self._history.space.index(point) for point in pending)
        place = self._first_beyond(self._told + (self._asked | under_way))
        if place is None:
            # What was proposed and never told is offered again: its trial may have been invalid.
            place = self._first_beyond(self._told + under_way)
        if place is None:
            return None
        index = self._points[place]
        self._asked[index] += 1
        return self._history.space.point(index)

    def _first_beyond(self, covered: Counter[int]) -> int | None:
        """The first place of the schedule whose point is in none of these, each of which covers one place."""
        for place in range(self._over, len(self._points)):
            index = self._points[place]
            if not covered[index]:
                return place
            covered[index] -= 1
        return None

    def tell(self, observations: Sequence[Observation]) -> None:
        self._history.tell(observations)
        for observation in observations:
            index = self._history.space.index(observation.point)
            self._told[index] += 1
            self._asked[index] = max(0, self._asked[index] - 1)
        while self._over < len(self._points) and self._told[self._points[self._over]]:
            self._told[self._points[self._over]] -= 1
            self._over += 1

    def state(self) -> dict[str, object]:
        return self._history.state("grid", self._seed)


def schedule(size: int, repetitions: int, order: str, seed: int) -> Sequence[int]:
    """The numbers of the points of a space of `size` in the order in which they are tried; pure."""
    if order == "as-written":
        return range(size) if repetitions == 1 else [index for _ in range(repetitions) for index in range(size)]
    if order == "random":
        drawn = random.Random(f"{seed}/order").sample(range(size * repetitions), size * repetitions)
        return [place % size for place in drawn]
    blocks = (random.Random(f"{seed}/block {block}").sample(range(size), size) for block in range(repetitions))
    return [index for block in blocks for index in block]


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
