import errno
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mustherd.node.linux.doctor import Check, Status, Wanted, examine, exit_code
from mustherd.node.linux.options import LinuxOptions
from tests.node.linux.kinds import AMD, BARE, C6220, CPU, KINDS, Kind
from tests.node.linux.machine import Machine
from tests.node.linux.test_hostile import SLOW, contents

MUSTER = "python3\0-m\0mustherd.muster\0--config\0"


def prepared() -> Machine:
    """A c6220 as the roles leave it."""
    machine = Machine(C6220)
    f = machine.tree.file
    for n in range(16):
        f(f"proc/ixgbe_stats/core/{n}", "")
        f(f"{CPU}/cpu{n}/cpufreq/scaling_driver", "acpi-cpufreq")
        f(f"{CPU}/cpu{n}/cpufreq/scaling_governor", "userspace")
        f(f"{CPU}/cpu{n}/cpufreq/scaling_setspeed", "2600000")
        f(f"{CPU}/cpu{n}/cpufreq/scaling_available_governors", "userspace performance")
        f(f"{CPU}/cpu{n}/cpufreq/scaling_available_frequencies", "2601000 2600000 1200000")
    f("sys/devices/system/cpu/intel_pstate/no_turbo", "1")
    f("sys/module/msr/parameters/allow_writes", "default")
    f("proc/modules", "msr 16384 0 - Live 0x0\nixgbe 40000 0 - Live 0x0\n")
    f("proc/1/comm", "systemd")
    f("usr/local/bin/memcached", "")
    return machine


def look(machine: Machine, **wanted: Any) -> tuple[dict[str, Check], int]:
    checks = examine(LinuxOptions(), Wanted(**wanted), machine.tree, machine.ethtool)
    return {c.name: c for c in checks}, exit_code(checks)


def test_a_prepared_node_is_well() -> None:
    checks, code = look(prepared())
    assert {name: c for name, c in checks.items() if c.status is not Status.OK} == {}
    assert code == 0
    assert checks["itr-delay"].found == "readable (rx-usecs 1)"
    assert checks["energy counters"].found.startswith("readable (powercap: package-0, package-1")


