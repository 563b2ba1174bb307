"""An outcome: one measured metric as the search models it."""

import math
from collections.abc import Sequence

import numpy as np
from skopt.acquisition import gaussian_pi

from mustherd.goal import Constraint, Objective
from mustherd.learn.noise import Noise
from mustherd.learn.surrogate import Array, Surrogate, Trend

NOISE = 0.01
"""Relative noise expected of a metric before it is measured: recorded repeats vary by 0.1..1.4 %."""
NOISE_WEIGHT = 2.0
"""How many repeats that expectation is worth against repeats that were measured."""
LEAST_NOISE = 5e-4
PRIOR_GAIN = 0.0
"""A prior is kept as long as its evidence is at least this much (nats) above a model's that knows nothing."""


class OutcomeModel:
    """A metric, its transform, its limit and its models; of an objective, which has no limit, its cost.

    On logarithms where every value is positive: energy and latency are products of causes (a clock's power times a
    load's busy time), and noise is relative.
    """

    def __init__(self, of: Objective | Constraint, width: int, noise: float | None = None) -> None:
        self.metric = of.metric
        self.constraint = of if isinstance(of, Constraint) else None
        self._objective = of if isinstance(of, Objective) else None
        self._width = width
        self._known = None if noise is None else Noise(share=noise, freedom=0)
        self.log = True
        self._plain = Surrogate(width, NOISE)
        self._informed: Surrogate | None = None
        self.surrogate = self._plain

    def believe(self, x: Array, values: Sequence[float]) -> None:
        """Take earlier values at `x` as a prior: what is learnt from now on is the departure from their surface."""
        if min(values) <= 0:
            return
        earlier = Surrogate(self._width, NOISE)
        earlier.fit(x, np.log([self.value(value) for value in values]))
        trend: Trend = earlier.predict
        self._informed = Surrogate(self._width, NOISE, trend)

    def value(self, metric: float) -> float:
        """What is modelled of a measured value, and the other way round."""
        return metric if self._objective is None else self._objective.direction.as_cost(metric)

    def learn(self, x: Array, values: Sequence[float], points: Sequence[int], tune: bool) -> None:
        """Fit to measured values at `x`; `points` says which of them are repeats of the same point."""
        values = [self.value(value) for value in values]
        log = min(values) > 0 and (self.constraint is None or self.constraint.limit > 0)
        if log != self.log:
            self.log, self._informed, tune = log, None, True
        y = np.log(values) if log else np.asarray(values, dtype=float)
        noise = self._noise(y, points)
        self._plain.fit(x, y, noise, tune)
        self.surrogate = self._plain
        if self._informed is not None:
            self._informed.fit(x, y, noise, tune)
            if self._informed.evidence() >= self._plain.evidence() + PRIOR_GAIN:
                self.surrogate = self._informed

    def _noise(self, y: Array, points: Sequence[int]) -> float:
        """The noise to expect: pooled over repeats of the same point, and an assumption worth NOISE_WEIGHT of them."""
        groups: dict[int, list[float]] = {}
        for point, value in zip(points, y, strict=True):
            groups.setdefault(point, []).append(float(value))
        squares = sum(float(np.var(g)) * len(g) for g in groups.values())
        freedom = sum(len(g) - 1 for g in groups.values())
        known, weight = self._known, NOISE_WEIGHT
        # What was measured elsewhere counts as the repeats that it was measured with, or as the assumption it replaces.
        assumed = NOISE if known is None or known.freedom else known.share
        scale = 1.0 if self.log else float(np.mean(np.abs(y))) or 1.0
        total = weight * (assumed * scale) ** 2 + squares
        if known is not None and known.freedom:
            total += known.freedom * (known.share * scale) ** 2
            weight += known.freedom
        return max(LEAST_NOISE, math.sqrt(total / (weight + freedom)))

    def calibrate(self, noise: Noise) -> None:
        """Take in how much equal trials differ, where that was measured apart from what is told."""
        self._known = noise

    def limit(self) -> float:
        """The constraint's limit in the transform."""
        if self.constraint is None:
            return math.inf
        return math.log(self.constraint.limit) if self.log else self.constraint.limit

    def means(self, x: Array) -> Array:
        """The mean of what is modelled at each of `x`, on no logarithm."""
        mean = self.surrogate.predict(x)
        return np.asarray(np.exp(mean) if self.log else mean, dtype=np.float64)

    def kept(self, x: Array) -> Array:
        """Whether the model's mean keeps the limit at each of `x`."""
        mean = self.surrogate.predict(x)
        at_least = self.constraint is not None and self.constraint.at_least
        return np.asarray(mean >= self.limit() if at_least else mean <= self.limit())

    def log_chance(self, x: Array, model: Surrogate) -> Array:
        """Logarithm of the probability under `model` that the limit is kept at each of `x`."""
        if self.constraint is None:
            return np.zeros(len(x))
        # The probability of improving on the limit is the probability of keeping it.
        chance = gaussian_pi(x, model, y_opt=self.limit(), xi=0.0)
        if self.constraint.at_least:
            chance = 1.0 - chance
        return np.asarray(np.log(np.maximum(chance, 1e-12)), dtype=np.float64)
