"""What happens in a herd, as told to whoever drives it."""

from dataclasses import dataclass

from mustherd.herd.membership import Change
from mustherd.reasons import Reason
from mustherd.terms import Reading


class HerdError(Exception):
    """What was asked of a muster did not come about; the message is a sentence."""

    def __init__(self, reason: Reason, message: str) -> None:
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

    by: str
    """Who, as a sentence has it: `operator alice`."""


HerdEvent = PresenceChanged | DecisionLost | PutBack | StopAsked
