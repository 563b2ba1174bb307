"""The confirmation's steps at one load: who has to measure what, when a step is over, and what counts in it."""

from collections.abc import Callable, Sequence

import msgspec
import pytest

from mustherd.experiment.repeats import Rounds, rounds_of
from mustherd.goal import Constraint, Goal
from mustherd.learn.base import Settings
from mustherd.reasons import Reason
from mustherd.trial import Trial, TrialKind, TrialState

GOAL = Goal(limits=(Constraint("read_p99_us", 500.0),), repeats=3)
BEST: Settings = {"itr-delay": 300}
BASELINE = Trial(number=1, kind=TrialKind.BASELINE, settings={}, state=TrialState.FINISHED)
BOTH = ("m0", "m1")
P99 = Callable[[int, str], float]
"""Step and muster to what the candidate's window there shows."""


def steady(step: int, muster: str) -> float:
    return 450.0 + 0.5 * (step % 2)


def strange(*musters: str) -> P99:
    """In the third step these measure something that nobody believes of a window, which is asked about at once."""
    return lambda step, muster: 490.0 if step == 3 and muster in musters else steady(step, muster)


class Steps:
    """A confirmation, and its repeats as a store has them."""

    def __init__(self, p99: P99 = steady) -> None:
        self.p99 = p99
        self.rounds = Rounds(GOAL, [BEST], default={})
        self.trials: list[Trial] = []

    def begin(self, here: Sequence[str], *musters: str) -> list[Trial]:
        """Queue what these musters have to do in the present step while those are `here`."""
        queued = []
        for settings, place in self.rounds.due(here):
            if place in musters:
                number, step = len(self.trials) + 2, self.rounds.step
                one = Trial(number=number, kind=TrialKind.CONFIRM, settings=settings, round=step, place=place)
                self.rounds.begun(one)
                self.trials.append(one)
                queued.append(one)
        return queued

    def end(self, trials: Sequence[Trial], state: TrialState = TrialState.FINISHED, reason: str = "") -> None:
        for trial in trials:
            saved = 1500.0 if trial.settings else 3000.0
            metrics = {"energy_joules": saved + trial.number, "achieved_ratio": 1.0}
            metrics["read_p99_us"] = self.p99(trial.round, trial.place) if trial.settings else 100.0
            ended = msgspec.structs.replace(trial, state=state, reason=reason, muster=trial.place, metrics=metrics)
            self.trials[trial.number - 2] = ended
            self.rounds.ended(ended)

    def run(self, steps: int, here: Sequence[str] = BOTH) -> None:
        """So many whole steps."""
        for _ in range(steps):
            self.end(self.begin(here, *here))

    def again(self) -> Rounds:
        """The confirmation as a run that resumes this one makes it."""
        return rounds_of([BASELINE, *self.trials], GOAL, [BEST], default={})


def test_before_anything_is_measured_nothing_is_a_round() -> None:
    steps = Steps()
    assert steps.rounds.so_far().outcome().rounds == 0
    assert steps.rounds.step == 1


def test_a_window_that_nobody_believes_is_measured_again_where_it_was() -> None:
    steps = Steps(strange("m0"))
    steps.run(3)
    assert steps.rounds.due(BOTH) == [(BEST, "m0"), (BEST, "m0")]
    assert steps.rounds.step == 4
    [first, second] = steps.begin(BOTH, *BOTH)
    assert steps.rounds.due(BOTH) == []
    steps.end([first])
    assert steps.rounds.due(BOTH) == [], "the other is under way"
    steps.end([second])
    assert len(steps.rounds.due(BOTH)) == 4
    assert steps.rounds.step == 5


def test_each_of_two_nodes_answers_its_own_question() -> None:
    steps = Steps(strange(*BOTH))
    steps.run(3)
    assert steps.rounds.due(BOTH) == [(BEST, "m0")] * 2 + [(BEST, "m1")] * 2
    steps.end(steps.begin(BOTH, "m1"))
    assert steps.rounds.due(BOTH) == [(BEST, "m0")] * 2
    steps.end(steps.begin(BOTH, "m0"))
    assert steps.rounds.due(BOTH)
    assert steps.rounds.step == 5


def test_a_question_to_a_node_that_is_gone_is_waited_for_by_nobody() -> None:
    steps = Steps(strange("m0"))
    steps.run(3)
    assert len(steps.rounds.due(BOTH)) == 2
    due = steps.rounds.due(["m1"])
    assert (steps.rounds.step, {muster for _, muster in due}) == (5, {"m1"})


def test_a_question_that_is_open_leaves_a_verdict_open() -> None:
    steps = Steps(strange("m0"))
    steps.run(3)
    found = steps.again()
    assert found.so_far().chosen is None
    assert found.step == 4, "nobody has answered"


def test_what_a_step_has_begun_with_is_known_to_a_run_that_resumes() -> None:
    steps = Steps()
    steps.run(1)
    steps.end(steps.begin(BOTH, "m0"))
    # The other is gone: the step is over without it, and it comes back when the next has begun.
    steps.end(steps.begin(["m0"], "m0")[:1])
    assert steps.rounds.step == 3
    live, new = steps.rounds.due(BOTH), steps.again()
    assert (new.due(BOTH), new.step) == (live, 3)
    assert new.turn == steps.rounds.turn


def test_a_repeat_of_another_step_takes_no_place_in_this_one() -> None:
    steps = Steps()
    steps.run(1)
    due = steps.rounds.due(BOTH)
    [late] = [one for one in steps.trials if one.settings == BEST and one.place == "m0"]
    steps.rounds.begun(msgspec.structs.replace(late, number=99))
    assert steps.rounds.due(BOTH) == due


def test_a_repeat_that_this_step_does_not_want_does_not_begin_it() -> None:
    # A folder of the version before says nothing of steps and places.
    steps = Steps()
    strange_one = Trial(number=50, kind=TrialKind.CONFIRM, settings={"itr-delay": 100}, muster="m0")
    steps.rounds.begun(strange_one)
    assert steps.rounds.turn == (True, 1)
    assert len(steps.rounds.due(BOTH)) == 4


@pytest.mark.parametrize(("reason", "counts"), [(Reason.DECISION_FAILED, True), (Reason.MUSTER_DEAD, False)])
def test_what_is_given_up_is_a_failure_where_it_says_something_of_the_trial(reason: Reason, counts: bool) -> None:
    steps = Steps()
    steps.end(steps.begin(BOTH, "m0"), TrialState.FAILED, reason)
    assert steps.rounds.failed == steps.again().failed == 2 * counts
