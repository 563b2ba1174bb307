"""The log for any NIC keeps the contract of a logger, counts what there is, and says what there isn't."""

import math
import socket
import time
from pathlib import Path

import pytest

from mustherd.node.linux import LinuxNode, LinuxOptions
from mustherd.node.linux.niclog import ROWS_KEPT, UNREAD_S, NicLog, interrupts
from mustherd.node.linux.node import NodeError
from mustherd.node.linux.perf import EVENTS, Counters
from mustherd.node.linux.tree import Tree
from tests.node.contract import LoggerContract
from tests.node.linux.kinds import BARE, LAB

STATISTICS = "sys/class/net/enp3s0f0/statistics"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class FakeCounters:
    """Of a machine that counts two of four events."""

    missing = "ref_cycles: No such file or directory"
    cycles = 1000

    def __init__(self, cpus) -> None:
        self.cpus = cpus

    def read(self) -> dict[str, int]:
        return {"instructions": 2 * self.cycles, "cycles": self.cycles}

    def close(self) -> None:
        pass


def set_traffic(machine, packets: int, kib: int) -> None:
    for direction, factor in (("rx", 1), ("tx", 2)):
        machine.tree.file(f"{STATISTICS}/{direction}_packets", str(factor * packets))
        machine.tree.file(f"{STATISTICS}/{direction}_bytes", str(factor * kib * 1024))


def set_interrupts(machine, *counts: int) -> None:
    lines = ["        CPU0  CPU1", *(f" {50 + k}:  {n}  5  PCI-MSI  enp3s0f0-TxRx-{k}" for k, n in enumerate(counts))]
    machine.tree.file("proc/interrupts", "\n".join(lines))


@pytest.fixture
def machine(make):
    machine = make(LAB)
    set_traffic(machine, 10, 1)
    set_interrupts(machine, 0, 0)
    return machine


@pytest.fixture
def meter(machine):
    return LinuxNode(LinuxOptions(idle_seconds=0), machine.tree, machine.ethtool).meter


@pytest.fixture
def logger(machine, meter):
    made = NicLog(machine.tree, "enp3s0f0", (50, 51), meter, (0, 1), period_s=0, now=Clock(), counters=FakeCounters)
    made.flush()
    yield made
    made.close()


class TestOverFiles(LoggerContract):
    @pytest.fixture
    def logger(self, logger):
        return logger

    @pytest.fixture
    def produce(self, logger):
        return logger.sample


class TestOnThisMachine(LoggerContract):
    """Its own thread, over the kernel's own files, without a NIC's queues."""

    @pytest.fixture
    def logger(self):
        made = NicLog(Tree(), "lo", (), None, (0,), period_s=0.005)
        made.flush()
        yield made
        made.close()

    @pytest.fixture
    def produce(self, logger):
        def produce() -> None:
            seen = logger._next
            while logger._next == seen:
                time.sleep(0.001)

        return produce

    def test_rows_come_once_and_in_order(self, logger, produce):
        expected = None
        for _ in range(4):
            produce()
            rows = logger.read()
            assert expected in (None, rows.first)
            expected = rows.first + len(rows)

    def test_flush_throws_away_what_has_piled_up(self, logger, produce):
        produce()
        seen = logger.read()
        produce()
        logger.flush()
        produce()
        assert logger.read().first >= seen.first + len(seen) + 1

    def test_traffic_of_this_machine_is_counted(self, logger, produce):
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


def one(logger) -> dict[str, float]:
    rows = logger.read()
    assert len(rows) == 1
    return {name: values[0] for name, values in rows.columns.items()}


def test_a_row_holds_what_happened_since_the_row_before(machine, logger):
    logger._now.now += 0.1
    set_traffic(machine, 25, 7)
    set_interrupts(machine, 3, 40)
    machine.live(2.0, watts=50.0)
    logger.sample()
    row = one(logger)
    assert row["time_seconds"] == pytest.approx(100.1)
    assert (row["rx_packets"], row["rx_bytes"], row["tx_packets"], row["tx_bytes"]) == (15, 6144, 30, 12288)
    assert (row["interrupts"], row["queue_0_interrupts"], row["queue_1_interrupts"]) == (43, 3, 40)
    assert (row["instructions"], row["cycles"]) == (2000, 1000)
    assert row["energy_joules"] == pytest.approx(2 * 2.0 * 50.0, rel=1e-3)


def test_what_is_not_counted_is_null_and_never_zero(machine, logger):
    for name in ("rx_packets", "rx_bytes"):
        del machine.tree.files[f"{STATISTICS}/{name}"]
    machine.tree.file("proc/interrupts", "CPU0 CPU1\n 50: 1 2 x enp3s0f0-TxRx-0")
    logger.sample()
    row = one(logger)
    null = {name for name, value in row.items() if math.isnan(value)}
    assert null == {"rx_packets", "rx_bytes", "interrupts", "queue_1_interrupts", "ref_cycles", "llc_miss"}


def test_an_interface_that_was_started_anew_counts_from_there(machine, logger):
    set_traffic(machine, 4, 1)
    logger.sample()
    assert one(logger)["rx_packets"] == 4


def test_what_nobody_reads_is_lost_and_shows_as_a_gap(logger):
    for _ in range(ROWS_KEPT + 5):
        logger.sample()
    rows = logger.read()
    assert (rows.first, len(rows)) == (5, ROWS_KEPT)


def test_sampling_ends_when_nobody_reads_and_begins_again_with_a_flush(machine):
    clock = Clock()
    logger = NicLog(machine.tree, "enp3s0f0", (50,), None, (), period_s=0.002, now=time.monotonic)
    logger.flush()
    logger._now = clock
    clock.now = time.monotonic() + UNREAD_S + 1
    logger._thread.join(10)
    assert not logger._thread.is_alive()
    logger._now = time.monotonic
    logger.flush()
    assert logger._thread.is_alive()
    logger.close()
    assert not logger._thread.is_alive()


def test_a_node_has_it_where_it_has_no_intlog(make):
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


def test_interrupts_are_summed_over_cpus_and_nonsense_is_left_out():
    text = "      CPU0 CPU1\n 24: 7 8 PCI eth0\n NMI: 1 1 x\n 25: 7\n 26: x 1 PCI\n"
    assert interrupts(text) == {24: 15}
    assert interrupts("") == {}


def test_cpu_counters_are_had_or_said_to_be_missing():
    counters = Counters((0,))
    try:
        found = counters.read()
        assert set(found) <= set(EVENTS)
        assert set(found) == set(EVENTS) or counters.missing
    finally:
        counters.close()
    assert Counters(()).read() == {}
