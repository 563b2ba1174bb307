"""The scheduler's rules, one by one."""

import itertools
import math

import msgspec
import pytest

from mustherd.experiment.actions import (
    Calibrate,
    Conclude,
    End,
    Finish,
    Note,
    Phase,
    Prepare,
    Propose,
    Queue,
    Rank,
    Result,
    Start,
    Tell,
)
from mustherd.experiment.scheduler import GATHER_S, LONELY_S, Past
from mustherd.experiment.verdict import ORDER, SEARCH_OVER
from mustherd.policy.base import WAIT
from mustherd.reasons import Reason
from mustherd.trial import Trial, TrialKind, TrialState
from tests.experiment import physics
from tests.experiment.driven import Driven, asked, kinds, notes, only
from tests.experiment.simulated import LOST, SPOILT


def test_it_waits_for_the_expected_musters_and_begins_with_those_that_are_there() -> None:
    driven = Driven(expected=2)
    assert driven.begin() == [Phase("gathering")]
    assert driven.do(driven.scheduler.tick(GATHER_S - 0.1)) == []
    later = driven.do(driven.scheduler.tick(GATHER_S))
    assert notes(later, "muster-absent")[0].data == {"musters": 1, "expected": 2}
    assert only(later, Start).muster == "m0"
    both = Driven(expected=2, musters=2)
    assert not notes(both.begin(), "muster-absent")
    assert [t.kind for t in both.running()] == [TrialKind.BASELINE, TrialKind.SEARCH]


def test_what_was_asked_for_is_asked_for_once() -> None:
    driven = Driven(expected=0, trials=3)
    scheduler = driven.scheduler
    assert scheduler.herd({}, 0.0) == [], "one muster at least is waited for"
    assert scheduler.herd(driven.here, 1.0) == [Prepare()]
    assert scheduler.tick(2.0) == []
    driven.do(scheduler.prepared(Past(), compares=True, now=2.0))
    [trial] = driven.running()
    ended = msgspec.structs.replace(trial, state=TrialState.FINISHED, metrics=physics.measure(1, 2600), ended_at=3.0)
    *_, propose = scheduler.ended([ended], 3.0)
    assert isinstance(propose, Propose)
    assert scheduler.herd({**driven.here, "m1": 0.0}, 4.0) == []


def test_a_bad_end_is_written_down_with_what_code_may_read_of_it() -> None:
    driven = Driven(trials=1)
    driven.begin()
    [note] = notes(driven.end(state=TrialState.INVALID, reason=Reason.NO_ANSWER), "trial-invalid")
    assert note.text == "trial 1 on m0 invalid: so it is"
    assert note.data == {"trial": 1, "attempt": 1, "muster": "m0", "reason": "no-answer"}
    assert not notes(driven.end(), "trial-finished")


def test_without_any_muster_it_fails() -> None:
    driven = Driven(musters=0)
    driven.begin()
    end = only(driven.do(driven.scheduler.tick(GATHER_S)), End)
    assert (end.result, "no muster joined within 20 s" in end.reason) == (Result.HERD_FAILED, True)
    assert driven.do(driven.scheduler.tick(GATHER_S + 100)) == []


def test_a_herd_that_has_not_come_yet_is_not_said_to_be_gone() -> None:
    driven = Driven(trials=3, repeats=0)
    driven.begin()
    assert notes(driven.do(driven.scheduler.ended([], 0.1)), "herd-gone") == []
    assert notes(driven.do(driven.scheduler.herd({}, 0.2)), "herd-gone") == []


def test_a_herd_that_is_gone_is_waited_for_and_then_given_up() -> None:
    driven = Driven(trials=3, repeats=0)
    driven.begin()
    driven.do(driven.scheduler.herd({}, 10.0))
    gone = driven.end(state=TrialState.INVALID, reason=Reason.MUSTER_DEAD)
    assert notes(gone, "herd-gone")
    assert driven.do(driven.scheduler.tick(LONELY_S)) == []
    back = driven.do(driven.scheduler.herd(driven.here, LONELY_S))
    assert only(back, Start).trial.attempt == 2
    driven.do(driven.scheduler.herd({}, 50.0))
    driven.do(
        driven.scheduler.ended(
            [msgspec.structs.replace(driven.running()[0], state=TrialState.INVALID, reason=Reason.MUSTER_DEAD)], 60.0
        )
    )
    assert driven.do(driven.scheduler.tick(60.0 + LONELY_S)) == []
    end = only(driven.do(driven.scheduler.tick(60.1 + LONELY_S)), End)
    assert "no muster has been there for 30 s" in end.reason


