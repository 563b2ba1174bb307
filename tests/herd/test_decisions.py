from itertools import pairwise

import pytest

from mustherd.herd.decisions import Decisions, GaveUp, Lost, Publish
from mustherd.herd.timing import DECISION_GIVE_UP_S, DECISION_RESEND_MAX_S, DECISION_RESEND_S
from mustherd.terms import Setting

SLOW = (Setting("node-0", "dvfs", 1200),)


def test_published_again_with_growing_pauses_then_given_up() -> None:
    decisions = Decisions()
    assert decisions.decide("m", SLOW, 0.0) == Publish("m", 1, SLOW)
    times: list[float] = []
    now = 0.0
    while True:
        now = decisions.next_tick()
        actions = decisions.tick(now)
        if actions == [GaveUp("m", 1, len(times) + 1)]:
            break
        assert actions == [Publish("m", 1, SLOW)]
        times.append(now)
    pauses = [b - a for a, b in zip([0.0, *times], times, strict=False)]
    assert pauses[0] == pytest.approx(DECISION_RESEND_S)
    assert all(b >= a - 1e-9 for a, b in pairwise(pauses))
    assert max(pauses) == pytest.approx(DECISION_RESEND_MAX_S)
    assert now == pytest.approx(DECISION_GIVE_UP_S)
    assert decisions.wanted("m") == 0
    assert decisions.next_tick() == float("inf")


def test_an_answer_ends_publishing_and_what_goes_out_of_force_is_lost_once() -> None:
    decisions = Decisions()
    decisions.decide("m", SLOW, 0.0)
    assert decisions.in_force("m", 0) == []
    decisions.answered("m", 1, holds=True)
    assert decisions.tick(5.0) == []
    assert decisions.in_force("m", 1) == []
    assert decisions.wanted("m") == 1
    assert decisions.in_force("m", 0) == [Lost("m", 1, 0)]
    assert decisions.in_force("m", 0) == []
    assert decisions.wanted("m") == 0


def test_a_newer_decision_supersedes_and_an_old_refusal_does_not_end_it() -> None:
    decisions = Decisions()
    decisions.decide("m", SLOW, 0.0)
    decisions.decide("m", (), 0.0)
    decisions.answered("m", 1, holds=False)
    assert decisions.wanted("m") == 2
    assert decisions.tick(1.0) == [Publish("m", 2, ())]


def test_giving_back_is_wanted_until_it_is_answered() -> None:
    decisions = Decisions()
    decisions.decide("m", (), 0.0)
    assert decisions.wanted("m") == 1
    decisions.answered("m", 1, holds=False)
    assert decisions.wanted("m") == 0
    assert decisions.tick(1.0) == []


def test_what_was_refused_is_not_wanted_any_more() -> None:
    decisions = Decisions()
    decisions.decide("m", SLOW, 0.0)
    decisions.answered("m", 1, holds=False)
    assert decisions.wanted("m") == 0
    assert decisions.in_force("m", 0) == []


def test_forgotten_is_not_published_and_numbers_are_never_used_again() -> None:
    decisions = Decisions()
    decisions.decide("m", SLOW, 0.0)
    decisions.forget("m")
    assert decisions.tick(1.0) == []
    assert decisions.decide("m", SLOW, 1.0).seq == 2
    assert decisions.decide("other", SLOW, 1.0).seq == 3


def test_one_that_is_being_carried_out_is_waited_for_and_another_is_not() -> None:
    decisions = Decisions()
    decisions.decide("m", SLOW, 0.0)
    late = DECISION_GIVE_UP_S - 1
    decisions.carrying("m", 1, late)
    assert decisions.tick(late) == []
    assert decisions.tick(DECISION_GIVE_UP_S + 1) == [Publish("m", 1, SLOW)]
    decisions.carrying("m", 7, DECISION_GIVE_UP_S + 2)
    decisions.carrying("nobody", 1, DECISION_GIVE_UP_S + 2)
    assert decisions.tick(late + DECISION_GIVE_UP_S) == [GaveUp("m", 1, 2)]
