"""What a machine has when nobody sets anything: found apart, recorded, set like any other value, and put back."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mustherd.muster.journal import Journal
from mustherd.muster.pasture import Pasture
from mustherd.node.kinds import FREE, ONDEMAND, PERFORMANCE, POWERSAVE, SCHEDUTIL
from mustherd.node.knob import check
from mustherd.node.linux import msr as m
from mustherd.node.linux.dvfs import RECORD
from mustherd.node.linux.node import LinuxNode
from mustherd.node.linux.options import LinuxOptions
from mustherd.node.ranges import Range
from mustherd.terms import NODE, Setting, defaults_of
from tests.node.linux.kinds import ACPI, CPU, LAB, PSTATE, Kind
from tests.node.linux.machine import Machine

RANGES = {"dvfs": Range(low=400, high=6000, modes=True), "rapl-limit": Range(low=1, high=500)}


def node_of(machine: Machine, **options: str) -> LinuxNode:
    return LinuxNode(
        LinuxOptions(idle_seconds=0, **options),  # type: ignore[arg-type]
        machine.tree,
        machine.ethtool,
        sleep=lambda _: None,
    )


def cpus(machine: Machine) -> list[int]:
    return sorted(cpu for package in machine.kind.packages.values() for cpu in package)


def freeze(machine: Machine) -> None:
    """What the userspace governor does to CPUs that happened to run at different clocks."""
    for cpu in cpus(machine):
        folder = f"{CPU}/cpu{cpu}/cpufreq"
        machine.tree.file(f"{folder}/scaling_governor", "userspace")
        # One that is no round number of MHz, either.
        machine.tree.file(f"{folder}/scaling_setspeed", str(1_200_000 + cpu * 300_000 + (512 if cpu == 1 else 0)))


def held(machine: Machine) -> dict[str, bytes]:
    """All that the frequency driver holds."""
    ends = ("scaling_governor", "scaling_setspeed", "scaling_min_freq", "scaling_max_freq")
    return {path: content for path, content in machine.tree.files.items() if path.endswith(ends)}


def apart(kind: Kind) -> Machine:
    machine = Machine(kind)
    if kind is ACPI:
        freeze(machine)
    elif kind is PSTATE:
        for cpu in cpus(machine):
            machine.tree.file(f"{CPU}/cpu{cpu}/cpufreq/scaling_min_freq", str(1_000_000 + cpu * 100_000))
        machine.tree.file(f"{CPU}/cpu1/cpufreq/scaling_governor", "performance")
    else:
        for cpu in cpus(machine):
            machine.tree.poke(cpu, m.PERF_CTL, 1 << 32 | (12 + cpu) << 8)
    return machine


@pytest.mark.parametrize("kind", [ACPI, PSTATE, LAB], ids=lambda kind: kind.name)
def test_clocks_that_differ_are_journalled_tuned_and_put_back(tmp_path: Path, kind: Kind) -> None:
    machine = apart(kind)
    before = held(machine), [machine.tree.peep(cpu, m.PERF_CTL) for cpu in cpus(machine)]
    node = node_of(machine)
    pasture = Pasture(node.knobs, RANGES, Journal(tmp_path))
    untouched = next(r for r in pasture.readings() if r.knob == "dvfs")
    assert untouched.held, "what is there holds, though it differs"
    assert "its places differ" in untouched.error or "neither one clock" in untouched.error
    for value in (2000, 1500):
        done = pasture.apply([Setting(NODE, "dvfs", value)])
        assert done.word == "applied", done.detail
        assert all(r.held for r in done.readings if r.knob == "dvfs"), done.readings
    assert not [r.error for r in pasture.restore() if r.error]
    assert not pasture.changed
    now = held(machine), [machine.tree.peep(cpu, m.PERF_CTL) for cpu in cpus(machine)]
    assert now[0] == before[0]
    if kind is LAB:
        assert now[1] == before[1]


def test_the_next_life_puts_them_back(tmp_path: Path) -> None:
    machine = apart(ACPI)
    before = held(machine)
    first = Pasture(node_of(machine).knobs, RANGES, Journal(tmp_path))
    first.apply([Setting(NODE, "dvfs", 2000)])
    assert held(machine) != before
    first.close()  # without restoring: a muster that was killed
    second = Pasture(node_of(machine).knobs, RANGES, Journal(tmp_path))
    assert second.changed
    assert not [r.error for r in second.restore() if r.error]
    assert held(machine) == before
    second.close()


def test_a_place_that_cannot_be_put_back_stays_in_the_journal_and_is_named(tmp_path: Path) -> None:
    machine = apart(ACPI)
    pasture = Pasture(node_of(machine).knobs, RANGES, Journal(tmp_path))
    pasture.apply([Setting(NODE, "dvfs", 2000)])
    machine.tree.write_faults["cpu2/cpufreq/scaling_setspeed"] = 5
    [reading] = pasture.restore()
    assert "cpu2 to 'userspace 1800000'" in reading.error
    assert pasture.unrestored == 1
    assert held(machine)[f"{CPU}/cpu3/cpufreq/scaling_setspeed"] == b"2100000", "the others are back"
    machine.tree.write_faults.clear()
    assert [r.error for r in pasture.restore()] == [""]


def test_a_place_that_cannot_be_read_keeps_no_other_from_going_back(tmp_path: Path) -> None:
    machine = apart(ACPI)
    before = held(machine)
    odd, other = (f"{CPU}/cpu{cpu}/cpufreq/scaling_setspeed" for cpu in (2, 3))
    pasture = Pasture(node_of(machine).knobs, RANGES, Journal(tmp_path))
    pasture.apply([Setting(NODE, "dvfs", 2000)])
    machine.tree.read_faults["cpu2/cpufreq/scaling_setspeed"] = 5
    [reading] = pasture.restore()
    assert "cpu2/cpufreq/scaling_setspeed" in reading.error
    assert held(machine)[other] == before[other]
    # Nobody can say what it is at; it has been written all the same, and is looked at again.
    assert held(machine)[odd] == before[odd]
    assert pasture.unrestored == 1
    machine.tree.read_faults.clear()
    assert [r.error for r in pasture.restore()] == [""]
    assert held(machine) == before


def test_a_cpu_that_is_gone_is_no_reason_to_fail(tmp_path: Path) -> None:
    machine = apart(ACPI)
    pasture = Pasture(node_of(machine).knobs, RANGES, Journal(tmp_path))
    pasture.apply([Setting(NODE, "dvfs", 2000)])
    machine.tree.file(f"{CPU}/online", "0-2")
    assert [r.error for r in pasture.restore()] == [""]


def test_limits_of_packages_that_differ_are_put_back(tmp_path: Path) -> None:
    machine = Machine(LAB)
    limit = "sys/class/powercap/intel-rapl:1/constraint_0_power_limit_uw"
    machine.tree.file(limit, "80500000")
    pasture = Pasture(node_of(machine).knobs, RANGES, Journal(tmp_path))
    assert pasture.apply([Setting(NODE, "rapl-limit", 60)]).word == "applied"
    assert machine.tree.text(limit) == "60000000"
    assert not [r.error for r in pasture.restore() if r.error]
    assert machine.tree.text(limit) == "80500000"


def record(machine: Machine, **settings: dict[int, str]) -> None:
    """What the roles' tool keeps of a machine before it changes it."""
    files = {"governor": "scaling_governor", "bounds": "scaling_max_freq"}
    content = {
        name: {f"/{CPU}/cpu{cpu}/cpufreq/{files[name]}": text for cpu, text in by_cpu.items()}
        for name, by_cpu in settings.items()
    }
    machine.tree.file(RECORD, json.dumps(content))


