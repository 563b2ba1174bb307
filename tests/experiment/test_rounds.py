"""The confirmation's steps at one load: who has to measure what, when a step is over, and what counts in it."""

from collections.abc import Callable, Sequence

import msgspec
import pytest

from mustherd.experiment.repeats import Rounds, rounds_of
from mustherd.goal import Constraint, Goal
from mustherd.learn.base import Settings
from mustherd.learn.windows import Repeat
from mustherd.reasons import Reason
from mustherd.terms import LoadReport
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

    def __init__(self, p99: P99 = steady, goal: Goal = GOAL, order: Sequence[Settings] = (BEST,)) -> None:
        self.p99 = p99
        self.order = order
        self.rounds = Rounds(goal, order, default={})
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
        return rounds_of([BASELINE, *self.trials], GOAL, self.order, default={})


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


def test_musters_measure_in_orders_of_their_own_whichever_begins_and_however_often_a_run_resumes() -> None:
    steps = Steps(order=(BEST, {"itr-delay": 100}))
    for step in range(1, 4):
        one = steps.begin(BOTH, "m1")
        assert steps.rounds.step == step
        assert steps.again().due(BOTH) == steps.rounds.due(BOTH), "a run that resumes goes on in the same orders"
        other = steps.begin(BOTH, "m0")
        assert [trial.settings for trial in one] == [trial.settings for trial in other][::-1]
        steps.end([*one, *other])
    # Who comes later is numbered as it begins, and so are the next.
    steps.begin(["m3"], "m3")
    assert steps.rounds.due(["m2", "m3"]) == steps.again().due(["m2", "m3"])
    assert {muster for _, muster in steps.rounds.due(["m2", "m3"])} == {"m2"}


def test_a_repeat_of_another_step_takes_no_place_in_this_one() -> None:
    steps = Steps()
    steps.run(1)
    due = steps.rounds.due(BOTH)
    [late] = [one for one in steps.trials if one.settings == BEST and one.place == "m0"]
    steps.rounds.begun(msgspec.structs.replace(late, number=99))
    assert steps.rounds.due(BOTH) == due


def test_of_a_repeat_the_last_attempt_counts() -> None:
    steps = Steps()
    [one, other] = steps.begin(BOTH, "m0")
    steps.end([one, other])
    lost = msgspec.structs.replace(one, state=TrialState.INVALID, reason=Reason.MUSTER_DEAD)
    second, rest = msgspec.structs.replace(steps.trials[0], attempt=2), steps.trials[1]
    for trials in ([lost, second, rest], [second, lost, rest]):
        found = rounds_of([BASELINE, *trials], GOAL, [BEST], default={})
        assert len(found.due(["m0"])) == 2
        assert found.step == 2


def test_a_window_s_own_error_is_passed_on_with_it() -> None:
    steps = Steps()
    seen: list[Repeat] = []
    add = steps.rounds.confirmation.add

    def noting(measured: Sequence[Repeat]) -> None:
        seen.extend(measured)
        add(measured)

    steps.rounds.confirmation.add = noting  # type: ignore[method-assign]
    report = LoadReport(
        generator="mutilate", t0_s=0.0, t1_s=30.0, offered_qps=1e5, achieved_qps=1e5, requests=3_000_000, misses=0,
        samples=10_000, read_us={"p50": 100.0, "p99": 450.0}, update_us={},
    )  # fmt: skip
    for trial in steps.begin(["m0"], "m0"):
        steps.trials[trial.number - 2] = with_report = msgspec.structs.replace(trial, load_report=report)
        steps.end([with_report])
    steps.rounds.so_far()
    assert [one.errors["read_p99_us"] > 0 for one in seen] == [True, True]
    assert {one.where for one in seen} == {"m0"}


def test_a_repeat_that_this_step_does_not_want_does_not_begin_it() -> None:
    # A folder of the version before says nothing of steps and places.
    steps = Steps()
    strange_one = Trial(number=50, kind=TrialKind.CONFIRM, settings={"itr-delay": 100}, muster="m0")
    steps.rounds.begun(strange_one)
    assert steps.rounds.turn == (True, 1)
    assert len(steps.rounds.due(BOTH)) == 4


def test_a_repeat_that_was_under_way_before_its_turn_came_counts_as_it_ended_when_it_comes() -> None:
    # A folder of the version before: what it had begun belongs to no step.
    later: Settings = {"itr-delay": 100}
    goal = msgspec.structs.replace(GOAL, parallel=1)
    steps = Steps(lambda _step, _muster: 505.0, goal, [BEST, later])
    early = Trial(number=90, kind=TrialKind.CONFIRM, settings=later)
    steps.rounds.begun(early)
    steps.rounds.ended(msgspec.structs.replace(early, state=TrialState.FINISHED, muster="m0"))
    # The first candidate misses its limit, and then it is the other's turn.
    while (due := steps.rounds.due(["m0"])) and (BEST, "m0") in due:
        steps.run(1, ["m0"])
    assert due == [({}, "m0")], "the one that was under way is there already"
    steps.run(1, ["m0"])
    assert len(steps.rounds.due(["m0"])) == 2


@pytest.mark.parametrize(("reason", "counts"), [(Reason.DECISION_FAILED, True), (Reason.MUSTER_DEAD, False)])
def test_what_is_given_up_is_a_failure_where_it_says_something_of_the_trial(reason: Reason, counts: bool) -> None:
    steps = Steps()
    steps.end(steps.begin(BOTH, "m0"), TrialState.FAILED, reason)
    assert steps.rounds.failed == steps.again().failed == 2 * counts
