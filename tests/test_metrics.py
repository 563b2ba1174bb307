"""The catalogue of metrics, and one that a package adds: from the definition to the report."""

import json
import math
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mustherd import metrics
from mustherd.definition import DefinitionError, loads
from mustherd.definition.limits import MetricError, check_metric, limit
from mustherd.definition.schema import json_schema
from mustherd.metrics import Direction, Metric, Use, WindowMeasurement
from mustherd.plugins import METRICS, plugins
from mustherd.terms import MUSTER_CPU, Energy, LoadReport
from tests import running
from tests.plugged import found as installed
from tests.plugged import site

ROOT = Path(__file__).resolve().parents[1]
ENERGIES = (Energy(zone="package-0", kind="package", joules=1000.0), Energy(zone="p1", kind="package", joules=800.0))
LOAD = LoadReport(
    generator="twin", t0_s=0.0, t1_s=30.0, offered_qps=1000.0, achieved_qps=999.0, requests=29970, misses=3, samples=9,
    read_us={"avg": 300.0, "p99": 400.0}, update_us={"avg": 310.0, "p5": 100.0},
)  # fmt: skip


def measured(**changes: Any) -> dict[str, float]:
    return metrics.measured(WindowMeasurement(**{"seconds": 30.0, "energies": ENERGIES, "load": LOAD, **changes}))


def test_a_window_gives_what_was_measured_in_it_and_nothing_else() -> None:
    found = measured()
    assert found["energy_joules"] == 1800
    assert found["power_watts"] == 60
    assert found["achieved_ratio"] == pytest.approx(0.999)
    assert found["joules_per_request"] == pytest.approx(1800 / 29970)
    assert found["read_p99_us"] == 400
    assert "read_p50_us" not in found
    assert found["update_p5_us"] == 100, "a percentile that the catalogue doesn't have"
    assert "server_cpu_seconds" not in found
    counted = msgspec.structs.replace(LOAD, counters={"server_cpu_seconds": 3.0})
    assert measured(energies=(), load=counted)["cpu_seconds_per_request"] == pytest.approx(3 / 29970)
    assert measured(energies=(), load=None) == {"window_seconds": 30.0}
    for nan in ({"p99": math.nan}, {"p5": math.inf}):
        assert not {"read_p99_us", "read_p5_us"} & set(measured(load=msgspec.structs.replace(LOAD, read_us=nan)))


def test_core_and_dram_energy_are_not_added_twice() -> None:
    zones = [Energy(zone=k, kind=k, joules=100.0) for k in ("package", "core", "dram")]
    assert measured(seconds=10.0, energies=zones, load=None)["energy_joules"] == 100.0


def test_every_metric_of_ours_can_be_computed_or_says_where_it_comes_from() -> None:
    parts = {"avg": 1.0, "p50": 1.0, "p90": 1.0, "p95": 1.0, "p99": 1.0, "p999": 1.0}
    counters = dict.fromkeys(
        (
            *("server_cpu_seconds", "machine_cpu_seconds", "machine_cycles", MUSTER_CPU),
            *("wall_joules", "wall_uncertainty_joules"),
            *metrics.NIC_COUNTS,
        ),
        1.0,
    )
    load = msgspec.structs.replace(LOAD, read_us=parts, update_us=parts, counters=counters)
    zones = [Energy(zone=kind, kind=kind, joules=1.0) for kind in ("package", "core", "dram", "psys")]
    found = set(measured(load=load, energies=zones)) - {"update_p5_us"}
    # A log's median, and what a pipeline's source tells or its workers leave (tests/policy/test_pipeline.py).
    elsewhere = {metrics.RX_BYTES_PER_ROW, metrics.BACKPRESSURE}
    # Other packages of this Python may add metrics.
    assert found - set(plugins(METRICS)) == set(metrics.OURS) - elsewhere


@pytest.mark.parametrize("metric", metrics.OURS.values(), ids=lambda m: m.name)
def test_a_cost_is_its_own_inverse_and_falls_as_the_metric_gets_better(metric: Metric) -> None:
    low, high = metric.as_cost(10.0), metric.as_cost(20.0)
    assert metric.as_cost(low) == pytest.approx(10.0)
    assert (high < low) == metric.maximized
    assert (metric.better_percent(20.0, 10.0) > 0) == metric.maximized
    assert metric.as_cost(0.0) == (1e12 if metric.maximized else 0.0)


@pytest.mark.parametrize(
    ("name", "title", "verb"),
    [
        ("energy_joules", "energy (J)", "uses"),
        ("read_p99_us", "read p99 (us)", "has"),
        ("read_p999_us", "read p99.9 (us)", "has"),
        ("update_avg_us", "update mean (us)", "has"),
        ("achieved_qps", "answered load (qps)", "has"),
        ("achieved_ratio", "achieved (%)", "has"),
        ("joules_per_request", "energy per request (J)", "uses"),
        ("misses", "misses", "has"),
        # Nobody here knows these: a folder of another version, or of a package that is gone.
        ("read_p42_us", "read p42 (us)", "has"),
        ("disk_joules", "disk (J)", "uses"),
        ("</td>", "</td>", "uses"),
        ("", "", "uses"),
    ],
)
def test_what_people_read(name: str, title: str, verb: str) -> None:
    metric = metrics.of(name)
    assert (metric.name, metric.title, metric.verb) == (name, title, verb)


