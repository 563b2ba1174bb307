"""The node's clock: real on a machine, faster than real on a twin."""

import time
from typing import Protocol


class Clock(Protocol):
    """Seconds of the node, monotonic from an arbitrary start; windows and settle times are measured on it."""

    def now(self) -> float:
        """Seconds now."""
        ...

    def wall_seconds_until(self, deadline: float) -> float:
        """How long a caller has to wait in real seconds until `deadline`; 0 when it has passed."""
        ...

    def stop_at(self, deadline: float | None) -> None:
        """Promise to be called again at `deadline`.

        A simulated clock stands still there until the next call, so that a window is exactly as long as it was meant
        to be however busy the machine is. A real clock can't stand still and ignores this. None takes it back.
        """
        ...


class MonotonicClock:
    """The machine's own monotonic clock."""

    def now(self) -> float:
        return time.monotonic()

    def wall_seconds_until(self, deadline: float) -> float:
        return max(0.0, deadline - time.monotonic())

    def stop_at(self, deadline: float | None) -> None:
        pass
