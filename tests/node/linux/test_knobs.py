import errno
from typing import Any

import pytest

from mustherd.node.knob import KnobError, check
from mustherd.node.linux import msr as m
from mustherd.node.linux.itr import DIALECTS, E1000e
from mustherd.node.linux.node import LinuxNode
from mustherd.node.linux.options import LinuxOptions
from mustherd.node.node import NodeError
from tests.node.linux.kinds import ACPI, AMD, BARE, C6220, CPU, EPP, EPYC, LAB, PASSIVE, PSTATE, Kind
from tests.node.linux.machine import Machine
from tests.typed import some


def knob_of(machine: Machine, name: str, **options: Any) -> Any:
    node = LinuxNode(LinuxOptions(idle_seconds=0, **options), machine.tree, machine.ethtool, sleep=lambda _: None)
    return next(k for k in node.knobs if k.info.name == name)


class TestItrDelay:
    def test_ixgbe_keeps_steps_of_two_and_calls_one_adaptive(self, make: type[Machine]) -> None:
        machine = make(LAB)
        knob = knob_of(machine, "itr-delay")
        assert knob.read() == 1
        knob.write(151)
        reading = check(knob, 151)
        assert (reading.asked, reading.applied, reading.running, reading.held) == (151, 150, 150, True)
        assert knob.info.allowed_text() == "off, adaptive, 2..1022 us"
        assert knob.info.settle_seconds > 0, "a change across 10 us resets the adapter"

    def test_an_ixgbe_that_repeats_the_odd_number_holds_it_as_the_register_does(self, make: type[Machine]) -> None:
        machine = make(LAB)
        knob = knob_of(machine, "itr-delay")
        found = machine.ethtool._load(machine.kind.interface)
        machine.ethtool.save(machine.kind.interface, found | {"rx_usecs": 151})
        assert check(knob, 151).held
        assert knob.read() == 150

    def test_a_driver_with_a_flag_is_put_back_to_adaptive(self, make: type[Machine]) -> None:
        machine = make(PSTATE)
        knob = knob_of(machine, "itr-delay")
        assert knob.read() == 1
        knob.write(100)
        assert machine.ethtool._load("ens1f0")["adaptive_rx"] == 0
        assert knob.read() == 100
        knob.write(1)
        assert machine.ethtool.calls[-1] == ("ens1f0", None, True)
        assert knob.read() == 1

    def test_what_could_not_be_put_back_is_no_value(self, make: type[Machine]) -> None:
        machine = make(PSTATE)
        machine.ethtool.save("ens1f0", machine.ethtool._load("ens1f0") | {"rx_usecs": 1, "adaptive_rx": 0})
        with pytest.raises(KnobError, match="can't be told from adaptive"):
            knob_of(machine, "itr-delay").read()

    @pytest.mark.parametrize("driver", DIALECTS)
    def test_a_landed_value_lands_on_itself(self, driver: str) -> None:
        dialect = DIALECTS[driver]
        info = dialect.info()
        for value in (*info.values, *range(info.low, info.high + 1)):
            landed = dialect.lands_on(value)
            assert info.allows(landed), value
            assert dialect.lands_on(landed) == landed, value

    def test_e1000e_as_seen_on_one(self) -> None:
        assert E1000e().lands_on(9999) == 10000
        assert not E1000e().info().allows(2)
        assert not E1000e().info().allows(9)

    def test_a_driver_that_refuses_is_an_error_with_its_words(self, make: type[Machine]) -> None:
        machine = make(BARE)
        node = LinuxNode(LinuxOptions(idle_seconds=0, interface="eth0"), machine.tree, machine.ethtool)
        assert "itr-delay" not in [k.info.name for k in node.knobs]
        assert "Operation not supported" in node.facts.text["no_itr-delay"]