@pytest.mark.parametrize(
    ("name", "given", "unit"),
    [
        ("spread_us", "", "us"),
        ("disk_joules", "kJ", "kJ"),
        # 2.5 times the median is no 250 %: a share says that it is one.
        ("tail_ratio", "", ""),
        ("tail_ratio", "ratio", "ratio"),
        ("resets", "", ""),
    ],
)
def test_a_metrics_unit_is_its_names_last_part_unless_one_is_given(name: str, given: str, unit: str) -> None:
    assert Metric(name=name, meaning="x", unit=given).unit == unit


def test_a_definition_may_not_name_what_is_only_shown() -> None:
    for name in (metrics.RX_BYTES_PER_ROW, "read_p5_us"):
        with pytest.raises(MetricError, match="unknown metric"):
            check_metric(name)


# A metric of another package

PACKAGE = '''
    from mustherd.metrics import Direction, Metric

    def work(window):
        """Requests that a joule answers, and a call that only this metric needs."""
        if window.joules is None or window.load is None:
            return None
        return window.load.requests / window.joules

    METRIC = Metric(
        name="requests_per_joule", unit="1/J", direction=Direction.MORE, verb="has",
        label="efficiency", meaning="answered requests per joule", compute=work,
    )
    TAIL = Metric(
        name="tail_ratio", meaning="p99 over median of reads", verb="has",
        compute=lambda window: window.load.read_us["p99"] / window.load.read_us["p50"] if window.load else None,
    )
'''
NAMES = {METRICS: {"requests_per_joule": "METRIC", "tail_ratio": "TAIL"}}


