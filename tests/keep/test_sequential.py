"""Sequential tests keep the rates that they state."""

import random
from statistics import fmean

import pytest

from mustherd.keep import beliefs, load
from mustherd.keep.load import LoadEstimator
from mustherd.keep.sequential import Cusum, run_length


def length(shift: float, threshold: float, allowance: float, draw: random.Random) -> int:
    test, count = Cusum(threshold, allowance), 1
    while not test.add(draw.gauss(shift, 1)):
        count += 1
    return count


@pytest.mark.parametrize(("shift", "threshold", "allowance"), [(0.0, 3.0, 0.5), (1.0, 8.0, 0.5), (2.0, 12.0, 0.5)])
def test_the_stated_run_lengths_are_those_of_normal_noise(shift: float, threshold: float, allowance: float) -> None:
    draw = random.Random(7)
    seen = fmean(length(shift, threshold, allowance, draw) for _ in range(300))
    assert seen == pytest.approx(run_length(shift, threshold, allowance), rel=0.15)


def test_what_the_keeper_promises_is_what_its_page_says() -> None:
    loads, drifts = load.promises(), beliefs.promises()
    assert loads["false_rise"] > 1e6
    assert loads["false_fall"] > 1e7
    assert (round(loads["rise_of_2"]), round(loads["fall_of_2"])) == (9, 11)
    assert drifts["false_alarm"] > 6e9
    assert drifts["found"] == pytest.approx(2, abs=0.1)


def test_a_steady_load_is_believed_to_be_one() -> None:
    draw, estimator = random.Random(3), LoadEstimator()
    estimator.add(1e5)
    changes = sum(estimator.add(1e5 * (1 + draw.gauss(0, 0.02))) for _ in range(5000))
    assert changes <= 1
    assert estimator.load == pytest.approx(1e5, rel=0.03)


@pytest.mark.parametrize("factor", [12.0, 1.5, 1 / 3])
def test_a_step_is_believed_in_the_frame_that_it_fills(factor: float) -> None:
    draw, estimator = random.Random(5), LoadEstimator()
    for _ in range(100):
        estimator.add(1e5 * (1 + draw.gauss(0, 0.02)))
    assert estimator.add(1e5 * factor)
    assert estimator.load == pytest.approx(1e5 * factor, rel=0.01)


def test_a_slow_tide_is_followed() -> None:
    draw, estimator = random.Random(9), LoadEstimator()
    for frame in range(2000):
        true = 1e5 * 1.001**frame
        estimator.add(true * (1 + draw.gauss(0, 0.02)))
        assert frame < 30 or estimator.highest == pytest.approx(true, rel=0.08)
