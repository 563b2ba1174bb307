"""Peers that leave while something of theirs is unread, or has no reader any more: ZeroMQ's asserts end no shepherd.

Each is tried on a process of its own, which an assert would end, and with a key that is accepted: no other gets so far.
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import zmq

from mustherd.wire import messages as m
from mustherd.wire.endpoints import MusterEndpoint
from mustherd.wire.keys import Keys, create, for_member
from mustherd.wire.ports import Ports
from tests.waiting import PATIENCE_S, until

pytestmark = pytest.mark.process

# A shepherd's endpoint that reads a little at a time and asks whoever beats who that is. Its own heartbeats, where it
# had some, would be many.
LISTENER = """
import sys, time
from pathlib import Path
from mustherd.wire import messages as m, sockets
from mustherd.wire.keys import for_shepherd
from mustherd.wire.ports import Ports
sockets.HEARTBEAT_MS = 100
from mustherd.wire.shepherd_endpoint import ShepherdEndpoint
end = ShepherdEndpoint("127.0.0.1", Ports(0, 0, 0, 0), for_shepherd(Path(sys.argv[1])))
print(end.ports, flush=True)
while True:
    for received in end.receive(0.02, at_most=200):
        if isinstance(received.message, m.MusterBeat):
            end.reply(received, m.WhoAreYou())
    time.sleep(0.003)
"""
BEAT = m.MusterBeat(muster_epoch=1, shepherd_epoch=1, in_force=0, ack=0, reports=0)


class Listener:
    """The process, and who connects to it."""

    def __init__(self, home: Path) -> None:
        create(home / "keys", ["shepherd", "operator", "honest", "odd"])
        self.keys = home / "keys"
        self.process = subprocess.Popen([sys.executable, "-c", LISTENER, str(self.keys)], stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.ports = Ports.parse(self.process.stdout.readline().decode())
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._odd: Keys = for_member(self.keys, "odd")
        self._honest = MusterEndpoint("honest", "127.0.0.1", self.ports, for_member(self.keys, "honest"))

    def odd(self, port: int, route: bytes) -> "zmq.Socket[bytes]":
        """A peer whose key is accepted, under a routing id of its choice, with heartbeats all the time."""
        made = self.context.socket(zmq.DEALER)
        made.linger = 0
        made.sndhwm = 0
        made.reconnect_ivl = -1
        made.heartbeat_ivl = 1
        made.heartbeat_timeout = 60_000
        made.routing_id = route
        made.curve_publickey, made.curve_secretkey = self._odd.public, self._odd.secret
        made.curve_serverkey = self._odd.shepherd or b""
        with made.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED) as connected:
            made.connect(f"tcp://127.0.0.1:{port}")
            assert connected.poll(int(PATIENCE_S * 1000)), self.process.poll()
            made.disable_monitor()
        return made

    def serves(self, times: int) -> None:
        """An honest muster is answered so many times, and some time goes by."""
        for _ in range(times):
            assert self.process.poll() is None
            until(lambda: self._honest.send_pulse(BEAT) and any(self._honest.receive(0.5)))
            time.sleep(0.02)  # fixed: heartbeats fall due meanwhile

    @property
    def descriptors(self) -> int:
        return psutil.Process(self.process.pid).num_fds()

    def close(self) -> None:
        self._honest.close()
        self.context.destroy(linger=0)
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    with contextlib.closing(Listener(tmp_path)) as made:
        made.serves(1)
        yield made


@pytest.mark.parametrize("channel", ["pulse", "log", "control"])
def test_one_that_leaves_with_much_unread(listener: Listener, channel: str) -> None:
    before = listener.descriptors
    for number in range(10):
        peer = listener.odd(getattr(listener.ports, channel), b"odd;%d" % number)
        for _ in range(1500):
            peer.send(b"x" * 20)
        peer.close(linger=20)
    listener.serves(20)
    # What was left unread is read, and then the connections end.
    until(lambda: listener.descriptors <= before + 2)


@pytest.mark.parametrize("channel", ["pulse", "control"])
def test_one_whose_routing_id_another_connection_has_taken(listener: Listener, channel: str) -> None:
    port = getattr(listener.ports, channel)
    for _ in range(5):
        first = listener.odd(port, b"odd;the same")
        second = listener.odd(port, b"odd;the same")
        for one in (second, first, second, first):
            # One whose place is taken may have been ended.
            with contextlib.suppress(zmq.Again):
                one.send(b"x", zmq.DONTWAIT)
            time.sleep(0.02)  # fixed: each is read before the next comes
        first.close(linger=20)
        second.close(linger=20)
    listener.serves(20)


def test_one_that_sends_faster_than_is_read_is_ended(listener: Listener) -> None:
    peer = listener.odd(listener.ports.pulse, b"odd;")
    memory = psutil.Process(listener.process.pid).memory_info().rss
    with peer.get_monitor_socket(zmq.EVENT_DISCONNECTED, "inproc://ended") as ended:

        def is_over() -> bool:
            with contextlib.suppress(zmq.Again):
                for _ in range(10_000):
                    peer.send(b"x" * 20, zmq.DONTWAIT)
            return bool(ended.poll(0))

        until(is_over)
        peer.disable_monitor()
    peer.close()
    listener.serves(5)
    assert psutil.Process(listener.process.pid).memory_info().rss - memory < 128 * 1024 * 1024
