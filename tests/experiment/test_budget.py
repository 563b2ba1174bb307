"""What a budget still bears, reckoned from a tally by itself."""

import pytest

from mustherd.experiment.budget import Budget
from mustherd.experiment.tally import Tally
from mustherd.trial import Trial, TrialKind, TrialState
from tests.experiment.simulated import defined


def spent(*joules: float, running: int = 0) -> Tally:
    """So many windows were measured, and so many attempts are under way."""
    ended = [
        Trial(
            number=number,
            kind=TrialKind.SEARCH,
            settings={},
            state=TrialState.FINISHED if number % 2 else TrialState.INVALID,
            reason="" if number % 2 else "no-answer",
            started_at=1.0,
            ended_at=2.0,
            metrics={"energy_joules": each},
        )
        for number, each in enumerate(joules, 1)
    ]
    tally = Tally.of(ended)
    for number in range(running):
        trial = Trial(number=len(joules) + 1 + number, kind=TrialKind.SEARCH, settings={})
        tally.queued(trial)
        tally.started(trial)
    return tally


def test_an_attempt_lasts_as_long_as_what_settles_slowest_then_the_ramp_and_the_window() -> None:
    workload = '{"qps":600000,"settle_seconds":2,"ramp_seconds":3,"window_seconds":30}'
    experiment = defined(workload=workload)
    assert Budget.of(experiment, 1).trial_s == 35.0
    assert Budget.of(experiment, 1, settle_s=1.0).trial_s == 35.0
    assert Budget.of(experiment, 1, settle_s=25.0).trial_s == 58.0
    assert Budget.of(experiment, 0).parallel == 1


def test_a_budget_is_used_to_its_last_joule_by_what_windows_took_so_far_on_average() -> None:
    budget = Budget(minutes=None, joules=10_000.0, parallel=2, trial_s=30.0)
    assert budget.short(spent(), 100) is None, "nothing is known yet"
    # Two windows of 2 kJ on average, one of them invalid, two attempts under way: there is enough for one more.
    tally = spent(1000.0, 3000.0, running=2)
    assert budget.short(tally, 1) is None
    short = budget.short(tally, 2)
    assert short is not None
    assert (short.code, short.text) == ("budget-joules", "the budget of 10000 J is used up")


@pytest.mark.parametrize(("parallel", "attempts"), [(1, 4), (2, 8)])
def test_a_budget_is_used_to_its_last_minute_of_each_node(parallel: int, attempts: int) -> None:
    budget = Budget(minutes=2.0, joules=None, parallel=parallel, trial_s=30.0)
    assert budget.short(spent(1.0, 1.0), attempts - 2) is None
    short = budget.short(spent(1.0, 1.0), attempts - 1)
    assert short is not None
    assert (short.code, short.text) == ("budget-minutes", "the budget of 2 minutes is used up")
