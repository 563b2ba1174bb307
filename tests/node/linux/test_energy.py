import errno
import random
from typing import Any

import pytest

from mustherd.metrics import WindowMeasurement, measured
from mustherd.node.energy import EnergyMeter, MeterError, Tally
from mustherd.node.linux import meters, power
from mustherd.node.linux import msr as m
from mustherd.node.linux.msr import Msr
from mustherd.node.linux.node import LinuxNode
from mustherd.node.linux.options import LinuxOptions
from mustherd.terms import Energy
from tests.node.linux.kinds import ACPI, AMD, BARE, C6220, CPU, EPP, LAB, PSTATE, Kind
from tests.node.linux.machine import Machine
from tests.typed import some

YEAR_S = 365 * 24 * 3600


def find(machine: Machine, means: str = "auto") -> tuple[Any, str]:
    return meters.find(machine.tree, Msr(machine.tree), means)


class TestZones:
    def test_packages_are_found_not_supposed(self, make: type[Machine]) -> None:
        meter, _ = find(make(PSTATE), "msr")
        assert [(z.name, z.package) for z in meter.zones if z.kind == "package"] == [("package-0", 0), ("package-3", 3)]

    def test_nothing_is_counted_twice(self, make: type[Machine]) -> None:
        meter, source = find(make(PSTATE))
        assert source == "powercap"
        assert [z.name for z in meter.zones if z.kind == "package"] == ["package-0", "package-3"]
        assert [z.name for z in meter.zones if z.kind == "dram"] == ["dram-0", "dram-3"]
        assert [z.name for z in meter.zones if z.kind == "psys"] == ["psys"]
        window = WindowMeasurement(
            seconds=10.0, energies=[Energy(zone=z.name, kind=z.kind, joules=1.0) for z in meter.zones]
        )
        found = measured(window)
        assert (found["energy_joules"], found["memory_joules"], found["board_joules"]) == (2.0, 2.0, 1.0)
        assert found["processor_and_memory_joules"] == 4.0

    @pytest.mark.parametrize(("kind", "esu"), [(LAB, 16), (PSTATE, 14)])
    @pytest.mark.parametrize("means", ["powercap", "msr"])
    def test_the_unit_is_the_machine_s(self, make: type[Machine], kind: Kind, esu: int, means: str) -> None:
        meter, _ = find(make(kind), means)
        zones = [z for z in meter.zones if z.kind != "dram"]
        assert {(z.joules_per_count, z.counts_per_wrap) for z in zones} == {(2.0**-esu, 2**32)}

    def test_memory_may_have_a_unit_of_its_own(self, make: type[Machine]) -> None:
        meter, _ = find(make(PSTATE))
        assert {z.joules_per_count for z in meter.zones if z.kind == "dram"} == {15300 * 1e-9}

    @pytest.mark.parametrize("kind", [LAB, PSTATE])
    def test_both_ways_count_alike(self, make: type[Machine], kind: Kind) -> None:
        machine = make(kind)
        both = [find(machine, means)[0] for means in ("powercap", "msr")]
        tallies = [Tally(meter.zones, meter.read()) for meter in both]
        machine.live(30.0)
        sums = []
        for meter, tally in zip(both, tallies, strict=True):
            tally.add(meter.read())
            sums.append({e.zone: e.joules for e in tally.energies() if e.kind in ("package", "core")})
        assert sums[0] == sums[1]
        assert sums[0]["package-0"] == pytest.approx(1500, abs=1e-4)

    def test_a_range_that_is_no_32_bits_counts_micro_joules(self, make: type[Machine]) -> None:
        machine = make(AMD)
        for folder in ("intel-rapl:0", "intel-rapl:0:0"):
            machine.tree.file(f"sys/class/powercap/{folder}/max_energy_range_uj", "999999999999")
        meter, _ = find(machine)
        assert {(z.joules_per_count, z.counts_per_wrap) for z in meter.zones} == {(1e-6, 10**12)}


