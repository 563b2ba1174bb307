"""What is run inside the virtual machine: the contracts over a real kernel, and a muster killed on one."""

import array
import fcntl
import json
import math
import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mustherd.daemon import StopSignals
from mustherd.muster import service
from mustherd.node.clock import Clock
from mustherd.node.knob import Knob
from mustherd.node.linux import doctor
from mustherd.node.linux import msr as m
from mustherd.node.linux.msr import Msr
from mustherd.node.linux.niclog import NicLog
from mustherd.node.linux.node import LinuxNode
from mustherd.node.linux.options import LinuxOptions
from mustherd.node.linux.tree import Tree, TreeError
from mustherd.shepherd.shepherd import Shepherd
from mustherd.terms import Setting
from mustherd.testing.clock import ClockContract
from mustherd.testing.knob import KnobContract
from mustherd.testing.node import NodeContract
from mustherd.wire import keys
from mustherd.wire.shepherd_endpoint import ShepherdEndpoint
from tests.typed import some
from tests.waiting import until

EFER, APIC_BASE = 0xC0000080, 0x1B
CPUFREQ = Path("/sys/devices/system/cpu")
STATE = Path("/root/state")
CONFIG = Path("/root/muster.toml")
KEYS = Path("/root/keys")

MUSTER = """
muster = "vm-1"
keys = "/root/keys"
state = "/root/state"
[linux]
interface = "e1000e"
idle_seconds = 0
[ranges.itr-delay]
low = 10
high = 400
[ranges.dvfs]
low = 1200
high = 2600
"""


def ioctl(command: int, usecs: int | None = None) -> int:
    """rx-usecs by the old ioctl, which shares nothing with the code under test (linux/ethtool.h, ethtool_coalesce)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        data = array.array("I", [0x0E] + [0] * 22)
        request = struct.pack("16sP", b"eth0", data.buffer_info()[0]).ljust(40, b"\0")
        fcntl.ioctl(plain.fileno(), 0x8946, request)
        if usecs is not None:
            data[0], data[1] = command, usecs
            fcntl.ioctl(plain.fileno(), 0x8946, request)
        return data[1]


def rx_usecs() -> int:
    return ioctl(0x0E)


def node(**options: Any) -> LinuxNode:
    return LinuxNode(LinuxOptions(idle_seconds=0, interface="e1000e", **options))


class OnKernel(KnobContract):
    name = ""
    first = -1
    """Set before each test, so that nothing but the test moves the knob."""

    @pytest.fixture
    def knob(self) -> Iterator[Knob]:
        knob = next(k for k in node().knobs if k.info.name == self.name)
        original = knob.read()
        if self.first >= 0:
            knob.write(self.first)
        yield knob
        knob.write(original)

    @pytest.fixture
    def same_knob(self, knob: Knob) -> Knob:
        return next(k for k in node().knobs if k.info.name == self.name)

    @pytest.fixture
    def settle(self) -> Callable[[], None]:
        return lambda: None

    @pytest.fixture
    def overwrite(self, same_knob: Knob) -> Callable[[int], object]:
        return same_knob.write


class TestItrDelay(OnKernel):
    name = "itr-delay"

    @pytest.fixture
    def overwrite(self) -> Callable[[int], object]:
        return lambda value: ioctl(0x0F, value)

    def test_the_driver_s_rounding_is_as_foretold(self, knob: Knob) -> None:
        info = knob.info
        for value in (*info.values, *range(info.low, 400), *range(400, info.high, 97), 9999, info.high):
            knob.write(value)
            assert knob.read() == rx_usecs() == knob.lands_on(value), value


class TestDvfs(OnKernel):
    name = "dvfs"
    first = 1600

    def test_by_the_userspace_governor(self, knob: Knob) -> None:
        knob.write(2000)
        for cpu in range(4):
            assert (CPUFREQ / f"cpu{cpu}/cpufreq/scaling_governor").read_text() == "userspace\n"
            assert (CPUFREQ / f"cpu{cpu}/cpufreq/scaling_setspeed").read_text() == "2000000\n"


class TestRxRing(OnKernel):
    name = "ring-size-rx"


class TestTxRing(OnKernel):
    name = "ring-size-tx"


class TestClock(ClockContract):
    @pytest.fixture
    def clock(self) -> Clock:
        return node().clock

    @pytest.fixture
    def wait(self) -> Callable[[float], None]:
        return time.sleep


class TestNode(NodeContract):
    @pytest.fixture
    def node(self) -> LinuxNode:
        return node()

    @pytest.fixture
    def live(self) -> Callable[[float], None]:
        return time.sleep

    def test_facts(self, node: LinuxNode) -> None:
        facts, text = node.facts, node.facts.text
        assert facts.nic_driver == "e1000e"
        assert text["interface_address"].startswith("10.10.1.2/24")
        assert "eth0-rx-0" in text["nic_interrupts"]
        assert (facts.cores, text["threads_per_core"], text["smt"]) == (2, "2", "on")
        assert text["frequency_driver"] == "acpi-cpufreq"
        assert text["nic_firmware"]
        assert some(facts.tsc_khz) > 100_000
        assert text["energy"].startswith("none: powercap has no package zone; package 0's energy register")
        assert node.meter is None

    def test_a_node_is_chosen_by_its_address(self) -> None:
        assert some(LinuxNode(LinuxOptions(idle_seconds=0, interface="10.10.1.0/24")).interface).name == "eth0"


def sampled(driver: str, interface: str) -> tuple[tuple[str, ...], dict[str, float], dict[str, int]]:
    """Columns of a NIC's log, what they add up to while a hundred frames are sent, and what the kernel counted."""
    node = LinuxNode(LinuxOptions(idle_seconds=0, interface=driver, nic_log="on"))
    [logger] = node.loggers
    assert isinstance(logger, NicLog)
    counters = Path(f"/sys/class/net/{interface}/statistics")
    try:
        before = {name: int((counters / name).read_text()) for name in ("tx_packets", "tx_bytes")}
        logger.flush()
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind((interface, 0x88B5))
            for _ in range(100):
                raw.send(b"\xff" * 6 + bytes(6) + b"\x88\xb5" + bytes(986))
        until(lambda: int((counters / "tx_packets").read_text()) >= before["tx_packets"] + 100)
        began = logger._next
        until(lambda: logger._next >= began + 30)
        after = {name: int((counters / name).read_text()) for name in before}
        columns = logger.read().columns
        told = {name: [v for v in values if not math.isnan(v)] for name, values in columns.items()}
        sums = {name: sum(values) for name, values in told.items() if values}
        return tuple(columns), sums, {name: after[name] - before[name] for name in before}
    finally:
        node.close()


