"""How the scheduler comes to an end: the confirmation in rounds, and what the budget still bears."""

import msgspec

from mustherd.experiment.actions import (
    Action,
    Conclude,
    End,
    Finish,
    Queue,
    Result,
    Start,
)
from mustherd.experiment.scheduler import LONELY_S
from mustherd.experiment.verdict import ORDER
from mustherd.reasons import Reason
from mustherd.terms import Reading
from mustherd.trial import TrialKind, TrialState
from tests.experiment import physics
from tests.experiment.driven import Driven, kinds, notes, only


def test_every_expected_muster_may_spoil_its_share_before_it_ends() -> None:
    driven = Driven(expected=2, musters=2, gates='{"attempts":3,"same_failure":2}')
    driven.begin()
    driven.ends(11, state=TrialState.INVALID, reason=Reason.NO_ANSWER)
    end = only(driven.end(state=TrialState.INVALID, reason=Reason.NO_ANSWER), End)
    assert end.reason == "12 attempts in a row were invalid with no-answer: so it is"


def test_settings_that_the_node_was_found_at_are_not_confirmed_against_themselves() -> None:
    driven = Driven(trials=2, repeats=2)
    driven.points = iter([{"itr-delay": 300, "dvfs": 1600}, {"itr-delay": 100, "dvfs": 2600}])
    driven.ranking = [{"itr-delay": 300, "dvfs": 1600}, {"itr-delay": 100, "dvfs": 2600}]
    driven.begin()
    driven.end(readings=(
        Reading(sheep="node-0", knob="itr-delay", asked=None, applied=300, running=None, held=True),
        Reading(sheep="node-0", knob="dvfs", asked=None, applied=1600, running=1600, held=True),
        Reading(sheep="node-0", knob="epb", asked=None, applied=6, running=6, held=True),
    ))  # fmt: skip
    driven.ends(2)
    (order,) = notes(driven.done, ORDER)
    assert order.data["loads"] == [{"qps": 600_000.0, "settings": [{"itr-delay": 100, "dvfs": 2600}]}]


def test_the_confirmation_waits_for_the_search_and_runs_in_rounds() -> None:
    driven = Driven(musters=2, trials=2, repeats=2, confirmation='{"candidates":1,"rounds":2}')
    driven.points = iter([{"itr-delay": 300, "dvfs": 1600}, {"itr-delay": 100, "dvfs": 2600}])
    driven.begin()
    driven.end()
    assert kinds(driven.done) == [TrialKind.BASELINE, TrialKind.SEARCH, TrialKind.SEARCH]
    driven.end()
    # The second muster waits: what the last search trial finds may be the best.
    assert kinds(driven.done)[3:] == []
    driven.end()
    # Each muster measures both settings, in an order of its own.
    first, second = [a.trial for a in driven.done if isinstance(a, Queue)][3:]
    assert (first.kind, first.place, first.round) == (TrialKind.CONFIRM, "m0", 1)
    assert (second.kind, second.place, second.round) == (TrialKind.CONFIRM, "m1", 1)
    assert first.settings != second.settings
    driven.end()
    third = [a.trial for a in driven.done if isinstance(a, Queue)][5]
    assert (third.place, third.round) == (first.place, 1)
    assert sorted(map(len, (first.settings, third.settings))) == [0, 2]
    driven.end()
    assert len(kinds(driven.done)) == 7
    driven.end()
    assert len(kinds(driven.done)) == 7, "a round begins when the one before is over on every muster"
    driven.end()
    assert [a.trial.round for a in driven.done if isinstance(a, Queue)][7:] == [2, 2]
    while driven.running():
        driven.end()
    rounds = [a.trial.round for a in driven.done if isinstance(a, Queue)][3:]
    assert all(rounds.count(number) == 4 for number in set(rounds))
    assert isinstance(driven.done[-1], Conclude)


