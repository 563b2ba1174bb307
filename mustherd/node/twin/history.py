"""What a twin's machine did, kept from change to change for those who read it later."""

import math
from collections import deque
from typing import Protocol

import msgspec

from mustherd.node.twin.mixes import frames
from mustherd.node.twin.profiles import Profile

STRETCHES_KEPT = 4096
"""Changes of state that wait for their readers; what lies further back is lost to them, and they are told."""

ROW_S = 1e-3
"""intlog writes a row on the first interrupt that comes at least so long after the one before."""


class Stretch(msgspec.Struct, kw_only=True):
    """The machine from one change to the next."""

    began: float
    until: float
    package_joules: float
    """Of all packages, when it began."""
    power_watts: float
    ghz: float
    busy_fraction: float
    interrupts_per_s: float
    """Of one core, as is the next one."""
    qps: float
    update_ratio: float
    preset: str

    def continues(self, other: "Stretch") -> bool:
        """Whether nothing has changed since `other`."""
        then = msgspec.structs.replace(other, began=self.began, until=self.until, package_joules=self.package_joules)
        return self.began == other.until and self == then

    def row_distance(self) -> float:
        """Seconds from one row of intlog's to the next: as many interrupts as it takes; inf where none come."""
        if not self.interrupts_per_s:
            return math.inf
        return math.ceil(ROW_S * self.interrupts_per_s) / self.interrupts_per_s

    def received(self, profile: Profile) -> float:
        """Bytes per request that a core's queue receives, on average."""
        found = frames(profile, self.preset)
        return found.rx_read + self.update_ratio * (found.rx_update - found.rx_read)

    def sent(self, profile: Profile) -> float:
        """Bytes per request that it sends."""
        found = frames(profile, self.preset)
        return found.tx_read + self.update_ratio * (found.tx_update - found.tx_read)


class Reader(Protocol):
    """Somebody who reads stretches in order."""

    @property
    def position(self) -> int:
        """Number of the oldest stretch that it may still want."""
        ...

    def skip(self, stretch: Stretch) -> None:
        """The stretch at its position goes, read or not."""
        ...


class History:
    """Stretches that a reader may still want, numbered from 0."""

    def __init__(self) -> None:
        self.readers: list[Reader] = []
        self._kept: deque[Stretch] = deque()
        self._first = 0

    def add(self, stretch: Stretch) -> None:
        """The machine has lived through another one."""
        if self._kept and stretch.continues(self._kept[-1]):
            self._kept[-1].until = stretch.until
            return
        self._kept.append(stretch)
        if len(self._kept) > STRETCHES_KEPT:
            for reader in self.readers:
                if reader.position == self._first:
                    reader.skip(self._kept[0])
            self._drop()

    def at(self, position: int) -> Stretch | None:
        """None: not yet."""
        place = position - self._first
        return self._kept[place] if place < len(self._kept) else None

    def forget(self) -> None:
        """Let go of what all readers are done with."""
        done = min(reader.position for reader in self.readers)
        while self._first < done:
            self._drop()

    def _drop(self) -> None:
        self._kept.popleft()
        self._first += 1
