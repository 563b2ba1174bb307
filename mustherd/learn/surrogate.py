"""The surrogate: a Gaussian process over one number that stays sane with few points.

mustherd.learn.process underneath; what is added is a prior on the hyper-parameters, a start from the last fit, a trend
that the process is a departure from, and hypothetical points.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import minimize

from mustherd.learn.process import Array, Evidence, Process

Trend = Callable[[Array], Array]

AMPLITUDE = (1.0, 1.0)
"""Prior of the signal's variance in units of the observed one: median, and spread as the sd of its logarithm."""
LENGTH = (2.0, 0.7)
"""Prior of the length scales over coordinates in 0..1: power and latency bend about once over a knob's whole range, so
values at its two ends still tell of each other; the likelihood shortens the scale where the data say so."""
NOISE_SPREAD = 1.0
"""How far, as the sd of a logarithm, the noise variance may be from what was measured before the prior objects."""
BOUNDS = {"amplitude": (0.05, 100.0), "length": (0.1, 20.0), "noise": (1e-7, 1.0)}
EVALUATIONS = 30
"""Likelihood evaluations of one fit; from a warm start more would not change the proposals."""
JITTER = 1e-8
LEAST_VARIANCE = 1e-18
LEAST_SPREAD = 1e-3
"""Observations that differ by less than 0.1 % (of a logarithm: relatively) are not blown up to full scale."""


class Surrogate:
    """A Gaussian process from coordinates to one real number; `predict` is what skopt.acquisition's functions call."""

    def __init__(self, width: int, noise: float, trend: Trend | None = None) -> None:
        """A model over `width` coordinates.

        Args:
            width: how many coordinates a point has; each in 0..1.
            noise: standard deviation of the noise expected, in the number's unit.
            trend: what is believed before anything is seen, up to a constant: (m by width) to m numbers.
        """
        self._width = width
        self._noise = noise
        self._trend = trend
        self._theta: Array | None = None
        self._x: Array = np.empty((0, width))
        self._rest: Array = np.empty(0)
        self._more: Array = np.empty(0)
        self._model: Process
        self._prior = 0.0
        self._centre = 0.0
        self._scale = 1.0

    def fit(self, x: Array, y: Array, noise: float | None = None, tune: bool = True, more: Array | None = None) -> None:
        """Learn from `x` (n by width) and `y` (n).

        `noise` replaces the standard deviation expected; `more` (n) is the variance that single values have beyond what
        all have. Without `tune` the hyper-parameters stay as they were.
        """
        self._noise = self._noise if noise is None else noise
        self._more = np.zeros(len(y)) if more is None else more
        self._x, self._rest = x, y - self._believed(x)
        self._centre = float(np.mean(self._rest))
        self._scale = max(float(np.std(self._rest)), LEAST_SPREAD)
        self._refit(tune or self._theta is None)

    def _believed(self, x: Array) -> Array:
        return np.zeros(len(x)) if self._trend is None else self._trend(x)

    def _refit(self, tune: bool) -> None:
        low, high = BOUNDS["noise"]
        expected = float(np.clip((self._noise / self._scale) ** 2, 2 * low, high / 2))
        centre = np.log([AMPLITUDE[0], *[LENGTH[0]] * self._width, expected])
        spread = np.array([AMPLITUDE[1], *[LENGTH[1]] * self._width, NOISE_SPREAD])
        theta = centre if self._theta is None else self._theta
        y, more = (self._rest - self._centre) / self._scale, JITTER + self._more / self._scale**2
        if tune:
            theta = self._theta = _tuned(Evidence(self._x, y, more), theta, centre, spread)
        self._model = Process.seeing(self._x, y, more, theta)
        off = (theta - centre) / spread
        self._prior = 0.5 * float(off @ off)

    def imagine(self, x: Array) -> "Surrogate":
        """This model as if it had also seen its own predictions come true at `x` (m by width)."""
        if not len(x):
            return self
        other = Surrogate(self._width, self._noise, self._trend)
        other._theta, other._centre, other._scale = self._theta, self._centre, self._scale
        other._x = np.vstack([self._x, x])
        other._rest = np.concatenate([self._rest, self.predict(x) - self._believed(x)])
        other._more = np.concatenate([self._more, np.zeros(len(x))])
        other._refit(tune=False)
        return other

    def predict(self, x: Array, return_std: bool = False) -> Any:
        """Mean at `x` (m by width) and, if asked, the standard deviation of the noise-free value there."""
        if not return_std:
            return self._model.predict(x) * self._scale + self._centre + self._believed(x)
        mean, variance = self._model.predict(x, return_std=True)
        deviation = np.sqrt(np.maximum(variance, LEAST_VARIANCE)) * self._scale
        return mean * self._scale + self._centre + self._believed(x), deviation

    def left_out(self) -> tuple[Array, Array]:
        """For each observation, in their order, what the model makes of it from all others: mean and standard deviation
        of what a trial there measures, its noise included."""
        off, variance = self._model.left_out()
        return self._rest + self._believed(self._x) - off * self._scale, np.sqrt(variance) * self._scale

    def noise(self) -> float:
        """The standard deviation of the noise that the model settled on, in the number's unit."""
        return float(np.sqrt(self._model.noise)) * self._scale

    def evidence(self) -> float:
        """Log marginal likelihood of what it was fitted to, in the number's own unit, times the prior: compares models
        of the same numbers, tuned or not."""
        fitted = self._model.likelihood - self._prior
        return fitted - len(self._rest) * float(np.log(self._scale))


def _tuned(evidence: Evidence, start: Array, centre: Array, spread: Array) -> Array:
    """The most likely hyper-parameters, by what was seen times the prior."""

    def negative_posterior(theta: Array) -> tuple[float, Array]:
        value, gradient = evidence.of(theta)
        off = (theta - centre) / spread
        return 0.5 * float(off @ off) - value, off / spread - gradient

    width = len(start) - 2
    bounds = np.log([BOUNDS["amplitude"], *[BOUNDS["length"]] * width, BOUNDS["noise"]])
    options = {"maxfun": EVALUATIONS}
    found = minimize(negative_posterior, start, jac=True, bounds=bounds, method="L-BFGS-B", options=options)
    return np.asarray(found.x, dtype=np.float64)