def test_the_baseline_comes_first_and_again_between_the_trials() -> None:
    driven = Driven(trials=5, repeats=0, baseline='{"every":2}')
    driven.begin()
    driven.ends(8)
    b, s = TrialKind.BASELINE, TrialKind.SEARCH
    assert kinds(driven.done) == [b, s, s, b, s, s, b, s]
    assert [a.name for a in driven.done if isinstance(a, Phase)] == ["gathering", "baseline", "search"]
    assert isinstance(driven.done[-1], Conclude)
    assert [a for a in driven.done if isinstance(a, Calibrate)][-1].noise


def test_of_several_loads_each_has_its_baseline_and_takes_its_turn() -> None:
    driven = Driven(trials=4, repeats=0, baseline='{"every":1}', workload='{"qps":[200000,400000]}')
    driven.begin()
    driven.ends(8)
    queued = [(a.trial.kind.value[0], a.trial.qps) for a in driven.done if isinstance(a, Queue)]
    pair = [("b", 2e5), ("b", 4e5), ("s", 2e5), ("s", 4e5)]
    assert queued == pair * 2
    told = [a.observations[0].point["qps"] for a in driven.done if isinstance(a, Tell)]
    assert told == [200_000, 400_000] * 2


def test_a_policy_may_choose_the_load_and_it_is_no_setting() -> None:
    driven = Driven(trials=2, repeats=0, workload='{"qps":[200000,400000]}')
    driven.points = iter([{"itr-delay": 50, "dvfs": 2600, "qps": 400_000}, {"itr-delay": 2, "dvfs": 2600}])
    driven.begin()
    driven.ends(4)
    searched = [a.trial for a in driven.done if isinstance(a, Queue) and a.trial.kind is TrialKind.SEARCH]
    assert [(t.settings, t.qps) for t in searched] == [
        ({"itr-delay": 50, "dvfs": 2600}, 4e5),
        ({"itr-delay": 2, "dvfs": 2600}, 4e5),
    ]


def test_a_curve_over_the_experiment_gives_each_trial_its_part_and_the_policy_the_load_of_the_next() -> None:
    steps = (
        '{"curve":{"steps":[[100000,"30 s"],[200000,"30 s"],[300000,"30 s"]],"spans":"experiment"},"window_seconds":30}'
    )
    driven = Driven(compares=False, workload=steps, policy="nop", constraints="[]")
    driven.begin()
    driven.ends(3)
    assert [a.load.qps for a in driven.done if isinstance(a, Propose)] == [1e5, 2e5, 3e5]
    assert [a.trial.qps for a in driven.done if isinstance(a, Queue)] == [1e5, 2e5, 3e5]


def test_a_curve_over_the_experiment_is_the_searchs_and_not_the_baselines() -> None:
    curve = '{"curve":{"steps":[[100000,"30 s"],[200000,"30 s"]],"spans":"experiment"},"window_seconds":30}'
    driven = Driven(workload=curve, policy="nop", constraints="[]", repeats=0)
    driven.begin()
    driven.ends(3)
    assert [a.trial.load is None for a in driven.done if isinstance(a, Queue)] == [True, False, False]


def test_write_ahead_a_trial_is_stored_before_it_runs_and_its_end_before_anything_is_learnt() -> None:
    driven = Driven(trials=2, repeats=0)
    driven.begin()
    driven.ends(3)
    order = [type(a) for a in driven.done if isinstance(a, Queue | Start | Finish | Tell)]
    assert order == [Queue, Start, Finish] + [Queue, Start, Finish, Tell] * 2


def test_a_late_muster_counts_towards_attempts() -> None:
    # Its code begins as those of a muster that is gone do: 18 attempts at one trial were seen.
    driven = Driven(trials=1, repeats=0, gates='{"attempts":3,"same_failure":2}')
    driven.begin()
    driven.ends(3, state=TrialState.INVALID, reason=Reason.MUSTER_LATE)
    last = [a for a in driven.done if isinstance(a, Finish)][-1]
    assert (last.trial.state, last.trial.attempt, last.retry) == (TrialState.FAILED, 3, False)
    assert last.trial.detail == "invalid 3 times, the last time because so it is"


@pytest.mark.parametrize("reason", LOST)
def test_an_attempt_that_says_nothing_of_its_trial_does_not_count(reason: Reason) -> None:
    driven = Driven(trials=1, repeats=0, gates='{"attempts":2,"same_failure":3}')
    driven.begin()
    driven.end(state=TrialState.INVALID, reason=Reason.KNOB_NOT_HELD)
    driven.ends(4, state=TrialState.INVALID, reason=reason)
    assert driven.running()[0].attempt == 6
    driven.end(state=TrialState.INVALID, reason=Reason.KNOB_NOT_HELD)
    assert [a for a in driven.done if isinstance(a, Finish)][-1].trial.state is TrialState.FAILED


