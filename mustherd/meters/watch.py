"""Reads meters over a window, each in a thread of its own."""

import math
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from mustherd.meters.base import Traits, UnreadableError, WallMeter
from mustherd.meters.series import WallEnergy, energy

JOIN_S = 30.0


class MeterWatch:
    """Reads from when it is entered until it is left, and then until the window's last value has been told."""

    def __init__(
        self, meters: Mapping[str, tuple[WallMeter, Traits]], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._meters = dict(meters)
        self._now = now
        self._samples: dict[str, list[tuple[float, float]]] = {name: [] for name in meters}
        self._errors: dict[str, str] = {}
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._read, args=(name, *meter), name=f"meter-{name}", daemon=True)
            for name, meter in self._meters.items()
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

    def over(self, t0: float, t1: float) -> tuple[dict[str, WallEnergy], dict[str, str]]:
        """What each meter counted over a window of CLOCK_MONOTONIC, and for each that doesn't tell, why."""
        found: dict[str, WallEnergy] = {}
        why: dict[str, str] = {}
        for name, (meter, traits) in self._meters.items():
            try:
                found[name] = energy(meter.quantity, tuple(self._samples[name]), t0, t1, traits)
            except ValueError as error:
                why[name] = self._errors.get(name) or str(error)
        return found, why

    def _read(self, name: str, meter: WallMeter, traits: Traits) -> None:
        until = math.inf
        while True:
            asked = self._now()
            try:
                value = meter.read()
                self._samples[name].append(((asked + self._now()) / 2, value))
            except UnreadableError as error:
                self._errors[name] = str(error)
            if self._over.is_set():
                # What is told now is older: the window's end is told so much later.
                until = min(until, self._now() + traits.lag_seconds)
                if self._now() >= until:
                    return
                time.sleep(min(traits.period_seconds, max(0.0, until - self._now())))
            else:
                self._over.wait(max(0.0, asked + traits.period_seconds - self._now()))
