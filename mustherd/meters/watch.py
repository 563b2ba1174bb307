"""Reads meters over a window, each in a thread of its own."""

import time
from collections.abc import Callable, Mapping

from mustherd.meters.base import Traits, WallMeter
from mustherd.meters.series import WallEnergy, energy
from mustherd.sampling import Sampler, Samples, Source


class MeterWatch(Sampler):
    """Reads from when it is entered until it is left, and then until the window's last value has been told."""

    def __init__(
        self, meters: Mapping[str, tuple[WallMeter, Traits]], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._meters = dict(meters)
        super().__init__(
            {
                name: Source(meter.read, traits.period_seconds, traits.lag_seconds)
                for name, (meter, traits) in meters.items()
            },
            now,
        )

    def over(self, t0: float, t1: float) -> tuple[dict[str, WallEnergy], dict[str, str]]:
        """What each meter counted over a window of CLOCK_MONOTONIC, and for each that doesn't tell, why."""

        def counted(name: str, samples: Samples) -> WallEnergy:
            meter, traits = self._meters[name]
            return energy(meter.quantity, samples, t0, t1, traits)

        return self.made_of(counted)
