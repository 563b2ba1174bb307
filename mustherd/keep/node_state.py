"""What a keeper knows of one node."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from mustherd.keep.beliefs import Block, Gathering
from mustherd.keep.book import Choice
from mustherd.keep.events import Answered
from mustherd.keep.guard import LimitWatch
from mustherd.keep.load import LoadEstimator
from mustherd.keep.options import Options
from mustherd.learn.base import Settings
from mustherd.learn.windows import Key

Mode = Literal["safe", "learnt", "canary", "control"]

MOST_FAILURES = 30
"""Decisions in a row that did not hold are counted up to here: no time is longer than 2**30 times the first."""


@dataclass
class NodeState:
    """One node; times on the keeper's clock."""

    name: str
    watch: LimitWatch
    estimator: LoadEstimator = field(default_factory=LoadEstimator)
    load_at: float = -math.inf
    latency_at: float = -math.inf
    power_at: float = -math.inf
    mode: Mode = "safe"
    in_force: Settings = field(default_factory=dict)
    """What was asked for last, once it is answered; {}: as it was found."""
    choice: Choice | None = None
    """What is in force by the book: learnt settings, or a canary's."""
    number: int = 0
    """Of the last decision."""
    pending: bool = False
    """It isn't answered yet."""
    settled_at: float = -math.inf
    """When the last change has settled."""
    retry_at: float = -math.inf
    """What did not hold is not asked for again before, not even safe settings."""
    failures: int = 0
    """Decisions in a row that did not hold: each makes the time until the next twice as long."""
    load_changed_at: float = -math.inf
    hold_until: float = -math.inf
    hold_why: str = ""
    breaks: int = 0
    """Limits broken, the last at `broke_at`: each makes the hold twice as long."""
    broke_at: float = -math.inf
    lost: str = ""
    """The signal that is lost; '' while none is."""
    dirty: bool = True
    """What to set has to be thought over."""
    review_at: float = -math.inf
    target: Choice | None = None
    """What the book says; None: the safe settings."""
    unsafe: bool = False
    """What is in force isn't known to hold at the load that is believed now."""
    gathering: Gathering | None = None
    before: tuple[float, float] | None = None
    """Load and power of the last block at learnt settings, for the ledger."""
    control: tuple[float, float] | None = None
    """Of the control block that waits for the block after it."""
    control_before: tuple[float, float] | None = None

    def hold(self, seconds: float, why: str, now: float) -> None:
        """Keep it at its safe settings for so long, unless it is for longer."""
        if now + seconds > self.hold_until:
            self.hold_until, self.hold_why = now + seconds, why
        self.dirty = True

    def lost_settings(self, now: float, settle_s: float) -> None:
        """It is not at what was asked for: as far as is known it is as it was found."""
        self.in_force, self.mode, self.choice, self.pending = {}, "safe", None, False
        self.settled_at, self.dirty = now + settle_s, True

    def fail(self, now: float, options: Options, *, again: bool) -> None:
        """A decision did not hold; `again`: the same one will be tried, each time after twice as long."""
        pause_s = options.first_settle_s * (2.0**self.failures if again else 1.0)
        self.retry_at = now + min(pause_s, options.bar_s)
        self.failures = min(self.failures + again, MOST_FAILURES)

    def lost_signal(self, now: float, age_s: float) -> str:
        """The signal without which nothing learnt may be in force, where it is older than `age_s`; '' while none is."""
        if now - self.load_at > age_s:
            return "load"
        return "latency" if now - self.latency_at > age_s else ""

    def gathered(self, number: int, key: Key) -> Gathering:
        """Where frames of that block at those settings are added."""
        if self.gathering is None or (self.gathering.number, self.gathering.key) != (number, key):
            self.gathering = Gathering(number, key)
        return self.gathering

    def ended(self, number: int, now: float, least: float) -> Block | None:
        """The block of that number, which is over; None where it holds fewer than `least` frames."""
        gathering, self.gathering = self.gathering, None
        return gathering.block(self.name, now, least) if gathering is not None and gathering.number == number else None

    def said_of(self, lost: str) -> str:
        """What the story says of a signal that is lost now, or of none."""
        if not lost:
            return "signals are there"
        at = self.load_at if lost == "load" else self.latency_at
        return f"{lost} {'is lost' if at > -math.inf else 'was not seen yet'}; safe settings"


def words(settings: Mapping[str, int]) -> str:
    """Settings as a line says them."""
    return ", ".join(f"{name} {value}" for name, value in sorted(settings.items())) or "as found"


def unheld(node: NodeState, answer: Answered, barred_s: float) -> str:
    """What became of settings that a node did not take, and why."""
    barred = f", barred for {barred_s:.0f} s" if barred_s else ""
    why = f": {answer.why}" if answer.why else ""
    return f"{'refused' if answer.refused else 'did not hold'} {words(node.in_force)}{barred}{why}"
