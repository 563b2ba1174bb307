"""The log for any NIC keeps the contract of a logger, counts what there is, and says what there isn't."""

import itertools
import math
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from mustherd.node.energy import EnergyMeter
from mustherd.node.linux.ethtool import KernelEthtool, parse_names, parse_values
from mustherd.node.linux.netlink import EthtoolError
from mustherd.node.linux.niclog import (
    ASKING_S,
    CORES_SHOWN,
    QUEUES_SHOWN,
    ROWS_KEPT,
    UNREAD_S,
    NicLog,
    interrupts,
    queue_counter,
)
from mustherd.node.linux.node import LinuxNode
from mustherd.node.linux.options import LinuxOptions
from mustherd.node.linux.perf import EVENTS, Counters
from mustherd.node.linux.tree import Tree
from mustherd.node.logger import NativeLogger
from mustherd.node.node import NodeError
from mustherd.testing.logger import LoggerContract
from mustherd.wire.messages import MAX_COLUMNS
from tests.node.linux.kinds import BARE, LAB
from tests.node.linux.machine import Machine
from tests.typed import a, some

STATISTICS = "sys/class/net/enp3s0f0/statistics"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class FakeCounters(Counters):
    """Of a machine that counts two of four events."""

    missing = "ref_cycles: No such file or directory"
    cycles = 1000

    def __init__(self, cpus: Sequence[int]) -> None:
        self.cpus = tuple(cpus)

    def read(self) -> dict[str, list[int]]:
        return {"instructions": [2 * self.cycles, 5], "cycles": [self.cycles, 7]}

    def close(self) -> None:
        pass


def set_traffic(machine: Machine, packets: int, kib: int) -> None:
    for direction, factor in (("rx", 1), ("tx", 2)):
        machine.tree.file(f"{STATISTICS}/{direction}_packets", str(factor * packets))
        machine.tree.file(f"{STATISTICS}/{direction}_bytes", str(factor * kib * 1024))


def set_interrupts(machine: Machine, *counts: int) -> None:
    lines = ["        CPU0  CPU1", *(f" {50 + k}:  {n}  5  PCI-MSI  enp3s0f0-TxRx-{k}" for k, n in enumerate(counts))]
    machine.tree.file("proc/interrupts", "\n".join(lines))


@pytest.fixture
def machine(make: type[Machine]) -> Machine:
    machine = make(LAB)
    set_traffic(machine, 10, 1)
    set_interrupts(machine, 0, 0)
    return machine


@pytest.fixture
def meter(machine: Machine) -> EnergyMeter | None:
    return LinuxNode(LinuxOptions(idle_seconds=0), machine.tree, machine.ethtool).meter


def set_queues(machine: Machine, statistics: dict[str, int]) -> None:
    machine.ethtool.save("enp3s0f0", machine.ethtool._load("enp3s0f0") | {"statistics": statistics})


@pytest.fixture
def logger(machine: Machine, meter: EnergyMeter | None) -> Iterator[NicLog]:
    set_queues(machine, {"rx_queue_0_packets": 5, "rx_queue_0_bytes": 600, "tx_queue_1_bytes": 70, "rx_errors": 3})
    made = NicLog(
        machine.tree,
        "enp3s0f0",
        (50, 51),
        meter,
        (0, 2),
        statistics=lambda: machine.ethtool.statistics("enp3s0f0"),
        period_s=0,
        now=Clock(),
        cpu_time=lambda: 0.0,
        counters=FakeCounters,
    )
    made.flush()
    yield made
    made.close()


class TestOverFiles(LoggerContract):
    @pytest.fixture
    def logger(self, logger: NicLog) -> NicLog:
        return logger

    @pytest.fixture
    def produce(self, logger: NicLog) -> Callable[[], None]:
        return logger.sample