class TestChoice:
    @pytest.mark.parametrize(
        "wanted", ["enp3s0f0", "ixgbe", "10.10.1.2", "10.10.1.0/24", "A0:36:9F:00:00:01", "fe80::1", ""]
    )
    def test_an_interface_by_name_driver_or_address(self, make: type[Machine], wanted: str) -> None:
        machine = make(LAB)
        node = LinuxNode(LinuxOptions(idle_seconds=0, interface=wanted), machine.tree, machine.ethtool)
        assert some(node.interface).name == "enp3s0f0"

    @pytest.mark.parametrize("wanted", ["eth9", "10.10.1.3", "lo", "i40e", "0.0.0.0/33", "\0"])
    def test_one_that_is_not_there(self, make: type[Machine], wanted: str) -> None:
        machine = make(LAB)
        with pytest.raises(NodeError, match=r"there is enp3s0f0 \(ixgbe\) 10\.10\.1\.2/24"):
            LinuxNode(LinuxOptions(idle_seconds=0, interface=wanted), machine.tree, machine.ethtool)

    @pytest.mark.parametrize(
        ("kind", "means", "registers"),
        [(LAB, "auto", True), (ACPI, "auto", False), (ACPI, "msr", True), (PSTATE, "cpufreq", False)],
    )
    def test_the_means_of_dvfs(self, make: type[Machine], kind: Kind, means: str, registers: bool) -> None:
        machine = make(kind)
        knob = knob_of(machine, "dvfs", dvfs=means)
        knob.write(2000)
        assert any("msr" in path for path, _ in machine.tree.writes) == registers
        assert check(knob, 2000).held

    def test_registers_of_another_vendor_are_left_alone(self, make: type[Machine]) -> None:
        with pytest.raises(NodeError, match="not on AuthenticAMD's"):
            knob_of(make(AMD), "dvfs", dvfs="msr")


class TestMsrDvfs:
    def test_writes_every_online_cpu_and_no_other(self, make: type[Machine]) -> None:
        machine = make(C6220)
        machine.tree.file(f"{CPU}/online", "0-6,8-15")
        knob = knob_of(machine, "dvfs")
        knob.write(1300)
        written = {path for path, _ in machine.tree.writes}
        assert written == {f"dev/cpu/{c}/msr:0x199" for c in range(16) if c != 7}

    def test_offers_what_the_machine_says(self, make: type[Machine]) -> None:
        info = knob_of(make(LAB), "dvfs").info
        assert (info.low, info.high, info.step) == (1200, 2900, 100)
        assert info.values[0] == 3000
        assert info.names == {3800: "turbo"}

    def test_keeps_the_register_s_other_bits(self, make: type[Machine]) -> None:
        machine = make(LAB)
        machine.tree.poke(2, m.PERF_CTL, 1 << 32 | 38 << 8)
        knob_of(machine, "dvfs").write(2000)
        assert machine.tree.pread("dev/cpu/2/msr", 8, m.PERF_CTL) == (1 << 32 | 20 << 8).to_bytes(8, "little")

    def test_cpus_that_differ_are_no_single_value(self, make: type[Machine]) -> None:
        machine = make(LAB)
        machine.tree.poke(3, m.PERF_CTL, 12 << 8)
        with pytest.raises(KnobError, match="CPU 0 has 3800 MHz, CPU 3 has 1200 MHz"):
            knob_of(machine, "dvfs").read()

    @pytest.mark.parametrize(
        ("code", "word"),
        [(errno.EACCES, "permission denied"), (errno.EPERM, "permission denied"), (errno.EBUSY, "busy"), (5, "failed")],
    )
    def test_a_register_that_cannot_be_written(self, make: type[Machine], code: int, word: str) -> None:
        machine = make(LAB)
        knob = knob_of(machine, "dvfs")
        machine.tree.write_faults = {r"cpu/2/.*0x199": code}
        with pytest.raises(KnobError, match=f"^dvfs of node-0: /dev/cpu/2/msr register 0x199: {word}"):
            knob.write(2000)

    def test_turbo_holds_at_any_clock_from_nominal_on_and_at_none_below(self, make: type[Machine]) -> None:
        machine = make(LAB)
        knob = knob_of(machine, "dvfs")
        knob.write(3800)
        assert check(knob, 3800).running == 3400
        assert check(knob, 3800).held
        for cpu in range(4):
            machine.tree.poke(cpu, m.PERF_STATUS, 27 << 8)
        assert not check(knob, 3800).held


