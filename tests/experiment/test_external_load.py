"""A load from outside its node: two windows, one interval, one clock."""

import time
from pathlib import Path

import pytest

from mustherd.experiment import external_load
from mustherd.experiment.external_load import on_node_clock
from mustherd.load.error import LoadError
from mustherd.load.host import too_much
from mustherd.store.store import Store
from mustherd.terms import LoadReport
from mustherd.trial import TrialState
from tests import running
from tests.load.mutilate import pretend

DEFINITION = """\
name: outside
herd:
  local: {{server_threads: 1}}
workload:
  {{qps: 1000, settle_seconds: 0.1, ramp_seconds: 0, window_seconds: 1, generator: {generator}, mutilate: {options}}}
knobs: {{memcached-threads: [1, 2]}}
objective: server_cpu_seconds
search: {{method: grid}}
trials: 2
repeats: 0
gates: {{window_tolerance: 1, attempts: 20, same_failure: 2, generator: {{busy: 1, waiting: 1, late: 1}}}}
"""


def test_a_report_is_put_on_the_node_s_clock() -> None:
    report = LoadReport(
        generator="mutilate", t0_s=99.99, t1_s=129.99, offered_qps=1, achieved_qps=1, requests=30, misses=0,
        samples=30, read_us={}, update_us={}, counters={"cmd_get": 5.0},
    )  # fmt: skip
    found = on_node_clock(report, 5000.0, asked=100.0, answered=100.004)
    assert found.t0_s == pytest.approx(4999.988)
    assert found.t1_s - found.t0_s == pytest.approx(30)
    assert found.counters["clock_uncertainty_s"] == pytest.approx(0.002)
    assert found.counters["cmd_get"] == 5


@pytest.fixture
def mutilate(tmp_path: Path) -> Path:
    """A program that prints what mutilate would."""
    return pretend.install(tmp_path / "mutilate")


@pytest.mark.process
@pytest.mark.memcached
def test_a_leader_outside_measures_while_the_node_does(tmp_path: Path, mutilate: Path) -> None:
    text = DEFINITION.format(generator="mutilate", options=f"{{program: {mutilate}, connections: 4}}")
    code, result, err = running.complete(tmp_path, text, name="run")
    assert code in (0, 1), err
    with Store.open(Path(result["folder"]), read_only=True) as store:
        finished = store.trials(state=TrialState.FINISHED)
    assert len(finished) == 3
    for trial in finished:
        assert trial.load_report is not None
        assert trial.load_report.generator == "mutilate"
        assert trial.load_report.read_us["p999"] == 998.5, "exact, from the samples"
        assert trial.metrics["window_seconds"] == pytest.approx(1, rel=1)
        assert trial.load_report.counters["clock_uncertainty_s"] > 0


@pytest.mark.process
@pytest.mark.memcached
def test_the_generator_outside_too(tmp_path: Path) -> None:
    code, result, err = running.complete(tmp_path, DEFINITION.format(generator="builtin", options="{}"))
    assert code in (0, 1), err
    with Store.open(Path(result["folder"]), read_only=True) as store:
        finished = store.trials(state=TrialState.FINISHED)
    assert len(finished) == 3
    assert all(t.load_report is not None and t.load_report.counters["cmd_get"] > 0 for t in finished)


@pytest.mark.process
@pytest.mark.memcached
def test_a_program_that_is_not_there_ends_the_experiment(tmp_path: Path) -> None:
    text = DEFINITION.format(generator="mutilate", options="{program: no-such-mutilate}")
    code, _, err = running.complete(tmp_path, text)
    assert code == 3
    assert "2 trials in a row failed with tool-missing: no-such-mutilate is not installed here" in " ".join(err.split())


def test_a_load_that_prints_without_an_end_is_seen_while_its_window_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    class Printing:
        def open_window(self) -> None: ...

        def look(self) -> None:
            raise too_much("stdout of mine")

        def close_window(self) -> LoadReport:
            raise AssertionError("its window lasted to its end")

    monkeypatch.setattr(external_load, "LOOK_S", 0.0)
    with pytest.raises(LoadError, match="stdout of mine: the load prints too much"):
        external_load._wait(Printing(), time.monotonic() + 60)
