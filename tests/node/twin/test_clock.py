"""A clock that runs fast and stands still on time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mustherd.node.twin.clock import TwinClock
from tests.node.twin.stand import Hand


def test_starts_at_zero_and_runs_as_fast_as_told() -> None:
    hand = Hand()
    clock = TwinClock(200, hand)
    assert clock.now() == 0
    hand.move(0.5)
    assert clock.now() == pytest.approx(100)
    assert clock.wall_seconds_until(300) == pytest.approx(1)


def test_stands_still_at_the_promised_time_and_makes_up_for_nothing() -> None:
    hand = Hand()
    clock = TwinClock(10, hand)
    clock.stop_at(30.0)
    hand.move(1000)
    assert clock.now() == 30.0
    assert clock.wall_seconds_until(30.0) == 0
    hand.move(1000)
    assert clock.now() == 30.0
    clock.stop_at(60.0)
    assert clock.now() == 30.0
    hand.move(1)
    assert clock.now() == pytest.approx(40)
    hand.move(1000)
    assert clock.now() == 60.0
    clock.stop_at(None)
    hand.move(1)
    assert clock.now() == pytest.approx(70)


def test_a_promise_of_the_past_stops_it_now() -> None:
    hand = Hand()
    clock = TwinClock(1, hand)
    hand.move(50)
    clock.stop_at(10.0)
    hand.move(50)
    assert clock.now() == pytest.approx(50)


@pytest.mark.parametrize("speed", [0, -1, float("nan")])
def test_a_clock_has_to_run(speed: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        TwinClock(speed)


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["wait", "stop", "free"]), st.floats(-10, 1000, allow_nan=False)), max_size=40
)


@given(speed=st.floats(1e-3, 1e4), actions=ACTIONS)
def test_never_goes_back_and_never_passes_the_promised_time(speed: float, actions: list[tuple[str, float]]) -> None:
    hand = Hand()
    clock = TwinClock(speed, hand)
    last, stop = clock.now(), None
    for action, amount in actions:
        if action == "wait":
            hand.move(abs(amount))
        elif action == "stop":
            stop = max(last + amount, clock.now())
            clock.stop_at(last + amount)
        else:
            stop = None
            clock.stop_at(None)
        now = clock.now()
        assert now >= last
        assert stop is None or now <= stop
        last = now
