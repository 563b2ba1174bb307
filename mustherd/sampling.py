"""Values that are asked for again and again over a window, and what lies between two of them."""

import math
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeAlias, TypeVar

T = TypeVar("T")
Samples: TypeAlias = Sequence[tuple[float, float]]
"""(time in s, value), in order of time."""

LEAST_SAMPLES = 3
"""In a window; fewer tell nothing of what happened in it."""
JOIN_S = 30.0
"""How long a value that is being asked for is waited for when all others are there."""


class UnreadableError(Exception):
    """There is no value that can be used; the message says from where and why. Never reported as 0."""


class NotThereError(UnreadableError):
    """What is asked is not there: it may be once its server runs."""


@dataclass(frozen=True)
class Source:
    """Where values come from."""

    read: Callable[[], float]
    """Raises UnreadableError."""
    period_seconds: float
    """How often it is asked."""
    lag_seconds: float = 0.0
    """How old a value is when it is told."""


class Sampler:
    """Asks each source, in a thread of its own, from when it is entered until it is left.

    A value's time is the middle between asking and hearing. After it was left it asks on until values of that moment
    have been told, at least once: the window's end then lies between two values.
    """

    def __init__(self, sources: Mapping[str, Source], now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._samples: dict[str, list[tuple[float, float]]] = {name: [] for name in sources}
        self._errors: dict[str, str] = {}
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(name, source), name=f"sample-{name}", daemon=True)
            for name, source in sources.items()
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(JOIN_S)

    def made_of(self, come_to: Callable[[str, Samples], T]) -> tuple[dict[str, T], dict[str, str]]:
        """What the samples of each source come to, and of each that doesn't tell (ValueError), why: its own error, or
        else what was missing.
        """
        found: dict[str, T] = {}
        why: dict[str, str] = {}
        for name, samples in self._samples.items():
            try:
                found[name] = come_to(name, tuple(samples))
            except ValueError as error:
                why[name] = self._errors.get(name) or str(error)
        return found, why

    def _ask(self, name: str, source: Source) -> None:
        until = math.inf
        while True:
            asked = self._now()
            try:
                value = source.read()
                self._samples[name].append(((asked + self._now()) / 2, value))
            except UnreadableError as error:
                self._errors[name] = str(error)
            if not self._over.is_set():
                self._over.wait(max(0.0, asked + source.period_seconds - self._now()))
                continue
            until = min(until, self._now() + source.lag_seconds)
            if (left := until - self._now()) <= 0:
                return
            time.sleep(min(source.period_seconds, left))


def values_within(samples: Samples, t0: float, t1: float) -> list[float]:
    """The values in a window. ValueError where they are too few to tell."""
    inside = [value for at, value in samples if t0 <= at <= t1]
    if len(inside) < LEAST_SAMPLES:
        raise ValueError(f"{len(inside)} values in a window of {t1 - t0:.1f} s; at least {LEAST_SAMPLES} are needed")
    return inside


def value_at(samples: Samples, t: float) -> float:
    """The value at a time, on the straight line between the samples around it; at either end the nearest one."""
    index = bisect_left(samples, t, key=lambda sample: sample[0])
    if index in (0, len(samples)):
        return samples[min(index, len(samples) - 1)][1]
    (a, v0), (b, v1) = samples[index - 1], samples[index]
    return v0 + (v1 - v0) * (t - a) / (b - a) if b > a else v1