def default_of(machine: Machine) -> int | None:
    return next(k.info.default for k in node_of(machine).knobs if k.info.name == "dvfs")


def test_the_recorded_governor_is_the_default_and_a_value_like_any_other(tmp_path: Path) -> None:
    machine = apart(ACPI)
    record(machine, governor=dict.fromkeys(cpus(machine), "ondemand"))
    before = held(machine)
    node = node_of(machine)
    pasture = Pasture(node.knobs, RANGES, Journal(tmp_path))
    assert defaults_of(pasture.infos) == {"dvfs": ONDEMAND}
    assert pasture.apply([Setting(NODE, "dvfs", ONDEMAND)]).word == "applied"
    assert {machine.tree.text(f"{CPU}/cpu{cpu}/cpufreq/scaling_governor") for cpu in cpus(machine)} == {"ondemand"}
    pasture.restore()
    assert held(machine) == before


def test_a_default_that_the_muster_may_not_set_is_none(tmp_path: Path) -> None:
    machine = apart(ACPI)
    record(machine, governor=dict.fromkeys(cpus(machine), "ondemand"))
    pasture = Pasture(node_of(machine).knobs, {"dvfs": Range(low=400, high=6000)}, Journal(tmp_path))
    assert defaults_of(pasture.infos) == {}


