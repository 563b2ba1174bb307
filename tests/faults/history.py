"""What the knobs of nodes were at every moment, and whether that is what decisions asked for."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

LOOK_S = 0.01
"""Between two looks: a value that holds shorter may be missed."""


@dataclass
class Seen:
    """What one node's knobs were, each value with the time at which it was first seen."""

    original: int
    values: list[tuple[float, int]] = field(default_factory=list)
    asked: list[tuple[float, int]] = field(default_factory=list)
    """What was asked for, with the time of asking, each value another one than the one before."""

    def look(self, now: float, value: int) -> None:
        if not self.values or self.values[-1][1] != value:
            self.values.append((now, value))

    def back_since(self, begin: float) -> float | None:
        """Seconds from `begin` until the original was there for good; None: it isn't there now."""
        if not self.values or self.values[-1][1] != self.original:
            return None
        return max(0.0, self.values[-1][0] - begin)

    def faults(self) -> list[str]:
        """Where the values tell of a decision that was acted on twice, late, or that nobody made."""
        found = []
        latest = -1
        for at, value in self.values[1:]:
            if value == self.original:
                continue
            after = [n for n, (when, asked) in enumerate(self.asked) if asked == value and when <= at and n > latest]
            if after:
                latest = after[-1]
            elif any(asked == value for _, asked in self.asked):
                found.append(f"{value} was there a second time, or after a newer decision")
            else:
                found.append(f"{value} was there, which nobody asked for")
        return found


class Watch(threading.Thread):
    """Looks at the knobs of several nodes until it is ended."""

    def __init__(self, read: Mapping[str, Callable[[], int | None]], originals: Mapping[str, int]) -> None:
        super().__init__(daemon=True)
        self._read = read
        self._over = threading.Event()
        self.seen = {name: Seen(original) for name, original in originals.items()}

    def run(self) -> None:
        while not self._over.wait(LOOK_S):
            now = time.monotonic()
            for name, read in self._read.items():
                value = read()
                if value is not None:
                    self.seen[name].look(now, value)

    def end(self) -> None:
        self._over.set()
        self.join()