class TestReadBack:
    """What runs decides, not only what the register says."""

    def test_a_clock_without_effect_is_not_held(self, make: type[Machine]) -> None:
        machine = make(LAB)
        knob = knob_of(machine, "dvfs")
        knob.write(1300)
        for cpu in range(4):
            machine.tree.poke(cpu, m.PERF_STATUS, 34 << 8)
        reading = check(knob, 1300)
        assert (reading.asked, reading.applied, reading.running, reading.held) == (1300, 1300, 3400, False)

    def test_the_average_over_a_window_shows_what_both_ends_hide(self, make: type[Machine]) -> None:
        machine = make(LAB)
        knob = knob_of(machine, "dvfs")
        knob.write(1300)
        machine.live(1.0)
        assert check(knob, 1300).held
        # In mid-window something owns the clock for a while, and puts the register back.
        machine.live(10.0)
        for cpu in range(4):
            machine.tree.poke(cpu, m.PERF_CTL, 29 << 8)
        machine.live(10.0)
        for cpu in range(4):
            machine.tree.poke(cpu, m.PERF_CTL, 13 << 8)
        reading = check(knob, 1300)
        assert reading.applied == 1300
        assert reading.running == pytest.approx(2100, abs=1)
        assert not reading.held
        machine.live(1.0)
        assert check(knob, 1300).held, "the average is of the time since the last look"

    def test_overwritten_between_the_two_reads(self, make: type[Machine]) -> None:
        machine = make(LAB)
        knob = knob_of(machine, "dvfs")
        knob.write(1300)
        read = knob._read
        overwritten: list[int] = []

        def overwrite_after_reading() -> int:
            value = int(read())
            if not overwritten:
                overwritten.append(value)
                for cpu in range(4):
                    machine.tree.poke(cpu, m.PERF_CTL, 26 << 8)
            return value

        knob._read = overwrite_after_reading
        reading = check(knob, 1300)
        assert (reading.applied, reading.running, reading.held) == (1300, 2600, False)

    def test_counters_set_anew_by_somebody_else_are_not_believed(self, make: type[Machine]) -> None:
        machine = make(LAB)
        knob = knob_of(machine, "dvfs")
        knob.write(1300)
        machine.live(1.0)
        assert check(knob, 1300).held
        for cpu in range(4):
            machine.tree.poke(cpu, m.MPERF, 0)
            machine.tree.poke(cpu, m.APERF, 2**63)
        assert check(knob, 1300).running == 1300, "the present clock stands in"

    def test_unreadable_is_not_held(self, make: type[Machine]) -> None:
        machine = make(LAB)
        knob = knob_of(machine, "dvfs")
        machine.tree.read_faults = {":0x199": errno.EPERM}
        reading = check(knob, 1300)
        assert not reading.held
        assert "permission denied" in reading.error