class TestOnThisMachine(LoggerContract):
    """Its own thread, over the kernel's own files, without a NIC's queues."""

    @pytest.fixture
    def logger(self) -> Iterator[NicLog]:
        made = NicLog(Tree(), "lo", (), None, (0,), period_s=0.005)
        made.flush()
        yield made
        made.close()

    @pytest.fixture
    def produce(self, logger: NicLog) -> Callable[[], None]:
        def produce() -> None:
            seen = logger._next
            while logger._next == seen:
                time.sleep(0.001)

        return produce

    def test_rows_come_once_and_in_order(self, logger: NativeLogger, produce: Callable[[], None]) -> None:
        expected = None
        for _ in range(4):
            produce()
            rows = logger.read()
            assert expected in (None, rows.first)
            expected = rows.first + len(rows)

    def test_flush_throws_away_what_has_piled_up(self, logger: NativeLogger, produce: Callable[[], None]) -> None:
        produce()
        seen = logger.read()
        produce()
        logger.flush()
        produce()
        assert logger.read().first >= seen.first + len(seen) + 1

    def test_traffic_of_this_machine_is_counted(self, logger: NicLog, produce: Callable[[], None]) -> None:
        # Not of the loopback interface of a network namespace that has just been made.
        if not Path("/sys/class/net/lo/statistics/rx_bytes").exists():
            pytest.fail("this kernel has no loopback interface")
        produce()
        logger.read()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            for _ in range(100):
                out.sendto(b"x" * 1000, ("127.0.0.1", 9))
        produce()
        produce()
        columns = logger.read().columns
        assert sum(columns["rx_bytes"]) >= 100_000
        assert sum(columns["tx_packets"]) >= 100
        assert all(math.isnan(v) for v in columns["interrupts"] + columns["energy_joules"])


def one(logger: NicLog) -> dict[str, float]:
    rows = logger.read()
    assert len(rows) == 1
    return {name: values[0] for name, values in rows.columns.items()}


def test_a_row_holds_what_happened_since_the_row_before(machine: Machine, logger: NicLog) -> None:
    a(Clock, logger._now).now += 0.1
    set_traffic(machine, 25, 7)
    set_interrupts(machine, 3, 40)
    set_queues(machine, {"rx_queue_0_packets": 15, "rx_queue_0_bytes": 1600, "tx_queue_1_bytes": 71, "rx_errors": 4})
    machine.live(2.0, watts=50.0)
    logger.sample()
    row = one(logger)
    assert row["time_seconds"] == pytest.approx(100.1)
    assert (row["rx_packets"], row["rx_bytes"], row["tx_packets"], row["tx_bytes"]) == (15, 6144, 30, 12288)
    assert (row["interrupts"], row["queue_0_interrupts"], row["queue_1_interrupts"]) == (43, 3, 40)
    assert (row["queue_0_rx_packets"], row["queue_0_rx_bytes"], row["queue_1_tx_bytes"]) == (10, 1000, 1)
    assert (row["instructions"], row["cycles"]) == (2005, 1007)
    assert (row["core_0_instructions"], row["core_0_cycles"], row["core_2_cycles"]) == (2000, 1000, 7)
    assert row["energy_joules"] == pytest.approx(2 * 2.0 * 50.0, rel=1e-3)