def test_a_queues_packets_and_bytes_are_its_drivers() -> None:
    subprocess.run(["ip", "link", "set", "eth1", "up"], check=True)
    columns, sums, counted = sampled("virtio_net", "eth1")
    assert {"queue_0_rx_packets", "queue_0_tx_bytes", "core_0_cycles"} <= set(columns)
    assert sums["queue_0_tx_packets"] == sums["tx_packets"] == counted["tx_packets"] >= 100
    assert sums["queue_0_tx_bytes"] == sums["tx_bytes"] == counted["tx_bytes"] >= 100_000


def test_a_driver_without_counters_for_its_queues_leaves_nulls() -> None:
    columns, sums, counted = sampled("e1000e", "eth0")
    assert sums["tx_packets"] == counted["tx_packets"] >= 100
    assert "queue_0_tx_bytes" in columns
    assert "queue_0_tx_bytes" not in sums
    assert sums["queue_0_interrupts"] >= 0


def test_registers_through_the_module() -> None:
    registers = Msr(Tree())
    for cpu in range(4):
        assert registers.read(cpu, EFER) & 0xD00 == 0xD00, "64 bits, and pages that are not to be executed"
        apic = registers.read(cpu, APIC_BASE)
        assert apic >> 12 == 0xFEE00
        assert apic >> 8 & 1 == (cpu == 0), "one CPU booted the machine"
        # The emulator takes a request for a clock and forgets it.
        registers.write(cpu, m.PERF_CTL, 0x1A00)
        assert registers.read(cpu, m.PERF_CTL) == 0
    with pytest.raises(TreeError, match="/dev/cpu/99/msr register 0x10: absent"):
        registers.read(99, 0x10)


