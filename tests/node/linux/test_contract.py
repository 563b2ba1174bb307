"""A Linux node over trees of files keeps the contracts of a node."""

import errno
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from mustherd.node.clock import Clock
from mustherd.node.energy import EnergyMeter
from mustherd.node.knob import Knob
from mustherd.node.linux import meters
from mustherd.node.linux import msr as m
from mustherd.node.linux.msr import Msr
from mustherd.node.linux.node import LinuxNode
from mustherd.node.linux.options import LinuxOptions
from mustherd.testing.clock import ClockContract
from mustherd.testing.knob import KnobContract
from mustherd.testing.meter import MeterContract
from mustherd.testing.node import NodeContract
from tests.node.linux.kinds import ACPI, AMD, BARE, CPU, EPP, EPYC, ICELAKE, KINDS, LAB, PSTATE, Kind
from tests.node.linux.machine import Machine
from tests.typed import some


def node_of(machine: Machine, **options: Any) -> LinuxNode:
    return LinuxNode(LinuxOptions(idle_seconds=0, **options), machine.tree, machine.ethtool)


class OfKnob(KnobContract):
    name = ""

    @pytest.fixture
    def machine(self, make: type[Machine]) -> Machine:
        return make(LAB)

    @pytest.fixture
    def knob(self, machine: Machine) -> Knob:
        return next(k for k in node_of(machine).knobs if k.info.name == self.name)

    @pytest.fixture
    def same_knob(self, machine: Machine, knob: Knob) -> Knob:
        return next(k for k in node_of(machine).knobs if k.info.name == self.name)

    @pytest.fixture
    def settle(self) -> Callable[[], None]:
        return lambda: None


class TestItrDelay(OfKnob):
    name = "itr-delay"

    @pytest.fixture(params=[LAB, AMD, PSTATE], ids=lambda kind: kind.nic)
    def machine(self, make: type[Machine], request: pytest.FixtureRequest) -> Machine:
        return make(request.param)

    @pytest.fixture
    def overwrite(self, machine: Machine) -> Callable[[int], None]:
        def overwrite(value: int) -> None:
            found = machine.ethtool._load(machine.kind.interface)
            found |= {"rx_usecs": value} | ({"adaptive_rx": int(value == 1)} if "adaptive_rx" in found else {})
            machine.ethtool.save(machine.kind.interface, found)

        return overwrite


class TestItrDelayE1000e(TestItrDelay):
    @pytest.fixture
    def machine(self, make: type[Machine]) -> Machine:
        machine = make(AMD)
        machine.tree.links["sys/class/net/eno1/device/driver"] = "../bus/pci/drivers/e1000e"
        machine.ethtool.save("eno1", machine.ethtool._load("eno1") | {"driver": "e1000e", "rx_usecs": 3})
        return machine


class TestItrDelayOfAQueue(OfKnob):
    """The second one; the first stays as it is, whatever is done to it."""

    @pytest.fixture(params=[PSTATE, EPYC], ids=lambda kind: kind.nic)
    def machine(self, make: type[Machine], request: pytest.FixtureRequest) -> Iterator[Machine]:
        machine = make(request.param)
        interface = machine.kind.interface
        before = machine.ethtool.queue_coalesce(interface, 0), machine.ethtool.coalesce(interface)
        yield machine
        assert (machine.ethtool.queue_coalesce(interface, 0), machine.ethtool.coalesce(interface)) == before

    @pytest.fixture
    def knob(self, machine: Machine) -> Knob:
        return next(k for k in node_of(machine, itr_sheep="queue").knobs if k.info.sheep == "queue-1")

    @pytest.fixture
    def same_knob(self, machine: Machine, knob: Knob) -> Knob:
        return next(k for k in node_of(machine, itr_sheep="queue").knobs if k.info.sheep == knob.info.sheep)

    @pytest.fixture
    def overwrite(self, machine: Machine) -> Callable[[int], None]:
        flag = "adaptive_rx" in machine.ethtool._load(machine.kind.interface)
        return lambda value: machine.ethtool.set_queue_coalesce(
            machine.kind.interface, 1, value, value == 1 if flag else None
        )


