"""One row per second, and the rows that go missing."""

import pytest

from mustherd.node.twin.faults import TwinOptions
from mustherd.node.twin.machine import ROWS_KEPT
from mustherd.terms import Load
from tests.node.twin.stand import Stand, faulty


def test_a_row_tells_the_counters_the_knobs_and_the_work() -> None:
    stand = Stand(TwinOptions(noise=0))
    log = stand.node.loggers[0]
    assert log.stream == "power-node-0"
    stand.live(0.5)
    stand.dvfs.write(1200)
    stand.node.start_load(Load(qps=100_000), seed=1)
    stand.live(3.0)
    rows = log.read()
    assert list(rows.columns) == [
        "node_seconds",
        "package_0_counts",
        "package_1_counts",
        "itr_delay_us",
        "dvfs_mhz",
        "busy_fraction",
        "achieved_qps",
    ]
    assert rows.columns["node_seconds"] == (1.0, 2.0, 3.0)
    assert rows.columns["dvfs_mhz"] == (1200.0,) * 3
    assert rows.columns["itr_delay_us"] == (1.0,) * 3
    assert rows.columns["achieved_qps"] == (100_000.0,) * 3
    assert 0 < rows.columns["busy_fraction"][0] < 1


def test_the_counts_in_a_row_are_the_meters() -> None:
    stand = Stand(TwinOptions(seed=3))
    stand.live(7.0)
    now = stand.node.meter.read()
    rows = stand.node.loggers[0].read()
    assert rows.columns["package_0_counts"][-1] == now[0]
    assert rows.columns["package_1_counts"][-1] == now[1]


def test_how_often_it_is_read_makes_no_difference() -> None:
    often, once = Stand(), Stand()
    seconds: list[float] = []
    for _ in range(10):
        often.live(1.7)
        seconds += often.node.loggers[0].read().columns["node_seconds"]
    once.live(17.0)
    assert tuple(seconds[:16]) == once.node.loggers[0].read().columns["node_seconds"][:16]


def test_a_missing_row_is_a_gap_between_two_reads() -> None:
    stand = faulty(lost_rows=4)
    log = stand.node.loggers[0]
    stand.live(10.5)
    seen = [log.read() for _ in range(4)]
    assert [(rows.first, len(rows)) for rows in seen] == [(0, 3), (4, 3), (8, 2), (10, 0)]


@pytest.mark.parametrize("flushed", [True, False])
def test_rows_that_nobody_fetches_are_lost_beyond_a_bound(flushed: bool) -> None:
    stand = Stand()
    log = stand.node.loggers[0]
    stand.live(3 * ROWS_KEPT + 0.5)
    if flushed:
        log.flush()
        assert len(log.read()) == 0
        return
    rows = log.read()
    assert len(rows) <= ROWS_KEPT
    assert rows.first + len(rows) == 3 * ROWS_KEPT
    assert rows.first > 0
