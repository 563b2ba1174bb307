"""What happens in an experiment, as typed events, read off its folder.

They come from the journal and the trials on disk, so that they are the same whoever runs the experiment, whether it is
watched meanwhile or afterwards.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from mustherd.experiment.results import announced
from mustherd.experiment.verdict import Verdict, verdict_of
from mustherd.herd.membership import Presence
from mustherd.store.experiment_row import PHASE
from mustherd.store.records import Event as Line
from mustherd.store.store import Store
from mustherd.trial import Trial, TrialState

POLL_SECONDS = 0.2
"""How often a folder that is watched is looked at."""


class PhaseChanged(msgspec.Struct, frozen=True, kw_only=True):
    """The experiment has reached another phase: gathering, baseline, search, confirmation, done."""

    at: float
    """Unix seconds, as in every event."""
    phase: str


class MusterChanged(msgspec.Struct, frozen=True, kw_only=True):
    """A muster joined, fell silent, or is back."""

    at: float
    muster: str
    state: str
    """As mustherd.herd.membership.Presence has it: alive, late, missing."""
    text: str


class TrialStarted(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt at a trial begins on a muster."""

    at: float
    trial: Trial
    """As it was then: nothing is measured yet."""


class TrialEnded(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt at a trial is over: finished, invalid or failed, as its state says."""

    at: float
    trial: Trial


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How far an experiment is, in numbers of trials that are meant to finish."""

    done: int
    planned: int
    eta_seconds: float | None
    """At the pace so far; None before a trial has finished, and when nothing is under way."""


class Progress(Pace, frozen=True, kw_only=True):
    """How far the experiment is; after each trial that finished."""

    at: float


class VerdictReached(msgspec.Struct, frozen=True, kw_only=True):
    """The experiment has its verdict."""

    at: float
    verdict: Verdict


class ExperimentEnded(msgspec.Struct, frozen=True, kw_only=True):
    """A run of the experiment has ended: done, stopped or failed. One that was killed says nothing any more."""

    at: float
    status: str
    detail: str


class Noted(msgspec.Struct, frozen=True, kw_only=True):
    """Another line of the journal, such as `knobs-restored` or `search-over`."""

    at: float
    kind: str
    text: str
    """What happened, in a sentence."""
    data: dict[str, Any]
    """The same for programs, as JSON types."""


Event = PhaseChanged | MusterChanged | TrialStarted | TrialEnded | Progress | VerdictReached | ExperimentEnded | Noted
"""What a watcher is told."""


def pace(done: int, planned: int, wall_seconds: float, *, running: bool) -> Pace:
    """The pace of an experiment that finished `done` trials in `wall_seconds`; it goes on if `running`."""
    planned = max(done, planned)
    left = planned - done if running and 0 < done < planned else None
    return Pace(done=done, planned=planned, eta_seconds=None if left is None else wall_seconds / done * left)


class Watcher:
    """Looks at an experiment again and again, and says each time what has happened since."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._version = -1
        self._line = 0
        self._states: dict[tuple[int, int], TrialState] = {}
        self._done = 0

    def look(self) -> list[Event]:
        """What has happened since the last look, or since the experiment was made, in the order of time.

        Cheap where nothing has changed. StoreError where the folder can't be read.
        """
        # Asked before anything is read: what changes meanwhile is seen by the next look.
        version = self._store.data_version()
        if version == self._version:
            return []
        self._version = version
        lines = self._store.events(self._line)
        found = [event for line in lines for event in self._of_line(line)]
        if lines:
            self._line = lines[-1].id
        found += self._trials()
        # Stable: what happened at the same moment keeps its order.
        found.sort(key=lambda event: event.at)
        return list(self._with_progress(found))

    def _of_line(self, line: Line) -> Iterator[Event]:
        match line.kind, line.data:
            case kind, {"phase": str(phase)} if kind == PHASE:
                yield PhaseChanged(at=line.at, phase=phase)
            case kind, {"muster": str(muster)} if kind.startswith("muster-"):
                state = kind.removeprefix("muster-")
                is_back = state in ("joined", "restarted")
                yield MusterChanged(
                    at=line.at, muster=muster, state=Presence.ALIVE if is_back else state, text=line.text
                )
            case "verdict", _:
                verdict = announced(self._store.experiment().verdict) or verdict_of(self._store)
                yield VerdictReached(at=line.at, verdict=verdict)
                yield ExperimentEnded(at=line.at, status="done", detail="")
            case ("stopped" | "failed") as status, _:
                yield ExperimentEnded(at=line.at, status=status, detail=line.text)
            case _:
                yield Noted(at=line.at, kind=line.kind, text=line.text, data=line.data)

    def _trials(self) -> Iterator[TrialStarted | TrialEnded]:
        for key, state in self._store.states().items():
            before = self._states.get(key)
            if state in (before, TrialState.QUEUED):
                continue
            self._states[key] = state
            trial = self._store.trial(*key)
            if before is None and trial.started_at:
                yield TrialStarted(at=trial.started_at, trial=_begun(trial))
            if trial.state is not TrialState.RUNNING:
                self._states[key] = trial.state
                yield TrialEnded(at=trial.ended_at, trial=trial)

    def _with_progress(self, events: list[Event]) -> Iterator[Event]:
        finished = [
            place
            for place, event in enumerate(events)
            if isinstance(event, TrialEnded) and event.trial.state is TrialState.FINISHED
        ]
        if not finished:
            yield from events
            return
        store, places = self._store, set(finished)
        planned, seconds = sum(store.experiment().plan.values()), store.wall_seconds()
        running = store.owner() is not None
        for place, event in enumerate(events):
            yield event
            if place in places:
                self._done += 1
                now = pace(self._done, planned, seconds, running=running and place == finished[-1])
                yield Progress(at=event.at, done=now.done, planned=now.planned, eta_seconds=now.eta_seconds)


def _begun(trial: Trial) -> Trial:
    """A trial as it was when it began."""
    return Trial(
        number=trial.number,
        attempt=trial.attempt,
        kind=trial.kind,
        settings=trial.settings,
        load=trial.load,
        state=TrialState.RUNNING,
        muster=trial.muster,
        queued_at=trial.queued_at,
        started_at=trial.started_at,
    )


def follow(
    folder: Path,
    tell: Callable[[Event], object],
    until: Callable[[], bool],
    *,
    from_now: bool = False,
) -> None:
    """Tell every event of the experiment in `folder` until `until()`, and what there is then; in this thread.

    `from_now` leaves out what has happened already. StoreError where the folder can't be read.
    """
    with Store.open(folder, read_only=True) as store:
        watcher = Watcher(store)
        if from_now:
            watcher.look()
        while True:
            over = until()
            for event in watcher.look():
                tell(event)
            if over:
                return
            time.sleep(POLL_SECONDS)


def events_of(folder: Path) -> Iterator[Event]:
    """Every event of the experiment in `folder`, as they come, until nobody runs it any longer.

    StoreError where the folder can't be read.
    """
    with Store.open(folder, read_only=True) as store:
        watcher = Watcher(store)
        while True:
            over = store.owner() is None
            yield from watcher.look()
            if over:
                return
            time.sleep(POLL_SECONDS)
