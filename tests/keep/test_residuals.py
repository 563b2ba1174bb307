"""What is seen of some settings says of others: a knob without effect, a dearer node and dear values told apart."""

import math
from itertools import product

from mustherd.keep.residuals import NOISE, Residuals
from mustherd.learn.windows import Key, key_of

VALUES = {"clock": [1, 2, 3, 4, 5], "delay": [10, 20, 30, 40, 50]}
KEYS = [key_of({"clock": c, "delay": d}) for c, d in product(*VALUES.values())]
LOAD = 1000.0


def at(clock: int, delay: int) -> Key:
    return key_of({"clock": clock, "delay": delay})


def guess(residuals: Residuals, key: Key, load: float = LOAD) -> tuple[float, float]:
    means, deviations = residuals.of([key], load)
    return float(means[0]), float(deviations[0])


def test_what_was_seen_is_believed_and_what_is_like_it_more_than_what_is_not() -> None:
    residuals = Residuals(VALUES)
    for _ in range(10):
        residuals.add(at(1, 50), LOAD, 0.2)
    seen, like, unlike = guess(residuals, at(1, 50)), guess(residuals, at(1, 40)), guess(residuals, at(5, 10))
    assert abs(seen[0] - 0.2) < 0.01
    assert seen[1] < NOISE
    assert seen[0] > like[0] > unlike[0] > 0
    assert seen[1] < like[1] < unlike[1]


def test_a_node_that_is_dearer_as_a_whole_is_told_from_a_knob_s_values_after_a_few_settings() -> None:
    whole, dear = Residuals(VALUES), Residuals(VALUES)
    for clock, delay in ((1, 50), (5, 10), (1, 10), (5, 50), (3, 30)):
        whole.add(at(clock, delay), LOAD, 0.1)
        dear.add(at(clock, delay), LOAD, 0.1 if clock <= 2 else 0.0)
    before = guess(Residuals(VALUES), at(3, 10))[1]
    means, deviations = whole.of(KEYS, LOAD)
    assert max(abs(mean - 0.1) for mean in means) < 0.03
    assert max(deviations) < before / 2
    assert guess(dear, at(1, 30))[0] > 0.06
    assert guess(dear, at(5, 30))[0] < 0.02


def test_a_drift_makes_what_was_seen_before_less_sure() -> None:
    residuals = Residuals(VALUES)
    for _ in range(10):
        residuals.add(at(1, 10), LOAD, 0.0)
    sure = guess(residuals, at(1, 10))[1]
    residuals.drifted(0.1)
    assert guess(residuals, at(1, 10))[1] > 3 * sure
    residuals.add(at(1, 10), LOAD, 0.1)
    assert abs(guess(residuals, at(1, 10))[0] - 0.1) < 0.02, "one block after a drift counts for more than ten before"


def test_another_load_says_less() -> None:
    residuals = Residuals(VALUES)
    residuals.add(at(3, 30), LOAD, 0.15)
    here, there = guess(residuals, at(3, 30)), guess(residuals, at(3, 30), 4 * LOAD)
    assert here[0] > there[0] > 0
    assert here[1] < there[1]


def test_what_is_stored_is_known_again_and_what_is_kept_is_bounded() -> None:
    residuals = Residuals(VALUES)
    for number in range(300):
        clock, delay = number % 5 + 1, 10 * (number % 3 + 1)
        residuals.add(at(clock, delay), LOAD * math.exp(0.02 * number), 0.01 * clock)
    stored = residuals.state("n0", "power")
    assert len(stored) <= 80
    again = Residuals(VALUES)
    for one in stored:
        again.restore(key_of(one.settings), one)
    for key in KEYS:
        assert guess(again, key, 50 * LOAD) == guess(residuals, key, 50 * LOAD)
