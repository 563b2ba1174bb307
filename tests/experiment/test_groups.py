"""Trials on a group of simulated nodes, through a herd: all are measured at once, and each can spoil the whole."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mustherd.daemon import Stop
from mustherd.definition import goal, loads
from mustherd.experiment.actions import Result
from mustherd.experiment.group_runner import GroupRunner
from mustherd.experiment.loop import TrialLoop
from mustherd.experiment.trial_runner import TrialRunner
from mustherd.node.twin.faults import TwinFaults, TwinOptions
from mustherd.node.twin.model import predict_at
from mustherd.node.twin.node import TwinNode
from mustherd.node.twin.profiles import C6220
from mustherd.policy.base import Group
from mustherd.reasons import Reason
from mustherd.rowlog.writer import LogWriter
from mustherd.shepherd.shepherd import Shepherd
from mustherd.store.store import Store
from mustherd.terms import Load
from mustherd.trial import Trial, TrialKind, TrialState
from tests.herding import muster, shepherd
from tests.waiting import until

pytestmark = pytest.mark.herd

DEFINITION = """\
name: grouped
herd: {{simulated: {{profile: c6220, musters: 3, speed: 200}}}}
workload: {{qps: 1.2M, ramp_seconds: 1, window_seconds: 20{more}}}
knobs: {{itr-delay: [100, 400], dvfs: [1900 MHz, 2600 MHz]}}
constraints: [backpressure_ratio <= 0.02]
gates: {{achieved_ratio: 0, times_late: 100, window_tolerance: 0.5}}
policy: pipeline
"""
SOURCE, *WORKERS = NAMES = ("muster-1", "muster-2", "muster-3")
GROUP = Group(workers=tuple(WORKERS), source=SOURCE)


@contextlib.contextmanager
def herd(folder: Path, broken: str = "") -> Iterator[tuple[Shepherd, LogWriter, dict[str, TwinNode]]]:
    """Three nodes and their shepherd; a clock of the muster that is `broken` stays as it is."""
    nodes = {
        name: TwinNode(
            TwinOptions(
                profile="c6220",
                speed=200,
                noise=0.1,
                faults=TwinFaults(knob_ignored=("dvfs",) if name == broken else ()),
            )
        )
        for name in NAMES
    }
    with contextlib.ExitStack() as stack:
        logs = stack.enter_context(LogWriter(folder))
        running, ports = stack.enter_context(shepherd(sink=logs))
        for name, node in nodes.items():
            stack.enter_context(muster(ports, folder / name, name=name, node=node))
        until(lambda: len(running.musters()) == len(NAMES))
        yield running, logs, nodes


@contextlib.contextmanager
def grouped(folder: Path, more: str = "", broken: str = "") -> Iterator[tuple[GroupRunner, dict[str, TwinNode]]]:
    """A runner of trials on the group."""
    with herd(folder, broken) as (running, logs, nodes):
        yield GroupRunner(TrialRunner(loads(DEFINITION.format(more=more), "x.yml"), running, logs), [GROUP]), nodes


def trial(delay: int, number: int = 1) -> Trial:
    settings = {"itr-delay": delay, "dvfs": 2600}
    return Trial(number=number, kind=TrialKind.SEARCH, settings=settings, state=TrialState.RUNNING)


def test_workers_get_the_settings_their_source_none_and_what_it_is_held_back_by_counts(tmp_path: Path) -> None:
    with grouped(tmp_path) as (runner, nodes):
        found = {delay: runner.run(trial(delay, delay), WORKERS[0]) for delay in (100, 400)}
        set_at = {
            name: {knob.info.name: knob.read() for knob in node.knobs if knob.info.name in ("itr-delay", "dvfs")}
            for name, node in nodes.items()
        }
    assert set_at[WORKERS[0]] == set_at[WORKERS[1]]
    assert set_at[SOURCE] != set_at[WORKERS[0]]
    for delay, one in found.items():
        assert (one.state, one.muster, one.settings["itr-delay"]) == (TrialState.FINISHED, WORKERS[0], delay), (
            one.detail
        )
        expected = predict_at(C6220, one.settings, Load(qps=600e3))
        assert one.metrics["power_watts"] == pytest.approx(2 * expected.power_watts, rel=0.05)
        held_back = max(0.0, 1 - expected.achieved_qps / 600e3)
        assert one.metrics["backpressure_ratio"] == pytest.approx(held_back, abs=0.02)
    assert found[400].metrics["backpressure_ratio"] > 0.1 > found[100].metrics["backpressure_ratio"]


@pytest.mark.parametrize("broken", WORKERS)
def test_a_member_whose_window_does_not_count_spoils_the_whole(tmp_path: Path, broken: str) -> None:
    with grouped(tmp_path, broken=broken) as (runner, _):
        one = runner.run(trial(100), WORKERS[0])
    assert one.state is TrialState.INVALID
    assert one.reason == Reason.KNOB_NOT_HELD
    assert broken in one.detail
    assert (one.muster, one.kind, one.settings) == (WORKERS[0], TrialKind.SEARCH, trial(100).settings)


def test_what_the_definition_checks_is_asked_of_the_whole(tmp_path: Path) -> None:
    with grouped(tmp_path, ", checks: [power_watts <= 1]") as (runner, _):
        one = runner.run(trial(100), WORKERS[0])
    assert one.reason == Reason.CHECK_FAILED
    assert "power_watts is" in one.detail


def test_a_group_is_there_when_all_of_it_is() -> None:
    runner = GroupRunner(None, [GROUP])  # type: ignore[arg-type]
    assert runner.workers == set(WORKERS)
    assert runner.whole({SOURCE: 1.0, WORKERS[0]: 2.0, WORKERS[1]: 3.0, "muster-9": 9.0}) == {WORKERS[0]: 3.0}
    assert runner.whole({SOURCE: 1.0, WORKERS[0]: 2.0}) == {}


@pytest.mark.process
def test_an_experiment_tries_settings_on_the_group_and_on_no_node_alone(tmp_path: Path) -> None:
    text = DEFINITION.format(more="") + "search: {method: grid}\ntrials: 4\nrepeats: 0\n"
    experiment = loads(text, "x.yml")
    with (
        Store.create(
            tmp_path / "x", name="x", definition=text, resolved={}, digest="d", goal=goal(experiment)
        ) as store,
        herd(tmp_path / "herd") as (running, logs, _),
    ):
        result = TrialLoop(store, experiment, running, logs, expected=len(NAMES), stop=Stop()).run()
        trials = store.trials(state=TrialState.FINISHED)
    assert result in (Result.DONE, Result.NOT_MET)
    searched = [one for one in trials if one.kind is TrialKind.SEARCH]
    assert len({one.number for one in searched}) == 4
    assert {one.muster for one in trials} == {WORKERS[0]}
    assert all(one.metrics["energy_joules"] > 2 * 20 * 40 for one in trials), "of two workers, over 20 s"
