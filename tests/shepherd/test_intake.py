"""What a muster is told of its blocks, over a real shepherd's and muster's ends, on a clock that stands still."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from mustherd.herd.membership import Presence
from mustherd.herd.timing import LATE_AFTER_S
from mustherd.rowlog.writer import LogWriter
from mustherd.shepherd.intake import CREDIT_PAUSE_S
from mustherd.shepherd.server import ShepherdServer
from mustherd.wire import messages as m
from mustherd.wire.endpoints import MusterEndpoint
from mustherd.wire.ports import Ports
from mustherd.wire.shepherd_endpoint import ShepherdEndpoint
from tests.waiting import until
from tests.wire import test_codec as codec

pytestmark = pytest.mark.herd

LIFE, SPOOL, BLOCKS = 5, 7, 20

HELLO = msgspec.structs.replace(codec.HELLO, muster="m", muster_epoch=LIFE)


class Stand:
    """A shepherd with a log, and a muster's end."""

    def __init__(self, end: ShepherdEndpoint, sink: LogWriter, muster: MusterEndpoint) -> None:
        self.now = 100.0
        self.end, self.muster = end, muster
        self.server = ShepherdServer(
            end, experiment="", folder="", sink=sink, tell=lambda _: None, now=lambda: self.now
        )
        self.epoch = 0
        self.credits: list[tuple[int, int]] = []
        """`ack` and `got` of each that came."""

    def go(self) -> None:
        """Take what has arrived on both sides, and do what is due."""
        for received in self.end.receive(0.01):
            self.server.handle(received)
        self.server.tick(self.now, judge=False)
        for message in self.muster.receive(0.01):
            if isinstance(message, m.Welcome):
                self.epoch = message.shepherd_epoch
            if isinstance(message, m.Credit):
                self.credits.append((message.ack, message.got))

    def go_until_welcome(self) -> None:
        def welcomed() -> int:
            self.muster.send_pulse(HELLO)
            self.go()
            return self.epoch

        until(welcomed)

    def go_until_credits(self, count: int) -> None:
        def came() -> bool:
            self.go()
            return len(self.credits) >= count

        until(came)

    def got(self) -> int:
        self.go()
        return self.server._roster.sessions["m"].flow.got


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    end = ShepherdEndpoint(ports=Ports(0, 0, 0, 0))
    muster = MusterEndpoint("m", "127.0.0.1", end.ports)
    with LogWriter(tmp_path) as sink:
        yield Stand(end, sink, muster)
    muster.close()
    end.close()


def block(stand: Stand, seq: int) -> bool:
    told = m.Block(
        muster_epoch=LIFE,
        shepherd_epoch=stand.epoch,
        spool=SPOOL,
        seq=seq,
        label="x",
        stream="s",
        form="text",
        columns=("i",),
    )
    return stand.muster.send_block(told, b"%d\n" % seq)


def test_one_credit_answers_all_blocks_that_come_within_a_moment_and_what_is_safe_is_told_at_once(
    stand: Stand,
) -> None:
    stand.go_until_welcome()
    offer = m.Offer(muster_epoch=LIFE, shepherd_epoch=stand.epoch, spool=SPOOL, first=1)
    until(lambda: stand.muster.send_offer(offer))
    stand.go_until_credits(1)
    assert stand.credits == [(0, 0)]
    for seq in range(1, BLOCKS + 1):
        until(lambda seq=seq: block(stand, seq))  # type: ignore[misc]
        until(lambda seq=seq: stand.got() == seq)  # type: ignore[misc]
    assert stand.credits == [(0, 0)]
    assert stand.server.next_tick() <= stand.now + CREDIT_PAUSE_S
    stand.now += CREDIT_PAUSE_S
    stand.go_until_credits(2)
    assert stand.credits[1:] == [(0, BLOCKS)]
    stand.server.intake.durable("m", SPOOL, BLOCKS - 1)
    stand.go_until_credits(3)
    assert stand.credits[2:] == [(BLOCKS - 1, BLOCKS)]


def test_who_sends_rows_lives_though_its_beats_are_late(stand: Stand) -> None:
    stand.go_until_welcome()
    offer = m.Offer(muster_epoch=LIFE, shepherd_epoch=stand.epoch, spool=SPOOL, first=1)
    until(lambda: stand.muster.send_offer(offer))
    stand.go_until_credits(1)
    membership = stand.server._roster._membership
    for seq in range(1, 5):
        stand.now += 0.9 * LATE_AFTER_S
        until(lambda seq=seq: block(stand, seq))  # type: ignore[misc]
        until(lambda seq=seq: stand.got() == seq)  # type: ignore[misc]
        stand.server.tick(stand.now, judge=True)
        assert membership.presence("m") is Presence.ALIVE
    stand.now += 2 * LATE_AFTER_S
    stand.server.tick(stand.now, judge=True)
    assert membership.presence("m") is not Presence.ALIVE
