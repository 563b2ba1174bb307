"""The order in which settings are confirmed: what each brings beside those before it."""

import itertools
import random

from mustherd.learn.portfolio import SURE, portfolio


def test_a_hope_comes_beside_what_is_safe_and_before_what_is_dearer() -> None:
    # Safe at 40, a cheaper one that may hold, one that never does, and two safe ones that are dearer.
    assert portfolio([0.40, 0.55, 0.60, 0.30, 0.20], [0.99, 0.2, 0.0, 0.99, 0.99]) == [0, 1, 3, 4, 2]


def test_doubtful_ones_are_followed_by_a_safe_one() -> None:
    assert portfolio([0.5, 0.49, 0.48, 0.3], [0.3, 0.3, 0.3, 0.99])[0] == 3
    assert portfolio([0.5, 0.49, 0.1], [0.9, 0.1, 0.9]) == [0, 2, 1]


def test_what_saves_nothing_is_last_and_nothing_is_left_out() -> None:
    assert portfolio([-0.1, 0.0, 0.2], [1.0, 1.0, 0.5]) == [2, 1, 0]
    assert portfolio([], []) == []


def test_each_place_goes_to_what_adds_most_by_counting_every_outcome() -> None:
    draw = random.Random(1)
    for _ in range(20):
        savings = [draw.random() for _ in range(5)]
        chances = [draw.random() for _ in range(5)]

        def best(of: tuple[int, ...], savings: list[float] = savings, chances: list[float] = chances) -> float:
            total = 0.0
            for held in itertools.product((False, True), repeat=len(of)):
                chance = 1.0
                for i, holds in zip(of, held, strict=True):
                    chance *= min(SURE, chances[i]) if holds else 1 - min(SURE, chances[i])
                total += chance * max([savings[i] for i, holds in zip(of, held, strict=True) if holds], default=0.0)
            return total

        order = tuple(portfolio(savings, chances))
        for place in range(len(order)):
            others = [best((*order[:place], other)) for other in order[place:]]
            assert best(order[: place + 1]) >= max(others) - 1e-12
