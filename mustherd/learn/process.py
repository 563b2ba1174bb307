"""A Gaussian process over points in 0..1: Matérn 5/2 with a length for each coordinate, an amplitude, and white noise.

What scikit-optimize's regressor does with these kernels, in the closed forms of Rasmussen and Williams (Gaussian
Processes for Machine Learning, 2006, 2.2, 4.2 and 5.4). That one is made for any tree of kernels, and takes ten times
as long over a few dozen points, which is what most of an experiment's own time went into; tests/learn/test_process.py
holds the two against each other.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.linalg.lapack import dpotrf, dpotri, dpotrs
from scipy.spatial.distance import cdist

Array = NDArray[np.float64]
ROOT_5 = math.sqrt(5.0)


class Evidence:
    """How likely numbers at points are, by the logarithms of amplitude, lengths and noise variance, in that order."""

    def __init__(self, x: Array, y: Array, more: Array) -> None:
        """Numbers `y` (n) at `x` (n by width); `more` (n) is the variance of each beyond the common noise."""
        self._y = y
        self._more = more
        # One n by n plane for each coordinate: what changes from call to call is their scale.
        self._apart = (x.T[:, :, None] - x.T[:, None, :]) ** 2

    def of(self, theta: Array) -> tuple[float, Array]:
        """The log marginal likelihood and its gradient; minus infinity where the matrix can't be factored."""
        amplitude, lengths, noise = _unpacked(theta)
        scaled = self._apart / (lengths**2)[:, None, None]
        far = ROOT_5 * np.sqrt(scaled.sum(axis=0))
        fall = amplitude * np.exp(-far)
        signal = fall * (1 + far + far**2 / 3)
        covariance = signal.copy()
        covariance.flat[:: len(self._y) + 1] += noise + self._more
        factor, failed = dpotrf(covariance, lower=1, clean=1)
        if failed:
            return -math.inf, np.zeros_like(theta)
        alpha, _ = dpotrs(factor, self._y, lower=1)
        inverse, _ = dpotri(factor, lower=1)
        # Its lower triangle alone is filled in.
        inverse = inverse + np.tril(inverse, -1).T
        inner = np.outer(alpha, alpha) - inverse
        bent = 5 / 3 * fall * (1 + far) * inner
        gradient = np.concatenate(
            [
                [np.sum(inner * signal)],
                np.tensordot(scaled, bent, axes=([1, 2], [0, 1])),
                [noise * np.trace(inner)],
            ]
        )
        value = -0.5 * self._y @ alpha - np.log(factor.diagonal()).sum() - len(self._y) / 2 * math.log(2 * math.pi)
        return float(value), 0.5 * gradient


class Process(NamedTuple):
    """A process that has seen numbers at points."""

    x: Array
    theta: Array
    factor: Array
    """The lower triangle of the covariance's Cholesky factor."""
    alpha: Array
    """The inverse covariance times the numbers."""
    likelihood: float
    """The log marginal likelihood."""

    @classmethod
    def seeing(cls, x: Array, y: Array, more: Array, theta: Array) -> "Process":
        """A process with the parameters `theta` that saw `y` at `x`. ValueError where the matrix can't be factored."""
        covariance = _signal(x, x, theta)
        covariance.flat[:: len(y) + 1] += math.exp(theta[-1]) + more
        factor, failed = dpotrf(covariance, lower=1, clean=1)
        if failed:
            raise ValueError("the covariance is not positive definite")
        alpha, _ = dpotrs(factor, y, lower=1)
        value = -0.5 * y @ alpha - np.log(factor.diagonal()).sum() - len(y) / 2 * math.log(2 * math.pi)
        return cls(x, theta, factor, alpha, float(value))

    @property
    def noise(self) -> float:
        """The variance of the common noise."""
        return math.exp(self.theta[-1])

    def predict(self, x: Array, return_std: bool = False) -> Any:
        """The mean at each of `x` and, if asked, the variance of the noise-free value there."""
        cross = _signal(x, self.x, self.theta)
        mean = cross @ self.alpha
        if not return_std:
            return mean
        half = solve_triangular(self.factor, cross.T, lower=True, check_finite=False)
        return mean, math.exp(self.theta[0]) - np.einsum("ij,ij->j", half, half)

    def left_out(self) -> tuple[Array, Array]:
        """By how much each number seen differs from what all others make of it, and the variance of that."""
        half = solve_triangular(self.factor, np.eye(len(self.x)), lower=True, check_finite=False)
        precision = np.einsum("ij,ij->j", half, half)
        return self.alpha / precision, 1 / precision


def _unpacked(theta: Array) -> tuple[float, Array, float]:
    values = np.exp(theta)
    return float(values[0]), values[1:-1], float(values[-1])


def _signal(x: Array, other: Array, theta: Array) -> Array:
    amplitude, lengths, _ = _unpacked(theta)
    far = ROOT_5 * cdist(x / lengths, other / lengths)
    return np.asarray(amplitude * (1 + far + far**2 / 3) * np.exp(-far), dtype=np.float64)
