"""What happened to each muster of late, step by step: for whoever looks for a fault."""

from collections import deque
from typing import NamedTuple

STEPS = 32
"""Steps of each muster that are kept."""


class Step(NamedTuple):
    """One thing that happened to a muster."""

    at: float
    """By the clock of whoever tells it, at which it was last told the time."""
    what: str
    seq: int = 0
    """The decision that it was about; 0: none."""

    def __str__(self) -> str:
        return f"{self.at:.3f} {self.what}" + (f" {self.seq}" if self.seq else "")


class Story:
    """The newest steps of each muster, in the order in which they were told."""

    def __init__(self) -> None:
        self._steps: dict[str, deque[Step]] = {}
        self._now = -float("inf")

    def passed(self, now: float) -> None:
        """So late is it: the time of what is told without one."""
        self._now = max(self._now, now)

    def add(self, muster: str, what: str, seq: int = 0) -> None:
        """Keep a step, and of each muster no more than the newest."""
        self._steps.setdefault(muster, deque(maxlen=STEPS)).append(Step(self._now, what, seq))

    def of(self, muster: str) -> list[Step]:
        """What is kept of a muster, the newest last."""
        return list(self._steps.get(muster, ()))