@pytest.mark.parametrize("name", ["gro-flush-timeout", "napi-defer", "irq-suspend"])
class TestNapiOfAQueue(OfKnob):
    """The second one's; the first one's stays as it is, whatever is done to it."""

    @pytest.fixture
    def machine(self, make: type[Machine]) -> Iterator[Machine]:
        machine = make(ICELAKE)
        before = machine.ethtool.napis(2)[0]
        yield machine
        assert machine.ethtool.napis(2)[0] == before

    @pytest.fixture
    def knob(self, machine: Machine, name: str) -> Knob:
        knobs = node_of(machine, napi_sheep="queue").knobs
        return next(k for k in knobs if (k.info.name, k.info.sheep) == (name, "queue-1"))

    @pytest.fixture
    def same_knob(self, machine: Machine, knob: Knob) -> Knob:
        knobs = node_of(machine, napi_sheep="queue").knobs
        return next(k for k in knobs if (k.info.name, k.info.sheep) == (knob.info.name, knob.info.sheep))

    @pytest.fixture
    def overwrite(self, same_knob: Knob) -> Callable[[int], None]:
        return same_knob.write


class TestIdleLatencyOfTheSystem(OfKnob):
    name = "idle-latency"

    @pytest.fixture
    def knob(self, machine: Machine) -> Knob:
        return next(k for k in node_of(machine, idle_latency="system").knobs if k.info.name == self.name)

    @pytest.fixture
    def same_knob(self, machine: Machine, knob: Knob) -> Knob:
        return next(k for k in node_of(machine, idle_latency="system").knobs if k.info.name == knob.info.name)

    @pytest.fixture
    def overwrite(self, same_knob: Knob) -> Callable[[int], None]:
        return same_knob.write


class TestIdleLatencyOfACore(OfKnob):
    """That of CPU 3; the others' stay as they are."""

    @pytest.fixture
    def machine(self, make: type[Machine]) -> Iterator[Machine]:
        machine = make(LAB)
        files = [f"{CPU}/cpu{c}/power/pm_qos_resume_latency_us" for c in range(3)]
        before = [machine.tree.text(file) for file in files]
        yield machine
        assert [machine.tree.text(file) for file in files] == before

    @pytest.fixture
    def knob(self, machine: Machine) -> Knob:
        knobs = node_of(machine, idle_sheep="core").knobs
        return next(k for k in knobs if (k.info.name, k.info.sheep) == ("idle-latency", "core-3"))

    @pytest.fixture
    def same_knob(self, machine: Machine, knob: Knob) -> Knob:
        knobs = node_of(machine, idle_sheep="core").knobs
        return next(k for k in knobs if (k.info.name, k.info.sheep) == (knob.info.name, knob.info.sheep))

    @pytest.fixture
    def overwrite(self, same_knob: Knob) -> Callable[[int], None]:
        return same_knob.write


