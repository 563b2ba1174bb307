"""Whatever the machine's files hold, and whatever is asked: one kind of error, and no write outside the ranges."""

import errno
import shutil
import struct
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mustherd.muster.journal import Journal
from mustherd.muster.pasture import Pasture
from mustherd.node.energy import MeterError
from mustherd.node.knob import Knob, KnobError, check
from mustherd.node.linux import ethtool, interfaces, netlink, state, topology, tsc
from mustherd.node.linux.node import LinuxNode
from mustherd.node.linux.options import LinuxOptions
from mustherd.node.linux.tree import Tree, TreeError, cpu_list, parse_cpus
from mustherd.node.node import NodeError
from mustherd.node.ranges import Range
from mustherd.terms import Facts, Setting
from tests.node.linux.kinds import ACPI, AMD, BARE, KINDS, LAB, PSTATE, Kind
from tests.node.linux.machine import Machine
from tests.typed import some

ERRNOS = [errno.ENOENT, errno.EPERM, errno.EACCES, errno.EBUSY, errno.EIO, errno.EINVAL, errno.ENODEV, errno.ENXIO]
SMALL = [LAB, AMD, BARE, *(pytest.param(kind, marks=pytest.mark.long) for kind in (ACPI, PSTATE))]
"""Knobs by Intel's registers, by the kernel's files, and none at all; the long tests have what mixes them."""
SLOW = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

T = TypeVar("T")

contents = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"", b"-1", b"0", b"9" * 30, b"0-99999", b"5-2", b",", b"\0" * 20, b"1_0", "٣".encode(), b"nan"]),
    st.integers(-(2**70), 2**70).map(lambda n: str(n).encode()),
)


def said(ask: Callable[[], T], kind: type[Exception], word: str) -> T | None:
    """What `ask` answers; None after an error of this kind, which has to name the `word`."""
    try:
        return ask()
    except kind as error:
        if word not in str(error):
            raise
        return None


def use(machine: Machine) -> None:
    """Ask a node everything there is to ask."""
    try:
        node = LinuxNode(LinuxOptions(idle_seconds=0.001), machine.tree, machine.ethtool, sleep=lambda _: None)
    except NodeError:
        return
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(node.facts), type=Facts) == node.facts
    for knob in node.knobs:
        name = knob.info.name
        assert isinstance(said(knob.read, KnobError, name), int | None)
        assert isinstance(said(knob.running, KnobError, name), int | None)
        check(knob, knob.info.low)
        value = knob.info.values[-1] if knob.info.values else knob.info.low
        said(partial(knob.write, value), KnobError, name)
    if node.meter is not None:
        counts = said(node.meter.read, MeterError, ":")
        if counts is not None:
            assert all(0 <= n < z.counts_per_wrap for n, z in zip(counts, node.meter.zones, strict=True))


@pytest.mark.parametrize("kind", SMALL, ids=lambda kind: kind.name)
@SLOW
@given(data=st.data())
def test_any_file_may_hold_anything(kind: Kind, data: st.DataObject) -> None:
    machine = Machine(kind)
    files = sorted(p for p in machine.tree.files if not p.startswith(("dev/", "nic/")))
    for file in data.draw(st.lists(st.sampled_from(files), min_size=1, max_size=4)):
        machine.tree.files[file] = data.draw(contents)
    use(machine)


def test_a_package_without_a_counter_is_told_like_any_other_fault() -> None:
    machine = Machine(AMD)
    machine.tree.files["sys/devices/system/cpu/cpu0/topology/physical_package_id"] = b"1"
    use(machine)


@pytest.mark.parametrize("kind", SMALL, ids=lambda kind: kind.name)
@SLOW
@given(data=st.data())
def test_any_access_may_fail(kind: Kind, data: st.DataObject) -> None:
    machine = Machine(kind)
    names = [
        "online",
        "topology",
        "cpufreq",
        "scaling_governor",
        "scaling_m",
        "energy_uj",
        "powercap",
        "proc/",
        ":0x199",
    ]
    names += [":0x198", ":0xe", ":0x6", "msr", "net", "interrupts", "node", "cpuinfo", "max_energy", "constraint", ""]
    faults = st.dictionaries(st.sampled_from(names), st.sampled_from(ERRNOS), max_size=3)
    machine.tree.read_faults = data.draw(faults)
    machine.tree.write_faults = data.draw(faults)
    use(machine)


