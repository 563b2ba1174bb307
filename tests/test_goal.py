"""The goal: made by a definition once, the guard always in it, the same when it is read back."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mustherd import metrics
from mustherd.definition import goal, problem
from mustherd.goal import GUARD, Constraint, Goal, Objective, keeps
from mustherd.metrics import Direction, Use
from tests.definition.make import made

GUARDED = Constraint(GUARD, 0.98, at_least=True)


@pytest.mark.parametrize("text", ["read_p99_us <= 500", "read_p99_us <= 0.5 ms", "read_p99_us \u2264 500 us"])
def test_a_limit_means_the_same_however_it_is_written(text: str) -> None:
    assert goal(made(constraints=[text])).constraints == (Constraint("read_p99_us", 500.0), GUARDED)


@pytest.mark.parametrize(
    ("changes", "guard"),
    [
        ({}, 0.98),
        ({"gates": {"achieved_ratio": 0.9}}, 0.9),
        ({"gates": {"achieved_ratio": 0}}, 0.0),
        ({"objective": "achieved_qps"}, 0.0),
        ({"objective": "achieved_qps", "gates": {"achieved_ratio": 0.5}}, 0.5),
        ({"objectives": ["energy_joules", "achieved_ratio"]}, 0.0),
        ({"objective": "read_p99_us", "constraints": ["power_watts <= 90"]}, 0.98),
    ],
)
def test_the_guard_is_in_every_goal_but_one_that_says_zero(changes: dict[str, Any], guard: float) -> None:
    found = goal(made(**changes))
    assert found.guard == guard
    named = [c for c in found.constraints if c.metric == GUARD]
    assert named == ([Constraint(GUARD, guard, at_least=True)] if guard else [])


def test_everything_that_a_definition_says_of_the_goal_is_in_it() -> None:
    found = goal(
        made(
            objectives=["energy_joules", "achieved_qps"],
            constraints=["read_p99_us <= 500", "power_watts >= 10 W"],
            gates={"achieved_ratio": 0.9},
            workload={"qps": [600_000, 200_000]},
            search={"method": "random", "seed": 7},
            repeats=2,
            confirmation={"rounds": 5, "candidates": 4, "margin": 0.06},
        )
    )
    assert found == Goal(
        objectives=(Objective("energy_joules", Direction.LESS), Objective("achieved_qps", Direction.MORE)),
        limits=(Constraint("read_p99_us", 500.0), Constraint("power_watts", 10.0, at_least=True)),
        guard=0.9,
        margin=0.06,
        loads=(200e3, 600e3),
        repeats=2,
        rounds=5,
        parallel=4,
        seed=7,
    )
    assert (found.objective, found.second) == ("energy_joules", "achieved_qps")
    assert found.metrics == ("energy_joules", "achieved_qps", "read_p99_us", "power_watts", "achieved_ratio")
    assert found.at(200e3).loads == (200e3,)


def test_the_margin_is_taken_off_upper_limits_and_off_nothing_else() -> None:
    experiment = made(constraints=["read_p99_us <= 500", "power_watts >= 10"], confirmation={"margin": 0.06})
    found = goal(experiment)
    aimed = (Constraint("read_p99_us", 500 * (1 - 0.06)), Constraint("power_watts", 10.0, True), GUARDED)
    assert found.aimed == aimed
    assert found.constraints[0].limit == 500.0, "what is promised is the limit itself"
    assert problem(experiment).goal == found


def test_a_curve_has_no_loads() -> None:
    curve = {"sine": {"low": 1e5, "high": 6e5, "period_seconds": 60, "seconds": 60}}
    assert goal(made(workload={"curve": curve}, policy="nop")).loads == ()


# Those of a meter of the whole machine take one in the definition: tests/meters.
OURS = {name: metric for name, metric in metrics.OURS.items() if name not in metrics.OF_WALL}
NAMES = [name for name, metric in OURS.items() if metric.use is not Use.REPORT and name != GUARD]
AIMS = [name for name, metric in OURS.items() if metric.use is Use.OBJECTIVE]


@given(
    objectives=st.lists(st.sampled_from(AIMS), min_size=1, max_size=2, unique=True),
    limits=st.dictionaries(st.sampled_from(NAMES), st.floats(1, 1e6), max_size=4),
    guard=st.none() | st.floats(0, 1),
    margin=st.floats(0, 0.5),
)
def test_every_definition_s_goal_is_guarded_and_reads_back(
    objectives: list[str], limits: dict[str, float], guard: float | None, margin: float
) -> None:
    changes: dict[str, Any] = {"objectives": objectives} if len(objectives) > 1 else {"objective": objectives[0]}
    found = goal(
        made(
            **changes,
            constraints=[f"{name} <= {limit!r}" for name, limit in limits.items()],
            gates={} if guard is None else {"achieved_ratio": guard},
            confirmation={"margin": margin},
        )
    )
    off = guard == 0 or (guard is None and any(metrics.of(name).maximized for name in objectives))
    assert any(c.metric == GUARD and c.at_least for c in found.constraints) != off
    assert msgspec.json.decode(msgspec.json.encode(found), type=Goal) == found
    assert {c.metric: c.limit for c in found.limits} == limits


def test_a_goal_that_makes_no_sense_is_refused() -> None:
    wrong: dict[str, Any]
    for wrong in ({"objectives": ()}, {"guard": 98.0}, {"margin": 1.0}, {"guard": -0.1}):
        with pytest.raises(ValueError, match=r"a goal has one objective or two|are shares from 0 to 1"):
            Goal(**wrong)


def test_what_keeps_a_limit_and_by_how_much_it_is_missed() -> None:
    upper, lower = Constraint("a", 500.0), Constraint("b", 0.98, at_least=True)
    assert keeps({"a": 500.0, "b": 0.98}, [upper, lower])
    assert not keeps({"a": 500.1, "b": 1.0}, [upper, lower])
    assert not keeps({"a": 1.0}, [upper, lower]), "what was not measured keeps nothing"
    assert not keeps({"a": float("nan")}, [upper])
    assert upper.excess(600.0) == pytest.approx(0.2)
    assert lower.excess(0.49) == pytest.approx(0.5)
    assert upper.excess(400.0) < 0
    assert Constraint("a", 0.0).excess(3.0) == 3.0


def test_a_direction_is_the_goal_s_own_even_where_nobody_knows_the_metric() -> None:
    found = Goal(objectives=(Objective("speed_of_light", Direction.MORE),))
    assert found.direction("speed_of_light") is Direction.MORE
    assert found.direction("read_p99_us") is Direction.LESS
    assert found.cost({"speed_of_light": 4.0}) == 0.25
