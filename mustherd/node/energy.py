"""Energy counters: narrow, wrapping and of a unit that only the machine knows."""

from collections.abc import Sequence
from typing import Protocol

from mustherd.terms import Energy, Zone


class MeterError(Exception):
    """An energy counter could not be read; the message says which and why. Never reported as zero."""


class EnergyMeter(Protocol):
    """The energy counters of a node. One owner per counter: nothing else differences them."""

    @property
    def zones(self) -> Sequence[Zone]:
        """The counters, in the order of `read`, with the unit and width that the machine reported."""
        ...

    def read(self) -> tuple[int, ...]:
        """Raw counts now, one per zone, each in `range(counts_per_wrap)`. Raises MeterError."""
        ...


class Tally:
    """Adds up a meter's counters over a window; right as long as it is fed at least once per wrap.

    At 100 W and 2^-16 J a count a 32-bit counter wraps after about 11 minutes.
    """

    def __init__(self, zones: Sequence[Zone], first: Sequence[int]) -> None:
        self._zones = tuple(zones)
        self._last = tuple(first)
        self._counts = [0] * len(self._zones)

    def add(self, counts: Sequence[int]) -> None:
        """Take in the counters' next values."""
        for index, (zone, before, now) in enumerate(zip(self._zones, self._last, counts, strict=True)):
            self._counts[index] += (now - before) % zone.counts_per_wrap
        self._last = tuple(counts)

    def energies(self) -> tuple[Energy, ...]:
        """Joules of each zone since the first values."""
        return tuple(
            Energy(zone=z.name, kind=z.kind, joules=n * z.joules_per_count)
            for z, n in zip(self._zones, self._counts, strict=True)
        )
