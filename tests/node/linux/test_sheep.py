"""Sheep that are parts of a node, listed, set, read back, searched and put back: the clock of each core or socket, the
delay of each queue's interrupt.
"""

from pathlib import Path

import pytest

from mustherd.definition import DefinitionError, check_knobs, loads
from mustherd.muster.journal import Journal
from mustherd.muster.pasture import Pasture
from mustherd.node.linux import ioctl
from mustherd.node.linux import msr as m
from mustherd.node.linux.node import LinuxNode
from mustherd.node.linux.options import LinuxOptions
from mustherd.node.ranges import Range
from mustherd.terms import settings_of
from tests.node.linux.kinds import ACPI, CPU, EPYC, LAB, PSTATE, Kind
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


def by_queue(machine: Machine) -> LinuxNode:
    options = LinuxOptions(idle_seconds=0, itr_sheep="queue")
    return LinuxNode(options, machine.tree, machine.ethtool, sleep=lambda _: None)


@pytest.mark.parametrize("kind", [PSTATE, EPYC], ids=lambda kind: kind.nic)
def test_a_queue_s_delay_is_set_and_the_others_left_alone(tmp_path: Path, kind: Kind) -> None:
    machine = Machine(kind)
    found = machine.ethtool.queue_coalesce(kind.interface, 2)
    ranges = {"itr-delay": Range(low=2, high=1000, modes=True)}
    pasture = Pasture(by_queue(machine).knobs, ranges, Journal(tmp_path))
    assert [info.sheep for info in pasture.infos] == ["queue-0", "queue-1", "queue-2", "queue-3"]
    done = pasture.apply(settings_of({"itr-delay@queue-2": 60}, pasture.infos))
    assert done.word == "applied", done.detail
    readings = {r.sheep: r for r in done.readings}
    assert (readings["queue-2"].asked, readings["queue-2"].applied, readings["queue-2"].held) == (60, 60, True)
    assert {r.asked for sheep, r in readings.items() if sheep != "queue-2"} == {None}
    for queue in (0, 1, 3):
        assert machine.ethtool.queue_coalesce(kind.interface, queue) == found
    # Without a sheep it is that of all.
    pasture.apply(settings_of({"itr-delay": 80}, pasture.infos))
    assert {machine.ethtool.queue_coalesce(kind.interface, queue).rx_usecs for queue in range(4)} == {80}
    assert not [r.error for r in pasture.restore() if r.error]
    for queue in range(4):
        back = machine.ethtool.queue_coalesce(kind.interface, queue)
        assert (back.rx_usecs if not found.adaptive_rx else None, back.adaptive_rx) == (
            found.rx_usecs if not found.adaptive_rx else None,
            found.adaptive_rx,
        )


def test_queues_are_one_dimension_or_several() -> None:
    infos = [knob.info for knob in by_queue(Machine(EPYC)).knobs if knob.info.name == "itr-delay"]
    for knobs in ("itr-delay: [50, 100]", "itr-delay@queue-0: [50], itr-delay@queue-3: [50, 100]"):
        check_knobs(loads(DEFINITION % knobs, "x.yml"), infos)
    with pytest.raises(DefinitionError, match="unknown knob 'itr-delay@queue-4'"):
        check_knobs(loads(DEFINITION % "itr-delay@queue-4: [50]", "x.yml"), infos)


def test_a_driver_with_one_delay_for_all_queues_says_so() -> None:
    node = by_queue(Machine(LAB))
    assert not [knob for knob in node.knobs if knob.info.name == "itr-delay"]
    told = node.facts.text["no_itr-delay"]
    assert "driver ixgbe has one delay for all queues" in told
    assert "fix: itr_sheep = 'node'" in told


def test_a_queue_s_moderation_is_asked_for_and_set_as_the_kernel_s_header_says() -> None:
    asked = ioctl.get_moderation(33)
    # struct ethtool_per_queue_op: cmd, sub_command, 4096 bits; then one struct ethtool_coalesce of 23 words.
    assert len(asked) == 8 + 4096 // 8 + 23 * 4
    words = memoryview(asked).cast("I")
    assert {n: word for n, word in enumerate(words) if word} == {0: 0x4B, 1: 0x0E, 2 + 1: 0b10, 2 + 128: 0x0E}
    told = ioctl.QueueModeration((0x0E, *range(101, 123)))
    assert (told.rx_usecs, told.adaptive_rx) == (101, True)
    words = memoryview(ioctl.set_moderation(0, told.changed(60, False))).cast("I")
    # The rest goes back as it came: the driver takes the whole structure.
    assert words[:3].tolist() == [0x4B, 0x0F, 1]
    assert words[130:].tolist() == [0x0F, 60, *range(102, 110), 0, *range(111, 123)]
    assert ioctl.parse_moderation(bytes(words)).fields[1:] == told.changed(60, False).fields[1:]