@pytest.mark.parametrize(
    ("spoil", "name", "found", "tag"),
    [
        (("proc/sys/kernel/osrelease", "6.1.0"), "kernel", "6.1.0", "kernel"),
        (("proc/777/comm", "irqbalance"), "irqbalance", "runs as process 777", "irqbalance"),
        (
            ("etc/systemd/system/multi-user.target.wants/irqbalance.service", ""),
            "irqbalance",
            "comes back at the next boot",
            "irqbalance",
        ),
        ((f"{CPU}/smt/control", "on"), "smt", "on", "smt"),
        ((f"{CPU}/intel_pstate/no_turbo", "0"), "turbo", "on", "turbo"),
        ((f"{CPU}/cpu9/cpufreq/scaling_governor", "ondemand"), "governor", "ondemand,userspace", "governor"),
        (("proc/irq/53/smp_affinity_list", "0-15"), "one CPU per queue", "may go to CPUs 0-15", "affinity"),
        (("proc/irq/53/smp_affinity_list", "4"), "one CPU per queue", "go to CPU 4", "affinity"),
        (("sys/class/net/enp3s0f0/operstate", "down"), "link", "enp3s0f0 is down", "interface"),
        (("proc/modules", "mlx4_core 1 0 - Live 0x0"), "module mlx4_core", "loaded", "mlx4"),
        (("sys/kernel/security/lockdown", "none [integrity] confidentiality"), "register writes", "lockdown", "msr"),
        (("sys/module/msr/parameters/allow_writes", "off"), "register writes", "allow_writes=off", "msr"),
        (
            ("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet"),
            "clock source",
            "hpet",
            "kernel",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_mend(spoil: tuple[str, ...], name: str, found: str, tag: str) -> None:
    machine = prepared()
    machine.tree.file(*spoil)
    checks, code = look(machine)
    assert code == 1
    # CPUs with different governors have no single clock either.
    assert {c.name for c in checks.values() if c.status is Status.WRONG} - {"dvfs"} == {name}
    assert found in checks[name].found
    assert checks[name].wanted
    assert checks[name].tag == tag


def test_missing_logs_and_programs() -> None:
    machine = prepared()
    del machine.tree.files["proc/ixgbe_stats/core/7"]
    del machine.tree.files["usr/local/bin/memcached"]
    checks, _ = look(machine)
    assert checks["intlog"].found == "none for CPU 7"
    assert checks["program memcached"].status is Status.WRONG


def test_logs_are_never_read() -> None:
    """Reading one empties it; and with no card behind the driver, the kernel falls over."""
    machine = prepared()
    machine.tree.read_faults = {r"ixgbe_stats/core/\d": errno.EIO}
    assert look(machine)[0]["intlog"].status is Status.OK


def test_another_card_is_named() -> None:
    machine = prepared()
    machine.tree.links["sys/class/net/enp3s0f0/device/driver"] = "../i40e"
    checks, _ = look(machine)
    assert "there is enp3s0f0 (i40e)" in checks["nic driver"].found
    assert checks["link"].status is Status.UNKNOWN


def test_what_cannot_be_told_does_not_fail() -> None:
    machine = prepared()
    machine.tree.read_faults = {"smt/control|cpuinfo": errno.EACCES}
    checks, code = look(machine)
    assert checks["smt"].status is Status.UNKNOWN
    assert code == 0


def test_a_lab_with_other_needs_says_so() -> None:
    nothing = dict.fromkeys(["kernel", "governor", "smt", "turbo", "irqbalance", "clock_source"], "")
    off = dict.fromkeys(["alone", "intlog", "one_cpu_per_queue", "dvfs", "energy", "itr_delay"], False)
    checks, _ = look(Machine(AMD), driver="igb", absent_modules=(), programs=(), **nothing, **off)
    assert {name: c.status for name, c in checks.items()} == {"nic driver": Status.OK, "link": Status.OK}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_any_machine_can_be_examined(kind: Kind) -> None:
    machine = Machine(kind)
    checks, _ = look(machine)
    assert all(c.found for c in checks.values())
    assert machine.tree.writes == []
    assert machine.ethtool.calls == []


@SLOW
@given(data=st.data())
def test_any_file_may_hold_anything(data: st.DataObject) -> None:
    machine = prepared()
    files = sorted(p for p in machine.tree.files if not p.startswith(("dev/", "nic/")))
    for file in data.draw(st.lists(st.sampled_from(files), min_size=1, max_size=4)):
        machine.tree.files[file] = data.draw(contents)
    places = st.sampled_from(["proc", "sys", "dev", "irq", "msr", "comm"])
    machine.tree.read_faults = data.draw(st.dictionaries(places, st.sampled_from([1, 2, 5, 13, 16]), max_size=2))
    look(machine)


def test_on_files_of_a_disk(tmp_path: Path) -> None:
    prepared().unpack(tmp_path)
    checks = examine(LinuxOptions(root=str(tmp_path)))
    found = {c.name: c.status for c in checks}
    assert found["kernel"] is Status.OK
    assert found["intlog"] is Status.OK
    assert found["program memcached"] is Status.OK
    assert examine(LinuxOptions(root=str(tmp_path / BARE.name)))


@pytest.mark.parametrize(
    ("processes", "found"),
    [
        ({"tuned": ""}, "tuned sets governor"),
        # The kernel cuts names after 15 letters.
        ({"power-profiles-": ""}, "power-profiles-daemon sets"),
        ({"python3": MUSTER + "/a\0"}, ""),
        # A muster and its guardian.
        ({"python3": MUSTER + "/a", "mustherd": "mustherd\0muster\0run\0--config\0/a"}, ""),
        ({"python3": MUSTER + "/a", "mustherd": "mustherd\0muster\0run\0--config\0/b"}, "muster /a, muster /b"),
        ({"python3": "python3\0--config\0/etc/x"}, ""),
    ],
)
def test_who_else_sets_the_same_knobs(processes: dict[str, str], found: str) -> None:
    machine = prepared()
    for pid, (name, words) in enumerate(processes.items(), 700):
        machine.tree.file(f"proc/{pid}/comm", name)
        machine.tree.file(f"proc/{pid}/cmdline", words)
    checks, code = look(machine)
    assert checks["set by others"].found.startswith(found or "nobody else")
    assert code == (1 if found else 0)


@pytest.mark.parametrize(
    ("file", "found"),
    [
        ("etc/systemd/system/multi-user.target.wants/cpupower.service", "cpupower.service sets governor and clock"),
        ("etc/systemd/system/multi-user.target.wants/ondemand.service", "ondemand.service sets the governor"),
        ("etc/rc2.d/S01cpufrequtils", "cpufrequtils sets governor and clock"),
        ("etc/rc2.d/K01cpufrequtils", "nobody else"),
        ("etc/systemd/system/multi-user.target.wants/cpupower-exporter.service", "nobody else"),
    ],
)
def test_who_sets_them_at_each_boot_and_runs_no_longer(file: str, found: str) -> None:
    machine = prepared()
    machine.tree.file(file, "")
    checks, code = look(machine)
    assert checks["set by others"].found.startswith(found)
    assert code == (0 if found == "nobody else" else 1)


def test_a_driver_without_userspace_is_held_to_its_bounds() -> None:
    machine = Machine(KINDS["pstate"])
    checks, _ = look(machine, governor="userspace")
    assert checks["governor"].found.startswith("userspace (not offered by this driver")
    assert checks["governor"].status is Status.OK
