"""A core's log on a twin agrees with the twin's own meter, load report and clock."""

import math
from typing import Any

import numpy as np
import pytest

from mustherd.node.energy import Tally
from mustherd.node.intlog import CAPACITY, COLUMNS
from mustherd.node.logger import TextLogger
from mustherd.node.twin import history
from mustherd.node.twin.faults import TwinFaults, TwinOptions
from mustherd.node.twin.history import History, Stretch
from mustherd.node.twin.intlog import TwinIntlog
from mustherd.node.twin.node import TwinNode
from mustherd.terms import Load, LoadReport
from mustherd.testing.logger import TextLoggerContract
from tests.node.twin.stand import Stand
from tests.typed import a, some

SECONDS = 10.0
drain = TextLoggerContract.drain


def drained(log: TextLogger) -> "np.ndarray":
    lines = drain(log).splitlines()
    return np.array([line.split() for line in lines], dtype=np.uint64).reshape(len(lines), len(COLUMNS)).astype(float)


def column(rows: "np.ndarray", name: str) -> "np.ndarray":
    return rows[:, COLUMNS.index(name)]


def window(options: TwinOptions, itr_us: int, mhz: int, load: Load) -> tuple[Stand, list[Any], list[float], LoadReport]:
    """Rows of every core, joules of each package and the load's report over the same window."""
    stand = Stand(options)
    stand.itr.write(itr_us)
    stand.dvfs.write(mhz)
    stand.live(stand.itr.info.settle_seconds)
    running = stand.node.start_load(load, 1)
    stand.live(3.0)
    for log in stand.node.text_loggers:
        drain(log)
    running.open_window()
    tally = Tally(stand.node.meter.zones, stand.node.meter.read())
    stand.live(SECONDS)
    rows = [drained(log) for log in stand.node.text_loggers]
    tally.add(stand.node.meter.read())
    joules = [e.joules for e in tally.energies() if e.kind == "package"]
    return stand, rows, joules, running.close_window()