def test_a_slow_muster_goes_on_with_its_part_of_a_round_while_a_quick_one_has_nothing_to_do() -> None:
    driven = Driven(musters=2, trials=1, repeats=2, confirmation='{"candidates":1,"rounds":2}')
    driven.points = iter([{"itr-delay": 300, "dvfs": 1600}])
    driven.begin()
    while {t.round for t in driven.running()} != {1}:
        driven.end()

    def ends(muster: str) -> list[Action]:
        trial = next(t for t in driven.running() if t.muster == muster)
        metrics = {**physics.measure(300, 1600), "energy_joules": 1000.0 + trial.number}
        ended = msgspec.structs.replace(trial, state=TrialState.FINISHED, ended_at=9.0, metrics=metrics)
        return driven.do(driven.scheduler.ended([ended], 0.0))

    quick, slow = "m0", "m1"
    ends(quick)
    assert ends(quick) == [] or [t.muster for t in driven.running()] == [slow]
    assert only(ends(slow), Start).muster == slow


def test_a_muster_that_is_gone_for_long_leaves_its_part_of_a_round_out() -> None:
    driven = Driven(musters=2, trials=1, repeats=2, confirmation='{"candidates":1,"rounds":2}')
    driven.points = iter([{"itr-delay": 300, "dvfs": 1600}])
    driven.begin()
    driven.end()
    while {t.muster for t in driven.running()} != {"m0", "m1"}:
        driven.end()
    here = {"m0": 0.0}
    lost = next(t for t in driven.running() if t.muster == "m1")
    ended = msgspec.structs.replace(lost, state=TrialState.INVALID, reason=Reason.MUSTER_DEAD, ended_at=2.0)
    driven.do(driven.scheduler.herd(here, 1.0))
    driven.do(driven.scheduler.ended([ended], 1.0))
    driven.end()
    driven.end()
    assert driven.running() == [], "the round waits for the muster that is gone"
    driven.do(driven.scheduler.herd(here, 1.0 + LONELY_S))
    assert driven.running() == []
    actions = driven.do(driven.scheduler.herd(here, 1.5 + LONELY_S))
    given_up = only(actions, Finish).trial
    assert (given_up.state, given_up.reason, given_up.place) == (TrialState.FAILED, Reason.MUSTER_DEAD, "m1")
    assert only(actions, Start).trial.round == 2
    while driven.running():
        driven.end()
    assert isinstance(driven.done[-1], Conclude)


def test_a_confirmation_that_keeps_failing_ends_it() -> None:
    driven = Driven(trials=1, repeats=1, confirmation='{"rounds":1}', gates='{"same_failure":9,"attempts":1}')
    driven.points = iter([{"itr-delay": 300, "dvfs": 1600}])
    driven.begin()
    driven.ends(2)
    driven.ends(1, state=TrialState.FAILED, reason=Reason.DECISION_FAILED)
    end = only(driven.end(state=TrialState.FAILED, reason=Reason.UNKNOWN_KNOB), End)
    assert (end.result, end.reason) == (Result.HERD_FAILED, "2 confirmation trials failed: see the trials' reasons")


def test_no_round_of_the_confirmation_begins_that_the_budget_does_not_last_for() -> None:
    # Two rounds of two are set aside; limits within the noise would go on to eight.
    driven = Driven(
        trials=3, repeats=2, confirmation='{"candidates":1,"rounds":8}', budget=f'{{"minutes":{6 * 35 / 60}}}',
        constraints="[]",
    )  # fmt: skip
    driven.begin()
    while driven.running():
        driven.end(joules=1000.0)
    assert isinstance(driven.done[-1], Conclude)
    assert len([a for a in driven.done if isinstance(a, Start)]) <= 6
    assert kinds(driven.done).count(TrialKind.CONFIRM) in (0, 2, 4)


def test_a_round_is_not_begun_with_the_budget_of_a_part_of_it() -> None:
    # Six windows are spent after two rounds of two, and a seventh is left: half a round compares nothing.
    driven = Driven(
        trials=1, repeats=2, confirmation='{"candidates":1,"rounds":8}', budget=f'{{"minutes":{7 * 35 / 60}}}',
        constraints="[]",
    )  # fmt: skip
    driven.points = iter([{"itr-delay": 300, "dvfs": 1600}])
    driven.begin()
    while driven.running():
        driven.end(joules=1000.0)
    assert kinds(driven.done).count(TrialKind.CONFIRM) == 4
    assert notes(driven.done, "budget-minutes")


