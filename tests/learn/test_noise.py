"""The noise of one trial, from repeats."""

import math

import numpy as np
import pytest

from mustherd.goal import Objective
from mustherd.learn.noise import Noise, PooledNoise
from mustherd.learn.outcome import OutcomeModel


def test_noise_is_pooled_over_groups_of_repeats() -> None:
    groups = [[{"e": 100.0}, {"e": 102.0}], [{"e": 50.0}, {"e": 51.0}, {"x": 1.0}], [{"e": 7.0}]]
    pool = PooledNoise(["e", "x"])
    for repeat in range(3):
        # Of groups that are measured in turns, as loads are.
        for number, group in enumerate(groups):
            if repeat < len(group):
                pool.add(number, group[repeat])
    found = pool.noise()
    assert set(found) == {"e"}
    assert found["e"].freedom == 2
    assert found["e"].share == pytest.approx(math.log(1.02) / math.sqrt(2))


def test_measured_noise_weighs_as_many_repeats_as_it_rests_on() -> None:
    x, y = np.linspace(0, 1, 6)[:, None], [100.0, 110.0, 120.0, 130.0, 140.0, 150.0]
    expected = []
    for noise in (None, Noise(share=0.05, freedom=2), Noise(share=0.05, freedom=200)):
        outcome = OutcomeModel(Objective.of("e"), 1)
        if noise is not None:
            outcome.calibrate(noise)
        expected.append(outcome._noise(np.log(y), range(6)))
    assert expected[0] == pytest.approx(0.01)
    assert expected[1] == pytest.approx(math.sqrt((2 * 0.01**2 + 2 * 0.05**2) / 4))
    assert expected[2] == pytest.approx(0.05, rel=0.01)
    assert x.shape == (6, 1)
