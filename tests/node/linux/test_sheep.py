"""The clock of each core by itself: listed, set, read back, searched by core or by socket, and put back."""

from pathlib import Path

import pytest

from mustherd.definition import DefinitionError, check_knobs, loads
from mustherd.muster.config import Range
from mustherd.muster.journal import Journal
from mustherd.muster.pasture import Pasture
from mustherd.node.linux import msr as m
from mustherd.node.linux.node import LinuxNode
from mustherd.node.linux.options import LinuxOptions
from mustherd.terms import settings_of
from tests.node.linux.kinds import ACPI, CPU, LAB, PSTATE, Kind
from tests.node.linux.machine import Machine

RANGES = {"dvfs": Range(low=400, high=6000, modes=True)}
DEFINITION = """
name: sockets
herd: {inventory: there}
workload: {qps: 1000}
knobs: {%s}
"""


def node_of(machine: Machine) -> LinuxNode:
    options = LinuxOptions(idle_seconds=0, dvfs_sheep="core")
    return LinuxNode(options, machine.tree, machine.ethtool, sleep=lambda _: None)


@pytest.mark.parametrize("kind", [ACPI, PSTATE, LAB], ids=lambda kind: kind.name)
def test_a_socket_s_cores_are_set_and_the_others_left_alone(tmp_path: Path, kind: Kind) -> None:
    machine = Machine(kind)
    node = node_of(machine)
    before = dict(machine.tree.files)
    pasture = Pasture(node.knobs, RANGES, Journal(tmp_path))
    assert sorted(info.sheep for info in pasture.infos) == ["core-0", "core-1", "core-2", "core-3"]
    second = max(kind.packages)
    done = pasture.apply(settings_of({f"dvfs@socket-{second}": 1500}, pasture.infos))
    assert done.word == "applied", done.detail
    readings = {r.sheep: r for r in done.readings}
    cores = [f"core-{cpu}" for cpu in kind.packages[second]]
    assert [readings[core].asked for core in sorted(readings)] == [None, 1500, None, 1500]
    assert all(readings[core].applied == 1500 and readings[core].held for core in cores), readings
    others = [f"core-{cpu}" for cpu in kind.packages[0]]
    assert all(readings[core].applied != 1500 for core in others)
    assert not [r.error for r in pasture.restore() if r.error]
    ends = ["scaling_governor", "scaling_setspeed", "scaling_min_freq", "scaling_max_freq"]
    ends += [f"{m.PERF_CTL:#x}"] if kind is LAB else []
    assert {p: c for p, c in machine.tree.files.items() if p.endswith(tuple(ends))} == {
        p: c for p, c in before.items() if p.endswith(tuple(ends))
    }


def test_a_core_may_run_at_what_its_neighbour_asks_for_but_not_below(tmp_path: Path) -> None:
    machine = Machine(LAB)
    pasture = Pasture(node_of(machine).knobs, RANGES, Journal(tmp_path))
    done = pasture.apply(settings_of({"dvfs@core-0": 1300, "dvfs@core-2": 2900}, pasture.infos))
    readings = {r.sheep: r for r in done.readings}
    # Active cores of a package run at the highest request among them.
    assert (readings["core-0"].applied, readings["core-0"].running, readings["core-0"].held) == (1300, 2900, True)
    machine.tree.poke(2, m.PERF_CTL, 1200 // 100 << 8)
    assert not {r.sheep: r for r in pasture.readings()}["core-2"].held


def test_every_core_is_one_dimension_or_several() -> None:
    infos = [knob.info for knob in node_of(Machine(ACPI)).knobs if knob.info.name == "dvfs"]
    for knobs in ("dvfs: [1500, 2000]", "dvfs@socket-0: [1500], dvfs@socket-1: [2000]", "dvfs@core-3: [1500]"):
        check_knobs(loads(DEFINITION % knobs, "x.yml"), infos)
    assert [s.sheep for s in settings_of({"dvfs": 1500}, infos)] == ["core-0", "core-1", "core-2", "core-3"]
    with pytest.raises(DefinitionError, match="unknown knob 'dvfs@core-9'"):
        check_knobs(loads(DEFINITION % "dvfs@core-9: [1500]", "x.yml"), infos)


def test_a_core_that_is_gone_is_an_error_of_its_own(tmp_path: Path) -> None:
    machine = Machine(ACPI)
    pasture = Pasture(node_of(machine).knobs, RANGES, Journal(tmp_path))
    machine.tree.file(f"{CPU}/online", "0-2")
    readings = {r.sheep: r for r in pasture.readings() if r.knob == "dvfs"}
    assert "there is no place" in readings["core-3"].error
    assert readings["core-0"].error == ""
