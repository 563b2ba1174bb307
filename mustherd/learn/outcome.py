"""An outcome: one measured metric as the search models it."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr
from skopt.acquisition import gaussian_pi

from mustherd.goal import Constraint, Objective
from mustherd.learn.growing_noise import SIZES, room, share, weights
from mustherd.learn.noise import Noise
from mustherd.learn.process import Array
from mustherd.learn.surrogate import Surrogate, Trend

NOISE = 0.01
"""Relative noise expected of a metric before it is measured: recorded repeats vary by 0.1..1.4 %."""
NOISE_WEIGHT = 2.0
"""How many repeats that expectation is worth against repeats that were measured."""
LEAST_NOISE = 5e-4
RESERVE = 2.5
"""Noises by which a mean has to keep its limit for the next window to keep it: what a confirmation of eight rounds asks
for (mustherd.learn.inference.reach)."""
FAR_OFF = 5.0
"""Of three or more windows of a point, those that lie farther from their middle than so many times the noise are taken
for no farther: one that was disturbed then moves the model little."""
SLIGHT = 0.01
"""Models less likely than this are not asked what can be promised."""
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
        self._trend: Trend | None = None
        self._models: dict[tuple[float, bool], Surrogate] = {}
        """By how much the noise grows towards the limit, and whether they know the prior."""
        self._size = 0.0
        self._turn = 0
        self._fitted = False
        self.surrogate = Surrogate(width, NOISE)
        self._beliefs = [(0.0, 1.0, self.surrogate)]
        """By how much the noise may grow, how likely that is, and the model that has it so."""
        self.cautious = False
        """Whether limits are to be kept with room for the next window's noise."""

    def believe(self, x: Array, values: Sequence[float]) -> None:
        """Take earlier values at `x` as a prior: what is learnt from now on is the departure from their surface."""
        if min(values) <= 0:
            return
        earlier = Surrogate(self._width, NOISE)
        earlier.fit(x, np.log([self.value(value) for value in values]))
        self._trend = earlier.predict

    def value(self, metric: float) -> float:
        """What is modelled of a measured value, and the other way round."""
        return metric if self._objective is None else self._objective.direction.as_cost(metric)

    def learn(self, x: Array, values: Sequence[float], points: Sequence[int], tune: bool) -> None:
        """Fit to measured values at `x`; `points` says which of them are repeats of the same point."""
        values = [self.value(value) for value in values]
        log = min(values) > 0 and (self.constraint is None or self.constraint.limit > 0)
        if log != self.log:
            self.log, self._trend, self._fitted, tune = log, None, False, True
            self._models = {}
        y = np.log(values) if log else np.asarray(values, dtype=float)
        y = self._middling(y, points)
        noise = self._noise(y, points)
        grows = self.log and self.constraint is not None and not self.constraint.at_least
        # Noise may grow by what the model made of the values before, or by the values themselves.
        about = share(self.surrogate.predict(x) if self._fitted else y, self.limit()) ** 2 if grows else y
        evidence: dict[float, float] = {}
        found: dict[float, Surrogate] = {}
        # Tuning takes most of the time: the size that leads has its turn each time, of the others one.
        self._turn += 1
        due = {self._size, SIZES[self._turn % len(SIZES)]}
        for size in SIZES if grows else SIZES[:1]:
            found[size] = self._fit(size, x, y, noise, tune=tune and size in due, more=about * size**2)
            evidence[size] = found[size].evidence()
        self._beliefs = [(size, weight, found[size]) for size, weight in weights(evidence).items() if weight >= SLIGHT]
        self._size, _, self.surrogate = max(self._beliefs, key=lambda belief: (belief[1], -belief[0]))
        self._fitted = True

    def _fit(self, size: float, x: Array, y: Array, noise: float, *, tune: bool, more: Array) -> Surrogate:
        """The better of the models with and without the prior, for noise that grows by `size`."""
        fitted = []
        for trend in (None, self._trend) if self._trend is not None else (None,):
            model = self._models.setdefault((size, trend is not None), Surrogate(self._width, NOISE, trend))
            model.fit(x, y, noise, tune, more)
            fitted.append(model)
        return fitted[-1] if fitted[-1].evidence() >= fitted[0].evidence() + PRIOR_GAIN else fitted[0]

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

    def _middling(self, y: Array, points: Sequence[int]) -> Array:
        """The same values, but for those far from the middle of three or more of their point."""
        groups: dict[int, list[int]] = {}
        for place, point in enumerate(points):
            groups.setdefault(point, []).append(place)
        kept = y.copy()
        assumed = self._known.share if self._known is not None else NOISE
        scale = 1.0 if self.log else float(np.mean(np.abs(y))) or 1.0
        for places in groups.values():
            if len(places) > 2:
                middle = float(np.median(y[places]))
                away = np.abs(y[places] - middle)
                most = FAR_OFF * max(assumed * scale, float(np.median(away)))
                kept[places] = np.clip(y[places], middle - most, middle + most)
        return np.asarray(kept, dtype=np.float64)

    def calibrate(self, noise: Noise) -> None:
        """Take in how much equal trials differ, where that was measured apart from what is told."""
        self._known = noise

    def goal(self) -> float:
        """What a mean has to keep, in the transform: the limit, or what lets the next window keep it."""
        return self.promised() if self.cautious else self.limit()

    def promised(self, size: float | None = None, model: Surrogate | None = None) -> float:
        """What a mean has to keep for the next window to keep the limit, by the likeliest model or another."""
        size, model = self._size if size is None else size, model or self.surrogate
        if self.constraint is None or not self.log:
            return self.limit()
        if self.constraint.at_least:
            return self.limit() + RESERVE * model.noise()
        return self.limit() - room(model.noise(), size, RESERVE)

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
        """Whether the model's mean keeps the limit at each of `x`, with room for the next window."""
        mean = self.surrogate.predict(x)
        at_least = self.constraint is not None and self.constraint.at_least
        return np.asarray(mean >= self.goal() if at_least else mean <= self.goal())

    def promise(self, x: Array) -> Array:
        """The probability that the mean at each of `x` leaves the room that promising the next window takes.

        Over all models, each as likely as it is: how noise grows is rarely known well.
        """
        total: Array = np.zeros(len(x))
        for size, weight, model in self._beliefs:
            mean, deviation = model.predict(x, return_std=True)
            left = self.promised(size, model) - mean
            if self.constraint is not None and self.constraint.at_least:
                left = -left
            total = total + weight * ndtr(left / deviation)
        return total / sum(weight for _, weight, _ in self._beliefs)

    def keeps(self, value: float) -> bool:
        """Whether a value in the transform keeps the limit."""
        at_least = self.constraint is not None and self.constraint.at_least
        return value >= self.limit() if at_least else value <= self.limit()

    def log_chance(self, x: Array, model: Surrogate) -> Array:
        """Logarithm of the probability under `model` that the limit is kept at each of `x`, with that room."""
        if self.constraint is None:
            return np.zeros(len(x))
        # The probability of improving on the limit is the probability of keeping it.
        chance = gaussian_pi(x, model, y_opt=self.goal(), xi=0.0)
        if self.constraint.at_least:
            chance = 1.0 - chance
        return np.asarray(np.log(np.maximum(chance, 1e-12)), dtype=np.float64)