class TestCpufreq:
    def test_the_governor_is_put_back(self, make: type[Machine]) -> None:
        machine = make(ACPI)
        knob = knob_of(machine, "dvfs")
        original = knob.read()
        assert knob.info.names[original] == "ondemand"
        knob.write(1500)
        assert machine.tree.text(f"{CPU}/cpu3/cpufreq/scaling_governor") == "userspace"
        assert machine.tree.text(f"{CPU}/cpu3/cpufreq/scaling_setspeed") == "1500000"
        knob.write(original)
        assert {machine.tree.text(f"{CPU}/cpu{c}/cpufreq/scaling_governor") for c in range(4)} == {"ondemand"}

    def test_acpi_s_turbo_is_nominal_plus_one(self, make: type[Machine]) -> None:
        info = knob_of(make(ACPI), "dvfs").info
        assert info.names[2901] == "turbo"
        assert info.allows(2900)
        assert not info.allows(2902)

    def test_bounds_are_drawn_together_in_an_order_that_the_kernel_takes(self, make: type[Machine]) -> None:
        machine = make(PSTATE)
        knob = knob_of(machine, "dvfs")
        assert knob.info.names[knob.read()] == "free"
        for value in (1000, 3700, 2000, 1000):
            knob.write(value)
            assert knob.read() == value
        knob.write(0)
        assert machine.tree.text(f"{CPU}/cpu1/cpufreq/scaling_min_freq") == "1000000"
        assert machine.tree.text(f"{CPU}/cpu1/cpufreq/scaling_max_freq") == "3700000"

    def test_bounds_that_somebody_narrowed_are_not_touched(self, make: type[Machine]) -> None:
        machine = make(PSTATE)
        machine.tree.file(f"{CPU}/cpu1/cpufreq/scaling_min_freq", "1500000")
        with pytest.raises(KnobError, match=r"CPU 1 may run at 1500\.\.3700 MHz"):
            knob_of(machine, "dvfs").read()

    def test_bounds_that_the_kernel_holds_down_while_turbo_is_off_are_free(self, make: type[Machine]) -> None:
        machine = make(PSTATE)
        files = [f"{CPU}/cpu{c}/cpufreq/scaling_max_freq" for c in range(4)]
        machine.tree.file(f"{CPU}/intel_pstate/no_turbo", "1")
        for file in files:
            machine.tree.file(file, "2400000")
        knob = knob_of(machine, "dvfs")
        original = knob.read()
        assert knob.info.names[original] == "free"
        knob.write(1500)
        assert knob.read() == 1500
        knob.write(original)
        assert {machine.tree.text(file) for file in files} == {"2400000"}
        assert {text for path, text in machine.tree.writes[-8:] if path in files} == {"3700000"}, (
            "what is wished for is not the kernel's bound of the moment: it would stay when turbo comes back"
        )

    @pytest.mark.parametrize(("turbo", "bound"), [("0", 2400000), ("1", 2300000), ("1", 1800000)])
    def test_a_person_s_upper_bound_is_not_taken_for_the_kernel_s(
        self, make: type[Machine], turbo: str, bound: int
    ) -> None:
        machine = make(PSTATE)
        machine.tree.file(f"{CPU}/intel_pstate/no_turbo", turbo)
        for cpu in range(4):
            machine.tree.file(f"{CPU}/cpu{cpu}/cpufreq/scaling_max_freq", str(bound))
        with pytest.raises(KnobError, match=f"CPU 0 may run at 1000..{bound // 1000} MHz"):
            knob_of(machine, "dvfs").read()

    def test_a_bound_of_the_firmware_s_is_nobody_s_setting(self, make: type[Machine]) -> None:
        machine = make(PSTATE)
        for cpu in range(4):
            machine.tree.file(f"{CPU}/cpu{cpu}/cpufreq/scaling_max_freq", "2000000")
            machine.tree.file(f"{CPU}/cpu{cpu}/cpufreq/bios_limit", "2000000")
        assert knob_of(machine, "dvfs").read() == 0

    def test_a_lower_bound_that_the_driver_starts_with_is_put_back_in_a_later_life_too(
        self, make: type[Machine]
    ) -> None:
        machine = make(EPP)
        files = [f"{CPU}/cpu{c}/cpufreq/scaling_min_freq" for c in range(4)]
        for file in files:
            machine.tree.file(file, "1105000")
        knob = knob_of(machine, "dvfs")
        original = knob.read()
        assert not knob.info.allows(original), "nobody may ask for it"
        assert knob.info.takes_back(original)
        knob.write(2000)
        assert check(knob, 2000).held
        later = knob_of(machine, "dvfs")
        later.write(original)
        assert {machine.tree.text(file) for file in files} == {"1105000"}
        assert check(later, original).held

    def test_lower_bounds_that_differ_are_no_single_value(self, make: type[Machine]) -> None:
        machine = make(EPP)
        machine.tree.file(f"{CPU}/cpu1/cpufreq/scaling_min_freq", "1105000")
        with pytest.raises(KnobError, match="its places differ"):
            knob_of(machine, "dvfs").read()

    @pytest.mark.parametrize(
        ("files", "registers"),
        [
            ({}, True),
            ({f"{CPU}/cpu0/cpufreq/base_frequency": "2600000"}, False),
            ({f"{CPU}/cpu0/acpi_cppc/nominal_freq": "2600"}, False),
            ({"proc/cpuinfo": "vendor_id\t: GenuineIntel\nmodel name\t: Xeon(R) CPU E5-2650 v2 @ 2.60GHz"}, False),
        ],
        ids=["registers", "intel_pstate", "cppc", "its name"],
    )
    def test_without_a_table_turbo_is_known_by_the_nominal_clock(
        self, make: type[Machine], files: dict[str, str], registers: bool
    ) -> None:
        machine = make(PASSIVE)
        for path, text in files.items():
            machine.tree.file(path, text)
        if not registers:
            machine.tree.read_faults = {"msr:": errno.EIO}
        knob = knob_of(machine, "dvfs")
        for mhz in (1200, 2600, 2700, 3400):
            knob.write(mhz)
            machine.live(1.0)
            assert check(knob, mhz).held, mhz
        assert knob.tolerance(3400, 2500) < 900
        assert knob.info.names[3400] == "turbo"

    def test_amd_s_highest_state_asks_for_boost(self, make: type[Machine]) -> None:
        machine = make(EPYC)
        knob = knob_of(machine, "dvfs")
        assert knob.info.values[-3:] == (1500, 2000, 2450)
        knob.write(2450)
        for cpu in range(4):
            machine.tree.file(f"{CPU}/cpu{cpu}/cpufreq/scaling_cur_freq", "3400000")
        assert check(knob, 2450).held
        knob.write(2000)
        for cpu in range(4):
            machine.tree.file(f"{CPU}/cpu{cpu}/cpufreq/scaling_cur_freq", "2450000")
        assert not check(knob, 2000).held

    def test_an_unknown_governor_is_no_value(self, make: type[Machine]) -> None:
        machine = make(ACPI)
        machine.tree.file(f"{CPU}/cpu1/cpufreq/scaling_governor", "vendor_special")
        with pytest.raises(KnobError, match="vendor_special"):
            knob_of(machine, "dvfs").read()