def test_what_is_not_counted_is_null_and_never_zero(machine: Machine, logger: NicLog) -> None:
    for name in ("rx_packets", "rx_bytes"):
        del machine.tree.files[f"{STATISTICS}/{name}"]
    machine.tree.file("proc/interrupts", "CPU0 CPU1\n 50: 1 2 x enp3s0f0-TxRx-0")
    logger.sample()
    row = one(logger)
    null = {name for name, value in row.items() if math.isnan(value)}
    uncounted = {f"{what}{name}" for what in ("", "core_0_", "core_2_") for name in ("ref_cycles", "llc_miss")}
    untold = {f"queue_{k}_{name}" for k in range(2) for name in ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes")}
    untold -= {"queue_0_rx_packets", "queue_0_rx_bytes", "queue_1_tx_bytes"}
    assert null == {"rx_packets", "rx_bytes", "interrupts", "queue_1_interrupts"} | uncounted | untold


def test_each_interrupts_own_file_is_read_where_the_kernel_has_it(machine: Machine, logger: NicLog) -> None:
    set_interrupts(machine, 100, 200)
    for number, counts in ((50, "3,4"), (51, "10,0")):
        machine.tree.file(f"sys/kernel/irq/{number}/per_cpu_count", counts)
    logger.flush()
    machine.tree.file("sys/kernel/irq/51/per_cpu_count", "10,6")
    logger.sample()
    row = one(logger)
    assert (row["interrupts"], row["queue_0_interrupts"], row["queue_1_interrupts"]) == (6, 0, 6)
    machine.tree.file("sys/kernel/irq/51/per_cpu_count", "nonsense")
    del machine.tree.files["proc/interrupts"]
    logger.sample()
    assert math.isnan(one(logger)["interrupts"])


def test_an_open_file_shows_what_it_holds_now_and_is_opened_anew_when_it_is_gone(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    file = Tree(tmp_path).opened("a")
    assert file.read() == b"1"
    (tmp_path / "a").write_text("22")
    assert file.read() == b"22"
    large = b"x" * 300_000
    (tmp_path / "a").write_bytes(large)
    assert file.read() == large
    file.close()
    (tmp_path / "a").unlink()
    with pytest.raises(FileNotFoundError):
        file.read()
    (tmp_path / "a").write_text("3")
    assert file.read() == b"3"
    file.close()


def test_an_interface_that_was_started_anew_counts_from_there(machine: Machine, logger: NicLog) -> None:
    set_traffic(machine, 4, 1)
    logger.sample()
    assert one(logger)["rx_packets"] == 4


def test_what_nobody_reads_is_lost_and_shows_as_a_gap(logger: NicLog) -> None:
    for _ in range(ROWS_KEPT + 5):
        logger.sample()
    rows = logger.read()
    assert (rows.first, len(rows)) == (5, ROWS_KEPT)


def test_sampling_ends_when_nobody_reads_and_begins_again_with_a_flush(machine: Machine) -> None:
    clock = Clock()
    logger = NicLog(machine.tree, "enp3s0f0", (50,), None, (), period_s=0.002, now=time.monotonic)
    logger.flush()
    logger._now = clock
    clock.now = time.monotonic() + UNREAD_S + 1
    sampling = some(logger._thread)
    sampling.join(10)
    assert not sampling.is_alive()
    logger._now = time.monotonic
    logger.flush()
    sampling = some(logger._thread)
    assert sampling.is_alive()
    logger.close()
    assert not sampling.is_alive()


def test_a_node_has_it_where_it_has_no_intlog(make: type[Machine]) -> None:
    machine = make(LAB)
    node = LinuxNode(LinuxOptions(idle_seconds=0), machine.tree, machine.ethtool)
    assert [g.stream for g in node.loggers] == ["nic-log-node-0"]
    assert "queue_3_interrupts" in node.loggers[0].read().columns
    off = LinuxNode(LinuxOptions(idle_seconds=0, nic_log="off"), machine.tree, machine.ethtool)
    assert not off.loggers
    bare = make(BARE)
    for path in [p for p in (*bare.tree.files, *bare.tree.links) if p.startswith("sys/class/net/")]:
        bare.tree.files.pop(path, None)
        bare.tree.links.pop(path, None)
    with pytest.raises(NodeError, match="nic_log = 'on'"):
        LinuxNode(LinuxOptions(idle_seconds=0, nic_log="on"), bare.tree, bare.ethtool)


def test_interrupts_are_summed_over_cpus_and_nonsense_is_left_out() -> None:
    text = "      CPU0 CPU1\n 24: 7 8 PCI eth0\n NMI: 1 1 x\n 25: 7\n 26: x 1 PCI\n"
    assert interrupts(text, (24, 25, 26)) == {24: 15}
    assert interrupts(text, (25,)) == {}
    assert interrupts("", (24,)) == {}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rx_queue_12_packets", (12, "queue_12_rx_packets")),
        ("tx0_bytes", (0, "queue_0_tx_bytes")),
        ("rx-3.packets", (3, "queue_3_rx_packets")),
        ("tx-3.tx_bytes", (3, "queue_3_tx_bytes")),
        ("queue_7_tx_cnt", (7, "queue_7_tx_packets")),
        ("queue_7_rx_bytes", (7, "queue_7_rx_bytes")),
        ("rx_bytes[5]", (5, "queue_5_rx_bytes")),
        ("rx_packets", (-1, "")),
        ("rx_queue_0_xdp_packets", (-1, "")),
        ("rx_queue_0_drops", (-1, "")),
        ("rx_pb_3_pxon", (-1, "")),
        ("", (-1, "")),
    ],
)
def test_drivers_names_for_their_queues_counters(name: str, expected: tuple[int, str]) -> None:
    assert queue_counter(name) == expected


