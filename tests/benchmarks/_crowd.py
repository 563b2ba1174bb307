"""Hundreds of musters in one process that say how they are: `_crowd FIRST COUNT PULSE LOG CONTROL`.

As in `_musters` each is a whole muster over a node in memory. A line of JSON a quarter of a second on stdout: how many
belong to a shepherd, have a decision in force, have their node as it was found, and have all their rows acknowledged.
SIGUSR1: every muster sends rows at once, as fast as it gets credit.
"""

import json
import signal
import sys
import time
from collections.abc import Iterator
from logging import disable

import zmq

from mustherd.muster.config import Config
from mustherd.muster.muster import Muster
from mustherd.muster.pasture import Pasture
from mustherd.node.intlog import COLUMNS
from mustherd.wire import messages as m
from mustherd.wire.endpoints import MusterEndpoint, new_session
from mustherd.wire.ports import Ports
from mustherd.wire.sockets import raise_descriptor_limit
from tests.benchmarks._musters import RANGES
from tests.fakes import ORIGINALS, FakeNode, MemoryJournal
from tests.log_herd import render, rows

EVERY_S = 0.25
TICK_S = 0.05
BLOCKS, ROWS = 4, 400
"""Of one muster: 240 KB."""


class Member:
    """One muster, and the rows that it has yet to send."""

    def __init__(self, name: str, ports: Ports) -> None:
        self.node = FakeNode()
        self.end = MusterEndpoint(name, "127.0.0.1", ports)
        config = Config(muster=name, state="none", ranges=RANGES)
        self.muster = Muster(config, self.node, Pasture(self.node.knobs, RANGES, MemoryJournal()), self.end)
        self.spool = new_session()
        self.offered = False
        self.sent = 0
        self.acknowledged = 0
        self.beat: tuple[int, int] = (0, 0)

    @property
    def sockets(self) -> "Iterator[zmq.Socket[bytes]]":
        yield from (self.end._pulse, self.end._log, self.end._control)

    def hear(self, message: m.Down | m.Credit | m.Decision, texts: list[bytes]) -> None:
        """As a muster does, but for credit, which is for the rows here."""
        if isinstance(message, m.Credit):
            if message.spool == self.spool:
                self.acknowledged = max(self.acknowledged, message.ack)
                self.send(message, texts)
            return
        self.muster.tick()
        self.muster.handle(message)

    def offer(self, lease: tuple[int, int]) -> None:
        """Ask where to go on."""
        self.end.send_offer(m.Offer(muster_epoch=lease[0], shepherd_epoch=lease[1], spool=self.spool, first=1))

    def send(self, credit: m.Credit, texts: list[bytes]) -> None:
        self.sent = max(self.sent, credit.got)
        while self.sent < BLOCKS:
            block = m.Block(
                muster_epoch=credit.muster_epoch, shepherd_epoch=credit.shepherd_epoch, spool=self.spool,
                seq=self.sent + 1, label="crowd", stream="ixgbe-log-core-0", form="text", columns=COLUMNS,
            )  # fmt: skip
            if not self.end.send_block(block, texts[self.sent]):
                return
            self.sent += 1


def main() -> None:
    """Run until killed."""
    first, count, pulse, log, control = map(int, sys.argv[1:6])
    raise_descriptor_limit()
    # A thousand times that a shepherd is gone is no news here.
    disable()
    ports = Ports(pulse, log, control, 1)
    texts = [render(rows(ROWS, 0, start=k * ROWS)) for k in range(BLOCKS)]
    members = [Member(f"muster-{number}", ports) for number in range(first, first + count)]
    poller = zmq.Poller()
    owners = {socket: member for member in members for socket in member.sockets}
    for socket in owners:
        poller.register(socket, zmq.POLLIN)
    logging = False

    def begin(*_: object) -> None:
        nonlocal logging
        logging = True

    signal.signal(signal.SIGUSR1, begin)
    next_tick, next_line = 0.0, 0.0
    while True:
        for socket, _ in poller.poll(max(0, round((next_tick - time.monotonic()) * 1000))):
            member = owners[socket]
            for message in member.end.receive(0):
                member.hear(message, texts)
            member.muster.tick()
        now = time.monotonic()
        if now >= next_tick:
            for member in members:
                member.muster.tick()
                epoch = member.muster._lease.shepherd_epoch
                if logging and epoch and member.acknowledged < BLOCKS and not member.offered:
                    member.offer((member.muster._muster_epoch, epoch))
                    member.offered = True
            next_tick = time.monotonic() + TICK_S
        if now >= next_line:
            next_line = now + EVERY_S
            told = {
                "joined": sum(bool(member.muster._lease.shepherd_epoch) for member in members),
                "in_force": sum(bool(member.muster._lease.in_force) for member in members),
                "as_found": sum(member.node.values == ORIGINALS for member in members),
                "acknowledged": sum(member.acknowledged >= BLOCKS for member in members),
            }
            print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