def mustherd(*arguments: str, path: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "mustherd", *arguments],
        env={**os.environ, "PYTHONPATH": f"{path}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.long
@pytest.mark.process
def test_a_packages_metric_is_objective_and_limit_and_in_the_reports(tmp_path: Path) -> None:
    packages = site(tmp_path / "site", "efficient", PACKAGE, NAMES)
    text = running.definition(trials=8, musters=1, repeats=2)
    text = text.replace("[read_p99_us <= 500]", "[read_p99_us <= 500, tail_ratio <= 50]")
    definition, folder = tmp_path / "x.yml", tmp_path / "x"
    definition.write_text(text + "objective: requests_per_joule\n")
    done = mustherd("experiment", "start", str(definition), "--into", str(folder), "--json", path=packages)
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert (found["objective"], found["sense"]) == ("requests_per_joule", "most")
    assert found["best"]["metrics"]["tail_ratio"] <= 50
    assert found["saving_percent"] > 0
    assert "% more efficiency" in found["reason"]
    shown = mustherd("experiment", "show", str(folder), path=packages).stdout
    assert "efficiency" in shown
    report = tmp_path / "x.html"
    done = mustherd("experiment", "report", str(folder), "--to", str(report), path=packages)
    assert done.returncode == 0, done.stderr
    assert "efficiency" in report.read_text()
    # Where the package is not installed the folder says itself which way its objective is better.
    done = mustherd("experiment", "report", str(folder), "--to", str(report), path=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"<strong>[\d.]+ %</strong> more requests per joule", report.read_text())
    wrong = definition.read_text().replace("objective: requests_per_joule", "objective: request_per_joule")
    definition.write_text(wrong)
    done = mustherd("experiment", "plan", str(definition), path=packages)
    assert done.returncode == 2
    assert "did you mean" in done.stderr
    assert "requests_per_joule" in done.stderr
    assert f"{definition}:" in done.stderr


LEAVES = Metric(name="leaves", meaning="x", compute=lambda window: sys.exit(7))
BROKEN = Metric(name="broken", meaning="x", compute=lambda window: 1 / 0)
TEXT = Metric(name="text", meaning="x", compute=lambda window: "12")  # type: ignore[arg-type,return-value]
SHOWN = Metric(name="shown", meaning="x", use=Use.REPORT, compute=lambda window: 5)
KEPT = Metric(name="kept", meaning="x", use=Use.LIMIT, unit="J", compute=lambda window: 6.0)
WORDY = Metric(name="wordy", meaning="x", direction="more")  # type: ignore[arg-type]
USED = Metric(name="used", meaning="x", use="objective")  # type: ignore[arg-type]
SUMMED = Metric(name="summed", meaning="x", over_windows="max")  # type: ignore[arg-type]
UNITED = Metric(name="united", meaning="x", unit=5)  # type: ignore[arg-type]
MISNAMED = Metric(name="other", meaning="x")
SPACED = Metric(name="with space", meaning="x")
TAKEN = Metric(name="energy_joules", meaning="x", direction=Direction.MORE)
number = 5


@dataclass(frozen=True, kw_only=True)
class Scaled(Metric):
    """One with fields of its own, which are its own affair."""

    scale: float = 10
    of: "Nowhere | None" = None  # type: ignore[name-defined]  # noqa: F821


UNREAL = Metric(name="unreal", meaning="x", compute=lambda window: float("nan"))
BEYOND = Metric(name="beyond", meaning="x", compute=lambda window: 1e308)
ENDLESS = Metric(name="endless", meaning="x", compute=lambda window: float("inf"))
SCALED = Scaled(name="scaled", meaning="x", compute=lambda window: 7.0)


@pytest.fixture
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {
        "broken": "BROKEN", "leaves": "LEAVES", "text": "TEXT", "shown": "SHOWN", "kept": "KEPT",
        "misnamed": "MISNAMED", "with space": "SPACED", "energy_joules": "TAKEN", "number": "number",
        "absent": "Absent", "wordy": "WORDY", "used": "USED", "summed": "SUMMED", "united": "UNITED",
        "scaled": "SCALED", "unreal": "UNREAL", "endless": "ENDLESS", "beyond": "BEYOND",
    }  # fmt: skip
    entries = [EntryPoint(name, f"tests.test_metrics:{attribute}", METRICS) for name, attribute in names.items()]
    installed(monkeypatch, *entries, EntryPoint("nowhere", "tests.no_such_module:X", METRICS))


@pytest.mark.usefixtures("_installed")
def test_a_window_survives_what_a_packages_metric_does() -> None:
    found = measured()
    assert (found["shown"], found["kept"], found["scaled"]) == (5.0, 6.0, 7.0)
    assert not {"broken", "text", "number", "absent", "nowhere", "misnamed"} & set(found)
    assert found["energy_joules"] == 1800


@pytest.mark.usefixtures("_installed")
def test_why_a_packages_metric_is_not_there_is_told() -> None:
    """Its trials said that the node or the load didn't give it; one that left by sys.exit ended the experiment."""
    untold: dict[str, str] = {}
    assert "leaves" not in metrics.measured(WindowMeasurement(seconds=30.0, energies=ENERGIES, load=LOAD), untold)
    assert untold["leaves"].startswith("it can't be computed: SystemExit: 7 (test_metrics.py:")
    assert untold["text"] == "it can't be computed: TypeError: it gives '12', which is no number"
    bounds = "allowed: -1e+100 to 1e+100"
    assert (untold["unreal"], untold["endless"]) == (f"it is not a number (NaN); {bounds}", f"it is inf; {bounds}")
    # The store refuses to read what is beyond: the whole experiment was lost with it.
    assert untold["beyond"] == f"it is 1e+308; {bounds}"
    assert untold["broken"].startswith("it can't be computed: ZeroDivisionError: division by zero (test_metrics.py:")


@pytest.mark.usefixtures("_installed")
def test_a_package_can_not_take_the_place_of_one_of_ours() -> None:
    assert metrics.of("energy_joules") is metrics.OURS["energy_joules"]
    assert metrics.catalogue()["energy_joules"].direction is Direction.LESS


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("number", "is no mustherd.metrics.Metric"),
        ("absent", "can't be loaded: AttributeError"),
        ("nowhere", "can't be loaded: ModuleNotFoundError"),
        ("misnamed", "calls itself 'other'"),
        ("wordy", "has direction 'more'; allowed: Direction.LESS, Direction.MORE"),
        ("used", "has use 'objective'; allowed: Use.OBJECTIVE, Use.LIMIT, Use.REPORT"),
        ("summed", "has over_windows 'max'; allowed: 'sum', 'mean'"),
        ("united", "has unit 5; allowed: text"),
        ("with space", "is not made of small letters"),
        ("kept", "'kept' is no objective; it can be a constraint"),
        ("shown", "unknown metric 'shown'"),
    ],
)
def test_what_is_wrong_with_a_packages_metric_is_said_where_it_is_asked_for(name: str, says: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        loads(running.definition() + f"objective: {name}\n", "x.yml")
    assert says in str(caught.value)
    assert "x.yml" in str(caught.value)


@pytest.mark.usefixtures("_installed")
def test_a_broken_metric_that_a_definition_does_not_name_is_not_even_imported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics._complain.cache_clear()
    loads(running.definition() + "objective: energy_joules\n", "x.yml")
    assert caplog.messages == []
    with pytest.raises(DefinitionError):
        loads(running.definition() + "objective: nothing_of_it\n", "x.yml")
    assert any("nowhere" in message for message in caplog.messages), "what may be named instead is listed"


@pytest.mark.usefixtures("_installed")
def test_a_packages_metric_is_offered_wherever_ours_are() -> None:
    assert limit("kept <= 2 kJ").limit == 2000.0
    objectives = json_schema()["properties"]["objective"]["enum"]
    assert "broken" in objectives
    assert not {"kept", "shown", "number"} & set(objectives)
    assert metrics.of("nowhere").use is Use.REPORT