def test_a_cpu_that_goes_offline_is_left_out_and_set_when_it_is_back() -> None:
    knob = next(k for k in node().knobs if k.info.name == "dvfs")
    original = knob.read()
    online = CPUFREQ / "cpu3/online"
    try:
        online.write_text("0")
        knob.write(1200)
        assert knob.read() == 1200
        online.write_text("1")
        knob.write(1600)
        assert knob.read() == 1600
    finally:
        online.write_text("1")
        knob.write(original)


def test_the_doctor() -> None:
    # New rings have reset the adapter.
    until(lambda: Path("/sys/class/net/eth0/operstate").read_text() == "up\n")
    checks = {c.name: c for c in doctor.examine(LinuxOptions(interface="eth0"), doctor.Wanted(driver="e1000e"))}
    assert {checks[n].status for n in ("nic driver", "link", "itr-delay", "dvfs")} == {doctor.Status.OK}, checks
    for name, tag in (("intlog", "driver"), ("smt", "smt"), ("program memcached", "memcached"), ("kernel", "kernel")):
        assert (checks[name].status, checks[name].tag) == (doctor.Status.WRONG, tag)


def test_killed_in_mid_decision_and_restored_by_the_next_start() -> None:
    CONFIG.write_text(MUSTER)
    keys.create(KEYS, ["shepherd", "vm-1"])
    STATE.mkdir(exist_ok=True)
    original = {k.info.name: k.read() for k in node().knobs}
    assert original["itr-delay"] == rx_usecs()
    governor = (CPUFREQ / "cpu0/cpufreq/scaling_governor").read_text()
    assert governor != "userspace\n"
    # Both lives are made before there is a thread or a socket here.
    gate, opened = os.pipe()
    killed = spawn(lambda: live(dies_at=3))
    restoring = spawn(lambda: live(when=gate))
    shepherd = Shepherd(ShepherdEndpoint(keys=keys.for_shepherd(KEYS)))
    shepherd.start()
    try:
        until(lambda: "vm-1" in shepherd.musters())
        held = int(status(killed)["CapEff"], 16)
        assert held == 1 << 1 | 1 << 12 | 1 << 17 | 1 << 38
        assert status(killed)["NoNewPrivs"] == "1"
        wanted = (Setting("node-0", "itr-delay", 250), Setting("node-0", "dvfs", 1600))
        future = shepherd.decide("vm-1", wanted)
        assert os.waitstatus_to_exitcode(os.waitpid(killed, 0)[1]) == -signal.SIGKILL
        future.cancel()
        # In the middle: the card and the first CPU are changed, the last CPU is not.
        assert rx_usecs() == 250
        assert (CPUFREQ / "cpu0/cpufreq/scaling_governor").read_text() == "userspace\n"
        assert (CPUFREQ / "cpu3/cpufreq/scaling_governor").read_text() == governor
        assert {row["knob"] for row in journal()} == {"itr-delay", "dvfs"}
        shepherd.stop()
        os.write(opened, b"x")
        until(lambda: not journal())
        assert rx_usecs() == original["itr-delay"]
        assert {(CPUFREQ / f"cpu{c}/cpufreq/scaling_governor").read_text() for c in range(4)} == {governor}
        assert {k.info.name: k.read() for k in node().knobs} == original
        os.kill(restoring, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(restoring, 0)[1]) == 0
    finally:
        shepherd.stop()
        for pid in (killed, restoring):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def live(dies_at: int = 0, when: int | None = None) -> None:
    """A muster as its unit starts it, once there is something to read from `when`.

    With `dies_at` it is killed at that write of a file, and its guardian with it.
    """
    if when is not None:
        os.read(when, 1)
    write = Tree.write_bytes
    count = 0

    def deadly(tree: Tree, path: str, content: bytes) -> None:
        nonlocal count
        count += 1
        if count == dies_at:
            for guardian in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
                os.kill(int(guardian), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        write(tree, path, content)

    setattr(Tree, "write_bytes", deadly)  # noqa: B010 - this process ends with it
    os._exit(service.serve(CONFIG, StopSignals))


def spawn(act: Callable[[], object]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            act()
        finally:
            os._exit(99)
    return pid


def status(pid: int) -> dict[str, str]:
    lines = (line.partition(":") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {name: value.strip() for name, _, value in lines}


def journal() -> list[dict[str, Any]]:
    return list(json.loads((STATE / "originals.json").read_text())["originals"])
