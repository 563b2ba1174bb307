"""The surrogate: a Gaussian process over one metric that stays sane with few points.

scikit-optimize's regressor and kernels underneath; what is added is the prior on the kernel's hyper-parameters, a
start from the last fit, and hypothetical points that don't touch what was learnt.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from skopt.learning import GaussianProcessRegressor
from skopt.learning.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

Array = NDArray[np.float64]

AMPLITUDE = (1.0, 1.0)
"""Prior of the signal's variance in units of the observed one: median, and spread as the sd of its logarithm."""
LENGTH = (0.7, 0.7)
"""Prior of the length scales over coordinates in 0..1: a response that changes its course once or twice at most over a
knob's range, which is what queueing and power curves do; the likelihood moves it when the data say otherwise."""
NOISE_SPREAD = 1.0
"""How far, as the sd of a logarithm, the noise variance may be from what was measured before the likelihood objects."""
BOUNDS = {"amplitude": (0.05, 100.0), "length": (0.1, 10.0), "noise": (1e-7, 1.0)}
EVALUATIONS = 30
"""Likelihood evaluations of one fit: from a warm start more change the proposals no further."""
JITTER = 1e-8


class Surrogate:
    """A Gaussian process from coordinates to one real number.

    `predict` has the signature that skopt.acquisition's functions call.
    """

    def __init__(self, width: int, noise: float, floor: float = 1e-3) -> None:
        """A model over `width` coordinates, with noise of standard deviation `noise` expected, in the number's unit.

        `floor` is the least spread of the number that is worth a model of its own: nearly equal observations are not
        blown up to full scale.
        """
        self._width = width
        self._noise = noise
        self._floor = floor
        self._theta: Array | None = None
        self._model: Any = None
        self._x: Array = np.empty((0, width))
        self._y: Array = np.empty(0)
        self._centre = 0.0
        self._scale = 1.0

    def fit(self, x: Array, y: Array, noise: float | None = None, tune: bool = True) -> None:
        """Learn from `x` (n by width) and `y` (n); without `tune` the hyper-parameters stay as they were."""
        self._x, self._y = x, y
        self._noise = self._noise if noise is None else noise
        self._centre = float(np.mean(y))
        self._scale = max(float(np.std(y)), self._floor)
        self._model = self._fitted(x, y, tune=tune or self._theta is None)

    def _fitted(self, x: Array, y: Array, tune: bool) -> Any:
        expected = float(np.clip((self._noise / self._scale) ** 2, 2 * BOUNDS["noise"][0], BOUNDS["noise"][1] / 2))
        kernel = ConstantKernel(AMPLITUDE[0], BOUNDS["amplitude"]) * Matern(
            np.full(self._width, LENGTH[0]), [BOUNDS["length"]] * self._width, nu=2.5
        ) + WhiteKernel(expected, BOUNDS["noise"])
        centre = kernel.theta.copy()
        if self._theta is not None:
            kernel.theta = self._theta
        spread = np.array([AMPLITUDE[1], *[LENGTH[1]] * self._width, NOISE_SPREAD])
        model = GaussianProcessRegressor(
            kernel=kernel,
            alpha=JITTER,
            noise="gaussian",
            optimizer=self._optimizer(centre, spread) if tune else None,
        )
        return model.fit(x, (y - self._centre) / self._scale)

    def _optimizer(self, centre: Array, spread: Array) -> Callable[..., tuple[Array, float]]:
        def optimize(negative_likelihood: Any, initial_theta: Array, bounds: Array) -> tuple[Array, float]:
            def negative_posterior(theta: Array) -> tuple[float, Array]:
                value, gradient = negative_likelihood(theta, eval_gradient=True)
                off = (theta - centre) / spread
                return value + 0.5 * float(off @ off), gradient + off / spread

            starts = [centre] if self._theta is None else [initial_theta]
            found = min(
                (
                    minimize(
                        negative_posterior,
                        s,
                        jac=True,
                        bounds=bounds,
                        method="L-BFGS-B",
                        options={"maxfun": EVALUATIONS},
                    )
                    for s in starts
                ),
                key=lambda r: float(r.fun),
            )
            self._theta = found.x
            return found.x, float(found.fun)

        return optimize

    def imagine(self, x: Array) -> "Surrogate":
        """This model as if it had also seen its own predictions come true at `x` (m by width)."""
        if not len(x):
            return self
        other = Surrogate(self._width, self._noise, self._floor)
        other._theta, other._centre, other._scale = self._theta, self._centre, self._scale
        other._x, other._y = np.vstack([self._x, x]), np.concatenate([self._y, self.predict(x)])
        other._model = other._fitted(other._x, other._y, tune=False)
        return other

    def predict(self, x: Array, return_std: bool = False) -> Any:
        """Mean at `x` (m by width) and, if asked, the standard deviation of the noise-free value there."""
        if not return_std:
            return self._model.predict(x) * self._scale + self._centre
        mean, std = self._model.predict(x, return_std=True)
        return mean * self._scale + self._centre, np.maximum(std, 1e-9) * self._scale

    @property
    def noise(self) -> float:
        """The standard deviation of the noise that the model settled on, in the number's unit."""
        return float(np.sqrt(self._model.noise_)) * self._scale
