"""How much equal trials differ: what repeats of the same setting say of one trial's noise."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

import msgspec


class Noise(msgspec.Struct, frozen=True, kw_only=True):
    """A metric's noise in one trial."""

    share: float
    """Standard deviation, relative to the value."""
    freedom: int
    """Degrees of freedom that it was measured with: repeats, less one for each setting."""


def pooled(groups: Iterable[Sequence[Mapping[str, float]]], metrics: Sequence[str]) -> dict[str, Noise]:
    """The noise of each metric, pooled over `groups` of repeats; only of metrics that two of a group have, positive."""
    found: dict[str, Noise] = {}
    kept = [list(group) for group in groups]
    for metric in metrics:
        squares, freedom = 0.0, 0
        for group in kept:
            logs = [math.log(m[metric]) for m in group if m.get(metric, 0.0) > 0]
            if len(logs) > 1:
                squares += statistics.variance(logs) * (len(logs) - 1)
                freedom += len(logs) - 1
        if freedom:
            found[metric] = Noise(share=math.sqrt(squares / freedom), freedom=freedom)
    return found