def test_what_a_policy_ranks_is_confirmed_at_the_load_that_it_names() -> None:
    driven = Driven(
        trials=2, repeats=1, confirmation='{"candidates":1,"rounds":1}', workload='{"qps":[200000,400000]}',
    )  # fmt: skip
    driven.ranking = [{"itr-delay": 300, "dvfs": 1600, "qps": 200_000}, {"itr-delay": 50, "dvfs": 2600, "qps": 400_000}]
    driven.begin()
    driven.ends(4)
    [order] = notes(driven.done, ORDER)
    assert order.data["loads"] == [
        {"qps": 2e5, "settings": [{"itr-delay": 300, "dvfs": 1600}]},
        {"qps": 4e5, "settings": [{"itr-delay": 50, "dvfs": 2600}]},
    ]


def test_a_load_of_which_the_policy_ranks_nothing_has_the_search_s_own_candidates() -> None:
    driven = Driven(
        trials=2, repeats=1, confirmation='{"candidates":1,"rounds":1}', workload='{"qps":[200000,400000]}',
    )  # fmt: skip
    driven.points = iter([{"itr-delay": 300, "dvfs": 1600}] * 2)
    driven.ranking = [{"itr-delay": 50, "dvfs": 2600, "qps": 200_000}]
    driven.begin()
    driven.ends(4)
    [order] = notes(driven.done, ORDER)
    assert [load["settings"] for load in order.data["loads"]] == [
        [{"itr-delay": 50, "dvfs": 2600}],
        [{"itr-delay": 300, "dvfs": 1600}],
    ]


def test_a_round_that_has_begun_is_completed_before_another_load_begins_its_next() -> None:
    # Windows: four before the confirmation, two rounds of four, one more. Half a round of each load compared nothing.
    driven = Driven(
        musters=2, trials=2, repeats=1, confirmation='{"candidates":1,"rounds":4}',
        budget=f'{{"minutes":{13 * 35 / 60}}}', workload='{"qps":[200000,400000]}', constraints="[]",
    )  # fmt: skip
    driven.points = iter([{"itr-delay": 300, "dvfs": 1600}] * 2)
    driven.begin()
    while driven.running():
        driven.end(joules=1000.0)
    repeats = [a.trial.qps for a in driven.done if isinstance(a, Queue) and a.trial.kind is TrialKind.CONFIRM]
    assert repeats == [2e5] * 4 + [4e5] * 4


def test_that_the_confirmation_is_cut_short_is_said_once() -> None:
    # One load is at its last repeats when there is no budget for another round of the other.
    driven = Driven(
        musters=2, trials=2, repeats=1, confirmation='{"candidates":1,"rounds":4}',
        budget=f'{{"minutes":{9 * 35 / 60}}}', workload='{"qps":[200000,400000]}', constraints="[]",
    )  # fmt: skip
    driven.points = iter([{"itr-delay": 300, "dvfs": 1600}, {"itr-delay": 300, "dvfs": 1600}])
    driven.begin()
    while driven.running():
        driven.end(joules=1000.0)
    assert kinds(driven.done).count(TrialKind.CONFIRM) == 4
    assert len(notes(driven.done, "budget-minutes")) == 1


def test_of_several_loads_the_confirmation_of_each_is_set_aside() -> None:
    # Of each load two rounds of two, and two more once one was chosen.
    driven = Driven(
        trials=30, repeats=1, confirmation='{"candidates":1,"rounds":1}', budget=f'{{"minutes":{32 * 35 / 60}}}',
        workload='{"qps":[200000,400000]}', constraints="[]",
    )  # fmt: skip
    driven.points = iter([{"itr-delay": 300, "dvfs": 1600}, {"itr-delay": 300, "dvfs": 2600}] * 15)
    driven.begin()
    while driven.running():
        driven.end(joules=0)
    assert kinds(driven.done).count(TrialKind.CONFIRM) == 16
    assert {a.trial.qps for a in driven.done if isinstance(a, Queue)} == {2e5, 4e5}
    assert isinstance(driven.done[-1], Conclude)
    assert not notes(driven.done, "budget-minutes")


