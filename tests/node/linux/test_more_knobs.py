"""Knobs beside clock and card: what each offers where, what it can't be, and that what was found comes back."""

import errno
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mustherd.muster.journal import Journal
from mustherd.muster.pasture import Pasture
from mustherd.node.knob import KnobError, OddError, check
from mustherd.node.linux.node import LinuxNode
from mustherd.node.linux.options import LinuxOptions
from mustherd.node.ranges import Range
from mustherd.terms import Setting
from tests.node.linux.kinds import AMD, BARE, CONTAINER, CPU, EPP, EPYC, ICELAKE, LAB, PSTATE, Kind
from tests.node.linux.machine import Machine

UNCORE = f"{CPU}/intel_uncore_frequency/package_00_die_00"


def node_of(machine: Machine, **options: Any) -> LinuxNode:
    kind = machine.kind
    given = {"interface": kind.interface, "cgroup": kind.cgroup, **options}
    return LinuxNode(LinuxOptions(idle_seconds=0, **given), machine.tree, machine.ethtool)


def knob_of(machine: Machine, name: str) -> Any:
    return next(k for k in node_of(machine).knobs if k.info.name == name)


@pytest.mark.parametrize(
    ("kind", "name", "allowed"),
    [
        (PSTATE, "epp", "performance, balance-performance, balance-power, power, default EPP"),
        (PSTATE, "epb", "0..15 EPB"),
        (ICELAKE, "uncore-max", "800..2400 step 100 MHz"),
        (EPP, "boost", "off, on switch"),
        (LAB, "idle-latency", "free, 1, 10, 82, polling us"),
        (LAB, "idle-state", "0..3 state"),
        (LAB, "gro-flush-timeout", "0..1000000 us"),
        (LAB, "channels", "1..8 queues"),
        (ICELAKE, "cqe-mode", "eqe, cqe mode"),
        (LAB, "rps", "0..4 CPUs"),
        (CONTAINER, "cpuset", "0..4 CPUs"),
        (CONTAINER, "cpu-quota", "20..400 step 5 %"),
        (LAB, "thp", "never, madvise, always mode"),
        (LAB, "numa-balancing", "0..1 switch"),
    ],
)
def test_values_come_from_the_machine(make: type[Machine], kind: Kind, name: str, allowed: str) -> None:
    assert knob_of(make(kind), name).info.allowed_text() == allowed


@pytest.mark.parametrize(
    ("kind", "name", "why"),
    [
        (LAB, "epp", "energy_performance_available_preferences: absent"),
        (LAB, "uncore-min", "the module intel_uncore_frequency isn't loaded"),
        (LAB, "boost", "neither /sys/devices/system/cpu/intel_pstate/no_turbo nor"),
        (BARE, "idle-latency", "no idle states here"),
        (BARE, "idle-state", "no idle states here"),
        (CONTAINER, "irq-suspend", "no netdev netlink"),
        (LAB, "cpuset", "[linux] cgroup names no control group"),
        (LAB, "tx-usecs", "no such setting"),
        (LAB, "cqe-mode", "no such setting"),
        (EPYC, "lro", "ice is not known to put packets together"),
        (EPYC, "rx-frames", "no such setting"),
        (EPYC, "tx-frames", "no such setting"),
    ],
)
def test_what_a_machine_lacks_is_said_with_its_reason(make: type[Machine], kind: Kind, name: str, why: str) -> None:
    node = node_of(make(kind))
    assert name not in [k.info.name for k in node.knobs]
    assert why in node.facts.text[f"no_{name}"]


@pytest.mark.parametrize(
    ("kind", "name", "value", "files"),
    [
        (PSTATE, "epp", 192, {f"{CPU}/cpu3/cpufreq/energy_performance_preference": "balance_power"}),
        (PSTATE, "boost", 0, {f"{CPU}/intel_pstate/no_turbo": "1"}),
        (EPYC, "boost", 0, {f"{CPU}/cpufreq/boost": "0"}),
        (EPP, "boost", 0, {f"{CPU}/cpu2/cpufreq/boost": "0"}),
        (ICELAKE, "uncore-max", 1500, {f"{UNCORE}/max_freq_khz": "1500000"}),
        (LAB, "idle-latency", 1_000_000, {f"{CPU}/cpu1/power/pm_qos_resume_latency_us": "n/a"}),
        (LAB, "idle-latency", 10, {f"{CPU}/cpu1/power/pm_qos_resume_latency_us": "10"}),
        (LAB, "idle-state", 1, {f"{CPU}/cpu0/cpuidle/state1/disable": "0", f"{CPU}/cpu3/cpuidle/state2/disable": "1"}),
        (LAB, "gro-flush-timeout", 50, {"sys/class/net/enp3s0f0/gro_flush_timeout": "50000"}),
        (LAB, "napi-defer", 100, {"sys/class/net/enp3s0f0/napi_defer_hard_irqs": "100"}),
        (LAB, "rps", 3, {"sys/class/net/enp3s0f0/queues/rx-0/rps_cpus": "00000007"}),
        (LAB, "busy-poll", 50, {"proc/sys/net/core/busy_poll": "50"}),
        (LAB, "thp", 2, {"sys/kernel/mm/transparent_hugepage/enabled": "[always] madvise never"}),
        (CONTAINER, "cpuset", 2, {"sys/fs/cgroup/system.slice/app.service/cpuset.cpus": "0-1"}),
        (CONTAINER, "cpu-quota", 50, {"sys/fs/cgroup/system.slice/app.service/cpu.max": "2500 5000"}),
        (CONTAINER, "cpu-quota", 400, {"sys/fs/cgroup/system.slice/app.service/cpu.max": "max 5000"}),
    ],
)
def test_a_value_is_written_as_the_kernel_has_it(
    make: type[Machine], kind: Kind, name: str, value: int, files: dict[str, str]
) -> None:
    machine = make(kind)
    knob_of(machine, name).write(value)
    assert {path: machine.tree.text(path) for path in files} == files
    assert check(knob_of(machine, name), value).held


