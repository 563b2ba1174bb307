"""The scheduler: its promises through anything that can happen to an experiment, and each of its rules by itself."""

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mustherd.definition import Experiment, loads, problem
from mustherd.experiment.actions import (
    Result,
)
from mustherd.experiment.scheduler import INVARIANTS
from mustherd.experiment.verdict import decide, order_of
from mustherd.reasons import Reason
from mustherd.trial import TrialKind, TrialState
from tests.definition.make import text as definition_text
from tests.experiment.driven import Driven
from tests.experiment.simulated import SPOILT, Plan, World, defined, quiet, sequence

definitions = st.builds(
    defined,
    trials=st.integers(1, 7),
    repeats=st.integers(0, 2),
    baseline=st.sampled_from(['{"every":1}', '{"every":3}', '{"every":10,"settings":{"itr-delay":2,"dvfs":2600}}']),
    confirmation=st.sampled_from(['{"candidates":1,"rounds":1}', '{"candidates":2,"rounds":3}']),
    gates=st.sampled_from(
        ['{"attempts":1,"same_failure":1}', '{"attempts":2,"same_failure":3}', '{"attempts":3,"same_failure":2}']
    ),
    workload=st.sampled_from(['{"qps":600000}', '{"qps":[200000,400000]}']),
    budget=st.sampled_from(["{}", '{"minutes":3}', '{"minutes":12}', '{"joules":9000}', '{"joules":30000}']),
)
chances = st.sampled_from([0.0, 0.05, 0.3])
plans = st.builds(
    Plan,
    spoilt=chances,
    lost=st.sampled_from([0.0, 0.05, 0.3, 1.0]),
    broken=st.sampled_from([0.0, 0.05, 0.5]),
    unmeasured=st.sampled_from([0.0, 0.1]),
    silent=st.sampled_from([0.0, 0.03, 0.3]),
    kill=st.sampled_from([0.0, 0.01, 0.1]),
    stop=st.sampled_from([0.0, 0.0, 0.02]),
    resumes=st.sampled_from([0, 2, 5]),
    reasons=st.sampled_from([SPOILT, [Reason.MUSTER_LATE], [Reason.GENERATOR_SATURATED, Reason.MUSTER_LATE]]),
)


worlds = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32),
        "experiment": definitions,
        "plan": plans,
        "musters": st.integers(1, 3),
        "expected": st.integers(1, 3),
        "compares": st.sampled_from([True, True, False]),
        "enough": st.sampled_from([None, None, 0, 3]),
        "ranks": st.booleans(),
        "waits": st.sampled_from([0.0, 0.0, 0.5, 1.0]),
        "look_every": st.integers(1, 5),
    }
)


@settings(max_examples=250, deadline=None)
@given(made=worlds)
def test_promises_hold_through_anything_and_every_experiment_ends(made: dict[str, Any]) -> None:
    world = World(**made).run()
    world.look()
    if world.results[-1] is Result.DONE:
        decide(world.record.trials(), world.goal, order=order_of(world.record))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), experiment=definitions.filter(lambda e: e.budget.minutes is None), stop=chances)
def test_an_interrupted_experiment_runs_what_an_uninterrupted_one_runs(
    seed: int, experiment: Experiment, stop: float
) -> None:
    # Invariant 12. One muster, so that no order of ends depends on when the process was killed.
    plain = World(seed, experiment, quiet(spoilt=0.1, unmeasured=0.05), look_every=50).run()
    cut = World(
        seed, experiment, quiet(spoilt=0.1, unmeasured=0.05, kill=0.05, stop=stop, resumes=200), look_every=50
    ).run()
    if plain.results == [Result.DONE]:
        assert cut.results[-1] is Result.DONE
        assert sequence(cut) == sequence(plain)
        assert order_of(cut.record) == order_of(plain.record)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), musters=st.integers(1, 2))
def test_an_experiment_that_the_version_before_began_is_gone_on_with(seed: int, musters: int) -> None:
    # Its repeats have neither step nor place, and those that were under way are of whatever round that version was at.
    plan = quiet(spoilt=0.1, lost=0.1, kill=0.03, resumes=8)
    confirmation = '{"candidates":2,"rounds":4}'
    experiment = defined(trials=4, repeats=2, confirmation=confirmation, gates='{"attempts":3,"same_failure":9}')
    world = World(seed, experiment, plan, musters=musters, look_every=10**9)
    while world.results[-1:] != [Result.DONE] and world.runs <= plan.resumes:
        world.run_once()
        dice = random.Random(f"{seed}/{world.runs}")
        for key, trial in world.record.attempts.items():
            if trial.kind is TrialKind.CONFIRM:
                world.record.attempts[key] = forgotten = msgspec.structs.replace(trial, round=0, place="")
                if trial.state is TrialState.QUEUED and dice.random() < 0.5:
                    other = msgspec.structs.replace(forgotten, settings={"itr-delay": 400, "dvfs": 1200})
                    world.record.attempts[key] = other
    assert world.results[-1] is Result.DONE
    decide(world.record.trials(), world.goal, order=order_of(world.record))


@pytest.mark.parametrize("musters", [1, 2])
def test_equal_definitions_give_equal_problems_and_equal_proposals(musters: int) -> None:
    changes: dict[str, Any] = {
        "trials": 9,
        "repeats": 2,
        "constraints": ["read_p99_us <= 500"],
        "knobs": {"itr-delay": [2, 50, 100, 300], "dvfs": [1200, 2600]},
    }
    forth = loads(definition_text(**changes), "forth.yml")
    back = loads(definition_text(**{**changes, "knobs": dict(reversed(changes["knobs"].items()))}), "back.yml")
    assert problem(forth) == problem(back)
    runs = [World(5, experiment, quiet(), musters=musters).run() for experiment in (forth, back)]
    assert runs[0].results == [Result.DONE]
    assert sequence(runs[0]) == sequence(runs[1])
    assert runs[0].asked_with == runs[1].asked_with


@pytest.mark.parametrize("number", sorted(INVARIANTS))
def test_validate_sees_each_broken_invariant(number: int) -> None:
    driven = Driven(trials=3, repeats=0)
    driven.begin()
    driven.ends(2)
    scheduler = driven.scheduler
    scheduler.validate()
    assert scheduler._agenda is not None
    match number:
        case 8:
            scheduler._waiting.add([driven.running()[0]])
        case 9:
            scheduler._agenda.told.append((9.0, driven.running()[0].number))
        case 10:
            scheduler._tally.at_fault[driven.running()[0].number] = 3
        case 11:
            scheduler._goal = msgspec.structs.replace(scheduler._goal, guard=0.0)
        case 12:
            scheduler._agenda.told.append((0.0, 1))
    with pytest.raises(AssertionError, match=f"invariant {number}"):
        scheduler.validate()
