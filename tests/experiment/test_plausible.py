"""Numbers that nobody can have measured are refused with the number; what can be measured is left to the gates."""

import math
from typing import Any

import msgspec
import pytest

from mustherd.experiment.plausible import objection
from mustherd.node.twin.node import TwinNode
from mustherd.terms import Energy, Load, LoadReport
from mustherd.wire.messages import Measured
from tests.experiment.test_gates import GOOD

ASKED = Load(qps=400_000)
LATENCIES = {"avg": 60.0, "p50": 50.0, "p90": 80.0, "p95": 90.0, "p99": 120.0, "p999": 200.0}
REPORT = LoadReport(
    generator="fake", t0_s=0, t1_s=30, offered_qps=400_000, achieved_qps=399_600, requests=11_988_000, misses=10,
    samples=10_000, read_us=LATENCIES, update_us=LATENCIES,
)  # fmt: skip
SEEN = msgspec.structs.replace(GOOD, load=REPORT)


def measured(**changes: Any) -> Measured:
    return msgspec.structs.replace(SEEN, **changes)


def load(**changes: Any) -> Measured:
    return measured(load=msgspec.structs.replace(REPORT, **changes))


def test_what_can_be_measured_passes() -> None:
    assert objection(SEEN, ASKED) == ""
    assert objection(SEEN, None) == ""
    assert objection(measured(load=None, energies=()), None) == ""
    # A server that answers little, a generator that says it was too slow: for the gates and the search to judge.
    assert objection(load(achieved_qps=100.0, requests=3000, samples=3000, misses=0), ASKED) == ""
    assert objection(load(offered_qps=200_000.0, saturated=True), ASKED) == ""
    # Without updates there is nothing to say of their latency.
    assert objection(load(update_us={}), ASKED) == ""


@pytest.mark.parametrize("qps", [20.0, 300.0, 5000.0])
def test_chance_is_no_lie(qps: float) -> None:
    """Of few arrivals the number differs a lot from what was asked for: five standard deviations are believed."""
    for sign in (-1, 1):
        count = round(qps * 30 + sign * 5 * math.sqrt(qps * 30))
        told = load(
            offered_qps=count / 30, achieved_qps=count / 30, requests=count, samples=count, misses=0, update_us={}
        )
        assert objection(told, Load(qps=qps)) == ""


ODD = [math.nan, math.inf, -math.inf, 1e308, -1e308]
WAYS: list[tuple[str, Any, str]] = [
    *(("t0_s", value, "window's start") for value in ODD),
    *(("t1_s", value, "window's end") for value in ODD),
    ("t1_s", 0.0, "lasted 0 s"),
    ("t1_s", -5.0, "lasted -5 s"),
    *(("joules", value, "package-0") for value in [*ODD, -1.0]),
]


@pytest.mark.parametrize(("name", "value", "word"), WAYS)
def test_no_window_or_energy_that_can_not_be(name: str, value: float, word: str) -> None:
    change = (
        {"energies": (Energy(zone="package-0", kind="package", joules=value),)} if name == "joules" else {name: value}
    )
    assert word in objection(measured(**change), ASKED)


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("name", ["t0_s", "t1_s", "offered_qps", "achieved_qps"])
def test_no_number_of_the_load_that_is_none(name: str, value: float) -> None:
    assert "which is no measurement" in objection(load(**{name: value}), ASKED)


@pytest.mark.parametrize("value", [*ODD, 0.0, -5.0, 1e10])
@pytest.mark.parametrize("name", ["avg", "p50", "p99", "p999"])
@pytest.mark.parametrize("kind", ["read_us", "update_us"])
def test_no_latency_that_can_not_be(kind: str, name: str, value: float) -> None:
    said = objection(load(**{kind: {**LATENCIES, name: value}}), ASKED)
    assert f"{name} of {kind.removesuffix('_us')} latency is {value:g}" in said


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"offered_qps": 1.0}, "1 requests/s were offered where 400000 were asked for"),
        ({"offered_qps": 4e6}, "4e+06 requests/s were offered where 400000 were asked for"),
        ({"offered_qps": 4e6, "saturated": True}, "were offered"),
        ({"offered_qps": 0.0}, "0 requests/s were offered"),
        ({"offered_qps": -1.0}, "-1 requests/s were offered"),
        ({"achieved_qps": 4e6, "requests": 120_000_000}, "were answered where 400000 were asked for"),
        (
            {"achieved_qps": 399_000.0, "requests": 1, "misses": 0, "samples": 1},
            "1 requests in 30 s are said to be 399000 a second",
        ),
        ({"achieved_qps": -1.0}, "are said to be -1 a second"),
        ({"requests": -5, "misses": -5}, "of -5 requests were misses"),
        ({"misses": 11_988_001}, "requests were misses"),
        ({"misses": -1}, "requests were misses"),
        ({"samples": 99_000_000}, "the latency of 99000000 of 11988000 requests was measured"),
        ({"t1_s": 0.0}, "the load lasted 0 s"),
        ({"counters": {"server_cpu_seconds": -1.0}}, "counter server_cpu_seconds is -1"),
        ({"counters": {"x": math.nan}}, "counter x is nan"),
        ({"read_us": {**LATENCIES, "p99": 60.0}}, "p99 of read latency is 60 us, below its p95 of 90 us"),
    ],
)
def test_no_load_that_was_not_asked_for_or_can_not_be(change: dict[str, Any], word: str) -> None:
    assert word in objection(load(**change), ASKED)


@pytest.mark.parametrize("qps", [50.0, 1000.0, 200_000.0, 900_000.0, 5_000_000.0])
def test_a_twin_s_windows_pass_at_any_load(qps: float) -> None:
    """Beyond what it can serve, too."""
    time = [100.0]
    node = TwinNode(wall=lambda: time[0])
    running = node.start_load(Load(qps=qps), 1)
    running.open_window()
    time[0] += 30.0
    report = running.close_window()
    assert report.requests > 0
    assert objection(measured(load=report, t0_s=report.t0_s, t1_s=report.t1_s), Load(qps=qps)) == ""
