"""The Gaussian process against scikit-optimize's regressor, which has the same kernels."""

import numpy as np
import pytest
from skopt.learning import GaussianProcessRegressor
from skopt.learning.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from mustherd.learn.process import Array, Evidence, Process


def _seen(count: int, width: int) -> tuple[Array, Array, Array, Array]:
    """Points, numbers, the variance of each beyond the common noise, and parameters."""
    draw = np.random.default_rng(count * width)
    x = draw.random((count, width))
    y = np.sin(5 * x[:, 0]) + x[:, -1] ** 2 + 0.05 * draw.standard_normal(count)
    return x, y, 1e-8 + 0.01 * draw.random(count), np.log([1.3, *draw.uniform(0.3, 3, width), 0.02])


@pytest.mark.parametrize(("count", "width"), [(1, 1), (4, 2), (25, 3), (60, 2)])
def test_does_what_scikit_optimize_does(count: int, width: int) -> None:
    x, y, more, theta = _seen(count, width)
    amplitude, *lengths, noise = np.exp(theta)
    kernel = ConstantKernel(amplitude) * Matern(np.array(lengths), nu=2.5) + WhiteKernel(noise)
    reference = GaussianProcessRegressor(kernel=kernel, alpha=more, noise="gaussian", optimizer=None).fit(x, y)

    ours = Process.seeing(x, y, more, theta)

    assert ours.likelihood == pytest.approx(reference.log_marginal_likelihood_value_)
    assert ours.noise == pytest.approx(reference.noise_)
    elsewhere = np.random.default_rng(1).random((50, width))
    means, deviations = reference.predict(elsewhere, return_std=True)
    mean, variance = ours.predict(elsewhere, return_std=True)
    np.testing.assert_allclose(mean, means, atol=1e-9)
    np.testing.assert_allclose(ours.predict(elsewhere), means, atol=1e-9)
    np.testing.assert_allclose(variance, deviations**2, atol=1e-8)


@pytest.mark.parametrize(("count", "width"), [(1, 1), (4, 2), (25, 3)])
def test_the_evidence_is_the_likelihood_and_its_slope(count: int, width: int) -> None:
    x, y, more, theta = _seen(count, width)
    evidence = Evidence(x, y, more)

    value, gradient = evidence.of(theta)

    assert value == pytest.approx(Process.seeing(x, y, more, theta).likelihood)
    steps = 1e-5 * np.eye(len(theta))
    slope = [(evidence.of(theta + s)[0] - evidence.of(theta - s)[0]) / 2e-5 for s in steps]
    np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=1e-6)


def test_what_is_left_out_is_what_the_others_make_of_it() -> None:
    x, y, more, theta = _seen(12, 2)

    off, variance = Process.seeing(x, y, more, theta).left_out()

    for place in range(len(y)):
        rest = np.arange(len(y)) != place
        [mean], [sure] = Process.seeing(x[rest], y[rest], more[rest], theta).predict(x[[place]], return_std=True)
        assert off[place] == pytest.approx(y[place] - mean)
        assert variance[place] == pytest.approx(sure + np.exp(theta[-1]) + more[place])


def test_a_matrix_that_cant_be_factored_is_told() -> None:
    x, y, theta = np.zeros((2, 1)), np.zeros(2), np.array([0.0, 0.0, -80.0])
    assert Evidence(x, y, np.zeros(2)).of(theta)[0] == -np.inf
    with pytest.raises(ValueError, match="positive definite"):
        Process.seeing(x, y, np.zeros(2), theta)
