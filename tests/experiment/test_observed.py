"""What came of windows that were only watched or followed."""

import pytest

from mustherd.experiment.observed import watched
from mustherd.goal import Constraint, Goal, Objective
from mustherd.trial import Trial, TrialKind, TrialState

LIMITS = (Constraint("read_p99_us", 500.0),)


def trial(number: int, p99: float, state: TrialState = TrialState.FINISHED, **metrics: float) -> Trial:
    values = {"energy_joules": 1000.0 + number, "read_p99_us": p99, "achieved_ratio": 1.0, **metrics}
    return Trial(number=number, kind=TrialKind.SEARCH, settings={}, state=state, metrics=values)


@pytest.mark.parametrize(
    ("trials", "objective", "says"),
    [
        ([trial(1, 400), trial(2, 499)], "energy_joules", "met: 2 of 2 windows kept"),
        ([trial(1, 400), trial(2, 499)], "energy_joules", "; energy 2003 J in all"),
        ([trial(1, 400), trial(2, 600)], "energy_joules", "not met: 1 of 2 windows kept"),
        ([trial(1, 400), trial(2, 600, TrialState.INVALID)], "energy_joules", "met: 1 of 1 windows kept"),
        ([trial(1, 400, achieved_ratio=0.9)], "energy_joules", "not met: 0 of 1"),
        ([trial(1, 400), trial(2, 450)], "read_p99_us", "; read p99 425 us on average"),
        ([], "energy_joules", "not met: 0 of 0 windows kept read_p99_us <= 500 and achieved_ratio >= 0.98"),
    ],
)
def test_every_window_must_keep_every_limit(trials: list[Trial], objective: str, says: str) -> None:
    found = watched(trials, Goal(objectives=(Objective.of(objective),), limits=LIMITS))
    assert says in found.reason
    assert found.reason.startswith(found.verdict)
    assert found.trials["finished"] == sum(t.state is TrialState.FINISHED for t in trials)
