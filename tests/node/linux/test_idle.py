"""How deep CPUs may sleep: each one's own bound and that of the whole system, which somebody else may hold."""

import os
import signal
import struct
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from mustherd.muster.journal import Journal
from mustherd.muster.pasture import Pasture
from mustherd.node.kinds import FREE, POLLING
from mustherd.node.knob import KnobError, check
from mustherd.node.linux.knobs.idle import NO_BOUND_US, SYSTEM
from mustherd.node.linux.node import LinuxNode
from mustherd.node.linux.options import LinuxOptions
from mustherd.node.linux.tree import Tree
from mustherd.node.ranges import Range
from mustherd.terms import Setting
from tests.node.linux.kinds import CPU, LAB
from tests.node.linux.machine import Machine
from tests.waiting import until

RANGES = {"idle-latency": Range(low=0, high=POLLING)}


def knobs_of(machine: Machine, **options: Any) -> list[Any]:
    node = LinuxNode(LinuxOptions(idle_seconds=0, **options), machine.tree, machine.ethtool)
    return [k for k in node.knobs if k.info.name == "idle-latency"]


def in_force(machine: Machine) -> int:
    return int(struct.unpack("=i", machine.tree.pread(SYSTEM, 4, 0))[0])


@pytest.mark.parametrize(("value", "us"), [(FREE, NO_BOUND_US), (10, 10), (POLLING, 0)])
def test_the_system_s_bound_is_asked_for_as_the_kernel_has_it(make: type[Machine], value: int, us: int) -> None:
    machine = make(LAB)
    [knob] = knobs_of(machine, idle_latency="system")
    knob.write(10)
    knob.write(value)
    assert in_force(machine) == us
    assert check(knob, value).held


def test_a_bound_that_another_process_holds_is_what_runs_and_is_left_to_it(make: type[Machine], tmp_path: Path) -> None:
    machine = make(LAB)
    others = machine.tree.held(SYSTEM)
    others.write(struct.pack("=i", 1))
    [knob] = knobs_of(machine, idle_latency="system")
    pasture = Pasture([knob], RANGES, Journal(tmp_path))
    [reading] = pasture.apply([Setting("node-0", "idle-latency", 82)]).readings
    assert (reading.applied, reading.running, reading.held) == (1, 1, False)
    # The other goes in the meantime: what it asked for is not put back for it.
    others.close()
    assert all(reading.held for reading in pasture.readings())
    assert not [reading for reading in pasture.restore() if reading.error]
    assert in_force(machine) == NO_BOUND_US
    pasture.close()


@pytest.mark.parametrize(("system", "asked", "runs"), [(1, FREE, 1), (1, 10, 1), (50, 10, 10), (0, 82, POLLING)])
def test_a_cpu_s_own_bound_holds_only_within_the_system_s(
    make: type[Machine], system: int, asked: int, runs: int
) -> None:
    machine = make(LAB)
    machine.tree.held(SYSTEM).write(struct.pack("=i", system))
    [knob] = knobs_of(machine)
    knob.write(asked)
    reading = check(knob, asked)
    assert (reading.applied, reading.running, reading.held) == (asked, runs, asked == runs)


def test_cores_have_bounds_of_their_own(make: type[Machine]) -> None:
    machine = make(LAB)
    knobs = knobs_of(machine, idle_sheep="core")
    assert [(k.info.sheep, k.info.groups) for k in knobs] == [
        ("core-0", ("socket-0",)), ("core-2", ("socket-0",)), ("core-1", ("socket-1",)), ("core-3", ("socket-1",)),
    ]  # fmt: skip
    knobs[1].write(10)
    files = [machine.tree.text(f"{CPU}/cpu{c}/power/pm_qos_resume_latency_us") for c in range(4)]
    assert files == ["0", "0", "10", "0"]


def test_where_cpus_have_no_bounds_of_their_own_the_system_s_is_taken(make: type[Machine]) -> None:
    machine = make(LAB)
    for cpu in range(4):
        del machine.tree.files[f"{CPU}/cpu{cpu}/power/pm_qos_resume_latency_us"]
    [knob] = knobs_of(machine)
    knob.write(10)
    assert in_force(machine) == 10


def test_one_bound_is_not_several_cores(make: type[Machine]) -> None:
    machine = make(LAB)
    node = LinuxNode(
        LinuxOptions(idle_seconds=0, idle_latency="system", idle_sheep="core"), machine.tree, machine.ethtool
    )
    assert "one bound for the whole system" in node.facts.text["no_idle-latency"]


def test_a_file_that_takes_nothing_is_said(make: type[Machine]) -> None:
    machine = make(LAB)
    [knob] = knobs_of(machine, idle_latency="system")
    machine.tree.write_faults = {SYSTEM: 1}
    with pytest.raises(KnobError, match="idle-latency of node-0: /dev/cpu_dma_latency: permission denied"):
        knob.write(10)


SCRIPT = """\
    import os, signal, sys, time
    from pathlib import Path
    from mustherd.muster.guardian import Guardian
    from mustherd.muster.journal import Journal
    from mustherd.muster.pasture import Pasture
    from mustherd.node.linux.node import LinuxNode
    from mustherd.node.linux.options import LinuxOptions
    from mustherd.terms import NODE, Setting
    from tests.node.linux.test_idle import RANGES
    node = LinuxNode(LinuxOptions(idle_seconds=0, idle_latency="system"))
    journal = Journal(Path(sys.argv[1]))
    guardian = Guardian(node.knobs, journal, 10.0, close=node.close)
    guardian.start()
    pasture = Pasture(node.knobs, RANGES, journal)
    done = pasture.apply([Setting(NODE, "idle-latency", 1)])
    assert done.word == "applied", done
    print(guardian.pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.root
@pytest.mark.parametrize("both", [False, True], ids=["its muster", "muster and guardian"])
def test_the_kernel_s_bound_ends_with_whoever_holds_it(tmp_path: Path, both: bool) -> None:
    """For real, on a machine whose CPUs have idle states."""
    node = LinuxNode(LinuxOptions(idle_seconds=0, idle_latency="system"))
    if "idle-latency" not in [knob.info.name for knob in node.knobs]:
        assert any(why in node.facts.text["no_idle-latency"] for why in ("no idle states", SYSTEM))
        return
    node.close()
    before = bound()
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as muster:
        assert muster.stdout is not None
        guardian = int(muster.stdout.readline())
        assert bound() == 1
        if both:
            os.kill(guardian, signal.SIGKILL)
            assert bound() == 1
        muster.kill()
    until(lambda: bound() == before)
    left = Journal(tmp_path, patience_s=10.0)
    assert len(left.originals()) == int(both)
    left.close()


def bound() -> int:
    return int(struct.unpack("=i", Tree().pread(SYSTEM, 4, 0))[0])
