"""A running herd by hand, from Python: its musters, their knobs, their logs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import mustherd
from mustherd.node.linux.node import LinuxNode
from mustherd.node.linux.options import LinuxOptions
from mustherd.node.twin.faults import TwinOptions
from mustherd.node.twin.node import TwinNode
from mustherd.wire.endpoints import WireError
from tests.fakes import MemorySink
from tests.herding import muster, shepherd
from tests.node.linux.kinds import LAB
from tests.node.linux.machine import Machine
from tests.waiting import until

pytestmark = pytest.mark.herd


@pytest.fixture
def herd(tmp_path: Path) -> Iterator[mustherd.HerdClient]:
    node = TwinNode(TwinOptions(speed=50, intlog_cores=1))
    with shepherd(sink=MemorySink()) as (running, ports), muster(ports, tmp_path, node=node):
        until(lambda: running.musters().get("muster-1"))
        yield mustherd.HerdClient(f"127.0.0.1:{ports.coordinate}")


def test_its_musters_are_told(herd: mustherd.HerdClient) -> None:
    [view] = herd.musters()
    assert (view.name, view.presence) == ("muster-1", "alive")
    assert herd.muster("muster-1").knobs == view.knobs
    assert {knob.name for knob in view.knobs} == {"itr-delay", "dvfs"}
    with pytest.raises(mustherd.UserError, match="no muster 'muster-9'; there are muster-1"):
        herd.muster("muster-9")


def test_knobs_are_set_read_back_and_put_back(herd: mustherd.HerdClient) -> None:
    readings = herd.set("muster-1", {"itr-delay": 151, "dvfs": "1.9 GHz"})
    assert {r.knob: (r.asked, r.applied, r.held) for r in readings} == {
        "itr-delay": (151, 150, True),
        "dvfs": (1900, 1900, True),
    }
    # What was set before keeps its value.
    assert {r.knob: r.asked for r in herd.set("muster-1", {"dvfs": 2600})} == {"itr-delay": 151, "dvfs": 2600}
    assert {r.knob: r.applied for r in herd.restore("muster-1")} == {"itr-delay": 1, "dvfs": 2800}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"dvfs": 2900}, "dvfs on node-0: 2900 is not allowed; turbo, 1200..2600 step 100 MHz"),
        ({"dvfs": "fast"}, "dvfs=fast: 'fast' is no amount"),
        ({"itr-dely": 3}, "muster-1 offers no knob 'itr-dely'; it offers dvfs, itr-delay"),
        ({}, "name a knob and its value"),
    ],
)
def test_what_cannot_be_set_is_said_and_nothing_is_changed(
    herd: mustherd.HerdClient, values: dict[str, int | str], said: str
) -> None:
    with pytest.raises(mustherd.UserError, match=said):
        herd.set("muster-1", values)
    assert all(reading.asked is None for reading in herd.muster("muster-1").readings)


def test_logs_are_started_and_counted(herd: mustherd.HerdClient) -> None:
    begun = herd.start_logs("muster-1", ["ixgbe-log-core-0"], label="mine", columns=["rx_bytes"])
    # Nothing loads the node, so its cores log nothing.
    assert [(log.muster, log.stream, log.produced, log.lost) for log in begun] == [
        ("muster-1", "ixgbe-log-core-0", 0, 0)
    ]
    assert herd.stop_logs("muster-1") == begun
    assert herd.flush_logs("muster-1") == begun
    with pytest.raises(mustherd.UserError, match="label"):
        herd.start_logs("muster-1", label="../x")
    with pytest.raises(mustherd.UserError, match="muster muster-1: there is no text stream 'other' on this node"):
        herd.start_logs("muster-1", ["other"])


def test_of_a_card_without_a_text_log_it_is_said_why_none_can_be_started(tmp_path: Path) -> None:
    machine = Machine(LAB)
    node = LinuxNode(LinuxOptions(idle_seconds=0), machine.tree, machine.ethtool)
    with shepherd(sink=MemorySink()) as (running, ports), muster(ports, tmp_path, node=node):
        until(lambda: running.musters().get("muster-1"))
        with pytest.raises(mustherd.UserError) as caught:
            mustherd.HerdClient(f"127.0.0.1:{ports.coordinate}").start_logs("muster-1")
    assert str(caught.value) == (
        "muster-1 has no text stream to read by hand: the intlog driver is not loaded: /proc/ixgbe_stats/core: absent"
        " (No such file or directory); its card is sampled (nic-log-node-0), in the windows of trials"
    )


def test_nobody_there_is_said() -> None:
    with pytest.raises(WireError, match="no shepherd answered"):
        mustherd.HerdClient("127.0.0.1:9").musters()
    for wrong in ("127.0.0.1:x", "127.0.0.1:0", "[::1]:70000"):
        with pytest.raises(mustherd.UserError, match="the port is a number from 1 to 65535"):
            mustherd.HerdClient(wrong)
