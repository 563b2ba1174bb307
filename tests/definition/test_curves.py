"""Loads that change, as a definition means them."""

from pathlib import Path

import pytest

from mustherd.definition import content, digest, dump, loads, plan
from mustherd.load import curve
from tests.definition.make import BASE, made

STEPS = {"steps": [["400k", 30], ["800k", 30]]}


def test_a_curve_that_spans_a_window_gives_its_length() -> None:
    load = made(workload={"curve": STEPS}).workload
    assert (load.window_seconds, load.parts) == (60, 0)
    assert load.load() == load.load(3)
    assert load.load().qps == 600_000
    assert load.load().curve == ((30, 400_000, 400_000), (30, 800_000, 800_000))


def test_a_curve_that_spans_the_experiment_goes_on_from_window_to_window() -> None:
    found = made(workload={"curve": {**STEPS, "spans": "experiment"}, "window_seconds": 20}, policy="nop")
    assert (found.workload.parts, found.trials) == (3, 3)
    assert [found.workload.load(part).qps for part in range(3)] == [400_000, 600_000, 800_000]
    assert found.workload.load(1).curve == ((10, 400_000, 400_000), (10, 800_000, 800_000))
    planned = plan(found)
    assert (planned.search, planned.baseline, planned.confirm) == (3, 0, 0)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (
            {"sine": {"low": "100k", "high": "300k", "period_seconds": 20, "seconds": 40}},
            curve.sine(1e5, 3e5, 20, 40),
        ),
        ({"step": {"low": 5, "high": 9, "at_seconds": 2, "seconds": 5}}, curve.step(5, 9, 2, 5)),
        ({"trace": [[0, "1k"], ["500 ms", "2k"], [2, 0]]}, curve.steps([(1000, 0.5), (2000, 1.5)])),
    ],
)
def test_every_form_means_its_curve(written: dict[str, object], meant: curve.Curve) -> None:
    found = made(workload={"curve": written})
    assert found.workload.curve is not None
    assert found.workload.curve.made().segments == meant.segments
    again = loads(dump(found))
    assert content(again) == content(found)


def test_a_trace_is_what_its_file_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "day.csv"
    file.write_text("seconds,qps\n0,1000\n10,2000\n30,2000\n")
    before = made(workload={"curve": {"trace": "day.csv"}})
    assert before.workload.window_seconds == 30
    assert before.workload.load().curve == ((10, 1000, 1000), (20, 2000, 2000))
    file.write_text("seconds,qps\n0,1000\n10,3000\n30,2000\n")
    after = made(workload={"curve": {"trace": "day.csv"}})
    assert digest(before) != digest(after)
    assert BASE["workload"]["qps"]
