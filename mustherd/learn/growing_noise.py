"""Growing noise: how much more the windows of a metric differ, the nearer it comes to its limit.

A server near its latency limit is often a server near saturation, where chance decides: recorded repeats of p99 differ
by 0.2..2.5 % in the median, and by 5..22 % there. A search that takes the quiet default's noise for everybody's is sure
too soon, and of settings whose next window breaks the limit.
"""

import math
from collections.abc import Mapping

import numpy as np

from mustherd.learn.process import Array

SIZES = (0.0, 0.04, 0.12, 0.3)
"""What the noise may be at the limit, beyond what it is everywhere, as a share. Each is a model of its own."""
REACH = 0.15
"""By how much below its limit a metric, as a logarithm, has a third of that left."""
DOUBT = 3.0
"""What the data must say for noise that grows (nats of evidence)."""


def weights(evidence: Mapping[float, float]) -> dict[float, float]:
    """How likely each size is, by its evidence in nats; they add up to 1."""
    believed = {size: nats - (DOUBT if size else 0.0) for size, nats in evidence.items()}
    most = max(believed.values())
    found = {size: math.exp(nats - most) for size, nats in believed.items()}
    total = math.fsum(found.values())
    return {size: weight / total for size, weight in found.items()}


def share(values: Array, limit: float) -> Array:
    """How much of the noise at the limit there is at `values`, logarithms as is `limit`; all of it beyond."""
    return np.asarray(np.exp(np.minimum(0.0, values - limit) / REACH), dtype=np.float64)


def share_of(value: float, limit: float) -> float:
    """The same of one positive value and its limit, which are no logarithms."""
    return math.exp(min(0.0, math.log(value / limit)) / REACH)


def room(noise: float, size: float, times: float) -> float:
    """How far below its limit a mean has to lie for so many `times` its noise to fit in between.

    `noise` is what all windows have, `size` what they have more at the limit.
    """
    low, high = 0.0, times * math.hypot(noise, size)
    for _ in range(30):
        middle = (low + high) / 2
        here = math.hypot(noise, size * math.exp(-middle / REACH))
        low, high = (middle, high) if middle < times * here else (low, middle)
    return high
