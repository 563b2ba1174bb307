"""Two objectives, both smaller is better."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mustherd.goal import Constraint, Objective
from mustherd.learn.base import Observation
from mustherd.learn.pareto import front, hypervolume, hypervolumes, pick


def observed(energy: float, p99: float, ratio: float = 1.0) -> Observation:
    return Observation(point={"dvfs": 1}, metrics={"e": energy, "p": p99, "r": ratio})


PAIRS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12)
BOTH = (Objective.of("e"), Objective.of("p"))
GUARD = (Constraint("r", 0.98, at_least=True),)


def test_front_leaves_out_what_is_beaten_and_what_drops_load() -> None:
    observations = [observed(3, 1), observed(1, 3), observed(2, 2), observed(2, 3), observed(0, 0, ratio=0.5)]
    assert [o.metrics["e"] for o in front(observations, BOTH, GUARD)] == [1, 2, 3]


@given(PAIRS)
def test_hypervolume_counts_the_unit_squares_that_are_dominated(pairs: list[tuple[int, int]]) -> None:
    squares = sum(any(x <= i and y <= j for x, y in pairs) for i in range(8) for j in range(8))
    assert hypervolume(pairs, (8, 8)) == pytest.approx(squares)


def test_hypervolume_over_trials_never_shrinks() -> None:
    observations = [observed(3, 1), observed(0, 0, ratio=0.5), observed(1, 3), observed(9, 9)]
    assert hypervolumes(observations, BOTH, (4, 4), GUARD) == [3, 3, 5, 5]


def test_a_pick_by_a_limit_named_afterwards() -> None:
    observations = [observed(3, 1), observed(1, 3)]
    assert pick(observations, BOTH[0], [Constraint("p", 2.0)]) == observations[0]
    assert pick(observations, BOTH[0], [Constraint("p", 3.0)]) == observations[1]
    assert pick(observations, BOTH[0], [Constraint("p", 0.5)]) is None
