"""Turns: in which order a node measures the settings of a round."""

from collections import Counter

import pytest

from mustherd.learn.turns import turn

COUNTS = (1, 2, 3, 4, 11)


@pytest.mark.parametrize("count", COUNTS)
def test_a_round_holds_each_setting_once_and_every_other_goes_backwards(count: int) -> None:
    for node in range(5):
        for number in range(0, 12, 2):
            order = turn(count, seed=1, number=number, node=node)
            assert sorted(order) == list(range(count))
            assert turn(count, seed=1, number=number + 1, node=node) == order[::-1]


@pytest.mark.parametrize("count", COUNTS)
def test_nodes_go_in_pairs_of_which_the_second_goes_backwards(count: int) -> None:
    for number in range(8):
        for node in range(0, 8, 2):
            one, other = (turn(count, seed=1, number=number, node=n) for n in (node, node + 1))
            assert one == other[::-1]


def test_chance_decides_the_rest() -> None:
    found = Counter(tuple(turn(3, seed=seed, number=0, node=0)) for seed in range(600))
    assert len(found) == 6
    assert min(found.values()) > 60
    assert len({tuple(turn(4, seed=1, number=2 * k, node=0)) for k in range(20)}) > 5
    assert len({tuple(turn(4, seed=1, number=0, node=2 * k)) for k in range(20)}) > 5
