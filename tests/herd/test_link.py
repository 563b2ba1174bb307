"""The link over a channel that loses, repeats and reorders, with restarts of either side."""

from collections import defaultdict
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mustherd.herd.link import WINDOW, Link, LinkFullError
from mustherd.herd.timing import LINK_RESEND_MAX_S, LINK_RESEND_S


@dataclass(frozen=True)
class Packet:
    """A frame, or a beat that only acknowledges (seq 0)."""

    to: int
    pair: tuple[int, int]
    seq: int
    ack: int
    body: int


class Channel(RuleBasedStateMachine):
    """Two sides, 0 and 1; a packet under way may arrive at any time, any number of times, or never."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.life = [1, 1]
        self.links: list[Link[int, int]] = [Link(), Link()]
        self.flying: list[Packet] = []
        self.sent: dict[tuple[tuple[int, int], int], list[int]] = defaultdict(list)
        self.delivered: dict[tuple[tuple[int, int], int], list[int]] = defaultdict(list)
        self.body = 0

    @property
    def pair(self) -> tuple[int, int]:
        return (self.life[0], self.life[1])

    def transmit(self, side: int, seq: int, body: int) -> None:
        self.flying.append(Packet(1 - side, self.pair, seq, self.links[side].ack, body))

    def arrive(self, packet: Packet) -> None:
        if packet.pair != self.pair:
            return
        link = self.links[packet.to]
        link.acknowledged(packet.ack, self.now)
        if packet.seq:
            self.delivered[self.pair, packet.to] += link.received(packet.seq, packet.body)

    @rule(side=st.integers(0, 1), count=st.integers(1, 5))
    def send(self, side: int, count: int) -> None:
        for _ in range(count):
            self.body += 1
            numbered = self.links[side].send(self.body, self.now)
            self.sent[self.pair, 1 - side].append(self.body)
            self.transmit(side, numbered.seq, numbered.body)

    @rule(side=st.integers(0, 1))
    def beat(self, side: int) -> None:
        self.transmit(side, 0, 0)

    @rule(seconds=st.floats(0.01, 3))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        for side in (0, 1):
            for numbered in self.links[side].due(self.now):
                self.transmit(side, numbered.seq, numbered.body)

    @precondition(lambda self: self.flying)
    @rule(pick=st.integers(0, 10**6), repeat=st.booleans())
    def deliver(self, pick: int, repeat: bool) -> None:
        packet = self.flying[pick % len(self.flying)]
        if not repeat:
            self.flying.remove(packet)
        self.arrive(packet)

    @rule()
    def deliver_all_backwards(self) -> None:
        packets, self.flying = self.flying[::-1], []
        for packet in packets:
            self.arrive(packet)

    @rule()
    def lose_all(self) -> None:
        self.flying.clear()

    @rule(side=st.integers(0, 1))
    def restart(self, side: int) -> None:
        """Both sides drop the link when either has a new life; what was under way stays under way."""
        self.life[side] += 1
        self.links = [Link(), Link()]

    @invariant()
    def in_order_exactly_once(self) -> None:
        for key, bodies in self.delivered.items():
            assert bodies == self.sent[key][: len(bodies)]

    @invariant()
    def bounded(self) -> None:
        for link in self.links:
            link.validate()

    def teardown(self) -> None:
        """Once the channel is sound again everything arrives."""
        for _ in range(8):
            self.wait(LINK_RESEND_MAX_S)
            self.beat(0)
            self.beat(1)
            packets, self.flying = self.flying, []
            for packet in packets:
                self.arrive(packet)
        for side in (0, 1):
            assert self.delivered[self.pair, side] == self.sent[self.pair, side]
            assert not self.links[side]._unacked
            assert self.links[side].next_due() == float("inf")


Channel.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestChannel = Channel.TestCase


def test_a_full_window_refuses_and_an_acknowledgement_makes_room() -> None:
    link: Link[int, int] = Link()
    for k in range(WINDOW):
        link.send(k, 0.0)
    with pytest.raises(LinkFullError):
        link.send(0, 0.0)
    link.acknowledged(1, 1.0)
    assert link.send(0, 1.0).seq == WINDOW + 1


def test_an_acknowledgement_of_what_was_never_sent_is_ignored() -> None:
    link: Link[int, int] = Link()
    link.send(7, 0.0)
    link.acknowledged(2, 0.0)
    assert len(link._unacked) == 1


def test_pauses_between_resends_grow_up_to_their_maximum() -> None:
    link: Link[int, int] = Link()
    link.send(7, 0.0)
    now, pauses = 0.0, []
    for _ in range(6):
        pauses.append(link.next_due() - now)
        now = link.next_due()
        assert [n.seq for n in link.due(now)] == [1]
    assert pauses[0] == pytest.approx(LINK_RESEND_S)
    assert pauses[-1] == pytest.approx(LINK_RESEND_MAX_S)
    assert link.due(now) == []
