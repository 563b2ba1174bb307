"""One window on a node: what it waits for, and what it says."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mustherd.muster.config import LogsTable
from mustherd.muster.logs import Logs
from mustherd.muster.pasture import Pasture
from mustherd.muster.window import SAMPLE_PERIOD_S, Result, Window
from mustherd.muster.windows import Windows
from mustherd.node.energy import MeterError
from mustherd.node.logger import Rows
from mustherd.terms import Load, Reading
from mustherd.wire.messages import Measure, NotMeasured, Report
from tests.fakes import FakeNode, MemoryJournal
from tests.typed import some


class StepClock:
    """Stands at the deadline that it was told, as a twin's does when time is plenty."""

    def __init__(self) -> None:
        self.time = 100.0
        self.stop: float | None = None

    def now(self) -> float:
        return self.time

    def wall_seconds_until(self, deadline: float) -> float:
        return max(0.0, deadline - self.time)

    def stop_at(self, deadline: float | None) -> None:
        self.stop = deadline


def order(load: Load | None = None, settle: float = 2.0, ramp: float = 5.0, window: float = 30.0) -> Measure:
    return Measure(measure=1, settle_s=settle, ramp_s=ramp, window_s=window, load=load, seed=1, label="0001-1")


def rows(first: int, count: int) -> Rows:
    return Rows(first=first, columns={"a": tuple(float(k) for k in range(count))})


class SteppedNode(FakeNode):
    """A node whose clock is that."""

    def __init__(self) -> None:
        self.stepped = StepClock()
        super().__init__(self.stepped)


@dataclass
class Driven:
    """What a window brought, and when it opened."""

    result: Result
    shipped: list[tuple[str, Rows]]
    opened: list[float]


def drive(node: SteppedNode, window: Window, before: Callable[[float], None] = lambda _time: None) -> Driven:
    shipped: list[tuple[str, Rows]] = []
    opened: list[float] = []
    while window.result is None:
        before(node.stepped.time)
        progress = window.step()
        opened += [node.stepped.time] * progress.opened
        shipped += progress.rows
        if progress.next_step is not None:
            node.stepped.time = progress.next_step
    assert node.stepped.stop is None
    return Driven(window.result, shipped, opened)


def test_settle_ramp_and_count_on_the_nodes_clock() -> None:
    node = SteppedNode()
    window = Window(node, order(Load(qps=1000)))
    driven = drive(node, window)
    assert driven.opened == [107.0]
    result = driven.result
    assert (result.t0_s, result.t1_s) == (107.0, 137.0)
    load = some(result.load)
    assert (load.t0_s, load.t1_s) == (107.0, 137.0)
    assert not node.loaded
    # 95 -> 5, 15, 25, 35 of a counter of 100 and half a joule each: first read, then one every 10 s.
    assert [e.joules for e in result.energies] == [15.0]
    assert SAMPLE_PERIOD_S == 10


def test_rows_are_counted_with_their_gaps_and_what_came_before_is_flushed() -> None:
    node = SteppedNode()
    window = Window(node, order(settle=0, ramp=0))
    node.loggers[0].waiting = [rows(0, 50)]
    feed = iter([[], [rows(50, 10), rows(63, 7)], [rows(70, 10)], [rows(82, 8)]])
    driven = drive(node, window, lambda _t: node.loggers[0].waiting.extend(next(feed)))
    assert [(s, r.first, len(r)) for s, r in driven.shipped] == [
        ("rows-node-0", 50, 10),
        ("rows-node-0", 63, 7),
        ("rows-node-0", 70, 10),
        ("rows-node-0", 82, 8),
    ]
    assert driven.result.rows == {"rows-node-0": 40}
    assert driven.result.rows_lost == {"rows-node-0": 5}


def test_a_source_that_counts_anew_has_lost_nothing() -> None:
    node = SteppedNode()
    window = Window(node, order(settle=0, ramp=0, window=5))
    window.step()
    node.loggers[0].waiting = [rows(50, 10), rows(0, 10)]
    node.stepped.time += 5
    window.step()
    assert some(window.result).rows_lost == {"rows-node-0": 0}


def test_without_a_meter_or_a_load_there_is_neither_and_no_zero() -> None:
    node = SteppedNode()
    node.meter = None
    result = drive(node, Window(node, order())).result
    assert result.energies == ()
    assert result.load is None
    assert result.meter_error == ""


@pytest.mark.parametrize("at", [0.0, 120.0])
def test_a_meter_that_fails_once_spoils_the_window_and_says_why(at: float) -> None:
    node = SteppedNode()
    window = Window(node, order())

    def breaks(time: float) -> None:
        some(node.meter).error = MeterError("rapl is gone") if time >= at and not window.result else None

    result = drive(node, window, breaks).result
    assert result.energies == ()
    assert result.meter_error == "rapl is gone"


def test_ending_early_ends_the_load_and_lets_the_clock_run() -> None:
    node = SteppedNode()
    window = Window(node, order(Load(qps=1000)))
    node.stepped.time = some(window.step().next_step)
    window.step()
    assert (node.loaded, node.stepped.stop is None) == (True, False)
    window.close()
    assert not node.loaded
    assert node.stepped.stop is None


def test_the_clock_runs_on_even_if_the_load_cannot_be_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    node = SteppedNode()
    window = Window(node, order())
    window.step()

    def fails() -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(node, "stop_load", fails)
    with pytest.raises(RuntimeError):
        window.close()
    assert node.stepped.stop is None


def test_a_window_of_no_length_ends() -> None:
    node = SteppedNode()
    window = Window(node, order(settle=0, ramp=0, window=0))
    result = drive(node, window).result
    assert result.t0_s == result.t1_s


@pytest.mark.parametrize(
    ("error", "traceback"), [(ValueError("a load that it doesn't know"), False), (OSError(5, "x"), True)]
)
def test_a_load_that_a_node_can_not_offer_is_told_without_a_traceback(
    error: Exception, traceback: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise error

    node, told = FakeNode(), list[Report]()
    monkeypatch.setattr(node, "start_load", refuse)
    windows = Windows(
        node,
        Pasture(node.knobs, {}, MemoryJournal()),
        Logs(node.text_loggers, LogsTable(), tmp_path),
        report=told.append,
        in_force=lambda: 0,
        now=lambda: 0.0,
        own_cpu_s=lambda: 0.0,
    )
    windows.begin(order(Load(qps=1.0), settle=0.0))
    [answer] = told
    assert isinstance(answer, NotMeasured)
    assert (answer.reason, answer.detail) == ("node-error", f"{type(error).__name__}: {error}")
    [record] = [r for r in caplog.records if r.name == "mustherd.muster.windows"]
    assert bool(record.exc_info) == traceback


def test_knobs_that_are_slow_to_read_are_read_before_the_load_begins_and_the_window_is_as_long_as_asked() -> None:
    node = SteppedNode()
    readings: list[float] = []

    def read() -> tuple[Reading, ...]:
        assert not node.loaded
        readings.append(node.stepped.time)
        node.stepped.time += 3.0
        return (reading,)

    reading = Reading(sheep="node-0", knob="slow", asked=None, applied=1, running=1, held=True)
    window = Window(node, order(Load(qps=1000)), read)
    driven = drive(node, window)
    assert readings == [102.0]
    assert window.before == (reading,)
    assert driven.opened == [110.0]
    assert (driven.result.t0_s, driven.result.t1_s) == (110.0, 140.0)