@pytest.mark.parametrize("reason", SPOILT)
def test_an_attempt_that_is_its_trials_or_its_loads_fault_counts(reason: Reason) -> None:
    driven = Driven(trials=1, repeats=0, gates='{"attempts":2,"same_failure":3}')
    driven.begin()
    driven.ends(2, state=TrialState.INVALID, reason=reason)
    assert [a for a in driven.done if isinstance(a, Finish)][-1].trial.state is TrialState.FAILED


def test_attempts_of_former_runs_count() -> None:
    past = [
        Trial(
            number=1,
            attempt=n,
            kind=TrialKind.BASELINE,
            settings={},
            state=state,
            reason=reason,
            started_at=5,
            ended_at=6,
        )
        for n, state, reason in (
            (1, TrialState.INVALID, Reason.KNOB_NOT_HELD),
            (2, TrialState.INVALID, Reason.SHEPHERD_DIED),
            (3, TrialState.QUEUED, ""),
        )
    ]
    past[-1] = Trial(number=1, attempt=3, kind=TrialKind.BASELINE, settings={})
    driven = Driven(trials=1, gates='{"attempts":2,"same_failure":3}', past=Past(past))
    driven.begin()
    assert driven.running()[0].attempt == 3
    driven.end(state=TrialState.INVALID, reason=Reason.KNOB_NOT_HELD)
    assert [a for a in driven.done if isinstance(a, Finish)][-1].trial.state is TrialState.FAILED


def test_the_same_failure_again_and_again_ends_it() -> None:
    driven = Driven(gates='{"same_failure":3}')
    driven.begin()
    driven.ends(2, state=TrialState.FAILED, reason=Reason.DECISION_FAILED)
    driven.end(state=TrialState.FAILED, reason=Reason.DECISION_REFUSED)
    driven.ends(2, state=TrialState.FAILED, reason=Reason.DECISION_FAILED)
    assert not [a for a in driven.done if isinstance(a, End)]
    end = only(driven.end(state=TrialState.FAILED, reason=Reason.DECISION_FAILED), End)
    assert end.reason == "3 trials in a row failed with decision-failed: so it is"
    assert notes(driven.done, "failed")[0].data == {"reason": "decision-failed", "count": 3}


def test_an_environment_that_spoils_every_attempt_ends_it_even_for_changing_reasons() -> None:
    same = Driven(gates='{"attempts":3,"same_failure":2}')
    same.begin()
    same.ends(5, state=TrialState.INVALID, reason=Reason.NO_ANSWER)
    end = only(same.end(state=TrialState.INVALID, reason=Reason.NO_ANSWER), End)
    assert end.reason == "6 attempts in a row were invalid with no-answer: so it is"
    changing = Driven(gates='{"attempts":3,"same_failure":2}')
    changing.begin()
    for n in range(17):
        changing.end(state=TrialState.INVALID, reason=[Reason.NO_ANSWER, Reason.MUSTER_DEAD][n % 2])
    end = only(changing.end(state=TrialState.INVALID, reason=Reason.MUSTER_DEAD), End)
    assert end.reason == "18 attempts in a row came to nothing, the last with muster-dead: so it is"


def test_one_finished_trial_ends_a_streak_of_changing_reasons_too() -> None:
    driven = Driven(gates='{"attempts":1,"same_failure":2}', trials=9)
    driven.begin()
    for _ in range(4):
        driven.end(state=TrialState.INVALID, reason=Reason.NO_ANSWER)
        driven.end(state=TrialState.INVALID, reason=Reason.MUSTER_DEAD)
        driven.end()
    assert not [a for a in driven.done if isinstance(a, End)]


def test_one_finished_trial_ends_a_streak() -> None:
    driven = Driven(gates='{"attempts":1,"same_failure":2}')
    driven.begin()
    for _ in range(5):
        driven.end(state=TrialState.FAILED, reason=Reason.DECISION_FAILED)
        driven.end()
    assert not [a for a in driven.done if isinstance(a, End)]