def test_columns_are_bounded_whatever_the_machine_has(machine: Machine) -> None:
    many = {f"{way}_queue_{k}_{what}": k for way in ("rx", "tx") for k in range(128) for what in ("packets", "bytes")}
    logger = NicLog(machine.tree, "enp3s0f0", range(50, 178), None, range(256), statistics=lambda: many, period_s=0)
    assert "queue_15_tx_bytes" in logger.columns
    assert "core_15_llc_miss" in logger.columns
    assert len(logger.columns) == 11 + QUEUES_SHOWN * 5 + CORES_SHOWN * 4 <= MAX_COLUMNS
    logger.flush()
    logger.sample()
    assert logger.read().columns["queue_15_rx_bytes"] == (0.0,)


def test_a_driver_that_counts_slowly_is_not_asked(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    asked: list[int] = []

    def statistics() -> dict[str, int]:
        asked.append(1)
        return {"rx0_packets": 7}

    seconds = itertools.count(0.0, ASKING_S * 2)
    logger = NicLog(
        machine.tree, "enp3s0f0", (50,), None, (), statistics=statistics, period_s=0, cpu_time=lambda: next(seconds)
    )
    logger.flush()
    logger.sample()
    assert len(asked) == 4
    assert math.isnan(one(logger)["queue_0_rx_packets"])
    assert "takes too long" in caplog.text


def test_a_driver_that_stops_answering_leaves_nulls(machine: Machine) -> None:
    answers = iter([{"rx0_packets": 7}] * 5)

    def statistics() -> dict[str, int]:
        for answer in answers:
            return answer
        raise EthtoolError("enp3s0f0: statistics: No such device")

    logger = NicLog(machine.tree, "enp3s0f0", (), None, (), statistics=statistics, period_s=0)
    logger.flush()
    logger.sample()
    assert math.isnan(one(logger)["queue_0_rx_packets"])


def test_the_kernels_own_statistics_have_names_and_values() -> None:
    # Of every interface here; loopback has none, what drives a real or virtual link mostly has.
    ethtool = KernelEthtool()
    for interface in sorted(p.name for p in Path("/sys/class/net").iterdir()):
        try:
            found = ethtool.statistics(interface)
        except EthtoolError:
            # It has no driver to ask.
            continue
        assert all(name and value >= 0 for name, value in found.items())
        assert ethtool.statistics(interface).keys() == found.keys()


def test_answers_that_are_cut_are_errors() -> None:
    strings = struct.pack("=III", 0x1B, 1, 2) + b"rx0_packets".ljust(32, b"\0") + b"tx0_bytes".ljust(32, b"\0")
    assert parse_names(strings) == ("rx0_packets", "tx0_bytes")
    values = struct.pack("=IIQQ", 0x1D, 2, 7, 2**64 - 1)
    assert parse_values(values + bytes(8)) == (7, 2**64 - 1)
    with pytest.raises(EthtoolError, match="2 names in 75 bytes"):
        parse_names(strings[:-1])
    with pytest.raises(EthtoolError, match="2 values in 23 bytes"):
        parse_values(values[:-1])


def test_cpu_counters_are_had_or_said_to_be_missing() -> None:
    counters = Counters((0,))
    try:
        found = counters.read()
        assert set(found) <= set(EVENTS)
        assert set(found) == set(EVENTS) or counters.missing
    finally:
        counters.close()
    assert Counters(()).read() == {}