def test_an_attempt_that_the_budget_does_not_last_for_is_given_up() -> None:
    driven = Driven(trials=3, repeats=0, budget=f'{{"minutes":{2 * 35 / 60}}}')
    driven.begin()
    driven.end()
    over = driven.end(state=TrialState.INVALID, reason=Reason.NO_ANSWER)
    given_up = [a.trial for a in over if isinstance(a, Finish)][-1]
    assert (given_up.state, given_up.reason, given_up.attempt) == (TrialState.FAILED, "budget-spent", 2)
    assert given_up.detail == "the budget of 1.16667 minutes is used up"
    assert isinstance(over[-1], Conclude)


def test_a_knob_that_settles_slowly_makes_every_trial_dearer() -> None:
    driven = Driven(trials=9, repeats=0, budget='{"minutes":3}')
    driven.here = {"m0": 25.0}
    driven.begin()
    while driven.running():
        driven.end()
    assert len([a for a in driven.done if isinstance(a, Start)]) == 3


def test_nodes_that_run_beside_one_another_share_the_budgets_minutes() -> None:
    driven = Driven(expected=2, musters=2, trials=20, repeats=0, budget=f'{{"minutes":{3 * 35 / 60}}}')
    driven.begin()
    while driven.running():
        driven.end()
    assert len([a for a in driven.done if isinstance(a, Start)]) == 6


def test_what_settled_slowly_once_is_reckoned_with_from_then_on() -> None:
    driven = Driven(trials=9, repeats=0, budget='{"minutes":3}')
    driven.here = {"m0": 25.0}
    driven.begin()
    driven.here = {"m0": 0.0}
    driven.do(driven.scheduler.herd(driven.here, 1.0))
    while driven.running():
        driven.end()
    assert len([a for a in driven.done if isinstance(a, Start)]) == 3


def test_what_ended_beside_the_failure_that_ends_it_is_kept() -> None:
    driven = Driven(gates='{"same_failure":1}', expected=2, musters=2, compares=False)
    driven.begin()
    first, second = driven.running()
    replace = msgspec.structs.replace
    failed = replace(first, state=TrialState.FAILED, reason=Reason.DECISION_FAILED, detail="so it is", ended_at=1.0)
    measured = replace(second, state=TrialState.FINISHED, metrics={"energy_joules": 1.0}, ended_at=1.0)
    done = driven.do(driven.scheduler.ended([failed, measured], 0.0))
    assert [(a.trial.number, a.trial.state, a.retry) for a in done if isinstance(a, Finish)] == [
        (first.number, TrialState.FAILED, False),
        (second.number, TrialState.FINISHED, False),
    ]
    assert isinstance(done[-1], End)
    assert only(done, End).reason == "1 trials in a row failed with decision-failed: so it is"


def test_musters_whose_servers_start_slowly_have_that_long() -> None:
    driven = Driven(musters=0, wait_s=100.0)
    driven.begin()
    assert driven.do(driven.scheduler.tick(99.0)) == []
    assert "no muster joined within 100 s" in only(driven.do(driven.scheduler.tick(100.0)), End).reason
    driven = Driven(trials=3, repeats=0, wait_s=100.0)
    driven.begin()
    driven.do(driven.scheduler.herd({}, 10.0))
    assert notes(driven.end(state=TrialState.INVALID, reason=Reason.MUSTER_DEAD), "herd-gone")
    assert driven.do(driven.scheduler.tick(LONELY_S + 75.0)) == []
    assert "for 110 s" in only(driven.do(driven.scheduler.tick(LONELY_S + 100.0)), End).reason
