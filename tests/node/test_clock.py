"""The machine's own clock."""

import time

import pytest

from mustherd.node.clock import MonotonicClock
from mustherd.testing.clock import ClockContract


class TestMonotonic(ClockContract):
    @pytest.fixture
    def clock(self):
        return MonotonicClock()

    @pytest.fixture
    def wait(self):
        return time.sleep

    def test_it_cannot_stand_still(self, clock):
        deadline = clock.now()
        clock.stop_at(deadline)
        time.sleep(0.001)
        assert clock.now() > deadline
