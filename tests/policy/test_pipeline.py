"""A policy over groups of nodes: who belongs together, what a group's metrics are, and a whole experiment on one."""

from pathlib import Path

import pytest

from mustherd.definition import DefinitionError, loads, problem
from mustherd.experiment.group_runner import together
from mustherd.node.twin.model import predict_at
from mustherd.node.twin.profiles import C6220
from mustherd.policy.base import Group, GuardedPolicy, PolicyError, check
from mustherd.policy.nop import Nop
from mustherd.policy.pipeline import Pipeline
from mustherd.store.store import Store
from mustherd.terms import Load
from mustherd.testing.policy import DEFINITION, PolicyContract
from mustherd.trial import TrialState
from tests import running

EXAMPLE = (Path(__file__).parents[2] / "examples/pipeline.yml").read_text()
ON_TWO = DEFINITION.replace("simulated: {}", "simulated: {musters: 2}")


@pytest.mark.process
class TestPipeline(PolicyContract):
    definition = ON_TWO + "policy: pipeline"


@pytest.mark.process
def test_without_pipelines_the_first_muster_is_the_source_of_all_others() -> None:
    experiment = loads(ON_TWO + "policy: {name: pipeline, options: {of_source: [read_p99_us]}}", "test.yml")
    policy = Pipeline(experiment, problem(experiment))
    try:
        [group] = policy.groups(["b", "c", "a"])
        assert group == Group(workers=("b", "c"), source="a", of_source=("read_p99_us",))
        assert group.members == ("a", "b", "c")
        with pytest.raises(PolicyError, match="there is one muster"):
            policy.groups(["a"])
    finally:
        policy.close()


@pytest.mark.process
def test_a_muster_that_is_not_there_is_named() -> None:
    experiment = loads(EXAMPLE, "test.yml")
    policy = Pipeline(experiment, problem(experiment))
    try:
        with pytest.raises(PolicyError, match="there is no muster muster-3; there are muster-1, muster-2"):
            policy.groups(["muster-1", "muster-2"])
    finally:
        policy.close()


def test_a_policy_that_groups_nothing_leaves_each_muster_by_itself() -> None:
    experiment = loads(ON_TWO + "policy: nop", "test.yml")
    assert not GuardedPolicy("nop", Nop(experiment, problem(experiment)), experiment).groups(["a", "b"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (DEFINITION + "policy: pipeline", "two nodes at least"),
        (ON_TWO + "policy: {name: pipeline, options: {sources: 1}}", "unknown option 'sources'"),
        (
            ON_TWO + "policy: {name: pipeline, options: {pipelines: [{source: a, workers: [b, a]}]}}",
            "a is in it twice",
        ),
        (ON_TWO + "policy: {name: pipeline, options: {pipelines: [{source: a, workers: []}]}}", "length >= 1"),
    ],
)
def test_what_can_not_be_done_is_said_of_the_definition(text: str, said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        check(loads(text, "test.yml"))


def test_amounts_are_summed_and_of_all_else_the_worst_worker_counts() -> None:
    workers = [
        {"energy_joules": 100.0, "power_watts": 10.0, "read_p99_us": 200.0, "achieved_ratio": 0.97, "only_here": 1.0,
         "achieved_qps": 3.0, "joules_per_request": 4.0},
        {"energy_joules": 140.0, "power_watts": 14.0, "read_p99_us": 150.0, "achieved_ratio": 1.0,
         "achieved_qps": 1.0, "joules_per_request": 8.0},
    ]  # fmt: skip
    found = together(workers, {"read_p99_us": 90.0, "lag_seconds": 3.0}, ["lag_seconds"])
    assert found == {
        "energy_joules": 240.0, "power_watts": 24.0, "read_p99_us": 200.0, "achieved_ratio": 0.97, "achieved_qps": 4.0,
        "joules_per_request": 5.0, "lag_seconds": 3.0, "backpressure_ratio": pytest.approx(0.03),
    }  # fmt: skip


def test_a_source_that_tells_its_backpressure_is_believed() -> None:
    workers = [{"achieved_ratio": 1.0}]
    assert together(workers, {"backpressure_ratio": 0.4}, ["backpressure_ratio"])["backpressure_ratio"] == 0.4


@pytest.mark.long
@pytest.mark.process
def test_the_example_tunes_all_workers_by_what_holds_their_source_back(tmp_path: Path) -> None:
    code, result, err = running.complete(tmp_path, EXAMPLE, name="run")
    assert code == 0, err
    with Store.open(Path(result["folder"]), read_only=True) as store:
        finished = [t for t in store.trials(state=TrialState.FINISHED) if t.settings]
    assert {t.muster for t in finished} == {"muster-2"}
    held_back = 0
    for trial in finished:
        one = predict_at(C6220, trial.settings, Load(qps=600e3))
        assert trial.metrics["power_watts"] == pytest.approx(2 * one.power_watts, rel=0.05)
        assert trial.metrics["backpressure_ratio"] == pytest.approx(max(0.0, 1 - one.achieved_qps / 600e3), abs=0.02)
        held_back += trial.metrics["backpressure_ratio"] > 0.02
    assert held_back, "no setting of the space holds the source back"
    best = result["best"]["knobs"]
    assert predict_at(C6220, best, Load(qps=600e3)).achieved_qps >= 0.97 * 600e3
