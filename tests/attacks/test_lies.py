"""A muster that says numbers which can't be: through a real herd, none of it becomes a measurement."""

import math
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mustherd.definition import Experiment, loads
from mustherd.experiment.trial_runner import TrialRunner
from mustherd.plugins import METRICS
from mustherd.reasons import Reason
from mustherd.rowlog.writer import LogWriter
from mustherd.terms import LoadReport
from mustherd.trial import Trial, TrialKind, TrialState
from tests.fakes import FakeLoad, FakeNode
from tests.herding import muster, shepherd
from tests.plugged import found
from tests.waiting import until

pytestmark = pytest.mark.herd

DEFINITION = """\
name: lies
herd: {simulated: {profile: c6220}}
workload: {preset: etc, qps: 400k, ramp_seconds: 0, settle_seconds: 0, window_seconds: 0.5}
knobs: {dvfs: [1200 MHz, 1600 MHz]}
constraints: [read_p99_us <= 500]
trials: 1
repeats: 0
"""


def honest(report: LoadReport) -> LoadReport:
    """What a server under that load could have answered."""
    seconds, latencies = report.t1_s - report.t0_s, {"p50": 50.0, "p95": 90.0, "p99": 120.0}
    count = round(report.offered_qps * seconds)
    return msgspec.structs.replace(
        report, achieved_qps=count / seconds, requests=count, samples=1000, read_us=latencies, update_us=latencies
    )


def said(**changes: Any) -> Callable[[LoadReport], LoadReport]:
    return lambda report: msgspec.structs.replace(honest(report), **changes)


@pytest.mark.parametrize(
    ("lie", "word"),
    [
        (honest, ""),
        (said(offered_qps=1.0), "1 requests/s were offered where 400000 were asked for"),
        (said(read_us={"p99": 0.0}), "p99 of read latency is 0 us"),
        (said(read_us={"p99": -5.0}), "p99 of read latency is -5 us"),
        (said(read_us={"p99": math.nan}), "p99 of read latency is nan"),
        (said(achieved_qps=1e308), "achieved_qps of the load is 1e+308"),
    ],
)
def test_what_can_not_be_is_refused_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lie: Callable[[LoadReport], LoadReport], word: str
) -> None:
    tell = FakeLoad.close_window
    monkeypatch.setattr(FakeLoad, "close_window", lambda load: lie(tell(load)))
    node = FakeNode()
    node.meter = None
    experiment: Experiment = loads(DEFINITION, "lies.yml")
    with LogWriter(tmp_path) as logs, shepherd(sink=logs) as (running, ports), muster(ports, tmp_path / "m", node=node):
        until(running.musters)
        trial = Trial(number=1, kind=TrialKind.SEARCH, settings={"dvfs": 1200}, state=TrialState.RUNNING)
        ended = TrialRunner(experiment, running, logs).run(trial, "muster-1")
    if word:
        assert (ended.state, ended.reason) == (TrialState.INVALID, Reason.REPORT_IMPLAUSIBLE)
        assert word in ended.detail
        assert ended.metrics == {}
        assert ended.load_report is None
    else:
        # Nothing is wrong with it but that this node has no meter.
        assert ended.reason == Reason.METRIC_MISSING
        assert ended.metrics["read_p99_us"] == 120.0


def test_a_packages_metric_that_breaks_is_named_in_the_trial_that_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found(monkeypatch, EntryPoint("broken", "tests.test_metrics:BROKEN", METRICS))
    experiment: Experiment = loads(DEFINITION + "objective: broken\n", "lies.yml")
    monkeypatch.setattr(FakeLoad, "close_window", lambda load, close=FakeLoad.close_window: honest(close(load)))
    with LogWriter(tmp_path) as logs, shepherd(sink=logs) as (running, ports), muster(ports, tmp_path / "m"):
        until(running.musters)
        trial = Trial(number=1, kind=TrialKind.SEARCH, settings={"dvfs": 1200}, state=TrialState.RUNNING)
        ended = TrialRunner(experiment, running, logs).run(trial, "muster-1")
    assert ended.reason == Reason.METRIC_MISSING
    assert ended.detail.startswith(
        "broken was not measured: it can't be computed: ZeroDivisionError: division by zero (test_metrics.py:"
    )