class TestOtherWays:
    @pytest.mark.parametrize("kind", [PSTATE, EPP])
    def test_perf_counts_as_powercap_does(self, make: type[Machine], kind: Kind) -> None:
        machine = make(kind)
        both = [
            meters.find(machine.tree, Msr(machine.tree), means, machine.opened)[0] for means in ("powercap", "perf")
        ]
        tallies = [Tally(some(meter).zones, some(meter).read()) for meter in both]
        machine.live(30.0)
        sums = []
        for meter, tally in zip(both, tallies, strict=True):
            tally.add(some(meter).read())
            sums.append({e.zone: e.joules for e in tally.energies() if e.kind == "package"})
        assert sums[0] == pytest.approx(sums[1], abs=1e-3)

    def test_the_cores_of_an_amd_package_are_one_zone_whose_wraps_add_up(self, make: type[Machine]) -> None:
        machine = make(EPP)
        meter, source = find(machine, "msr")
        assert source == "msr"
        assert [z.name for z in meter.zones] == ["package-0", "core-0"]
        assert {z.joules_per_count for z in meter.zones} == {2.0**-16}
        tally = Tally(meter.zones, meter.read())
        machine.live(30.0)
        tally.add(meter.read())
        joules = {e.zone: e.joules for e in tally.energies()}
        assert joules == pytest.approx({"package-0": 1500, "core-0": 450}, abs=1e-3), "each core's counter has wrapped"

    def test_memory_by_registers_counts_in_its_own_unit(self, make: type[Machine]) -> None:
        machine = make(PSTATE)
        for cpu in range(4):
            machine.tree.file(f"dev/cpu/{cpu}/registers/{m.DRAM_ENERGY_STATUS:#x}", "64")
        meter, _ = find(machine, "msr")
        assert {z.name: z.joules_per_count for z in meter.zones if z.kind == "dram"} == {
            "dram-0": 15.3e-6, "dram-3": 15.3e-6,
        }  # fmt: skip

    def test_perf_stands_in_where_nothing_else_may_be_read(self, make: type[Machine]) -> None:
        machine = make(EPP)
        machine.tree.read_faults = {"energy_uj": errno.EACCES, r"msr": errno.EPERM}
        meter, source = meters.find(machine.tree, Msr(machine.tree), "auto", machine.opened)
        assert source == "perf"
        assert [z.name for z in some(meter).zones] == ["package-0"]
        machine.tree.read_faults["perf"] = errno.EACCES
        meter, source = meters.find(machine.tree, Msr(machine.tree), "auto", machine.opened)
        assert "perf's power/energy-pkg/: Permission denied" in source

    @pytest.mark.parametrize(
        ("file", "text"),
        [("energy-pkg", "umask=1"), ("energy-pkg.unit", "Watts"), ("energy-pkg.scale", "x"), ("energy-pkg.scale", "0")],
    )
    def test_an_event_that_is_described_otherwise_is_not_taken(self, make: type[Machine], file: str, text: str) -> None:
        machine = make(EPP)
        machine.tree.file(f"sys/bus/event_source/devices/power/events/{file}", text)
        meter, source = meters.find(machine.tree, Msr(machine.tree), "perf", machine.opened)
        assert "not understood" in source
        with pytest.raises(MeterError):
            some(meter).read()


