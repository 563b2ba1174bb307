"""The machine's own clock."""

import time
from collections.abc import Callable

import pytest

from mustherd.node.clock import MonotonicClock
from mustherd.testing.clock import ClockContract


class TestMonotonic(ClockContract):
    @pytest.fixture
    def clock(self) -> MonotonicClock:
        return MonotonicClock()

    @pytest.fixture
    def wait(self) -> Callable[[float], None]:
        return time.sleep

    def test_it_cannot_stand_still(self, clock: MonotonicClock) -> None:
        deadline = clock.now()
        clock.stop_at(deadline)
        time.sleep(0.001)  # fixed: real time passes
        assert clock.now() > deadline
