"""The link: numbered messages over a channel that may lose, repeat and reorder become an ordered, complete stream.

One link joins one `muster_epoch` to one `shepherd_epoch`; when either changes, both sides drop the link and what was
under way on it: an order to a process that has died must not reach its successor.
The scheme is go-back-N with cumulative acknowledgements (Tanenbaum, Computer Networks, sliding window protocols);
acknowledgements ride on frames and heartbeats.
"""

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

from mustherd.herd.promises import holds
from mustherd.herd.timing import LINK_RESEND_MAX_S, LINK_RESEND_S

Out = TypeVar("Out")
In = TypeVar("In")

WINDOW = 256
"""Messages that may be unacknowledged; a peer that falls further behind is broken."""


class LinkFullError(Exception):
    """The peer has not acknowledged a whole window of messages."""


@dataclass(frozen=True)
class Numbered(Generic[Out]):
    """A message with its number on the link, from 1."""

    seq: int
    body: Out


class Link(Generic[Out, In]):
    """One side of a link: give it what to send, what arrived and the time; it says what to transmit and deliver."""

    def __init__(self) -> None:
        self._unacked: deque[Numbered[Out]] = deque()
        self._last_sent = 0
        self._resend_at = float("inf")
        self._pause_s = LINK_RESEND_S
        self._delivered = 0

    @property
    def ack(self) -> int:
        """Number of the last message delivered in order: the peer may forget everything up to it."""
        return self._delivered

    @property
    def sent(self) -> int:
        """Number of the last message sent."""
        return self._last_sent

    def send(self, body: Out, now: float) -> Numbered[Out]:
        """Number a message; the caller transmits what is returned. Raises LinkFullError."""
        if len(self._unacked) >= WINDOW:
            raise LinkFullError(f"{WINDOW} messages unacknowledged")
        self._last_sent += 1
        numbered = Numbered(self._last_sent, body)
        self._unacked.append(numbered)
        if len(self._unacked) == 1:
            self._pause_s = LINK_RESEND_S
            self._resend_at = now + self._pause_s
        return numbered

    def acknowledged(self, ack: int, now: float) -> None:
        """The peer has everything up to `ack`; a number beyond what was sent is ignored."""
        if ack > self._last_sent:
            return
        progress = False
        while self._unacked and self._unacked[0].seq <= ack:
            self._unacked.popleft()
            progress = True
        if progress:
            self._pause_s = LINK_RESEND_S
            self._resend_at = now + self._pause_s if self._unacked else float("inf")

    def received(self, seq: int, body: In) -> list[In]:
        """A message arrived; returns what is to be delivered now: it, or nothing when it is old or out of order."""
        if seq != self._delivered + 1:
            return []
        self._delivered = seq
        return [body]

    def due(self, now: float) -> list[Numbered[Out]]:
        """What is to be transmitted again now."""
        if now < self._resend_at:
            return []
        self._pause_s = min(self._pause_s * 2, LINK_RESEND_MAX_S)
        self._resend_at = now + self._pause_s
        return list(self._unacked)

    def next_due(self) -> float:
        """When `due` will next have something, if nothing happens before."""
        return self._resend_at

    def validate(self) -> None:
        """Raise AssertionError where the state breaks a promise; for tests."""
        numbers = [numbered.seq for numbered in self._unacked]
        newest = range(self._last_sent - len(numbers) + 1, self._last_sent + 1)
        holds(numbers == list(newest), f"what may be lost is not kept: {numbers} up to {self._last_sent}")
        holds(len(numbers) <= WINDOW, "more is kept than the window holds")
        holds((self._resend_at < float("inf")) == bool(numbers), "nothing is sent again, or nothing is there to be")
        holds(LINK_RESEND_S <= self._pause_s <= LINK_RESEND_MAX_S, f"a pause of {self._pause_s} s")
