"""Counts over all attempts: the same whoever counted them, and whatever the clock did."""

from mustherd.experiment.tally import Tally
from mustherd.reasons import Reason
from mustherd.trial import Trial, TrialKind, TrialState


def attempt(number: int, state: TrialState, ended_at: float, reason: str) -> Trial:
    return Trial(
        number=1,
        attempt=number,
        kind=TrialKind.SEARCH,
        settings={"itr-delay": 100},
        state=state,
        reason=reason,
        started_at=5.0,
        ended_at=ended_at,
    )


def test_the_last_attempt_counts_though_the_clock_was_set_back() -> None:
    # What the budget doesn't last for is given up at the time of the store's clock.
    first = attempt(1, TrialState.INVALID, 100.0, Reason.NO_ANSWER)
    last = attempt(2, TrialState.FAILED, 97.0, Reason.BUDGET_SPENT)
    assert Tally.of([first, last]).states == {1: TrialState.FAILED}
    assert Tally.of([first, last]).ended_at == 100.0
