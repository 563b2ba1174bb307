"""Questions: windows that one node is to measure beside the rounds, each in a cell that has one already."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from mustherd.learn.base import Settings
from mustherd.learn.windows import Cell, Repeat

AGAIN = 2
"""So often a window is measured again that lies far from its siblings: with it there are three, and one is the middle.
"""
MORE = 4
"""So many windows more are asked of a node at a time where one broke a limit: another one may settle it soon."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A window of the present round."""

    point: Settings
    where: str = ""
    """The node that must measure it; '': every node, once."""


class Question(msgspec.Struct, frozen=True):
    """A cell that is to have so many windows more."""

    point: Settings
    cell: Cell
    count: int


class Questions:
    """What is asked at present, and who gave no answer."""

    def __init__(self) -> None:
        self._open: list[Question] = []
        self._silent: set[str] = set()
        """Nodes that were asked and measured nothing: they are gone."""

    def __bool__(self) -> bool:
        return bool(self._open)

    def ask(self, questions: Iterable[Question]) -> None:
        """Ask all of these, where nothing is asked."""
        self._open = list(questions)

    def ask_more(self, point: Settings, counts: Mapping[Cell, int]) -> None:
        """Ask for so many windows of `point` more in each cell, a few at a time; none if a node of these is gone."""
        if not any(cell.node in self._silent for cell in counts):
            self.ask(Question(point, cell, min(MORE, count)) for cell, count in counts.items())

    def wanted(self) -> list[Wanted]:
        """The windows that are asked for."""
        return [Wanted(point=q.point, where=q.cell.node) for q in self._open for _ in range(q.count)]

    def answered(self, measured: Sequence[Repeat]) -> None:
        """Take in what was measured; nothing is asked then."""
        left = list(measured)
        for question in self._open:
            cell = question.cell
            answers = [one for one in left if one.point == question.point and one.where == cell.node]
            for one in answers[: question.count]:
                cell.add(one)
                left.remove(one)
            if not answers:
                self._silent.add(cell.node)
        self._open = []
