"""Waves: what rounds have in common and goes up and down every few windows is no saving."""

import math
import random
from collections.abc import Callable

import pytest

from mustherd.learn.waves import LEAST_ROUNDS, jumps
from mustherd.learn.windows import Block
from tests.benchmarks._attacked import Metrics, confirmed, covering, said, truth
from tests.benchmarks._shared import waving


def blocks(common: Callable[[int], float], rounds: int = 8, node: str = "a", seed: int = 1) -> list[Block]:
    draw = random.Random(seed)
    return [
        # A tenth is saved.
        Block(node, common(r) - 0.1 + draw.gauss(0, 0.002), common(r) + draw.gauss(0, 0.002), r)
        for r in range(rounds)
    ]


@pytest.mark.parametrize(
    ("common", "most"), [(lambda r: 0.0, 35), (lambda r: 0.03 * r, 35), (lambda r: 0.1 * (r >= 4), 60)]
)
def test_a_drift_a_step_and_plain_noise_are_no_wave(common: Callable[[int], float], most: int) -> None:
    found = [jumps(blocks(common, seed=seed)) for seed in range(100)]
    # By chance it is said of one in five, after a step of one in two, and then a saving has to be clearer than noise.
    assert sum(one > 0 for one in found) < most
    assert max(found) < 0.01


def test_rounds_that_jump_to_and_fro_are() -> None:
    to_and_fro = blocks(lambda r: 0.03 * (-1) ** r)
    assert jumps(to_and_fro) == pytest.approx(0.06, abs=0.01)
    assert jumps(to_and_fro[: LEAST_ROUNDS - 1]) == 0
    assert jumps(blocks(lambda r: 0.03 * math.sin(2 * math.pi * r / 4 + 1))) > 0.015
    # Of two nodes both have to: in whichever phase.
    assert jumps([*to_and_fro, *blocks(lambda r: 0.03 * (-1) ** (r + 1), node="b")]) == pytest.approx(0.06, abs=0.01)
    assert jumps([*to_and_fro, *blocks(lambda r: 0.0, node="b")]) == 0


@pytest.mark.parametrize("period", [4, 8])
def test_a_wave_is_not_announced_as_a_saving(period: int) -> None:
    # Without a look at how rounds jump one of four windows is announced in 10 %.
    flat: list[Metrics] = [truth()] * 2
    found = [confirmed(waving(period)(flat, seed), 2, seed) for seed in range(50)]
    assert sum(said(one) for one in found) <= 2
    saves = [truth(), truth(900.0)]
    covered = covering([confirmed(waving(period)(saves, seed), 2, seed) for seed in range(30)], 10.0)
    assert covered.count(False) <= 1
    assert len(covered) >= 8