class TestMsrDvfs(OfKnob):
    name = "dvfs"

    @pytest.fixture
    def overwrite(self, machine: Machine) -> Callable[[int], None]:
        def overwrite(value: int) -> None:
            for cpu in range(4):
                machine.tree.poke(cpu, m.PERF_CTL, value // 100 << 8)

        return overwrite


class TestUserspaceDvfs(OfKnob):
    name = "dvfs"

    @pytest.fixture(params=[ACPI, AMD], ids=lambda kind: kind.name)
    def machine(self, make: type[Machine], request: pytest.FixtureRequest) -> Machine:
        return make(request.param)

    @pytest.fixture
    def overwrite(self, machine: Machine, same_knob: Knob) -> Callable[[int], None]:
        return same_knob.write


class TestBoundsDvfs(TestUserspaceDvfs):
    @pytest.fixture
    def machine(self, make: type[Machine]) -> Machine:
        machine = make(PSTATE)
        machine.tree.read_faults = {r":0x(e7|e8|198)$": errno.EIO}
        return machine


class TestRaplLimit(OfKnob):
    name = "rapl-limit"

    @pytest.fixture
    def overwrite(self, machine: Machine) -> Callable[[int], None]:
        def overwrite(value: int) -> None:
            for n in range(2):
                machine.tree.file(f"sys/class/powercap/intel-rapl:{n}/constraint_0_power_limit_uw", f"{value}000000")

        return overwrite


class TestRxRing(OfKnob):
    name = "ring-size-rx"

    @pytest.fixture(params=[LAB, PSTATE], ids=lambda kind: kind.nic)
    def machine(self, make: type[Machine], request: pytest.FixtureRequest) -> Machine:
        return make(request.param)

    @pytest.fixture
    def overwrite(self, machine: Machine) -> Callable[[int], None]:
        return lambda value: machine.ethtool.set_rings(machine.kind.interface, value, None)


class TestTxRing(TestRxRing):
    name = "ring-size-tx"

    @pytest.fixture
    def overwrite(self, machine: Machine) -> Callable[[int], None]:
        return lambda value: machine.ethtool.set_rings(machine.kind.interface, None, value)


def offered() -> list[Any]:
    """Every knob of each kind of machine; what is the same as on another one, or of a large one, for the long tests."""
    found = []
    seen: set[tuple[type, bytes]] = set()
    for kind in KINDS.values():
        small = len(kind.packages) * len(kind.packages[0]) <= 4
        for knob in on(kind).knobs:
            same = (type(knob), msgspec.json.encode(knob.info))
            marks = [] if small and same not in seen else [pytest.mark.long]
            seen |= {same} if small else set()
            found.append(pytest.param(kind, knob.info.name, marks=marks, id=f"{kind.name} {knob.info.name}"))
    return found


def test_machines_of_all_these_kinds_are_tried() -> None:
    named = {"c6220", "pstate", "icelake", "epp", "epyc", "ampere", "bare", "container"}
    tried = {param.values[0].name for param in offered()}
    assert named <= tried


def on(kind: Kind, machine: Machine | None = None) -> LinuxNode:
    return node_of(machine or Machine(kind), interface=kind.interface, cgroup=kind.cgroup)


@pytest.mark.parametrize(("kind", "name"), offered())
class TestEveryKnob(KnobContract):
    """On every kind of machine, what it offers."""

    @pytest.fixture
    def machine(self, make: type[Machine], kind: Kind) -> Machine:
        machine = make(kind)
        # Without counters of the average clock, a clock that is written is a clock that runs.
        machine.tree.read_faults = {r":0x(e7|e8|198)$": errno.EIO}
        return machine

    @pytest.fixture
    def knob(self, machine: Machine, kind: Kind, name: str) -> Knob:
        return next(k for k in on(kind, machine).knobs if k.info.name == name)

    @pytest.fixture
    def same_knob(self, machine: Machine, kind: Kind, name: str) -> Knob:
        return next(k for k in on(kind, machine).knobs if k.info.name == name)

    @pytest.fixture
    def settle(self) -> Callable[[], None]:
        return lambda: None

    @pytest.fixture
    def overwrite(self, same_knob: Knob) -> Callable[[int], None]:
        return same_knob.write


class TestPowercapMeter(MeterContract):
    means = "powercap"
    hidden = r"energy_uj$"

    @pytest.fixture
    def machine(self, make: type[Machine]) -> Machine:
        return make(PSTATE)

    @pytest.fixture
    def meter(self, machine: Machine) -> EnergyMeter:
        return some(node_of(machine, meter=self.means).meter)

    @pytest.fixture
    def spend(self, machine: Machine) -> Callable[[], None]:
        return lambda: machine.live(10.0)

    @pytest.fixture
    def break_meter(self, machine: Machine) -> Callable[[], None]:
        return lambda: machine.tree.read_faults.update({self.hidden: errno.EACCES})


class TestMsrMeter(TestPowercapMeter):
    means = "msr"
    hidden = r":0x6..$"

    @pytest.fixture
    def machine(self, make: type[Machine]) -> Machine:
        return make(LAB)


class TestAmdMsrMeter(TestPowercapMeter):
    means = "msr"
    hidden = r":0xc001029"

    @pytest.fixture
    def machine(self, make: type[Machine]) -> Machine:
        return make(EPP)


@pytest.mark.parametrize("kind", [PSTATE, EPP], ids=lambda kind: kind.name)
class TestPerfMeter(TestPowercapMeter):
    hidden = "perf"

    @pytest.fixture
    def machine(self, make: type[Machine], kind: Kind) -> Machine:
        return make(kind)

    @pytest.fixture
    def meter(self, machine: Machine) -> EnergyMeter:
        return some(meters.find(machine.tree, Msr(machine.tree), "perf", machine.opened)[0])


class TestClock(ClockContract):
    @pytest.fixture
    def clock(self, make: type[Machine]) -> Clock:
        return node_of(make(BARE)).clock

    @pytest.fixture
    def wait(self) -> Callable[[float], None]:
        return time.sleep


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
class TestNode(NodeContract):
    @pytest.fixture
    def node(self, make: type[Machine], kind: Kind) -> LinuxNode:
        return node_of(make(kind))

    @pytest.fixture
    def live(self) -> Callable[[float], None]:
        return time.sleep
