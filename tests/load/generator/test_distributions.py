import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mustherd.load.generator.distributions import MAX_VALUE, SMALL_VALUES, gaps, key_lengths, sizes, value_lengths

N = 400_000


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_facebooks_key_sizes(rng: np.random.Generator) -> None:
    """A GEV's mean is m + s (G(1 - k) - 1) / k, and its median m + s (ln(2)^-k - 1) / k."""
    drawn = sizes("fb_key")(rng, N)
    assert np.median(drawn) == pytest.approx(30.7984 + 8.20449 * (np.log(2) ** -0.078688 - 1) / 0.078688, rel=0.005)
    assert drawn.mean() == pytest.approx(36.3, rel=0.01)


def test_facebooks_value_sizes(rng: np.random.Generator) -> None:
    """44 % are 0..14 bytes by the table, the rest a generalized Pareto whose median is m + s (2^k - 1) / k."""
    drawn = sizes("fb_value")(rng, N)
    small = drawn < 15
    assert small.mean() == pytest.approx(sum(SMALL_VALUES), abs=0.003)
    assert (drawn == 2).mean() == pytest.approx(0.17820, abs=0.003)
    assert (drawn == 11).mean() == pytest.approx(0.08989, abs=0.003)
    assert np.median(drawn[~small]) == pytest.approx(15 + 214.476 * (2**0.348238 - 1) / 0.348238, rel=0.01)


@pytest.mark.parametrize("text", ["fb_ia", "exponential", "exponential:1.0", "fixed", "uniform:9", "pareto:0,16,0.2"])
def test_gaps_have_a_mean_of_one(text: str, rng: np.random.Generator) -> None:
    drawn = gaps(text)(rng, N)
    assert drawn.mean() == pytest.approx(1, rel=0.01)
    assert drawn.min() >= 0


def test_facebooks_gaps_spread_as_their_shape_says(rng: np.random.Generator) -> None:
    """A generalized Pareto of shape k has a squared coefficient of variation of 1 / (1 - 2 k)."""
    drawn = gaps("fb_ia")(rng, 4 * N)
    assert drawn.var() == pytest.approx(1 / (1 - 2 * 0.154971), rel=0.05)


@pytest.mark.parametrize(
    ("text", "mean"),
    [
        ("30", 30),
        ("fixed:7", 7),
        ("uniform:10", 5),
        ("normal:50,5", 50),
        ("exponential:0.1", 10),
        ("gev:1,2,-0.5", 1.455),
    ],
)
def test_other_lengths(text: str, mean: float, rng: np.random.Generator) -> None:
    assert sizes(text)(rng, N).mean() == pytest.approx(mean, rel=0.02)


@pytest.mark.parametrize("text", ["", "zipf:1", "normal:1", "pareto:1,2,0", "uniform:wide", "3x", "exponential:0"])
def test_no_distribution_of_lengths(text: str) -> None:
    with pytest.raises(ValueError, match="distribution"):
        sizes(text)


@pytest.mark.parametrize("text", ["", "fb_key", "gev:1,2,3", "normal:1,2", "pareto:1,2,0.5", "pareto:0,1,2"])
def test_no_distribution_of_gaps(text: str) -> None:
    with pytest.raises(ValueError, match="distribution"):
        gaps(text)


@given(st.integers(1, 3000), st.sampled_from(["fb_key", "1", "uniform:400", "normal:0,50"]))
def test_keys_are_long_enough_for_their_number_and_not_too_long(records: int, text: str) -> None:
    lengths = key_lengths(text, records, np.random.default_rng(1))
    assert lengths.min() >= len(str(records - 1))
    assert lengths.max() <= 250


def test_values_fit(rng: np.random.Generator) -> None:
    lengths = value_lengths("pareto:0,100000,0.9", 10_000, rng)
    assert 0 <= lengths.min() <= lengths.max() == MAX_VALUE
    assert value_lengths("normal:0,5", 1000, rng).min() == 0
