"""What happens in a herd, as told to whoever drives it."""

from dataclasses import dataclass

from mustherd.herd.membership import Change
from mustherd.terms import KnobInfo, Reading, Zone


class HerdError(Exception):
    """What was asked of a muster did not come about; `reason` is a code, the message a sentence."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class PresenceChanged:
    """A muster joined, fell silent, came back or left."""

    change: Change


@dataclass(frozen=True)
class DecisionLost:
    """A decision that should be in force on a muster isn't any more."""

    muster: str
    seq: int


@dataclass(frozen=True)
class PutBack:
    """A muster put its node back as it was found without being asked, for this reason."""

    muster: str
    reason: str
    readings: tuple[Reading, ...]


@dataclass(frozen=True)
class StopAsked:
    """An operator asked for an orderly end."""


HerdEvent = PresenceChanged | DecisionLost | PutBack | StopAsked


@dataclass(frozen=True)
class MusterView:
    """One muster as the shepherd knows it now."""

    name: str
    presence: str
    muster_epoch: int
    knobs: tuple[KnobInfo, ...]
    zones: tuple[Zone, ...]
    streams: tuple[str, ...]
    facts: dict[str, str]
    in_force: int
    times_late: int
    """How often it has been late or worse: a trial compares it before and after."""
    unrestored: int
    answer_ms: float | None
    readings: tuple[Reading, ...]
    silent_s: float
