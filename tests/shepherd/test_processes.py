"""What happens to a herd when its processes are killed, stopped and started again."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from mustherd.herd.timing import LEASE_S
from mustherd.shepherd.events import HerdError, PresenceChanged
from mustherd.shepherd.shepherd import Shepherd
from mustherd.terms import MUSTER_CPU, Load, Setting
from mustherd.wire.messages import MusterView
from mustherd.wire.ports import Ports
from tests.herding import PATIENCE_S, MusterProcess, shepherd
from tests.typed import some
from tests.waiting import until

pytestmark = pytest.mark.process

SLOW = (Setting("node-0", "dvfs", 1300), Setting("node-0", "itr-delay", 100))
SLOW_VALUES = {"dvfs": 1300, "itr-delay": 100}
ORIGINALS = {"dvfs": 2800, "itr-delay": 1}
NOTICED_S = 1.5
BUSY_S = 3.0
"""How much longer a loaded machine may take to run us."""


Start = Callable[..., MusterProcess]


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Start]:
    made: list[MusterProcess] = []

    def make(ports: Ports, name: str = "muster-1") -> MusterProcess:
        made.append(MusterProcess(tmp_path, ports, name).start())
        return made[-1]

    yield make
    for one in made:
        one.end()


def joined(running: Shepherd, name: str = "muster-1") -> MusterView:
    return until(lambda: running.musters().get(name))


def noticed(running: Shepherd, kind: str, began: float) -> None:
    """The herd's driver is told in time, and not before something happened."""
    while True:
        event = running.events.get(timeout=PATIENCE_S)
        if isinstance(event, PresenceChanged) and event.change.after == kind:
            break
    assert time.monotonic() - began < NOTICED_S + BUSY_S


@pytest.mark.parametrize("alone", [pytest.param(True, marks=pytest.mark.long), False])
def test_a_killed_muster_is_noticed_its_window_fails_and_its_node_is_restored(process: Start, alone: bool) -> None:
    """By its guardian at once, and where that was killed too, by its next life."""
    with shepherd() as (running, ports):
        one = process(ports)
        first = joined(running)
        running.decide("muster-1", SLOW).result(PATIENCE_S)
        window = running.window("muster-1", settle_s=0, window_s=1e6)
        window.open().result(PATIENCE_S)
        if alone:
            one.kill()
        else:
            one.kill_both()
        noticed(running, "missing", time.monotonic())
        with pytest.raises(HerdError) as caught:
            window.measured.result(PATIENCE_S)
        assert caught.value.reason == "muster-missing"
        if alone:
            until(lambda: one.registers == ORIGINALS)
        else:
            assert one.registers == SLOW_VALUES
        one.start()
        until(lambda: running.musters()["muster-1"].presence == "alive")
        assert running.musters()["muster-1"].muster_epoch != first.muster_epoch
        assert running.musters()["muster-1"].times_late > first.times_late
        assert one.registers == ORIGINALS
        assert running.decide("muster-1", SLOW).result(PATIENCE_S).outcome == "applied"


def test_a_muster_that_stands_still_within_its_lease_is_missed_and_comes_back(process: Start) -> None:
    with shepherd() as (running, ports):
        one = process(ports)
        first = joined(running)
        running.decide("muster-1", SLOW).result(PATIENCE_S)
        one.send(signal.SIGSTOP)
        noticed(running, "missing", time.monotonic())
        one.send(signal.SIGCONT)
        until(lambda: running.musters()["muster-1"].presence == "alive")
        view = running.musters()["muster-1"]
        assert view.muster_epoch == first.muster_epoch
        assert view.times_late > first.times_late
        assert running.decide("muster-1", SLOW).result(PATIENCE_S).outcome == "applied"


