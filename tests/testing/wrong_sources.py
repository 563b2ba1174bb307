"""Sources of signals that break their contract, each in one way, and beside them one that keeps it.

Every class names by `caught_by` the test of its suite that has to fail; test_suites.py runs them and looks.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import pytest

from mustherd.keep.source import Musters, Sample, SourceError, gathered
from mustherd.testing.source import ONE, TWO, SourceContract


class Board:
    """A source that keeps its contract; `board` has what each node shows."""

    Options = object

    def __init__(self, board: dict[str, float], musters: Musters) -> None:
        self.board, self.musters = board, musters

    def read(self) -> Sequence[Sample]:
        return gathered([partial(self.one, name) for name in self.musters()])

    def one(self, name: str) -> Sample:
        if name not in self.board:
            raise SourceError(f"{name}: nothing is shown")
        return Sample(name, "load", self.board[name])

    def close(self) -> None:
        pass


class OfBoard(SourceContract):
    made: ClassVar[type[Board]] = Board

    @pytest.fixture
    def board(self) -> dict[str, float]:
        return {}

    @pytest.fixture
    def source(self, musters: Musters, board: dict[str, float]) -> Board:
        return type(self).made(board, musters)

    @pytest.fixture
    def show(self, board: dict[str, float]) -> Callable[[float], None]:
        return lambda amount: board.update({ONE: amount, TWO: amount})

    @pytest.fixture
    def break_node(self, board: dict[str, float]) -> Callable[[str], object]:
        return board.pop


class TestRightSource(OfBoard):
    caught_by = ""


class TestTellsHalf(OfBoard):
    caught_by = "test_tells_of_each_node_what_is_there"

    class made(Board):  # noqa: N801
        def one(self, name: str) -> Sample:
            return super().one(name)._replace(value=self.board[name] / 2 if name in self.board else 0.0)


class TestTellsOfHeat(OfBoard):
    caught_by = "test_tells_of_each_node_what_is_there"

    class made(Board):  # noqa: N801
        def one(self, name: str) -> Sample:
            heat: Any = "heat"
            return super().one(name)._replace(signal=heat)


class TestRemembersWhoIsGone(OfBoard):
    caught_by = "test_tells_of_nobody_else"

    class made(Board):  # noqa: N801
        def read(self) -> Sequence[Sample]:
            return gathered([partial(self.one, name) for name in (ONE, TWO)])


class TestOneFailsAll(OfBoard):
    caught_by = "test_one_that_can_t_be_read_keeps_no_other_from_being_heard"

    class made(Board):  # noqa: N801
        def read(self) -> Sequence[Sample]:
            return [self.one(name) for name in self.musters()]


class TestTellsZeroOfWhatItCantRead(OfBoard):
    caught_by = "test_what_can_t_be_read_is_an_error_never_a_zero"

    class made(Board):  # noqa: N801
        def one(self, name: str) -> Sample:
            return Sample(name, "load", self.board.get(name, 0.0))


class TestGivesUp(OfBoard):
    caught_by = "test_it_comes_back_by_itself"

    class made(Board):  # noqa: N801
        broken = False

        def one(self, name: str) -> Sample:
            self.broken = self.broken or name not in self.board
            if self.broken:
                raise SourceError(f"{name}: it was broken once")
            return super().one(name)


class TestClosesOnce(OfBoard):
    caught_by = "test_it_may_be_closed_twice"

    class made(Board):  # noqa: N801
        def close(self) -> None:
            del self.board
