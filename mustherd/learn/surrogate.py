"""The surrogate: a Gaussian process over one number that stays sane with few points.

scikit-optimize's regressor and kernels underneath; what is added is a prior on the kernel's hyper-parameters, a start
from the last fit, a trend that the process is a departure from, and hypothetical points.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from skopt.learning import GaussianProcessRegressor
from skopt.learning.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

Array = NDArray[np.float64]
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
        self._model: Any = None
        self._x: Array = np.empty((0, width))
        self._rest: Array = np.empty(0)
        self._more: Array = np.empty(0)
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
        kernel = ConstantKernel(AMPLITUDE[0], BOUNDS["amplitude"]) * Matern(
            np.full(self._width, LENGTH[0]), [BOUNDS["length"]] * self._width, nu=2.5
        ) + WhiteKernel(expected, BOUNDS["noise"])
        centre = kernel.theta.copy()
        if self._theta is not None:
            kernel.theta = self._theta
        spread = np.array([AMPLITUDE[1], *[LENGTH[1]] * self._width, NOISE_SPREAD])
        model = GaussianProcessRegressor(
            kernel=kernel,
            alpha=JITTER + self._more / self._scale**2,
            noise="gaussian",
            optimizer=self._optimizer(centre, spread) if tune else None,
        )
        with warnings.catch_warnings():
            # It warns of hyper-parameters at their bounds, which is what the bounds are for.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._model = model.fit(self._x, (self._rest - self._centre) / self._scale)
        # What an optimizer of ours has found holds the prior already.
        off = (kernel.theta - centre) / spread
        self._prior = 0.0 if tune else 0.5 * float(off @ off)

    def _optimizer(self, centre: Array, spread: Array) -> Callable[..., tuple[Array, float]]:
        """A maximizer of likelihood times prior, in the shape that scikit-learn's regressor calls."""

        def optimize(negative_likelihood: Any, initial_theta: Array, bounds: Array) -> tuple[Array, float]:
            def negative_posterior(theta: Array) -> tuple[float, Array]:
                value, gradient = negative_likelihood(theta, eval_gradient=True)
                off = (theta - centre) / spread
                return value + 0.5 * float(off @ off), gradient + off / spread

            found = minimize(
                negative_posterior,
                initial_theta,
                jac=True,
                bounds=bounds,
                method="L-BFGS-B",
                options={"maxfun": EVALUATIONS},
            )
            self._theta = found.x
            return found.x, float(found.fun)

        return optimize

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
        # The regressor's own predict sums over three indices without BLAS: ten times slower at 1,000 points.
        model = self._model
        cross = model.kernel_(x, model.X_train_)
        mean = (cross @ model.alpha_) * self._scale + self._centre + self._believed(x)
        if not return_std:
            return mean
        half = solve_triangular(model.L_, cross.T, lower=True, check_finite=False)
        variance = model.kernel_.diag(x) - np.einsum("ij,ij->j", half, half)
        return mean, np.sqrt(np.maximum(variance, LEAST_VARIANCE)) * self._scale

    def left_out(self) -> tuple[Array, Array]:
        """For each observation, in their order, what the model makes of it from all others: mean and standard deviation
        of what a trial there measures, its noise included."""
        # The closed form of leave-one-out (Rasmussen and Williams, Gaussian Processes for Machine Learning, 5.4.2).
        half = solve_triangular(self._model.L_, np.eye(len(self._rest)), lower=True, check_finite=False)
        precision = np.einsum("ij,ij->j", half, half)
        off = self._model.alpha_.ravel() / precision * self._scale
        known = self._rest + self._believed(self._x)
        return known - off, np.sqrt(1 / precision) * self._scale

    def noise(self) -> float:
        """The standard deviation of the noise that the model settled on, in the number's unit."""
        return float(np.sqrt(self._model.noise_)) * self._scale

    def evidence(self) -> float:
        """Log marginal likelihood of what it was fitted to, in the number's own unit, times the prior: compares models
        of the same numbers, tuned or not."""
        fitted = float(self._model.log_marginal_likelihood_value_) - self._prior
        return fitted - len(self._rest) * float(np.log(self._scale))
