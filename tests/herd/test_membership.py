import pytest
from hypothesis import given
from hypothesis import strategies as st

from mustherd.herd.membership import PAST_LIVES, Change, Membership, Presence
from mustherd.herd.timing import BEAT_PERIOD_S, DEAD_AFTER_S, LATE_AFTER_S, MISSING_AFTER_S

TICK_S = 0.1
"""A shepherd judges at least this often."""

THRESHOLDS = [
    (LATE_AFTER_S, Presence.LATE),
    (MISSING_AFTER_S, Presence.MISSING),
    (DEAD_AFTER_S, Presence.DEAD),
]


def test_thresholds_leave_room_below_the_promise() -> None:
    assert BEAT_PERIOD_S * 2 <= LATE_AFTER_S < MISSING_AFTER_S < DEAD_AFTER_S
    assert MISSING_AFTER_S + TICK_S < 1.5


@given(last_beat=st.floats(0, 100), phase=st.floats(0, TICK_S))
def test_a_silent_muster_is_noticed_within_a_second_and_a_half(last_beat: float, phase: float) -> None:
    book = Membership()
    book.hello("m", 1, last_beat)
    seen: dict[Presence, float] = {}
    for k in range(200):
        now = last_beat + phase + k * TICK_S
        for change in book.tick(now):
            seen[change.after] = now - last_beat
    assert list(seen) == [Presence.LATE, Presence.MISSING, Presence.DEAD]
    assert LATE_AFTER_S <= seen[Presence.LATE] < MISSING_AFTER_S
    assert seen[Presence.MISSING] < 1.5
    assert DEAD_AFTER_S <= seen[Presence.DEAD] < DEAD_AFTER_S + 2 * TICK_S


@given(gaps=st.lists(st.floats(0, 20), min_size=1, max_size=30))
def test_presence_is_what_the_silence_says(gaps: list[float]) -> None:
    book = Membership()
    now = 0.0
    book.hello("m", 1, now)
    for gap in gaps:
        now += gap
        book.tick(now)
        silent = book.silent_s("m", now)
        expected = Presence.ALIVE
        for threshold, presence in THRESHOLDS:
            if silent >= threshold:
                expected = presence
        assert book.presence("m") is expected
        came_back = book.heard("m", 1, now)
        assert bool(came_back) == (expected is not Presence.ALIVE)
        assert book.presence("m") is Presence.ALIVE


def test_another_life_replaces_the_first_and_a_late_hello_of_the_first_does_not_come_back() -> None:
    book = Membership()
    assert book.hello("m", 1, 0.0) == [Change("m", None, Presence.ALIVE, new_life=True)]
    assert book.hello("m", 1, 0.1) == []
    assert book.hello("m", 2, 0.2) == [Change("m", Presence.ALIVE, Presence.ALIVE, new_life=True)]
    assert book.hello("m", 1, 0.3) == []
    assert book.ended("m", 1)
    assert book.knows("m", 2)
    assert not book.knows("m", 1)
    assert book.heard("m", 1, 5.0) == []
    assert book.silent_s("m", 5.0) == pytest.approx(4.8)


def test_who_has_left_is_not_missed_and_comes_back_as_another_life_only() -> None:
    book = Membership()
    book.hello("m", 1, 0.0)
    assert book.left("m", 1, 1.0) == [Change("m", Presence.ALIVE, Presence.LEFT)]
    assert book.left("m", 1, 1.0) == []
    assert book.tick(100.0) == []
    assert book.hello("m", 1, 101.0) == []
    assert book.presence("m") is Presence.LEFT
    assert book.hello("m", 2, 102.0) == [Change("m", Presence.LEFT, Presence.ALIVE, new_life=True)]


def test_past_lives_are_forgotten_in_the_end() -> None:
    book = Membership()
    for muster_epoch in range(1, PAST_LIVES + 3):
        book.hello("m", muster_epoch, float(muster_epoch))
    assert not book.ended("m", 1)
    assert book.ended("m", 2)


def test_strangers_are_nobody() -> None:
    book = Membership()
    assert book.presence("m") is None
    assert not book.knows("m", 1)
    assert not book.ended("m", 1)
    assert book.heard("m", 1, 0.0) == book.left("m", 1, 0.0) == []
    assert list(book) == []
