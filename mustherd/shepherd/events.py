"""What happens in a herd, as told to whoever drives it."""

from dataclasses import dataclass

from mustherd.herd.membership import Change
from mustherd.reasons import Reason
from mustherd.terms import Reading, not_as_found


class HerdError(Exception):
    """What was asked of a muster did not come about; the message is a sentence."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class PresenceChanged:
    """A muster joined, fell silent, came back or left."""

    change: Change

    def __str__(self) -> str:
        change = self.change
        if change.before is None:
            return f"muster {change.muster} joined"
        if change.new_life:
            return f"muster {change.muster} started again"
        return f"muster {change.muster} is {change.after} after {change.silent_s:.1f} s of silence"


@dataclass(frozen=True)
class DecisionLost:
    """A decision that should be in force on a muster isn't any more."""

    muster: str
    seq: int

    def __str__(self) -> str:
        return f"decision {self.seq} is not in force on muster {self.muster} any more"


@dataclass(frozen=True)
class PutBack:
    """A muster put its node back as it was found without being asked, for this reason."""

    muster: str
    reason: str
    readings: tuple[Reading, ...]

    def __str__(self) -> str:
        if left := not_as_found(self.readings):
            return f"the node of muster {self.muster} is NOT as it was found: {left}: {self.reason}"
        back = ", ".join(f"{r.knob} {r.applied}" for r in self.readings) or "nothing to do"
        return f"muster {self.muster} put its node back ({back}): {self.reason}"


@dataclass(frozen=True)
class StopAsked:
    """An operator asked for an orderly end."""

    by: str
    """Who, as a sentence has it: `operator alice`."""

    def __str__(self) -> str:
        return f"{self.by} asked for an orderly end"


HerdEvent = PresenceChanged | DecisionLost | PutBack | StopAsked
