"""What an experiment has done so far, as counts that are kept up with each step: no decision reads the store."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from mustherd import metrics, reasons
from mustherd.trial import Trial, TrialKind, TrialState

OVER = (TrialState.FINISHED, TrialState.INVALID, TrialState.FAILED)


def by_end(trials: Iterable[Trial]) -> list[Trial]:
    """Trials in the order in which they ended; those that have not come last, by number."""
    return sorted(trials, key=lambda t: (t.ended_at if t.state in OVER else float("inf"), t.number, t.attempt))


@dataclass
class Tally:
    """Counts over all attempts of an experiment. Equal histories give equal tallies, whoever counted them."""

    numbers: Counter[TrialKind] = field(default_factory=Counter)
    """Numbers of trials that were queued, by kind."""
    last: int = 0
    """The highest of them."""
    states: dict[int, TrialState] = field(default_factory=dict)
    """Number to the state of its last attempt."""
    at_fault: Counter[int] = field(default_factory=Counter)
    """Number to its attempts that count towards `gates.attempts`."""
    begun: int = 0
    """Attempts that were started."""
    running: int = 0
    joules: float = 0.0
    """Energy of all windows that were measured, valid or not."""
    measured: int = 0
    """Windows that it was measured in."""
    ended_at: float = 0.0
    """When the last attempt ended, in Unix seconds."""

    @classmethod
    def of(cls, trials: Iterable[Trial]) -> Self:
        """The tally of all attempts in a store."""
        tally, rows = cls(), by_end(trials)
        for trial in rows:
            tally.queued(trial)
            if trial.started_at:
                tally.started(trial)
            if trial.state in OVER:
                tally.ended(trial)
        # A clock that was set back may have put a later attempt before an earlier one.
        tally.states = {t.number: t.state for t in sorted(rows, key=lambda t: t.attempt)}
        return tally

    def queued(self, trial: Trial) -> None:
        """An attempt was stored, to be run."""
        if trial.number not in self.states:
            self.numbers[trial.kind] += 1
        self.last = max(self.last, trial.number)
        self.states[trial.number] = TrialState.QUEUED

    def started(self, trial: Trial) -> None:
        """A queued attempt was started."""
        self.begun += 1
        self.running += 1
        self.states[trial.number] = TrialState.RUNNING

    def ended(self, trial: Trial) -> None:
        """An attempt ended, whether or not it had been started."""
        if self.states[trial.number] is TrialState.RUNNING:
            self.running -= 1
        self.states[trial.number] = trial.state
        self.ended_at = max(self.ended_at, trial.ended_at)
        if trial.state is not TrialState.FINISHED and reasons.of(trial.reason).fault.counts:
            self.at_fault[trial.number] += 1
        if metrics.ENERGY in trial.metrics:
            self.joules += trial.metrics[metrics.ENERGY]
            self.measured += 1
