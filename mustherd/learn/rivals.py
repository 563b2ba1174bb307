"""Rivals: candidates of a confirmation beside one another, by what rounds measured and by what the search expects."""

from collections.abc import Callable, Container, Iterable, Mapping

from mustherd.goal import Goal
from mustherd.learn.base import Settings
from mustherd.learn.judging import Judge
from mustherd.learn.windows import Key, key_of

INDIFFERENCE = 0.03
"""Rounds go on while another setting may still be cheaper by more than 3 % than the one to be announced."""


class Rivals:
    """Who is beaten, and who has not been measured and may yet win."""

    def __init__(self, goal: Goal, judge: Judge, expected: Mapping[Key, Mapping[str, float]]) -> None:
        """`expected`: candidate to what the search expects of it, by metric, as far as it does."""
        self._objective = goal.objectives[0]
        self._judge = judge
        self._expected = expected
        self._dearer: dict[Key, Settings] = {}
        """What certainly costs more than another one, which held then."""

    def compare(self, best: Settings, others: Iterable[Settings], rounds: Container[int]) -> None:
        """Keep in mind which of the `others` certainly cost more than the best that holds, by the rounds so far."""
        self._dearer |= {key_of(p): best for p in others if self._judge.dearer(p, best, rounds)}

    def beaten(self, holds: Callable[[Settings], bool]) -> set[Key]:
        """What certainly costs more than one that `holds` to this day: when that one falls, the others are back."""
        return {key for key, best in self._dearer.items() if holds(best)}

    def may_beat(self, new: Settings, best: Settings | None) -> bool:
        """Whether a setting that no round has measured may be much cheaper than the best that holds, as far as the
        search knows."""
        here, there = (self._expected.get(key_of(p), {}) for p in (new, best or new))
        if best is None or not all(self._objective.metric in known for known in (here, there)):
            return True
        held = self._objective.cost(there)
        return held - self._objective.cost(here) > INDIFFERENCE * abs(held)

    def has_room(self, new: Settings, stuck: Iterable[Mapping[str, tuple[float, float]]], share: float) -> bool:
        """Whether a setting is expected to have the room that those lacked that are stuck, or that `share` of it."""
        expected = self._expected.get(key_of(new), {})
        return all(
            expected.get(metric, 0.0) <= value * (wanted / value) ** share
            for lacked in stuck
            for metric, (value, wanted) in lacked.items()
        )
