"""Several loads learnt together."""

import pytest

from mustherd.learn.context import ContextSearch
from mustherd.learn.search import Observation, Point
from tests.learn.contract import PROBLEM, measured

LOADS = (100_000.0, 200_000.0, 400_000.0)


def at(load: float, point: Point) -> Observation:
    """More load takes more energy, and its p99 rises faster at a low clock."""
    metrics = dict(measured(point).metrics)
    metrics["energy_joules"] *= 1 + load / 1e6
    metrics["read_p99_us"] += 60 * (load / 4e5) * (1800 / point["dvfs"]) ** 2
    return Observation(point=point, metrics=metrics)


def test_later_loads_need_fewer_trials_and_a_table_comes_out() -> None:
    search = ContextSearch(PROBLEM, LOADS)
    assert search.table() == []
    for load, trials in zip(LOADS, (7, 3, 3), strict=True):
        for _ in range(trials):
            point = search.ask(load)
            assert point is not None
            search.tell(load, [at(load, point)])
    table = search.table()
    assert [row.qps for row in table] == list(LOADS)
    space = [{"itr-delay": d, "dvfs": f} for d in (1, 2, 50, 100, 200, 350) for f in range(1200, 1801, 200)]
    for row in table:
        every = [at(row.qps, p) for p in space]
        best = min(
            o.metrics["energy_joules"] for o in every if all(c.met_by(o.metrics[c.metric]) for c in PROBLEM.constraints)
        )
        chosen = at(row.qps, row.point).metrics
        assert all(c.met_by(chosen[c.metric]) for c in PROBLEM.constraints)
        assert chosen["energy_joules"] <= 1.05 * best


def test_two_musters_at_one_load_never_test_the_same_point() -> None:
    search = ContextSearch(PROBLEM, LOADS[:1])
    for _ in range(4):
        first = search.ask(LOADS[0])
        assert first is not None
        second = search.ask(LOADS[0], [first])
        assert second != first
        search.tell(LOADS[0], [at(LOADS[0], first)])


@pytest.mark.parametrize("loads", [(), (0.0,), (1.0, 1.0)])
def test_wrong_loads_are_refused(loads: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="each positive and once"):
        ContextSearch(PROBLEM, loads)
