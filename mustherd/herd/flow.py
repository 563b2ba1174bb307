"""The flow of log blocks: kept by the muster until they are durable at the shepherd, in order, once each.

Blocks are numbered from 1 over one spool of a muster, which may outlive both processes. The receiver tells three
things in every credit: up to where blocks are durable (`ack`), up to where it has got them in order (`got`), and how
many bytes it takes beyond `ack` (`window`). The sender forgets what is durable, sends on within the window, and sends
again what was sent but not got.
"""

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

from mustherd.herd.promises import holds
from mustherd.herd.timing import FLOW_RESEND_S

T = TypeVar("T")

NEVER = float("inf")


@dataclass(frozen=True)
class _Kept(Generic[T]):
    size: int
    block: T


class Sender(Generic[T]):
    """A muster's side. Sends nothing before a shepherd's first credit: `pause` begins to wait for it."""

    def __init__(self, last: int = 0) -> None:
        """`last` is the number of the newest block that existed before those that will be added."""
        self._kept: deque[_Kept[T]] = deque()
        self._acked = last
        self._sent = last
        self._got = last
        self._window = 0
        self._flying = 0
        """Bytes of blocks that are sent and not durable."""
        self.kept_bytes = 0
        """Of all blocks that are not durable."""
        self._paused = True
        self._resend_at = NEVER
        self._most = last
        """Number of the newest block that anybody can have been sent."""

    @property
    def first(self) -> int:
        """Number of the oldest block kept, or that the next one will have."""
        return self._acked + 1

    @property
    def last(self) -> int:
        """Number of the newest block."""
        return self._acked + len(self._kept)

    @property
    def kept(self) -> int:
        """Blocks that are not durable yet."""
        return len(self._kept)

    @property
    def paused(self) -> bool:
        """Whether this shepherd has yet to say where to go on."""
        return self._paused

    def add(self, block: T, size: int, *, again: bool = False) -> int:
        """Number a block of `size` bytes and keep it; `again`: a former life may have sent it."""
        self._kept.append(_Kept(size, block))
        self.kept_bytes += size
        if again:
            self._most = self.last
        return self.last

    @property
    def newest_sent(self) -> int:
        """Number of the newest block that the receiver can have."""
        return self._most

    def was_sent(self, number: int) -> bool:
        """Whether the receiver can have block `number`. If it says so of another, blocks that it has are gone here,
        and their numbers will be those of other blocks."""
        return number <= self._most

    def pause(self) -> None:
        """A shepherd begins or has ended: what was under way is unknown until its shepherd's first credit."""
        self._paused = True
        self._rewind(self._acked)
        self._got = self._acked
        self._resend_at = NEVER

    def due(self, now: float) -> list[tuple[int, T]]:
        """What may and should be sent now; all of it counts as sent."""
        if self._paused:
            return []
        if now >= self._resend_at:
            self._rewind(self._got)
            self._resend_at = NEVER
        due: list[tuple[int, T]] = []
        while self._sent < self.last:
            entry = self._kept[self._sent - self._acked]
            # A block that is larger than the window goes alone; a window of 0 takes nothing.
            if not self._window or (self._flying and self._flying + entry.size > self._window):
                break
            self._sent += 1
            self._most = max(self._most, self._sent)
            self._flying += entry.size
            due.append((self._sent, entry.block))
        # New blocks don't put off the resend of older ones.
        if self._resend_at == NEVER and self._sent > self._got:
            self._resend_at = now + FLOW_RESEND_S
        return due

    def not_sent(self, number: int) -> None:
        """The channel did not take block `number`: it and what follows are due again."""
        self._rewind(number - 1)

    def credit(self, ack: int, got: int, window: int, now: float) -> list[T]:
        """The receiver's word; gives the blocks that need not be kept any more."""
        if not ack <= got <= self._most or ack < self._acked:
            # Of before, or of a receiver that took something else for ours.
            return []
        self._paused = False
        self._window = window
        done: list[T] = []
        while self._acked < ack:
            entry = self._kept.popleft()
            self._acked += 1
            self.kept_bytes -= entry.size
            if self._acked <= self._sent:
                self._flying -= entry.size
            done.append(entry.block)
        self._sent = max(self._sent, ack)
        while self._sent < got:
            self._flying += self._kept[self._sent - self._acked].size
            self._sent += 1
        # Only progress puts a resend off: answers to blocks behind a lost one would put it off for ever.
        if got > self._got or ack > self._got:
            self._got = max(self._got, got, ack)
            self._resend_at = now + FLOW_RESEND_S if self._sent > self._got else NEVER
        return done

    def next_due(self) -> float:
        """When something will be due if nothing arrives before."""
        return self._resend_at

    def validate(self) -> None:
        """Raise AssertionError where the state breaks a promise; for tests."""
        order = (self._acked, self._got, self._sent, self.last)
        holds(list(order) == sorted(order), f"acknowledged, got, sent, kept: {order}")
        sizes = [kept.size for kept in self._kept]
        holds(self.kept_bytes == sum(sizes), "what is kept is counted wrongly")
        holds(self._flying == sum(sizes[: self._sent - self._acked]), "what is under way is counted wrongly")
        holds(not self._paused or self._sent == self._acked, "sent to a shepherd that hasn't said where to go on")

    def _rewind(self, to: int) -> None:
        to = max(to, self._acked)
        while self._sent > to:
            self._sent -= 1
            self._flying -= self._kept[self._sent - self._acked].size


class Receiver:
    """The shepherd's side for one spool of a muster: takes each number once, in order."""

    def __init__(self, durable: int = 0) -> None:
        """`durable` is the number up to which a former life made blocks durable."""
        self.got = durable
        """Number of the last block taken."""
        self.durable = durable
        """Number of the last block that is safe from any crash."""

    def offer(self, number: int) -> bool:
        """Whether to take block `number` now; what is old or out of order is not taken (it will be sent again)."""
        return number == self.got + 1

    def took(self, number: int) -> None:
        """Block `number` is on its way to disk."""
        self.got = number

    def made_durable(self, number: int) -> None:
        """Everything up to `number` is safe."""
        self.durable = max(self.durable, min(number, self.got))

    def validate(self) -> None:
        """Raise AssertionError where the state breaks a promise; for tests."""
        holds(0 <= self.durable <= self.got, f"durable up to {self.durable}, of {self.got} that were taken")

    def begin_at(self, first: int) -> None:
        """The sender has nothing before `first`: what is missing is gone."""
        if first > self.got + 1:
            self.got = self.durable = first - 1