class TestRaplLimit:
    def test_its_range_is_the_cpu_s(self, make: type[Machine]) -> None:
        info = knob_of(make(LAB), "rapl-limit").info
        assert (info.low, info.high, info.unit) == (40, 135, "W")

    def test_sets_every_package(self, make: type[Machine]) -> None:
        machine = make(LAB)
        knob_of(machine, "rapl-limit").write(70)
        assert machine.tree.writes == [
            (f"sys/class/powercap/intel-rapl:{n}/constraint_0_power_limit_uw", "70000000") for n in (0, 1)
        ]

    def test_the_same_package_by_another_way_is_not_set_twice(self, make: type[Machine]) -> None:
        machine = make(PSTATE)
        knob_of(machine, "rapl-limit").write(70)
        assert not [path for path, _ in machine.tree.writes if "mmio" in path]

    @pytest.mark.parametrize(
        ("name", "text", "message"),
        [("enabled", "0", "switched off"), ("constraint_0_power_limit_uw", "95125000", "95.125 W")],
    )
    def test_what_could_not_be_put_back_is_no_value(
        self, make: type[Machine], name: str, text: str, message: str
    ) -> None:
        machine = make(LAB)
        machine.tree.file(f"sys/class/powercap/intel-rapl:1/{name}", text)
        with pytest.raises(KnobError, match=message):
            knob_of(machine, "rapl-limit").read()


class TestRings:
    def test_a_driver_of_unknown_steps_is_offered_powers_of_two(self, make: type[Machine]) -> None:
        info = knob_of(make(PSTATE), "ring-size-tx").info
        assert info.values == (64, 128, 256, 512, 1024, 2048, 4096)

    def test_a_known_driver_is_offered_its_steps(self, make: type[Machine]) -> None:
        info = knob_of(make(LAB), "ring-size-rx").info
        assert (info.low, info.high, info.step) == (64, 4096, 8)
