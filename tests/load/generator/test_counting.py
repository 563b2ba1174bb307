"""Histograms, tallies and the merged report."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st

from mustherd.load.generator import tally as tally_module
from mustherd.load.generator.histogram import Counts
from mustherd.load.generator.merge import merge
from mustherd.load.generator.options import MAX_UNITS, Counted
from mustherd.load.generator.tally import KEEP, Tally


@settings(deadline=None, max_examples=20)
@given(st.lists(st.floats(1e-7, 59), min_size=1, max_size=200))
def test_bins_are_those_of_the_hdr_histogram(values: list[float]) -> None:
    counts = Counts()
    counts.add(np.array(values))
    ours = HdrHistogram.decode(counts.encode())
    theirs = HdrHistogram(1, MAX_UNITS, 3)
    for value in values:
        theirs.record_value(max(1, int(value * 1e7)))
    assert ours.get_total_count() == counts.count == len(values)
    for percentile in (0, 50, 90, 99, 99.9, 100):
        assert ours.get_value_at_percentile(percentile) == theirs.get_value_at_percentile(percentile)
    assert counts.sum_s == pytest.approx(sum(values))


def test_what_is_longer_than_a_minute_is_counted_as_a_minute() -> None:
    counts = Counts()
    counts.add(np.array([0.0, 1e6]))
    found = HdrHistogram.decode(counts.encode())
    assert found.get_value_at_percentile(100) == pytest.approx(MAX_UNITS, rel=1e-3)
    assert found.get_value_at_percentile(0) <= 1


@pytest.mark.parametrize("answers", [10, KEEP + 5000])
def test_only_what_was_answered_in_the_window_counts(answers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally_module, "KEEP", 100)
    tally = Tally()
    for k in range(answers):
        tally.reads.values.append(0.001)
        tally.reads.ends.append(k / answers)
        if k % 10 == 0:
            tally.missed(k / answers)
        if k == answers // 4 + 3:
            tally.open(0.25)
        tally.fold()
        if k == answers * 3 // 4 + 50:
            break
    found = tally.close(0.75)
    assert found["answered"] == sum(0.25 <= k / answers < 0.75 for k in range(answers))
    assert found["misses"] == sum(0.25 <= k / answers < 0.75 for k in range(0, answers, 10))
    assert found["read_sum_us"] == pytest.approx(1000 * found["answered"])


def test_a_window_that_never_opened_counts_nothing() -> None:
    tally = Tally()
    tally.reads.values.append(0.1)
    tally.reads.ends.append(5.0)
    assert tally.close(9.0)["answered"] == 0


def counted(**changes: Any) -> Counted:
    counts, lags = Counts(), Counts()
    counts.add(np.full(1000, 100e-6))
    lags.add(np.full(1000, 5e-6))
    values = Counted(
        due=1000, answered=1000, misses=2, errors=1, unsent=0, held_back=3, unanswered=4, reads=counts.encode(),
        updates=Counts().encode(), lags=lags.encode(), read_sum_us=1e5, update_sum_us=0.0, lag_sum_us=5e3, idle_s=1.5,
        cpu_s=2.0, wait_s=0.1,
    )  # fmt: skip
    return msgspec.structs.replace(values, **changes)


def test_workers_add_up() -> None:
    found = merge([counted(), counted(idle_s=1.0, due=3000, answered=1000)], 10.0, 12.0)
    assert (found.t0_s, found.t1_s) == (10.0, 12.0)
    assert (found.offered_qps, found.achieved_qps, found.requests, found.misses) == (2000, 1000, 2000, 4)
    assert found.samples == 2000
    assert found.read_us == pytest.approx(dict.fromkeys(("avg", "p50", "p90", "p95", "p99", "p999"), 100), rel=2e-3)
    assert found.update_us == {}, "nothing was measured, which is not 0"
    assert found.counters["generator_busy"] == 0.5
    assert found.counters["generator_lag_avg_us"] == pytest.approx(5)
    assert found.counters["generator_cpu_seconds"] == 4
    assert not found.saturated


@pytest.mark.parametrize(
    "changes",
    [{"idle_s": 0.01}, {"wait_s": 1.1}, {"unsent": 20}, {"lag_sum_us": 6e4}],
    ids=["no moment of rest", "no core to run on", "requests never sent", "mostly its own lateness"],
)
def test_a_generator_that_was_the_bottleneck_says_so(changes: dict[str, float] | dict[str, int]) -> None:
    assert merge([counted(**changes)], 0.0, 2.0).saturated


def test_one_worker_without_rest_is_enough() -> None:
    assert merge([counted(), counted(idle_s=0.0)], 0.0, 2.0).saturated


def test_without_workers_there_is_no_report() -> None:
    with pytest.raises(ValueError, match="no worker"):
        merge([], 0.0, 1.0)