@pytest.mark.parametrize(
    ("kind", "name", "value", "found"),
    [
        (PSTATE, "epp", 0, {f"{CPU}/cpu0/cpufreq/energy_performance_preference": "77"}),
        (PSTATE, "epb", 0, {f"{CPU}/cpu1/power/energy_perf_bias": "7"}),
        (LAB, "idle-latency", 10, {f"{CPU}/cpu1/power/pm_qos_resume_latency_us": "17"}),
        (LAB, "idle-state", 0, {f"{CPU}/cpu0/cpuidle/state1/disable": "1"}),
        (LAB, "gro-flush-timeout", 10, {"sys/class/net/enp3s0f0/gro_flush_timeout": "1234"}),
        (LAB, "xps", 4, {f"sys/class/net/enp3s0f0/queues/tx-{n}/xps_cpus": f"{1 << n:x}" for n in range(4)}),
        (CONTAINER, "cpuset", 1, {"sys/fs/cgroup/system.slice/app.service/cpuset.cpus": "1,3"}),
        (CONTAINER, "cpu-quota", 50, {"sys/fs/cgroup/system.slice/app.service/cpu.max": "33333 100000"}),
        (LAB, "thp", 0, {"sys/kernel/mm/transparent_hugepage/enabled": "[always] madvise never"}),
    ],
)
def test_whatever_was_found_comes_back_in_a_later_life(
    tmp_path: Path, kind: Kind, name: str, value: int, found: dict[str, str]
) -> None:
    machine = Machine(kind)
    for path, text in found.items():
        machine.tree.file(path, text)
    before = dict(machine.tree.files)
    pasture = Pasture([knob_of(machine, name)], {name: Range(low=0, high=2**31)}, Journal(tmp_path))
    result = pasture.apply([Setting("node-0", name, value)])
    assert result.word == "applied", result.detail
    assert machine.tree.files != before
    pasture.close()
    later = Pasture([knob_of(machine, name)], {}, Journal(tmp_path))
    assert not [reading for reading in later.restore() if reading.error]
    assert machine.tree.files == before
    later.close()


def test_what_no_value_says_is_odd_and_named(make: type[Machine]) -> None:
    machine = make(LAB)
    machine.tree.file("sys/class/net/enp3s0f0/queues/rx-1/rps_cpus", "8")
    with pytest.raises(OddError, match=r"rps of node-0: it holds the mask 8, which is not that of the first CPUs"):
        knob_of(machine, "rps").read()


def test_an_uncore_that_runs_beyond_its_bound_does_not_hold(make: type[Machine]) -> None:
    machine = make(ICELAKE)
    knob = knob_of(machine, "uncore-max")
    knob.write(1500)
    assert check(knob, 1500).held
    machine.tree.file(f"{UNCORE}/current_freq_khz", "2400000")
    reading = check(knob, 1500)
    assert (reading.applied, reading.running, reading.held) == (1500, 2400, False)


def test_a_driver_that_holds_the_preference_fixed_is_heard(make: type[Machine]) -> None:
    machine = make(PSTATE)
    machine.tree.write_faults = {"energy_performance_preference": errno.EBUSY}
    with pytest.raises(KnobError, match=r"epp of node-0: .*energy_performance_preference: busy"):
        knob_of(machine, "epp").write(255)


@pytest.mark.parametrize(("name", "setting"), [("gro-flush-timeout", "gro_flush_ns"), ("napi-defer", "defer")])
def test_a_napi_s_own_setting_comes_back_though_the_interface_s_overwrote_it(
    tmp_path: Path, name: str, setting: str
) -> None:
    machine = Machine(LAB)
    machine.ethtool.set_napi(258, setting, 7000)
    before = dict(machine.tree.files)
    with pytest.raises(OddError, match=rf"{name} of node-0: its places differ \(enp3s0f0 has 0 .*, napi258 has 7"):
        knob_of(machine, name).read()
    pasture = Pasture([knob_of(machine, name)], {name: Range(low=0, high=2**31)}, Journal(tmp_path))
    assert pasture.apply([Setting("node-0", name, 20)]).word == "applied"
    assert len({getattr(napi, setting) for napi in machine.ethtool.napis(2)}) == 1
    assert all(reading.held for reading in pasture.readings())
    machine.ethtool.set_napi(257, setting, 0)
    assert not all(reading.held for reading in pasture.readings())
    assert not [reading for reading in pasture.restore() if reading.error]
    assert machine.tree.files == before
    pasture.close()


@pytest.mark.parametrize(
    ("kind", "why"),
    [(AMD, "driver igb doesn't tell which NAPI is which queue's"), (CONTAINER, "no netdev netlink")],
    ids=["igb", "veth"],
)
def test_why_queues_have_no_napi_settings_of_their_own_is_said(make: type[Machine], kind: Kind, why: str) -> None:
    node = node_of(make(kind), napi_sheep="queue")
    assert "napi-defer" not in [k.info.name for k in node.knobs]
    assert why in node.facts.text["no_napi-defer"]


@pytest.mark.parametrize("group", ["../etc", "/a", "a//b", "a/"])
def test_a_control_group_is_named_below_the_kernel_s_folder(group: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"cgroup": group}, LinuxOptions)
