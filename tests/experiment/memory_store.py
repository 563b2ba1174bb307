"""What a store keeps of an experiment, in memory."""

from collections.abc import Callable
from typing import Any

import msgspec

from mustherd.reasons import Reason
from mustherd.store.experiment_row import PHASE
from mustherd.store.records import Event
from mustherd.store.store import Store
from mustherd.trial import Trial, TrialState, next_attempt

COUNTS = (TrialState.QUEUED, TrialState.RUNNING, TrialState.FINISHED)
"""At most one attempt of a number is in one of these states."""


class Record:
    """What a store keeps, in memory: nothing but what was written survives a kill."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.attempts: dict[tuple[int, int], Trial] = {}
        self.journal: list[Event] = []
        self.status = "created"
        self.phase = ""
        self._now = now

    @classmethod
    def copy(cls, store: "Record | Store", now: Callable[[], float]) -> "Record":
        """What a store holds, to be written on without harm."""
        other = cls(now)
        other.attempts = {(t.number, t.attempt): t for t in store.trials()}
        other.journal = store.events()
        return other

    def again(self) -> "Record":
        """The same one, opened by another process."""
        return self

    def events(self) -> list[Event]:
        return list(self.journal)

    def trials(self) -> list[Trial]:
        return [self.attempts[key] for key in sorted(self.attempts)]

    def add(self, trial: Trial) -> Trial:
        assert trial.number not in {t.number for t in self.attempts.values() if t.state in COUNTS}, "queued twice"
        queued = msgspec.structs.replace(trial, state=TrialState.QUEUED, queued_at=trial.queued_at or self._now())
        assert (trial.number, trial.attempt) not in self.attempts
        self.attempts[trial.number, trial.attempt] = queued
        return queued

    def start(self, trial: Trial, muster: str) -> Trial:
        kept = self.attempts[trial.number, trial.attempt]
        assert kept.state is TrialState.QUEUED
        begun = msgspec.structs.replace(kept, state=TrialState.RUNNING, muster=muster, started_at=self._now())
        self.attempts[trial.number, trial.attempt] = begun
        return begun

    def finish(self, trial: Trial, *, retry: bool = False) -> None:
        kept = self.attempts[trial.number, trial.attempt]
        allowed = [TrialState.RUNNING] + [TrialState.QUEUED] * (trial.state is not TrialState.FINISHED)
        assert kept.state in allowed, f"{kept.state} can't end as {trial.state}"
        times = {"queued_at": kept.queued_at, "started_at": kept.started_at, "ended_at": trial.ended_at or self._now()}
        ended = msgspec.structs.replace(trial, **times)
        self.attempts[trial.number, trial.attempt] = ended
        if retry:
            self.add(next_attempt(ended, self._now()))

    def requeue_running(self) -> list[Trial]:
        lost = [t for t in self.trials() if t.state is TrialState.RUNNING]
        for trial in lost:
            reason, detail = Reason.SHEPHERD_DIED, "the shepherd that ran it ended before the trial did"
            ended = msgspec.structs.replace(trial, state=TrialState.INVALID, reason=reason, detail=detail)
            self.finish(ended, retry=True)
        return lost

    def set_phase(self, phase: str) -> None:
        if phase != self.phase:
            self.phase = phase
            self.event(PHASE, f"the phase is {phase}", {"phase": phase})

    def set_status(self, status: str, detail: str = "") -> None:
        self.status = status

    def event(self, kind: str, text: str, data: Any = None) -> int:
        # Through JSON, as it is on disk.
        stored = msgspec.json.decode(msgspec.json.encode(dict(data or {})))
        self.journal.append(Event(id=len(self.journal) + 1, at=self._now(), kind=kind, text=text, data=stored))
        return len(self.journal)

    def last_event(self, kind: str) -> Event | None:
        return next((e for e in reversed(self.journal) if e.kind == kind), None)
