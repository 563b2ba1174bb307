"""What the scheduler, which decides, wants the loop to do.

Actions are done in their order, each one before anything else happens. What is to happen is stored before it happens:
a trial before it is dispatched, and how it ended before the policy learns of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from mustherd.learn.base import Observation, Settings
from mustherd.learn.noise import Noise
from mustherd.terms import Load
from mustherd.trial import Trial


class Result(IntEnum):
    """How a run of an experiment ended; the values are the exit codes of the process."""

    DONE = 0
    NOT_MET = 1
    HERD_FAILED = 3
    STOPPED = 4


@dataclass(frozen=True)
class Phase:
    """Store the phase that the experiment has reached: baseline, search, confirmation."""

    name: str


@dataclass(frozen=True)
class Note:
    """Append to the journal: a kind, a sentence for people, and what code may read of it."""

    kind: str
    text: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Queue:
    """Store a trial that is to be run."""

    trial: Trial


@dataclass(frozen=True)
class Start:
    """Store that a queued trial is under way on a muster, and then run it there. `ended` answers."""

    trial: Trial
    muster: str


@dataclass(frozen=True)
class Finish:
    """Store how a trial ended and, with `retry`, that it is to be attempted again."""

    trial: Trial
    retry: bool = False


@dataclass(frozen=True)
class Prepare:
    """Make everything ready for the first trial: the policy, and what the store knows already. `prepared` answers."""


@dataclass(frozen=True)
class Propose:
    """Ask the policy for a setting, given those under way, under `load`. `proposed` answers."""

    pending: Sequence[Settings]
    load: Load


@dataclass(frozen=True)
class Rank:
    """Ask the policy what is worth confirming. `ranked` answers."""


@dataclass(frozen=True)
class Tell:
    """Tell the policy what was measured."""

    observations: Sequence[Observation]


@dataclass(frozen=True)
class TellBaseline:
    """Tell the policy what the baseline measured, if it can use that."""

    observations: Sequence[Observation]


@dataclass(frozen=True)
class Calibrate:
    """Tell the policy how much equal trials differ."""

    noise: Mapping[str, Noise]


@dataclass(frozen=True)
class Conclude:
    """The experiment has run to its end: say what it found."""


@dataclass(frozen=True)
class End:
    """The run ends early; another one can resume the experiment."""

    result: Result
    reason: str


Action = (
    Phase | Note | Queue | Start | Finish | Prepare | Propose | Rank | Tell | TellBaseline | Calibrate | Conclude | End
)
