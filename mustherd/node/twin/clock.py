"""A clock that runs `speed` times as fast as real time and can be told to stand still."""

import time
from collections.abc import Callable


class TwinClock:
    """Simulated seconds from 0; keeps the promises of mustherd.node.clock.Clock.

    After `stop_at(deadline)` it runs up to the deadline and stands there until `stop_at` is called again, with a later
    deadline or with None; then it goes on from where it stood. What is read in between happens at the deadline exactly.
    """

    def __init__(self, speed: float = 1.0, wall: Callable[[], float] = time.monotonic) -> None:
        """`wall` gives real seconds, monotonic. ValueError unless `speed` is above 0."""
        if not speed > 0:
            raise ValueError(f"a clock's speed must be above 0, not {speed}")
        self._speed = speed
        self._wall = wall
        self._wall_start = wall()
        self._start = 0.0
        self._stop: float | None = None

    def now(self) -> float:
        running = self._start + (self._wall() - self._wall_start) * self._speed
        return running if self._stop is None else min(running, self._stop)

    def wall_seconds_until(self, deadline: float) -> float:
        return max(0.0, deadline - self.now()) / self._speed

    def stop_at(self, deadline: float | None) -> None:
        # Start afresh from the present, so that real time that went by while the clock stood still is never made up.
        self._start, self._wall_start = self.now(), self._wall()
        self._stop = None if deadline is None else max(deadline, self._start)
