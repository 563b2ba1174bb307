"""A long search's model is made of a subset: bounded, around the best points, and spread over the rest."""

import random

import numpy as np
import pytest

from mustherd.goal import Constraint, Goal
from mustherd.learn import contextual, gp, subset
from mustherd.learn.base import Dimension, Observation, Problem, Search, SearchSpace, Settings
from mustherd.learn.registry import make

GOAL = Goal(limits=(Constraint("read_p99_us", 500.0),), guard=0)


def seen(place: tuple[float, float], cost: float, p99: float = 100.0) -> Observation:
    return Observation(
        point={"a": round(1000 * place[0]), "b": round(1000 * place[1])},
        metrics={"energy_joules": cost, "read_p99_us": p99},
    )


def chosen(told: dict[int, list[Observation]], most: int = subset.MOST) -> dict[int, list[Observation]]:
    """What is chosen of each point."""
    x = np.array([[v / 1000 for v in of[0].point.values()] for of in told.values()], dtype=float)
    point_of = {id(observation): point for point, of in told.items() for observation in of}
    found: dict[int, list[Observation]] = {}
    for observation in subset.subset(GOAL, told, x, most):
        found.setdefault(point_of[id(observation)], []).append(observation)
    return found


def scattered(count: int, seed: int = 1) -> dict[int, list[Observation]]:
    """A bowl whose lowest point is at 0.3, 0.7, seen at random places."""
    draw = random.Random(seed)
    places = [(draw.random(), draw.random()) for _ in range(count)]
    return {n: [seen(at, 100 + 50 * ((at[0] - 0.3) ** 2 + (at[1] - 0.7) ** 2))] for n, at in enumerate(places)}


def test_nothing_is_left_out_of_few() -> None:
    told = scattered(subset.MOST)
    assert chosen(told) == told


@pytest.mark.parametrize("count", [subset.MOST + 1, 1000, 3000])
def test_of_many_it_has_its_size_and_the_best_with_what_is_near(count: int) -> None:
    told = scattered(count)
    found = chosen(told)
    assert subset.MOST - subset.WINDOWS <= sum(map(len, found.values())) <= subset.MOST
    by_cost = sorted(told, key=lambda n: told[n][0].metrics["energy_joules"])
    # What is near five centres, not one: the best alone may be so by chance.
    assert set(by_cost[: subset.CENTRES]) <= found.keys()
    assert len(set(by_cost[:60]) & found.keys()) >= 50


def test_the_rest_is_spread_over_all_that_was_tried() -> None:
    told = scattered(2000)
    found = chosen(told)
    for corner in [(0, 0), (0, 1), (1, 0), (1, 1), (0.5, 0.2), (0.8, 0.5)]:
        near = [of[0].point for of in found.values()]
        assert min(abs(p["a"] / 1000 - corner[0]) + abs(p["b"] / 1000 - corner[1]) for p in near) < 0.2


def test_a_point_measured_for_ever_does_not_fill_it() -> None:
    told = scattered(400)
    told[5] = told[5] * 500
    found = chosen(told)
    assert len(found) > subset.MOST - 2 * subset.WINDOWS
    assert len(found.get(5, [])) <= subset.WINDOWS


def test_where_nothing_keeps_the_limit_it_lies_around_what_is_nearest_to() -> None:
    told = scattered(1000)
    told = {n: [seen((o.point["a"] / 1000, o.point["b"] / 1000), 1, 600 + o.point["a"]) for o in of]
            for n, of in told.items()}  # fmt: skip
    found = chosen(told)
    left = [of[0].point["a"] for of in found.values()]
    assert sorted(left)[subset.MOST // 4] < 120


def test_equal_points_and_costs_are_no_trouble() -> None:
    told = {n: [seen((0.5, 0.5), 100)] for n in range(900)}
    assert 0 < sum(map(len, chosen(told).values())) <= subset.MOST


def bowl(point: Settings, draw: random.Random) -> Observation:
    """Four knobs, the optimum inside, on the limit of the first."""
    u = [point[name] / 20 for name in "abcd"]
    cost = 100 * (1 + sum((v - at) ** 2 for v, at in zip(u, (0.2, 0.6, 0.8, 0.4), strict=True)))
    p99 = 400 + 300 * (u[0] - 0.3) + 50 * u[1]
    return Observation(
        point=point,
        metrics={"energy_joules": cost * (1 + 0.005 * draw.gauss(0, 1)), "read_p99_us": p99},
    )


def regret(seed: int, trials: int) -> float:
    """By how many per cent the best that a search measured is dearer than the optimum, noise aside."""
    space = SearchSpace(dimensions=tuple(Dimension(name=name, low=0, high=20, step=1) for name in "abcd"))
    search: Search = make("gp", Problem(space=space, goal=GOAL), seed=seed, options={"stop": False})
    draw, quiet = random.Random(seed), random.Random()
    quiet.gauss = lambda *_: 0.0  # type: ignore[method-assign]
    best = np.inf
    for _ in range(trials):
        point = search.ask()
        assert point is not None
        search.tell([bowl(point, draw)])
        true = bowl(point, quiet).metrics
        if true["read_p99_us"] <= 500:
            best = min(best, true["energy_joules"])
    return float(best - 100)


@pytest.mark.night
def test_a_search_on_a_small_subset_finds_what_one_on_everything_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [regret(seed, 60) for seed in range(2)]
    monkeypatch.setattr(gp, "MOST", 25)
    monkeypatch.setattr(subset.subset, "__defaults__", (25,))
    small = [regret(seed, 60) for seed in range(2)]
    assert max(whole) <= 1.0
    assert max(small) <= max(whole) + 0.5


def test_several_loads_each_have_their_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contextual, "MOST", 30)
    loads = (100, 200, 400)
    space = SearchSpace(
        dimensions=(
            Dimension(name="qps", low=0, high=0, step=1, values=loads),
            *(Dimension(name=name, low=0, high=20, step=1) for name in "ab"),
        ),
        context="qps",
    )
    search = contextual.ContextSearch(Problem(space=space, goal=GOAL), stop=False)
    draw = random.Random(1)
    for n in range(60):
        point = search.ask()
        assert point is not None
        load = point["qps"] / 400
        cost = 100 + (point["a"] - 10 * load) ** 2 + (point["b"] - 5) ** 2 + draw.random()
        search.tell([Observation(point=point, metrics={"energy_joules": cost, "read_p99_us": 100.0 + n % 3})])
    for choice in search.table():
        assert abs(choice.point["a"] - 10 * choice.load / 400) <= 3
        assert abs(choice.point["b"] - 5) <= 3