@pytest.mark.parametrize("late", [b"0", b""])
def test_a_counters_range_may_change_under_the_reader(late: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is no 32 bits was read a second time, and what it held then left by another error."""
    machine = Machine(LAB)
    zone = next(path for path in machine.tree.files if path.endswith("max_energy_range_uj"))
    contents_of, read = iter([b"1"]), machine.tree.read_bytes
    monkeypatch.setattr(
        machine.tree, "read_bytes", lambda path: next(contents_of, late) if path == zone else read(path)
    )
    use(machine)


@pytest.mark.parametrize("kind", [LAB, PSTATE], ids=lambda kind: kind.name)
@SLOW
@given(data=st.data())
def test_files_may_change_under_the_reader(kind: Kind, data: st.DataObject) -> None:
    machine = Machine(kind)
    read = machine.tree.read_bytes
    calls: list[str] = []

    def changing(path: str) -> bytes:
        calls.append(path)
        return data.draw(contents) if len(calls) % 7 == turn else read(path)

    turn = data.draw(st.integers(0, 6))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine.tree, "read_bytes", changing)
        use(machine)


@SLOW
@given(
    registers=st.dictionaries(
        st.sampled_from([0xCE, 0xE7, 0xE8, 0x198, 0x199, 0x1AD, 0x606, 0x611, 0x614, 0x639]), st.integers(0, 2**64 - 1)
    )
)
def test_registers_may_hold_anything(registers: dict[int, int]) -> None:
    machine = Machine(LAB)
    for register, value in registers.items():
        for cpu in range(4):
            machine.tree.poke(cpu, register, value)
    use(machine)


class TestReaders:
    @given(st.text(max_size=60))
    def test_cpu_lists(self, text: str) -> None:
        try:
            cpus = parse_cpus(text)
        except ValueError:
            return
        assert parse_cpus(cpu_list(cpus)) == cpus

    @given(st.sets(st.integers(0, 8191), max_size=60))
    def test_cpu_lists_both_ways(self, cpus: set[int]) -> None:
        assert set(parse_cpus(cpu_list(tuple(cpus)))) == cpus

    @given(st.binary(max_size=200))
    @example(struct.pack("=HH", 3, 1))
    def test_netlink(self, content: bytes) -> None:
        of_netlink = (netlink.attributes, lambda c: list(netlink.messages(c)), netlink.parse_address)
        of_ethtool = (ethtool.parse_coalesce, ethtool.parse_rings, ethtool.parse_driver)
        parsers: tuple[tuple[Iterable[Callable[[bytes], object]], type[Exception]], ...] = (
            (of_netlink, netlink.NetlinkError),
            (of_ethtool, netlink.EthtoolError),
        )
        for several, error_of in parsers:
            for parse in several:
                said(partial(parse, content), error_of, "")
        error = netlink.failure(netlink.NLM_F_ACK_TLVS, content)
        assert error is None or str(error)
        khz = tsc.parse_page(content)
        assert khz is None or khz >= 0

    @given(st.lists(st.tuples(st.integers(1, 100), st.binary(max_size=20)), max_size=5))
    def test_attributes_both_ways(self, pairs: list[tuple[int, bytes]]) -> None:
        assert netlink.attributes(b"".join(netlink.attribute(k, v) for k, v in pairs)) == dict(pairs)

    @SLOW
    @given(text=st.binary(max_size=300))
    def test_interrupts(self, tmp_path: Path, text: bytes) -> None:
        (tmp_path / "proc").mkdir(exist_ok=True)
        (tmp_path / "proc/interrupts").write_bytes(text)
        interfaces.queues(Tree(tmp_path), "eth0")

    def test_an_empty_tree(self, tmp_path: Path) -> None:
        tree = Tree(tmp_path)
        with pytest.raises(TreeError, match="absent"):
            topology.read(tree)
        assert state.read(tree) == state.PreparedState(governor="", smt="", turbo="")
        assert tsc.khz(tree) is None

    def test_an_endless_file_is_not_read_to_its_end(self) -> None:
        with pytest.raises(TreeError, match="more than"):
            Tree().text("dev/zero")


RANGES = {
    "itr-delay": Range(values=(1,), low=20, high=400),
    "dvfs": Range(low=1500, high=2400),
    "rapl-limit": Range(low=60, high=90),
    "ring-size-rx": Range(values=(512, 4096)),
}


class TestRanges:
    """No path writes outside the ranges, whatever is decided."""

    @pytest.mark.parametrize("kind", SMALL, ids=lambda kind: kind.name)
    @SLOW
    @given(data=st.data())
    def test_decisions(self, tmp_path: Path, kind: Kind, data: st.DataObject) -> None:
        machine = Machine(kind)
        node = LinuxNode(LinuxOptions(idle_seconds=0), machine.tree, machine.ethtool, sleep=lambda _: None)
        shutil.rmtree(tmp_path / "state", ignore_errors=True)
        journal = Journal(tmp_path / "state")
        pasture = Pasture(node.knobs, RANGES, journal)
        originals = {k.info.name: k.read() for k in node.knobs}
        names = st.sampled_from([*RANGES, "ring-size-tx", "governor", "", "dvfs\0", "../dvfs"])
        values = st.one_of(st.integers(-10, 5000), st.integers(-(2**70), 2**70), st.booleans(), st.floats(0, 3000))
        setting = st.builds(Setting, st.sampled_from(["node-0", "core-0", ""]), names, values)
        try:
            for decision in data.draw(st.lists(st.lists(setting, max_size=3), max_size=4)):
                pasture.apply(decision)
                self.check(machine, node, originals)
                if data.draw(st.booleans()):
                    machine.tree.write_faults = data.draw(
                        st.sampled_from([{}, {"cpu1/": errno.EBUSY}, {"powercap": errno.EPERM}])
                    )
            machine.tree.write_faults = {}
            pasture.restore()
            assert not pasture.changed
            assert {k.info.name: k.read() for k in node.knobs} == originals
        finally:
            journal.close()

    def check(self, machine: Machine, node: LinuxNode, originals: dict[str, int]) -> None:
        """Every write so far was of an allowed value, or of an original."""
        allowed = {
            name: {v for v in self.values(knob) if RANGES[name].narrow(knob.info).allows(v)} | {originals[name]}
            for knob in node.knobs
            if (name := knob.info.name) in RANGES
        }
        for path, text in machine.tree.writes:
            last = path.rpartition("/")[2]
            if last.endswith(":0x199"):
                assert (int(text, 16) >> 8 & 0xFF) * 100 in allowed["dvfs"]
            elif last == "scaling_setspeed":
                assert int(text) // 1000 in allowed["dvfs"]
            elif last in ("scaling_min_freq", "scaling_max_freq"):
                limits = [machine.tree.number(path.replace("scaling", "cpuinfo"))]
                assert int(text) in limits or int(text) // 1000 in allowed["dvfs"]
            elif last == "scaling_governor":
                assert text in ("userspace", machine.kind.governor)
            else:
                assert last == "constraint_0_power_limit_uw"
                assert int(text) // 10**6 in allowed["rapl-limit"]
        for _, usecs, adaptive in machine.ethtool.calls:
            assert adaptive or usecs in allowed["itr-delay"]
        rings = machine.ethtool.rings(machine.kind.interface)
        assert rings.tx == 512
        assert rings.rx in allowed.get("ring-size-rx", {512})

    def values(self, knob: Knob) -> set[int]:
        return {*knob.info.values, *range(knob.info.low, knob.info.high + 1, knob.info.step)}

    @pytest.mark.parametrize("kind", SMALL, ids=lambda kind: kind.name)
    @SLOW
    @given(value=st.one_of(st.integers(-(2**70), 2**70), st.integers(-5, 5000)))
    def test_a_knob_by_itself(self, kind: Kind, value: int) -> None:
        machine = Machine(kind)
        node = LinuxNode(LinuxOptions(idle_seconds=0), machine.tree, machine.ethtool, sleep=lambda _: None)
        for knob in node.knobs:
            if knob.info.takes_back(value):
                continue
            with pytest.raises(KnobError, match="not allowed"):
                knob.write(value)
        assert machine.tree.writes == []
        assert machine.ethtool.calls == []


@pytest.mark.parametrize("kind", [AMD, BARE], ids=lambda kind: kind.name)
def test_files_on_a_disk_are_read_and_written_alike(make: type[Machine], tmp_path: Path, kind: Kind) -> None:
    machine = make(kind)
    machine.unpack(tmp_path)
    kept = LinuxNode(LinuxOptions(idle_seconds=0), machine.tree, machine.ethtool)
    node = LinuxNode(LinuxOptions(idle_seconds=0, root=str(tmp_path)), ethtool=machine.ethtool)
    assert node.facts == kept.facts
    assert [k.info for k in node.knobs] == [k.info for k in kept.knobs]
    for knob in node.knobs:
        before = knob.read()
        knob.write(before)
        assert knob.read() == before
    assert node.meter is None or node.meter.read() == some(kept.meter).read()


def test_recorded_files_never_reach_this_machine_s_nics(make: type[Machine], tmp_path: Path) -> None:
    make(LAB).unpack(tmp_path)
    node = LinuxNode(LinuxOptions(idle_seconds=0, root=str(tmp_path), interface="ixgbe"))
    assert "recorded files" in node.facts.text["no_itr-delay"]
    assert not [k for k in node.knobs if k.info.name in ("itr-delay", "ring-size-rx")]


def test_making_and_reading_a_node_writes_nothing(make: type[Machine]) -> None:
    for kind in KINDS.values():
        machine = make(kind)
        node = LinuxNode(LinuxOptions(), machine.tree, machine.ethtool, sleep=lambda _: None)
        for knob in node.knobs:
            check(knob, None)
        assert node.facts.rows()
        assert machine.tree.writes == []
        assert machine.ethtool.calls == []
