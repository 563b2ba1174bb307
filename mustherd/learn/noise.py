"""How much equal trials differ: what repeats of the same setting say of one trial's noise."""

import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

import msgspec


class Noise(msgspec.Struct, frozen=True, kw_only=True):
    """A metric's noise in one trial."""

    share: float
    """Standard deviation, relative to the value."""
    freedom: int
    """Degrees of freedom that it was measured with: repeats, less one for each setting."""


@dataclass
class _Spread:
    """The logarithms of one metric in one group: how many, their mean, and the sum of squares about it."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        off = value - self.mean
        self.mean += off / self.count
        self.squares += off * (value - self.mean)


class PooledNoise:
    """The noise of each metric, pooled over groups of repeats and kept up with each repeat.

    Values that are missing, not positive or not finite are left out.
    """

    def __init__(self, metrics: Iterable[str]) -> None:
        self._spreads: dict[str, dict[Hashable, _Spread]] = {metric: {} for metric in metrics}

    def add(self, group: Hashable, repeat: Mapping[str, float]) -> None:
        """One more repeat of what all in `group` repeat."""
        for metric, groups in self._spreads.items():
            value = repeat.get(metric, 0.0)
            if 0 < value < math.inf:
                groups.setdefault(group, _Spread()).add(math.log(value))

    def noise(self) -> dict[str, Noise]:
        """Metric to its noise; only of metrics that a group has twice."""
        found: dict[str, Noise] = {}
        for metric, groups in self._spreads.items():
            freedom = sum(spread.count - 1 for spread in groups.values())
            if freedom:
                squares = math.fsum(spread.squares for spread in groups.values())
                found[metric] = Noise(share=math.sqrt(squares / freedom), freedom=freedom)
        return found
