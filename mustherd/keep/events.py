"""What goes into a keeper and what comes out of it."""

from typing import Literal

import msgspec

from mustherd.learn.base import Settings

Signal = Literal["load", "latency", "power"]
SIGNALS: tuple[Signal, ...] = ("load", "latency", "power")


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of a node over the frame that ended at `at_s`; what a source doesn't tell is None.

    Sources may tell their signals apart: a reading with the load now, one with the latency a moment later.
    """

    node: str
    at_s: float
    load: float | None = None
    """Requests a second that reached it."""
    latency: float | None = None
    """What the limit is on, in its unit: read p99 in us."""
    power: float | None = None
    """What is to be saved, per second: watts, or CPU seconds a second."""


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """A node is there, as it was found: new, or back from wherever it was."""

    node: str


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """A node fell silent or went: its lease puts it back as it was found."""

    node: str


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a decision, by what the node read back."""

    node: str
    number: int
    held: bool
    refused: bool = False
    """The node won't ever take those settings."""
    why: str = ""
    """Why they don't hold."""


class PutBack(msgspec.Struct, frozen=True, kw_only=True):
    """A node is as it was found again without having been asked: a lease ran out, a decision was lost."""

    node: str
    why: str = ""


class Used(msgspec.Struct, frozen=True, kw_only=True):
    """What MustHerd itself has used since the last one."""

    cpu_s: float
    joules: float = 0.0
    """Its share of the package's energy by its share of the busy time; 0 where nobody can tell."""


Event = Reading | Joined | Left | Answered | PutBack | Used


class Decide(msgspec.Struct, frozen=True, kw_only=True):
    """Set these of a node; none: give it back."""

    node: str
    number: int
    settings: Settings
    why: str


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """A line of what happened, for people and for the store."""

    at_s: float
    node: str
    """'' for the herd as a whole."""
    kind: str
    """`load`, `guard`, `signal`, `drift`, `canary`, `promoted`, `kept`, `control`, `member`."""
    text: str


class Paired(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the ledger: a control block, and the settings in force before and after it on the same node."""

    node: str
    at_s: float
    """When it ended."""
    load: float
    default_power: float
    kept_power: float
    settings: Settings


Action = Decide | Story | Paired
