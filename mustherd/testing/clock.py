"""What every node's clock does."""

from collections.abc import Callable

import pytest

from mustherd.node.clock import Clock

MOST_WAITS = 1000


class ClockContract:
    """The node's clock."""

    @staticmethod
    def reach(deadline: float, clock: Clock, wait: Callable[[float], None]) -> None:
        """Wait until `deadline`, as often as the clock says that it isn't yet."""
        for _ in range(MOST_WAITS):
            if (pause := clock.wall_seconds_until(deadline)) <= 0:
                return
            wait(pause)
        pytest.fail(f"after {MOST_WAITS} waits it still says to wait")

    @pytest.fixture
    def clock(self) -> Clock:
        raise NotImplementedError

    @pytest.fixture
    def wait(self, clock: Clock) -> Callable[[float], None]:
        """Lets this many real seconds pass."""
        raise NotImplementedError

    def test_never_goes_back(self, clock: Clock, wait: Callable[[float], None]) -> None:
        last = clock.now()
        for deadline in (None, 0.001, 0.002, None, -1.0, None):
            clock.stop_at(None if deadline is None else last + deadline)
            for _ in range(3):
                wait(0.001)
                now = clock.now()
                assert now >= last
                last = now

    def test_goes_on(self, clock: Clock, wait: Callable[[float], None]) -> None:
        before = clock.now()
        wait(0.001)
        assert clock.now() > before

    def test_what_has_passed_needs_no_waiting(self, clock: Clock) -> None:
        now = clock.now()
        assert clock.wall_seconds_until(now) == 0
        assert clock.wall_seconds_until(now - 5) == 0

    def test_after_the_wait_it_is_time(self, clock: Clock, wait: Callable[[float], None]) -> None:
        for _ in range(3):
            deadline = clock.now() + 0.002
            self.reach(deadline, clock, wait)
            assert clock.now() >= deadline

    def test_a_promised_call_can_be_taken_back(self, clock: Clock, wait: Callable[[float], None]) -> None:
        promised = clock.now() + 0.001
        clock.stop_at(promised)
        clock.stop_at(None)
        self.reach(promised + 0.001, clock, wait)
        assert clock.now() > promised

    def test_it_goes_on_after_a_promise_is_kept(self, clock: Clock, wait: Callable[[float], None]) -> None:
        promised = clock.now() + 0.001
        clock.stop_at(promised)
        self.reach(promised, clock, wait)
        kept = clock.now()
        assert kept >= promised
        clock.stop_at(None)
        wait(0.001)
        assert clock.now() > kept
