"""Several loads learnt together."""

import msgspec
import numpy as np
import pytest

from mustherd.learn import exploring
from mustherd.learn.base import Dimension, Observation, Problem, Settings
from mustherd.learn.contextual import ContextSearch
from mustherd.learn.history import feasible
from mustherd.learn.initial_design import knees
from mustherd.learn.space import Space
from mustherd.testing.search import PROBLEM, measured

LOADS = (100_000, 200_000, 400_000)


def at(load: float, point: Settings) -> Observation:
    """More load takes more energy, and its p99 rises faster at a low clock."""
    metrics = dict(measured(point).metrics)
    metrics["energy_joules"] *= 1 + load / 1e6
    metrics["read_p99_us"] += 60 * (load / 4e5) * (1800 / point["dvfs"]) ** 2
    return Observation(point=point, metrics=metrics)


def over(*loads: int) -> Problem:
    dimensions = (Dimension(name="qps", values=loads, scale="log"), *PROBLEM.space.dimensions)
    return PROBLEM.over(dimensions=dimensions, context="qps")


def run(search: ContextSearch, trials: int) -> list[Settings]:
    points = []
    for _ in range(trials):
        point = search.ask()
        if point is None:
            break
        points.append(point)
        search.tell([measured_at(point)])
    return points


def measured_at(point: Settings) -> Observation:
    found = at(point["qps"], {k: v for k, v in point.items() if k != "qps"})
    return Observation(point=point, metrics=found.metrics)


def best_at(load: int) -> float:
    space = [{"itr-delay": d, "dvfs": f} for d in (1, 2, 50, 100, 200, 350) for f in range(1200, 1801, 200)]
    every = [at(load, p) for p in space]
    return min(o.metrics["energy_joules"] for o in every if feasible(PROBLEM, o))


def test_loads_learnt_together_take_fewer_trials_and_a_table_comes_out() -> None:
    search = ContextSearch(over(*LOADS))
    assert search.table() == []
    points = run(search, 13)
    assert {p["qps"] for p in points} == set(LOADS)
    table = search.table()
    assert [row.load for row in table] == list(LOADS)
    for row in table:
        chosen = at(row.load, row.point)
        assert feasible(PROBLEM, chosen)
        assert chosen.metrics["energy_joules"] <= 1.05 * best_at(row.load)
    ranking = search.state()["ranking"]
    assert isinstance(ranking, list)
    assert {row["point"]["qps"] for row in ranking} == set(LOADS)


def test_it_stops_by_itself_and_says_why() -> None:
    search = ContextSearch(over(*LOADS))
    points = run(search, 72)
    assert len(points) < 40
    assert "improvement still expected" in str(search.state()["reason"])


@pytest.mark.long
def test_it_is_not_over_before_the_space_was_looked_over() -> None:
    """All of it, at whatever load: what is cheap at one end mustn't keep it from ever trying the other."""
    search = ContextSearch(over(*LOADS))
    points = run(search, 72)
    space = Space(PROBLEM.space.dimensions, knees(PROBLEM))
    tried = {space.index({k: v for k, v in p.items() if k != "qps"}) for p in points}
    every = np.array([space.encode(p) for p in space])
    assert exploring.unseen(every, every[sorted(tried)]) <= exploring.LEFT


def test_two_musters_never_test_the_same_point() -> None:
    search = ContextSearch(over(*LOADS), stop=False)
    for _ in range(6):
        first = search.ask()
        assert first is not None
        second = search.ask([first])
        assert second is not None
        assert second != first
        search.tell([measured_at(first), measured_at(second)])


def test_a_prior_over_loads_is_believed_and_must_name_them() -> None:
    prior = tuple(measured_at({"qps": q, "itr-delay": d, "dvfs": 1200}) for q in LOADS for d in (2, 100, 350))
    search = ContextSearch(over(*LOADS).over(prior=prior))
    assert len(run(search, 6)) == 6
    bare = tuple(msgspec.structs.replace(o, point={"dvfs": 1200, "itr-delay": 2}) for o in prior)
    with pytest.raises(ValueError, match="isn't over"):
        ContextSearch(over(*LOADS).over(prior=bare))


def test_wrong_loads_are_refused() -> None:
    with pytest.raises(ValueError, match="not above 0"):
        ContextSearch(over(0, 5))
    with pytest.raises(ValueError, match="needs one among"):
        ContextSearch(PROBLEM)
