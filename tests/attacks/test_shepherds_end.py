"""A shepherd's process that gets a signal, stands still, finds another on its ports; a crowd that asks at once."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import msgspec
import psutil
import pytest
import zmq

from mustherd.client import HerdClient
from mustherd.daemon import STOP_SIGNALS
from mustherd.herd.timing import LEASE_S
from mustherd.wire import codec
from mustherd.wire import messages as m
from mustherd.wire.endpoints import WireError, new_session
from mustherd.wire.ports import Ports
from tests.herding import PATIENCE_S, MusterProcess, shepherd
from tests.waiting import until
from tests.wire.test_codec import HELLO

pytestmark = pytest.mark.process

SLOW = {"dvfs": 1300, "itr-delay": 1}
ORIGINALS = {"dvfs": 2800, "itr-delay": 1}
STOPS = [signal.Signals(number) for number in STOP_SIGNALS if number not in (signal.SIGHUP, *range(34, 65))]
"""SIGHUP has it read its keys again."""
USUAL = {signal.SIGINT, signal.SIGTERM, signal.SIGABRT}
"""What people and machines send; all others by night."""


class Herd:
    """A shepherd as a user starts it, and a muster with a decision in force."""

    def __init__(self, home: Path) -> None:
        self.home = home
        with shepherd() as (_, ports):
            self.ports: Ports = ports
        self.client = HerdClient(f"127.0.0.1:{ports.coordinate}")
        self.process = self.spawn()
        self.one = MusterProcess(home, ports).start()
        until(self.alive)
        self.client.set("muster-1", {"dvfs": 1300})
        assert self.one.registers == SLOW

    @property
    def log(self) -> Path:
        return self.home / "shepherd.log"

    def spawn(self) -> "subprocess.Popen[bytes]":
        words = ",".join(map(str, msgspec.structs.astuple(self.ports)))
        with self.log.open("ab") as out:
            return subprocess.Popen(
                [sys.executable, "-m", "mustherd", "shepherd", "run", "--ports", words], stdout=out, stderr=out
            )

    def alive(self) -> bool:
        try:
            return any(view.presence == "alive" for view in self.client.musters())
        except WireError:
            return False


@pytest.fixture
def herd(tmp_path: Path) -> Iterator[Herd]:
    made = Herd(tmp_path)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.process.send_signal(signal.SIGCONT)
            made.process.kill()
            made.process.wait()
        made.one.end()


@pytest.mark.parametrize(
    "number",
    [
        s if s == signal.SIGQUIT else pytest.param(s, marks=pytest.mark.long if s in USUAL else pytest.mark.night)
        for s in STOPS
    ],
)
def test_a_signal_ends_it_in_order_and_its_node_is_put_back(
    herd: Herd, number: signal.Signals, record_property: Callable[[str, object], None]
) -> None:
    began = time.monotonic()
    herd.process.send_signal(number)
    expected = 0 if number in (signal.SIGTERM, signal.SIGINT) else 128 + number
    assert herd.process.wait(PATIENCE_S) == expected
    until(lambda: herd.one.registers == ORIGINALS, LEASE_S + PATIENCE_S)
    record_property("measured put back after", f"{time.monotonic() - began:.2f} s")
    assert "Traceback" not in herd.log.read_text()
    # Its muster lives, and obeys the next one.
    herd.process = herd.spawn()
    until(herd.alive)
    herd.client.set("muster-1", {"dvfs": 1500})
    assert herd.one.registers["dvfs"] == 1500


@pytest.mark.long
def test_one_that_stands_still_keeps_a_node_for_its_lease_and_no_longer(herd: Herd) -> None:
    herd.process.send_signal(signal.SIGSTOP)
    until(lambda: herd.one.registers == ORIGINALS, LEASE_S + PATIENCE_S)
    herd.process.send_signal(signal.SIGCONT)
    until(herd.alive)
    # What it had decided before is over: nothing late is acted on, and what it decides now is.
    assert herd.one.registers == ORIGINALS
    herd.client.set("muster-1", {"dvfs": 1500})
    assert herd.one.registers["dvfs"] == 1500


def test_a_second_one_on_its_ports_ends_and_says_why(herd: Herd) -> None:
    second = herd.spawn()
    assert second.wait(PATIENCE_S) == 3
    # The first one writes to the same log, when a muster joins.
    assert "is another shepherd running?" in herd.log.read_text()
    assert herd.process.poll() is None
    assert herd.one.registers == SLOW


MUSTERS, OPERATORS = 1000, 300


@contextmanager
def sockets(count: int, port: int, route: str = "") -> "Iterator[list[zmq.Socket[bytes]]]":
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.set(zmq.MAX_SOCKETS, 2 * count)
    made: list[zmq.Socket[bytes]] = []
    for number in range(count):
        made.append(context.socket(zmq.DEALER))
        if route:
            made[-1].setsockopt(zmq.ROUTING_ID, f"{route}-{number}".encode())
        made[-1].connect(f"tcp://127.0.0.1:{port}")
    try:
        yield made
    finally:
        context.destroy(linger=0)


def _hello(number: int) -> m.Hello:
    name = f"crowd-{number}"
    return msgspec.structs.replace(
        HELLO, muster=name, muster_epoch=new_session(), version=m.PROTOCOL_VERSION, groups=(), sent_s=time.monotonic()
    )


@pytest.mark.long
def test_a_crowd_that_comes_and_asks_at_once_is_answered_and_costs_nobody_a_lease(
    herd: Herd, record_property: Callable[[str, object], None]
) -> None:
    def answered(sockets: "list[zmq.Socket[bytes]]", known: set[int]) -> bool:
        known.update(place for place, one in enumerate(sockets) if place not in known and one.poll(0))
        return len(known) == len(sockets)

    with sockets(MUSTERS - 1, herd.ports.pulse, "crowd") as crowd:
        began = time.monotonic()
        for number, one in enumerate(crowd):
            one.send(codec.encode(_hello(number)))
        until(partial(answered, crowd, set()))
        record_property("measured musters at once were welcomed within", f"{time.monotonic() - began:.2f} s")
        with sockets(OPERATORS, herd.ports.coordinate) as operators:
            began = time.monotonic()
            for number, one in enumerate(operators):
                one.send(codec.encode(m.Call(number=number + 1, body=m.StatusAsk())))
            until(partial(answered, operators, set()))
            record_property("measured operators at once were answered within", f"{time.monotonic() - began:.2f} s")
    assert herd.one.registers == SLOW
    mib = psutil.Process(herd.process.pid).memory_info().rss / 2**20
    record_property("measured shepherd's memory", f"{mib:.0f} MiB")
    assert mib < 400
    until(lambda: psutil.Process(herd.process.pid).num_fds() < 300)