class TestAYear:
    """A year of wraps adds up to within one count, at whatever pace the counter is looked at below one wrap."""

    @pytest.mark.parametrize("watts", [30, 100, 200])
    @pytest.mark.parametrize("means", ["powercap", "msr"])
    def test_adds_up(self, make: type[Machine], watts: int, means: str) -> None:
        machine = make(LAB)
        meter, _ = find(machine, means)
        zone = meter.zones[0]
        start = machine.raw["0"]
        counter = [start]
        self.answer(machine, meter, means, counter)
        tally = Tally(meter.zones[:1], meter.read()[:1])
        pace = random.Random(watts)
        wrap_s = zone.counts_per_wrap * zone.joules_per_count / watts
        seconds = 0.0
        while seconds < YEAR_S:
            # Up to the last moment before the counter would come round.
            seconds = min(YEAR_S, seconds + wrap_s * pace.uniform(0.05, 0.999))
            counter[0] = start + int(seconds * watts / zone.joules_per_count)
            tally.add(meter.read()[:1])
        (energy,) = tally.energies()
        assert abs(energy.joules - watts * YEAR_S) <= zone.joules_per_count
        assert (counter[0] - start) // zone.counts_per_wrap > 4_000 * watts / 30, "so many wraps"

    def answer(self, machine: Machine, meter: EnergyMeter, means: str, counter: list[int]) -> None:
        """The first zone shows `counter`, without going through files."""
        if means == "msr":
            setattr(machine.tree, "pread", lambda *_: (counter[0] % 2**32).to_bytes(8, "little"))  # noqa: B010
        else:
            unit = 10**9 >> machine.kind.esu
            setattr(machine.tree, "read_bytes", lambda *_: b"%d\n" % (counter[0] % 2**32 * unit // 1000))  # noqa: B010


class TestMissing:
    def test_none_where_there_is_no_counter(self, make: type[Machine]) -> None:
        meter, why = find(make(BARE))
        assert meter is None
        assert why.startswith("none: powercap has no package zone")

    def test_permission_denied_is_said_and_never_zero(self, make: type[Machine]) -> None:
        machine = make(ACPI)
        machine.tree.read_faults = {"energy_uj": errno.EACCES, "msr": errno.EPERM}
        meter, why = find(machine)
        assert "permission denied" in why
        assert meter.zones == ()
        with pytest.raises(MeterError, match="permission denied"):
            meter.read()

    def test_registers_stand_in_for_files_that_are_denied(self, make: type[Machine]) -> None:
        machine = make(ACPI)
        machine.tree.read_faults = {"energy_uj": errno.EACCES}
        assert find(machine)[1] == "msr"

    def test_a_package_without_counter_is_not_left_out_in_silence(self, make: type[Machine]) -> None:
        machine = make(LAB)
        machine.tree.read_faults = {"intel-rapl:1/name": errno.ENOENT}
        meter, _ = find(machine, "powercap")
        with pytest.raises(MeterError, match="no energy counter for package 1"):
            meter.read()

    def test_a_register_that_stays_zero_is_no_counter(self, make: type[Machine]) -> None:
        machine = make(C6220)
        machine.tree.read_faults = {"powercap": errno.ENOENT}
        for cpu in range(16):
            machine.tree.poke(cpu, m.PKG_ENERGY_STATUS, 0)
        assert find(machine)[0] is None

    def test_a_server_without_core_counters_has_none(self, make: type[Machine]) -> None:
        machine = make(LAB)
        for cpu in range(4):
            machine.tree.poke(cpu, m.PP0_ENERGY_STATUS, 0)
        meter, _ = find(machine, "msr")
        assert {z.kind for z in meter.zones} == {"package"}

    def test_another_cpu_of_the_package_answers_for_one_that_went_offline(self, make: type[Machine]) -> None:
        machine = make(LAB)
        meter, _ = find(machine, "msr")
        before = meter.read()
        del machine.tree.files["dev/cpu/1/msr"]
        assert meter.read() == before
        del machine.tree.files["dev/cpu/3/msr"]
        with pytest.raises(MeterError, match="absent"):
            meter.read()

    @pytest.mark.parametrize("text", ["", "-5", "99999999999999999999", "12 34", "1e6", "0x10", "1_000", "٣"])
    def test_garbage_is_an_error(self, make: type[Machine], text: str) -> None:
        machine = make(LAB)
        meter, _ = find(machine, "powercap")
        machine.tree.file("sys/class/powercap/intel-rapl:1/energy_uj", text)
        with pytest.raises(MeterError, match="intel-rapl:1/energy_uj: not understood"):
            meter.read()


class TestPower:
    def measure(self, machine: Machine, watts: float = 20.0, busy: int = 0) -> power.Power:
        def sleep(seconds: float) -> None:
            machine.live(seconds, watts)
            machine.tree.file("proc/stat", f"cpu  {100 + busy} 0 100 {99900 - busy} 0 0 0 0 0 0\n")
            clock[0] += seconds

        clock = [0.0]
        return power.measure(machine.tree, find(machine)[0], 1.0, lambda: clock[0], sleep)

    def test_idle_power_and_limit(self, make: type[Machine]) -> None:
        found = self.measure(make(LAB))
        assert found.idle == pytest.approx(40.0, abs=0.001)
        assert found.limit == 2 * 114
        assert found.band == pytest.approx((20.0, 1.2 * 228), rel=1e-5)

    def test_a_busy_machine_has_no_idle_power(self, make: type[Machine]) -> None:
        found = self.measure(make(LAB), busy=50)
        assert found.idle is None
        assert "50% busy" in found.note

    def test_counters_that_stand_still_are_no_idle_power(self, make: type[Machine]) -> None:
        found = self.measure(make(LAB), watts=0.0)
        assert found.idle is None
        assert "stand still" in found.note

    def test_it_is_among_the_facts(self, make: type[Machine]) -> None:
        machine = make(LAB)
        options = LinuxOptions(idle_seconds=0.5)
        facts = LinuxNode(options, machine.tree, machine.ethtool, sleep=lambda _: machine.live(5, 20.0)).facts
        assert facts.text["energy"] == "powercap"
        assert facts.text["limit_watts"] == "228.0"
        assert some(facts.plausible_watts)[1] == pytest.approx(228 * power.LIMIT_MARGIN)
        assert float(facts.text["idle_watts"]) > 0

    def test_a_limit_beyond_belief_is_not_told_as_one(self, make: type[Machine]) -> None:
        machine = make(LAB)
        machine.tree.file("sys/class/powercap/intel-rapl:0/constraint_1_power_limit_uw", "9" * 17)
        facts = LinuxNode(LinuxOptions(idle_seconds=0), machine.tree, machine.ethtool).facts
        assert facts.plausible_watts == pytest.approx((0.04 * 2 * 135, 1.2 * 2 * 135)), "what the CPUs are made for"

    @pytest.mark.parametrize(
        ("without", "watts", "source"),
        [("nothing", 135, "powercap"), (r"max_power", 95, "MSR 0x614"), (r"max_power|:0x614$", None, "")],
    )
    def test_what_the_cpus_are_made_for_comes_from_where_it_can_be_had(
        self, make: type[Machine], without: str, watts: float | None, source: str
    ) -> None:
        machine = make(LAB)
        machine.tree.read_faults = {without: errno.EIO, r"power_limit_uw": errno.EIO}
        found = LinuxNode(LinuxOptions(idle_seconds=0), machine.tree, machine.ethtool)
        if watts is None:
            assert found.facts.plausible_watts == (power.LEAST_W, None)
        else:
            assert found.facts.plausible_watts == pytest.approx((0.04 * 2 * watts, 1.2 * 2 * watts))
            assert found.facts.text["design_watts"] == f"{watts} W a package, by {source}"

    def test_a_known_cpu_s_band_rests_on_no_counter_and_no_register(self, make: type[Machine]) -> None:
        machine = make(C6220)
        info = machine.tree.text("proc/cpuinfo").replace("A CPU @", "Intel(R) Xeon(R) CPU E5-2650 v2 @")
        machine.tree.file("proc/cpuinfo", info)
        machine.tree.read_faults = {r"constraint|:0x6": errno.EIO}
        assert LinuxNode(LinuxOptions(idle_seconds=0), machine.tree, machine.ethtool).facts.plausible_watts == (32, 228)

    @pytest.mark.parametrize("esu", [14, 18])
    def test_a_unit_that_powercap_has_otherwise_than_the_cpu_names_is_told(self, make: type[Machine], esu: int) -> None:
        machine = make(LAB)
        sound = [z for z in find(machine)[0].zones if z.kind == "package"]
        assert {(z.joules_per_count, z.named_joules_per_count) for z in sound} == {(2.0**-16, 2.0**-16)}
        for cpu in range(4):
            machine.tree.poke(cpu, m.RAPL_POWER_UNIT, esu << 8 | 3)
        zones = [z for z in find(machine)[0].zones if z.kind == "package"]
        assert {(z.joules_per_count, z.named_joules_per_count) for z in zones} == {(2.0**-16, 2.0**-esu)}
        assert {z.named_joules_per_count for z in find(machine, "msr")[0].zones} == {0.0}, "there is no second opinion"

    def test_where_the_cpu_can_t_be_asked_or_memory_has_its_own_unit_nothing_is_named(
        self, make: type[Machine]
    ) -> None:
        machine = make(PSTATE)
        assert {z.named_joules_per_count for z in find(machine)[0].zones if z.kind == "dram"} == {0.0}
        machine.tree.read_faults = {r"msr": errno.EPERM}
        assert {z.named_joules_per_count for z in find(machine, "powercap")[0].zones} == {0.0}
        assert {z.named_joules_per_count for z in find(make(AMD))[0].zones} == {0.0}

    def test_offline_cpus_have_no_counters_to_miss(self, make: type[Machine]) -> None:
        machine = make(LAB)
        machine.tree.file(f"{CPU}/online", "0,2")
        meter, _ = find(machine, "msr")
        assert {z.package for z in meter.zones} == {0}


class TestHwmon:
    def machine(self, make: type[Machine], *sockets: int) -> Machine:
        machine = make(AMD)
        for path in [path for path in machine.tree.files if "powercap" in path]:
            del machine.tree.files[path]
        folder = "sys/class/hwmon/hwmon3"
        machine.tree.file(f"{folder}/name", "amd_energy")
        for n, label in enumerate((*(f"Esocket{s}" for s in sockets), "Ecore000"), 1):
            machine.tree.file(f"{folder}/energy{n}_label", label)
            machine.tree.file(f"{folder}/energy{n}_input", str(n * 10**6))
        return machine

    def test_sockets_are_packages_in_micro_joules(self, make: type[Machine]) -> None:
        machine = self.machine(make, 0)
        meter, source = find(machine)
        assert source == "hwmon"
        assert [(z.name, z.kind, z.package) for z in meter.zones] == [("package-0", "package", 0)]
        tally = Tally(meter.zones, meter.read())
        machine.tree.file("sys/class/hwmon/hwmon3/energy1_input", str(51 * 10**6))
        tally.add(meter.read())
        assert tally.energies()[0].joules == pytest.approx(50)

    @pytest.mark.parametrize("name", ["power1_average", "power2_input"])
    def test_a_sensor_of_power_is_no_counter_and_named_as_what_can_be_a_meter(
        self, make: type[Machine], name: str
    ) -> None:
        machine = self.machine(make)
        machine.tree.file(f"sys/class/hwmon/hwmon3/{name}", "183000000")
        meter, source = find(machine, "hwmon")
        assert meter is None
        assert f"it has a sensor of power, hwmon3/{name}, which can be one of `meters`" in source

    def test_a_socket_without_a_counter_is_an_error_and_not_the_whole(self, make: type[Machine]) -> None:
        meter, source = find(self.machine(make, 1))
        assert "no energy counter for package 0" in source
        with pytest.raises(MeterError):
            meter.read()

    def test_one_that_can_not_be_read_is_never_0(self, make: type[Machine]) -> None:
        machine = self.machine(make, 0)
        meter, _ = find(machine)
        machine.tree.read_faults = {"energy1_input": errno.EACCES}
        with pytest.raises(MeterError, match="permission denied"):
            meter.read()


def test_without_a_meter_cpu_seconds_are_counted_and_it_is_said(make: type[Machine]) -> None:
    machine = make(BARE)
    node = LinuxNode(LinuxOptions(idle_seconds=0), machine.tree, machine.ethtool)
    assert node.meter is None
    assert node.facts.text["energy"].endswith("; an objective without a meter is machine_cpu_seconds")
    before = node.counts()["machine_cpu_seconds"]
    machine.tree.file("proc/stat", "cpu  250 0 150 99900 40 10 90 0 0 0")
    assert node.counts()["machine_cpu_seconds"] - before == pytest.approx(3.0)
    machine.tree.read_faults = {"proc/stat": errno.EACCES}
    assert node.counts() == {}


def test_traffic_of_the_interface_is_counted(make: type[Machine]) -> None:
    machine = make(C6220)
    node = LinuxNode(LinuxOptions(idle_seconds=0), machine.tree, machine.ethtool)
    assert not [name for name in node.counts() if name.startswith("nic")]
    assert node.interface is not None
    for number, count in enumerate(("rx_packets", "rx_bytes", "tx_packets"), 1):
        machine.tree.file(f"sys/class/net/{node.interface.name}/statistics/{count}", str(number))
    machine.tree.file(f"sys/class/net/{node.interface.name}/statistics/tx_bytes", "many")
    counted = {name: value for name, value in node.counts().items() if name.startswith("nic")}
    assert counted == {"nic_rx_packets": 1, "nic_rx_bytes": 2, "nic_tx_packets": 3}


def test_a_folder_of_cpus_without_registers_is_no_meter(make: type[Machine]) -> None:
    """As in a virtual machine: each window failed there, whatever the goal, over a counter that nobody has."""
    machine = make(EPP)
    for path in [p for p in machine.tree.files if p.startswith(("dev/cpu/", "sys/class/powercap/", "sys/bus/event"))]:
        del machine.tree.files[path]
    machine.tree.file("dev/cpu/microcode", "")
    machine.tree.file("dev/cpu/0/cpuid", "")
    node = LinuxNode(LinuxOptions(idle_seconds=0), machine.tree, machine.ethtool)
    assert node.meter is None
    assert "the module msr isn't loaded" in node.facts.text["energy"]