@pytest.mark.parametrize(
    ("itr_us", "mhz", "load"),
    [
        (100, 1900, Load(qps=400_000)),
        (2, 2800, Load(qps=1_200_000, update_ratio=0.5)),
        (350, 1200, Load(qps=20_000)),
        (50, 1200, Load(qps=200_000, curve=((4.0, 100_000.0, 300_000.0), (6.0, 200_000.0, 200_000.0)))),
    ],
)
def test_rows_of_a_window_add_up_to_what_meter_and_report_say(itr_us: int, mhz: int, load: Load) -> None:
    stand, rows, joules, report = window(TwinOptions(intlog_cores=16, noise=0.5, seed=3), itr_us, mhz, load)
    watts = sum(joules) / SECONDS
    for core, of in enumerate(rows):
        spent = (column(of, "joules")[-1] - column(of, "joules")[0]) % 2**32 * 2.0**-16
        seconds = np.diff(column(of, "timestamp")) / stand.node._machine.profile.tsc_khz / 1000
        # Within a row's worth at either end, when the load is steady and when it isn't.
        assert spent == pytest.approx(joules[core // 8], abs=watts * 2 * seconds.max())
        assert seconds.min() > 0
        assert column(of, "i").tolist() == list(range(len(of)))
        assert (np.diff(column(of, "cycles")) >= 0).all()
    requests = sum(column(of, "rx_desc").sum() for of in rows)
    assert requests == pytest.approx(report.requests, rel=0.005)
    received = sum(column(of, "rx_bytes").sum() for of in rows) / requests
    assert received == pytest.approx(108 + load.update_ratio * 186, rel=0.01)


def test_rows_come_with_the_models_interrupts_and_cycles() -> None:
    stand, rows, _, _ = window(TwinOptions(intlog_cores=1, noise=0), 300, 1200, Load(qps=400_000))
    position = a(TwinIntlog, stand.node.text_loggers[0]).position
    state = some(some(stand.node._machine.history).at(position))
    [of] = rows
    # Every fourth interrupt is the first after a millisecond.
    assert math.ceil(state.interrupts_per_s / 1000) == 4
    assert len(of) / SECONDS == pytest.approx(state.interrupts_per_s / 4, rel=0.01)
    assert np.diff(column(of, "timestamp")).mean() == pytest.approx(2.6e9 * 4 / state.interrupts_per_s, rel=0.01)
    assert np.ptp(column(of, "cycles")) / SECONDS == pytest.approx(state.busy_fraction * 1.2e9, rel=0.01)


def test_an_idle_twin_has_no_interrupts_and_rows_have_the_twins_time() -> None:
    stand = Stand(TwinOptions(intlog_cores=2))
    log = stand.node.text_loggers[1]
    stand.live(5.0)
    assert drain(log) == b""
    stand.node.start_load(Load(qps=100_000), 1)
    stand.live(1.0)
    times = column(drained(log), "timestamp") / 2.6e9
    assert times[0] == pytest.approx(5.0, abs=0.01)
    assert times[-1] == pytest.approx(6.0, abs=0.01)


def test_equal_seeds_give_equal_rows_however_often_they_are_read() -> None:
    def rows(seed: int, steps: int) -> "np.ndarray":
        stand = Stand(TwinOptions(intlog_cores=1, seed=seed))
        stand.node.start_load(Load(qps=300_000), 1)
        parts = []
        for _ in range(steps):
            stand.live(6.0 / steps)
            parts.append(drained(stand.node.text_loggers[0]))
        return np.concatenate(parts)

    once, often = rows(1, 1), rows(1, 6)
    assert len(once) == len(often)
    assert (rows(1, 1) == once).all()
    assert not (rows(2, 1)[:, 1] == once[:, 1]).all()
    for name in ("rx_desc", "joules", "timestamp"):
        ends = [column(part, name) for part in (once, often)]
        assert ends[0].sum() == pytest.approx(ends[1].sum(), rel=1e-3)


def test_a_full_buffer_stops_and_goes_on_when_it_was_read_to_its_end() -> None:
    stand = Stand(TwinOptions(intlog_cores=1))
    log = stand.node.text_loggers[0]
    stand.node.start_load(Load(qps=300_000), 1)
    stand.live(3.0)
    a(TwinIntlog, log)._place.number = CAPACITY - 100
    assert column(drained(log), "i").tolist() == list(range(CAPACITY - 100, CAPACITY))
    stand.live(1.0)
    later = drained(log)
    assert column(later, "i").tolist() == list(range(len(later)))
    assert column(later, "timestamp")[0] / 2.6e9 == pytest.approx(3.0, abs=0.01)


def test_missing_rows_are_gaps() -> None:
    stand = Stand(TwinOptions(intlog_cores=1, faults=TwinFaults(lost_rows=10)))
    stand.node.start_load(Load(qps=300_000), 1)
    stand.live(1.0)
    numbers = column(drained(stand.node.text_loggers[0]), "i")
    assert set(range(100)) - set(numbers.tolist()) == set(range(9, 100, 10))


def stretch(k: int, qps: float = 20_000.0) -> Stretch:
    return Stretch(
        began=float(k), until=k + 1.0, package_joules=100.0 * k, power_watts=100.0, ghz=1.2 + k, busy_fraction=0.5,
        interrupts_per_s=9_500.0, qps=qps, update_ratio=0.25, preset="etc",
    )  # fmt: skip


def test_changes_that_nobody_reads_are_let_go_and_their_rows_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "STRETCHES_KEPT", 3)
    node = Stand(TwinOptions(intlog_cores=2)).node
    kept, (one, two) = some(node._machine.history), node.text_loggers
    for k in range(8):
        kept.add(stretch(k))
    assert len(kept._kept) == 3
    # Ten interrupts to a row.
    rows = drained(one)
    assert column(rows, "i")[0] == pytest.approx(5 * 950, abs=6)
    assert len(rows) == pytest.approx(3 * 950, abs=6)
    assert column(rows, "rx_desc").sum() == pytest.approx(8 * 20_000, rel=0.01)
    assert len(kept._kept) == 3, "the other core has not read them"
    drained(two)
    assert len(kept._kept) == 1


def test_what_stays_the_same_is_one_stretch() -> None:
    kept = History()
    kept.add(stretch(0))
    kept.add(Stretch(**{**{f: getattr(stretch(0), f) for f in Stretch.__struct_fields__}, "began": 1.0, "until": 5.0}))
    assert some(kept.at(0)).until == 5.0
    assert kept.at(1) is None


def test_without_logs_nothing_is_kept_and_there_are_no_more_logs_than_cores() -> None:
    assert TwinNode().text_loggers == ()
    assert TwinNode()._machine.history is None
    with pytest.raises(ValueError, match="intlog_cores: must be at most 16, not 17"):
        TwinNode(TwinOptions(intlog_cores=17))
    with pytest.raises(ValueError, match="intlog_cores: must be at least 0, not -1"):
        TwinOptions(intlog_cores=-1)
