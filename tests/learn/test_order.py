"""The order of a sweep: as it is written, at random, or in blocks, with repetitions, whatever happens to its trials."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mustherd.learn.base import Search, Settings
from mustherd.learn.registry import make
from mustherd.learn.simple import schedule
from mustherd.testing.search import PROBLEM, SIZE, SearchContract, measured


class TestBlocked(SearchContract):
    name, options = "grid", {"order": "blocked"}


class TestRandom(SearchContract):
    name, options = "grid", {"order": "random"}


def key(point: Settings) -> tuple[int, ...]:
    return tuple(point.values())


def grid(order: str, repetitions: int, seed: int = 1) -> Search:
    return make("grid", PROBLEM, seed=seed, options={"order": order, "repetitions": repetitions})


def run_out(search: Search) -> list[tuple[int, ...]]:
    points = []
    while (point := search.ask()) is not None:
        search.tell([measured(point)])
        points.append(key(point))
    return points


@given(st.integers(1, 12), st.integers(1, 5), st.sampled_from(["as-written", "random", "blocked"]), st.integers(0, 9))
def test_every_combination_comes_so_many_times(size: int, repetitions: int, order: str, seed: int) -> None:
    found = schedule(size, repetitions, order, seed)
    assert Counter(found) == dict.fromkeys(range(size), repetitions)
    assert list(found) == list(schedule(size, repetitions, order, seed))
    if order != "random":
        blocks = [sorted(found[k * size : (k + 1) * size]) for k in range(repetitions)]
        assert blocks == [list(range(size))] * repetitions


def test_orders_are_what_they_are_called() -> None:
    assert list(schedule(4, 2, "as-written", 1)) == [0, 1, 2, 3, 0, 1, 2, 3]
    one, two = (schedule(50, 2, "blocked", 1)[at : at + 50] for at in (0, 50))
    assert one != two, "each block has an order of its own"
    assert schedule(50, 1, "blocked", 1) != schedule(50, 1, "blocked", 2)
    first_half = schedule(50, 2, "random", 1)[:50]
    assert len(set(first_half)) < 50, "at random over all repetitions: some come twice before others come once"


@pytest.mark.parametrize("order", ["as-written", "random", "blocked"])
def test_repetitions_are_proposed_and_then_it_is_over(order: str) -> None:
    points = run_out(grid(order, 3))
    assert len(points) == 3 * SIZE
    assert set(Counter(points).values()) == {3}


@pytest.mark.parametrize("order", ["as-written", "random", "blocked"])
def test_a_resumed_sweep_goes_on_where_it_was(order: str) -> None:
    whole, search = run_out(grid(order, 2)), grid(order, 2)
    began = []
    for _ in range(SIZE + 3):
        point = search.ask()
        assert point is not None
        search.tell([measured(point)])
        began.append(point)
    resumed = grid(order, 2)
    resumed.tell([measured(point) for point in began])
    assert [key(p) for p in began] + run_out(resumed) == whole


def test_what_is_under_way_is_not_proposed_once_more() -> None:
    """Two musters: of a point with two repetitions both may be under way at the same time, a third one never."""
    search = grid("as-written", 2)
    pending = [point for _ in range(2 * SIZE) if (point := search.ask()) is not None]
    assert set(Counter(map(key, pending)).values()) == {2}
    assert search.ask(pending) is None


def test_what_was_proposed_and_never_told_is_offered_again_at_the_end() -> None:
    search = grid("blocked", 2)
    lost = search.ask()
    assert lost is not None
    rest = run_out(search)
    assert Counter(rest)[key(lost)] == 2
    assert rest[-1] == key(lost)
    assert len(rest) == 2 * SIZE
