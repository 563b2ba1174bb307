"""A trial: one setting of the knobs, tried once on one muster, with all that was measured."""

from enum import StrEnum

import msgspec

from mustherd.terms import Energy, Load, LoadReport, Reading


class TrialKind(StrEnum):
    """Why a trial was run."""

    BASELINE = "baseline"
    SEARCH = "search"
    CONFIRM = "confirm"


class TrialState(StrEnum):
    """Where a trial stands. `finished` alone counts and is told to the search."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    INVALID = "invalid"
    """The measurement can't be trusted (a gate fired): run again, never told."""
    FAILED = "failed"
    """It broke: a reason code says how."""


class Trial(msgspec.Struct, kw_only=True):
    """One attempt at one numbered trial.

    A trial that was invalid or was interrupted is attempted again under the same number; at most one attempt of a
    number is ever `finished`.
    """

    number: int
    attempt: int = 1
    kind: TrialKind
    settings: dict[str, int]
    """Knob key to the value asked for, in its canonical unit; empty: the node as it was found."""
    load: Load | None = None
    """The load to offer, where trials have loads of their own; None: the experiment's one load."""
    state: TrialState = TrialState.QUEUED
    reason: str = ""
    """Reason code of an invalid or failed trial, such as `knob-not-held`; see mustherd.reasons. Text, because a folder
    may hold a code of another version."""
    detail: str = ""
    """The reason in a sentence, with the value found and the value wanted."""
    muster: str = ""
    round: int = 0
    """The step of the confirmation that it belongs to, from 1 on; 0: none."""
    place: str = ""
    """The muster that has to run it, where it is compared with others on the same node; '': any."""
    queued_at: float = 0.0
    """Unix seconds, as are the next two; 0 where it hasn't come to that."""
    started_at: float = 0.0
    ended_at: float = 0.0
    metrics: dict[str, float] = {}
    """Metric name to value, units in the names: energy_joules, power_watts, read_p99_us, achieved_ratio, ..."""
    readings: tuple[Reading, ...] = ()
    energies: tuple[Energy, ...] = ()
    load_report: LoadReport | None = None
    """What was offered, answered and how late, as the generator counted it in the window."""

    @property
    def qps(self) -> float:
        """Requests per second that it is to offer, where trials have loads of their own; else 0."""
        return 0.0 if self.load is None else self.load.qps


def next_attempt(trial: Trial, queued_at: float = 0.0) -> Trial:
    """The attempt that follows `trial`, made anew: nothing measured in the one that is over can leak into it."""
    return Trial(
        number=trial.number,
        attempt=trial.attempt + 1,
        kind=trial.kind,
        settings=trial.settings,
        load=trial.load,
        round=trial.round,
        place=trial.place,
        queued_at=queued_at,
    )


def label_of(number: int, attempt: int) -> str:
    """What a trial's log rows belong to."""
    return f"{number:04d}-{attempt}"