@pytest.mark.long
def test_a_muster_that_stands_still_beyond_its_lease_is_ended_and_its_node_restored(process: Start) -> None:
    with shepherd() as (running, ports):
        one, two = process(ports), process(ports, "muster-2")
        first = joined(running)
        joined(running, "muster-2")
        running.decide("muster-1", SLOW).result(PATIENCE_S)
        running.decide("muster-2", SLOW).result(PATIENCE_S)
        one.send(signal.SIGSTOP)
        noticed(running, "missing", time.monotonic())
        with pytest.raises(HerdError, match="missing"):
            running.decide("muster-1", ()).result(PATIENCE_S)
        # It never comes round again: somebody else has to put its node back, and does.
        until(lambda: one.registers == ORIGINALS, LEASE_S + PATIENCE_S)
        assert some(one.process).wait(PATIENCE_S) == -signal.SIGKILL
        one.start()
        until(lambda: running.musters()["muster-1"].presence == "alive")
        view = running.musters()["muster-1"]
        assert view.muster_epoch != first.muster_epoch
        assert view.times_late > first.times_late
        # The rest of the herd is as it was.
        assert two.registers == SLOW_VALUES
        assert running.musters()["muster-2"].times_late == 0
        assert running.decide("muster-1", SLOW).result(PATIENCE_S).outcome == "applied"


def test_a_terminated_muster_restores_leaves_and_says_goodbye(process: Start) -> None:
    with shepherd() as (running, ports):
        one = process(ports)
        joined(running)
        running.decide("muster-1", SLOW).result(PATIENCE_S)
        one.send(signal.SIGTERM)
        assert some(one.process).wait(PATIENCE_S) == 0
        assert one.registers == ORIGINALS
        until(lambda: running.musters()["muster-1"].presence == "left")


SHEPHERD = """
import sys, time
from mustherd.shepherd.shepherd import Shepherd
from mustherd.terms import Setting
from mustherd.wire.ports import Ports
from mustherd.wire.shepherd_endpoint import ShepherdEndpoint
end = ShepherdEndpoint(ports=Ports(*map(int, sys.argv[1:5])))
running = Shepherd(end)
running.start()
while "muster-1" not in running.musters():
    time.sleep(0.01)
running.decide("muster-1", (Setting("node-0", "dvfs", 1300), Setting("node-0", "itr-delay", 100))).result(10)
print("applied", flush=True)
time.sleep(600)
"""


def test_a_killed_shepherds_lease_ends_and_its_successor_is_obeyed(process: Start) -> None:
    with shepherd() as (_, ports):
        pass
    numbers = [str(n) for n in (ports.pulse, ports.log, ports.control, ports.coordinate)]
    killed = subprocess.Popen([sys.executable, "-c", SHEPHERD, *numbers], stdout=subprocess.PIPE, text=True)
    said = some(killed.stdout)
    try:
        one = process(ports)
        assert said.readline() == "applied\n"
        assert one.registers == SLOW_VALUES
        killed.kill()
        killed.wait(PATIENCE_S)
        until(lambda: one.registers == ORIGINALS, LEASE_S + PATIENCE_S)
        with shepherd(ports) as (successor, _):
            joined(successor)
            assert successor.decide("muster-1", SLOW).result(PATIENCE_S).outcome == "applied"
            assert one.registers == SLOW_VALUES
    finally:
        killed.kill()
        killed.wait(PATIENCE_S)
        said.close()


def test_two_musters_do_not_share_a_state_folder(process: Start, tmp_path: Path) -> None:
    with shepherd() as (running, ports):
        one = process(ports)
        joined(running)
        second = MusterProcess(tmp_path, ports)
        second.start()
        assert some(second.process).wait(PATIENCE_S) != 0
        assert some(one.process).poll() is None
        assert running.musters()["muster-1"].presence == "alive"


def test_a_window_says_what_muster_and_guardian_took_themselves(process: Start) -> None:
    with shepherd() as (running, ports):
        one = process(ports)
        joined(running)
        both = [psutil.Process(some(one.process).pid), psutil.Process(one.guardian)]
        before = sum(sum(each.cpu_times()[:2]) for each in both)
        # 300 s of the twin's clock are three of ours.
        asked = running.measure("muster-1", settle_s=0, ramp_s=0, window_s=300, load=Load(qps=100_000), seed=1)
        seen = asked.result(3 * PATIENCE_S)
        taken = sum(sum(each.cpu_times()[:2]) for each in both) - before
    # Each process's counter goes in steps of a hundredth.
    assert 0 < seen.counts[MUSTER_CPU] <= taken + 0.03
