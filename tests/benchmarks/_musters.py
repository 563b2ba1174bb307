"""Many musters in one process, for benchmarks: python -m tests.benchmarks._musters COUNT PULSE LOG CONTROL [KEYS].

Each is a whole muster with its own sockets and ZeroMQ I/O thread; one loop polls all their sockets and gives each what
is its. Nodes and journals are in memory, so that no disk is in the figures. With `bare` in place of COUNT's muster,
see `echo`: sockets alone.
"""

import sys
import time
from pathlib import Path

import zmq

from mustherd.muster.config import Config
from mustherd.muster.muster import Muster
from mustherd.muster.pasture import Pasture
from mustherd.node.ranges import Range
from mustherd.wire.endpoints import MusterEndpoint
from mustherd.wire.keys import for_member
from mustherd.wire.ports import Ports
from tests.fakes import FakeNode, MemoryJournal

ALL_EVERY_S = 0.05
RANGES = {"itr-delay": Range(values=(1,), low=2, high=400), "dvfs": Range(low=1200, high=2600)}


def serve(count: int, ports: Ports, keys: Path | None) -> None:
    """Run `count` musters until killed."""
    poller = zmq.Poller()
    owners: dict[zmq.Socket[bytes], tuple[Muster, MusterEndpoint]] = {}
    for number in range(count):
        name = f"muster-{number}"
        node = FakeNode()
        end = MusterEndpoint(name, "127.0.0.1", ports, for_member(keys, name) if keys else None)
        config = Config(muster=name, state="none", ranges=RANGES)
        muster = Muster(config, node, Pasture(node.knobs, RANGES, MemoryJournal()), end)
        for socket in (end._pulse, end._log, end._control):
            poller.register(socket, zmq.POLLIN)
            owners[socket] = muster, end
    musters = [muster for muster, _ in owners.values()][::3]
    next_all = 0.0
    while True:
        for socket, _ in poller.poll(max(0, round((next_all - time.monotonic()) * 1000))):
            muster, end = owners[socket]
            for message in end.receive(0):
                muster.tick()
                muster.handle(message)
            muster.tick()
        if time.monotonic() >= next_all:
            for muster in musters:
                muster.tick()
            next_all = time.monotonic() + ALL_EVERY_S


def echo(count: int, ports: Ports) -> None:
    """The same sockets and nothing else: whatever is published for a name comes back from it."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    poller = zmq.Poller()
    back = {}
    for number in range(count):
        name = f"muster-{number}".encode()
        pulse, control = context.socket(zmq.DEALER), context.socket(zmq.SUB)
        pulse.setsockopt(zmq.ROUTING_ID, name)
        pulse.connect(f"tcp://127.0.0.1:{ports.pulse}")
        control.setsockopt(zmq.SUBSCRIBE, name + b";")
        control.connect(f"tcp://127.0.0.1:{ports.control}")
        poller.register(control, zmq.POLLIN)
        back[control] = pulse
        pulse.send(b"here")
    while True:
        for control, _ in poller.poll():
            back[control].send(control.recv_multipart()[1])


if __name__ == "__main__":
    what, how_many, *numbers = sys.argv[1:]
    pulse, log, control = map(int, numbers[:3])
    where = Ports(pulse, log, control, 1)
    if what == "echo":
        echo(int(how_many), where)
    else:
        serve(int(how_many), where, Path(numbers[3]) if len(numbers) > 3 else None)