@pytest.mark.parametrize(
    ("recorded", "default"),
    [
        ({0: "ondemand", 1: "ondemand", 2: "ondemand", 3: "ondemand"}, ONDEMAND),
        ({0: "ondemand", 1: "performance", 2: "ondemand", 3: "ondemand"}, None),
        # The others had what they have.
        ({0: "ondemand"}, None),
        ({}, None),
        # One that this kernel doesn't offer any more.
        ({0: "schedutil", 1: "schedutil", 2: "schedutil", 3: "schedutil"}, None),
    ],
)
def test_only_what_all_cpus_had_is_the_default(recorded: dict[int, str], default: int | None) -> None:
    machine = apart(ACPI)
    record(machine, governor=recorded)
    assert default_of(machine) == default


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"governor": 1}', "\0" * 100])
def test_without_a_record_that_can_be_read_there_is_no_default(content: str | None) -> None:
    machine = apart(ACPI)
    if content is not None:
        machine.tree.file(RECORD, content)
    assert default_of(machine) is None


class TestADriverThatChoosesTheClock:
    def test_its_words(self) -> None:
        knob = next(k for k in node_of(Machine(PSTATE)).knobs if k.info.name == "dvfs")
        assert knob.info.allowed_text() == "free, performance, powersave, 1000..3700 step 100 MHz"
        assert knob.read() == FREE
        for value, reads in ((PERFORMANCE, PERFORMANCE), (2000, 2000), (POWERSAVE, FREE), (FREE, FREE)):
            knob.write(value)
            assert knob.read() == reads == knob.lands_on(value)
            assert check(knob, value).held

    def test_drawn_bounds_have_the_free_range_as_default(self) -> None:
        machine = Machine(PSTATE)
        record(machine, bounds=dict.fromkeys(cpus(machine), "3700000"))
        assert default_of(machine) == POWERSAVE

    def test_other_drivers_without_userspace_have_all_governors(self) -> None:
        machine = Machine(PSTATE)
        for cpu in cpus(machine):
            folder = f"{CPU}/cpu{cpu}/cpufreq"
            machine.tree.file(f"{folder}/scaling_available_governors", "conservative ondemand performance schedutil")
            machine.tree.file(f"{folder}/scaling_governor", "schedutil")
        knob = next(k for k in node_of(machine).knobs if k.info.name == "dvfs")
        assert knob.read() == SCHEDUTIL
        assert not knob.info.allows(FREE)


@pytest.mark.process
def test_a_guardian_puts_places_back_after_a_kill(tmp_path: Path) -> None:
    script = f"""
import os, signal, time
from pathlib import Path
from mustherd.muster.guardian import Guardian
from mustherd.muster.journal import Journal
from mustherd.muster.pasture import Pasture
from mustherd.terms import NODE, Setting
from tests.node.linux import test_default as t
machine = t.Machine(t.ACPI, Path({str(tmp_path / "machine")!r}))
t.freeze(machine)
machine.tree.save()
(Path({str(tmp_path)!r}) / "before").write_bytes(repr(sorted(t.held(machine).items())).encode())
node = t.node_of(machine)
journal = Journal(Path({str(tmp_path / "state")!r}))
guardian = Guardian(node.knobs, journal, 10.0, close=node.close)
guardian.start()
pasture = Pasture(node.knobs, t.RANGES, journal)
assert pasture.apply([Setting(NODE, "dvfs", 2000)]).word == "applied"
print(guardian.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]) as ran:
        assert ran.stdout is not None
        # The guardian holds the pipe too: its end is the end of both.
        assert ran.stdout.read().strip()
    after = Machine(ACPI, tmp_path / "machine")
    assert repr(sorted(held(after).items())).encode() == (tmp_path / "before").read_bytes()
    assert not Journal(tmp_path / "state").originals()