def test_why_the_search_ended_is_data() -> None:
    planned = Driven(trials=1, repeats=0)
    planned.begin()
    planned.ends(2)
    assert notes(planned.done, SEARCH_OVER) == [
        Note(
            SEARCH_OVER,
            "the search is over: every planned trial has run",
            {"why": "trials", "text": "every planned trial has run"},
        )
    ]
    enough = Driven(trials=5, repeats=0)
    enough.points = iter([{"itr-delay": 2, "dvfs": 1200}])
    enough.begin()
    enough.ends(2)
    assert notes(enough.done, SEARCH_OVER)[0].data == {"why": "policy", "text": "there is no more"}
    brief = Driven(trials=5, repeats=1, budget='{"minutes":3}')
    brief.begin()
    brief.ends(3)
    assert notes(brief.done, SEARCH_OVER)[0].data == {
        "why": "budget-minutes",
        "text": "the budget of 3 minutes is used up, but for the confirmation",
    }
    watching = Driven(trials=5, compares=False, budget='{"joules":1500}')
    watching.begin()
    watching.end()
    over = notes(watching.done, SEARCH_OVER)[0]
    assert over.data == {"why": "budget-joules", "text": "the budget of 1500 J is used up"}
    # It searched nothing, and nobody is told that it did.
    assert over.text == "measuring is over: the budget of 1500 J is used up"
    assert [a.name for a in watching.done if isinstance(a, Phase)] == ["gathering", "measuring"]


def test_a_search_that_is_over_is_not_begun_again_by_a_resumed_run() -> None:
    first = Driven(trials=9, repeats=1)
    first.points = iter([{"itr-delay": 300, "dvfs": 1600}])
    first.begin()
    first.ends(2)
    assert kinds(first.done)[-1] is TrialKind.CONFIRM
    rows = [a.trial for a in first.done if isinstance(a, Finish)]
    rows += [Trial(number=3, kind=TrialKind.CONFIRM, settings=first.running()[0].settings)]
    order = {r["qps"]: r["settings"] for r in notes(first.done, ORDER)[0].data["loads"]}
    resumed = Driven(trials=9, repeats=1, past=Past(rows, True, order))
    resumed.begin()
    resumed.ends(2)
    assert not [a for a in resumed.done if isinstance(a, Propose | Rank)]
    assert not notes(resumed.done, SEARCH_OVER)


def test_a_policy_hears_of_the_searchs_trials_under_way_and_of_no_other() -> None:
    driven = Driven(musters=3, trials=4, repeats=0)
    driven.begin()
    _, first, second = driven.running()
    assert [t.kind for t in driven.running()] == [TrialKind.BASELINE, TrialKind.SEARCH, TrialKind.SEARCH]
    driven.end()
    asked = [a.pending for a in driven.done if isinstance(a, Propose)]
    assert asked == [[], [first.settings], [first.settings, second.settings]]


def test_a_policy_that_waits_is_asked_again_when_a_trial_has_ended_and_not_before() -> None:
    driven = Driven(musters=2, trials=5, repeats=0)
    driven.points = iter([{"itr-delay": 2, "dvfs": 1200}, WAIT, WAIT, {"itr-delay": 50, "dvfs": 1200}, WAIT, None])
    driven.begin()
    # A baseline and the first setting are under way.
    assert asked(driven) == 1
    driven.end()
    assert asked(driven) == 2
    for at in (5.0, 50.0, 500.0):
        assert driven.do(driven.scheduler.tick(at)) == []
        assert driven.do(driven.scheduler.herd(driven.here, at)) == []
    driven.end(state=TrialState.INVALID, reason=Reason.NO_ANSWER)
    assert asked(driven) == 2, "its trial is still under way, if by another attempt"
    assert len(driven.running()) == 1
    driven.do(driven.scheduler.herd({**driven.here, "m2": 0.0}, 501.0))
    assert asked(driven) == 3, "with another muster there is another choice"
    driven.end()
    # The second setting; of three musters two wait, and they are asked once.
    assert (asked(driven), len(driven.running())) == (5, 1)
    driven.end()
    assert isinstance(driven.done[-1], Conclude)
    assert [n.data["text"] for n in notes(driven.done, SEARCH_OVER)] == ["there is no more"]


def test_a_policy_that_waits_for_nothing_ends_the_search() -> None:
    driven = Driven(musters=2, trials=5, repeats=1)
    driven.points = itertools.repeat(WAIT)
    driven.begin()
    assert not notes(driven.done, SEARCH_OVER), "the baseline is under way"
    driven.end()
    [over] = notes(driven.done, SEARCH_OVER)
    assert over.text == "the search is over: the policy waits, and nothing that it could wait for is under way"
    while driven.running():
        driven.end()
    assert isinstance(driven.done[-1], Conclude)


def test_of_several_that_wait_the_first_is_run_first() -> None:
    driven = Driven(musters=2, trials=4, repeats=0)
    driven.begin()
    first, second = driven.running()
    driven.do(driven.scheduler.herd({}, 1.0))
    lost = [
        msgspec.structs.replace(trial, state=TrialState.INVALID, reason=Reason.MUSTER_DEAD) for trial in (second, first)
    ]
    driven.do(driven.scheduler.ended(lost, 2.0))
    assert [t.number for t in driven.running()] == []
    back = driven.do(driven.scheduler.herd({"m1": 0.0}, 3.0))
    assert only(back, Start).trial.number == first.number


def test_a_stop_that_finds_the_experiment_hopeless_ends_it_once() -> None:
    driven = Driven(musters=2, trials=5, gates='{"attempts":1,"same_failure":1}')
    driven.begin()
    one, other = driven.running()
    failed = msgspec.structs.replace(one, state=TrialState.FAILED, reason=Reason.DECISION_FAILED, ended_at=3.0)
    actions = driven.do(driven.scheduler.stop([failed]))
    assert only(actions, End).result is Result.HERD_FAILED
    assert isinstance(actions[-1], End)
    assert not notes(actions, "stopped")
    assert [a.trial.number for a in actions if isinstance(a, Finish)] == [one.number, other.number]


def test_a_stop_counts_what_has_ended_and_queues_the_rest_again() -> None:
    driven = Driven(musters=2, trials=5)
    driven.begin()
    one, other = driven.running()
    ended = msgspec.structs.replace(one, state=TrialState.FINISHED, metrics=physics.measure(1, 2600), ended_at=3.0)
    actions = driven.do(driven.scheduler.stop([ended]))
    assert [(a.trial.number, a.trial.state, a.retry) for a in actions if isinstance(a, Finish)] == [
        (one.number, TrialState.FINISHED, False),
        (other.number, TrialState.INVALID, True),
    ]
    assert [a.trial.reason for a in actions if isinstance(a, Finish)][1] == Reason.RUN_ENDED
    assert only(actions, End) == End(Result.STOPPED, "an operator asked for it")
    assert driven.do(driven.scheduler.ended([other], 9.0)) == []
    assert driven.do(driven.scheduler.herd(driven.here, 9.0)) == []
    assert driven.do(driven.scheduler.stop()) == []


def test_a_stop_may_come_at_any_time() -> None:
    gathering = Driven(expected=2)
    gathering.begin()
    assert only(gathering.do(gathering.scheduler.stop()), End).result is Result.STOPPED
    asking = Driven(trials=2)
    asking.begin()
    trial = msgspec.structs.replace(
        asking.running()[0], state=TrialState.FINISHED, metrics=physics.measure(1, 2600), ended_at=1.0
    )
    *_, propose = asking.scheduler.ended([trial], 1.0)
    assert isinstance(propose, Propose)
    assert only(asking.scheduler.stop(), End).result is Result.STOPPED
    assert asking.scheduler.proposed({"itr-delay": 2, "dvfs": 1200}, "", 2.0) == []


def test_ends_are_told_in_an_order_that_their_times_show_whatever_the_clock_does() -> None:
    driven = Driven(musters=2, trials=4, repeats=0)
    driven.begin()
    driven.end(at=100.0)
    for at in (100.0, 40.0, 100.0):
        driven.end(at=at)
    times = [a.trial.ended_at for a in driven.done if isinstance(a, Finish)]
    assert times == sorted(set(times))
    assert math.isclose(times[-1], 100.0)


def test_an_end_that_nobody_waits_for_is_nothing() -> None:
    driven = Driven(trials=2)
    driven.begin()
    [trial] = driven.running()
    strange = msgspec.structs.replace(trial, attempt=7, state=TrialState.FINISHED)
    assert driven.do(driven.scheduler.ended([strange], 1.0)) == []
    assert driven.running() == [trial]


def test_a_proposal_whose_muster_went_away_is_kept_for_the_next_one() -> None:
    driven = Driven(trials=2)
    driven.begin()
    trial = msgspec.structs.replace(
        driven.running()[0], state=TrialState.FINISHED, metrics=physics.measure(1, 2600), ended_at=1.0
    )
    driven.scheduler.ended([trial], 1.0)
    assert driven.scheduler.herd({}, 2.0) == [] or driven.scheduler._asking
    answer = driven.scheduler.proposed({"itr-delay": 2, "dvfs": 1200}, "", 3.0)
    assert [type(a) for a in answer] == [Queue, Note] or [type(a) for a in answer] == [Queue]
    assert only(driven.scheduler.herd({"m7": 0.0}, 4.0), Start).muster == "m7"
