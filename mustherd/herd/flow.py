"""The flow of log blocks: kept by the muster until taken over, in order, once each, and no more than was allowed.

The receiver allows blocks by number (credit); the sender keeps what is not acknowledged and sends it again. A sender
whose store is full refuses rows, and the caller counts them as lost at the source: never silently.
"""

from collections import OrderedDict
from typing import Generic, TypeVar

from mustherd.herd.timing import FLOW_RESEND_S

T = TypeVar("T")

WINDOW_BLOCKS = 64
"""Blocks that a receiver allows beyond the last one it has taken over."""

KEPT_BLOCKS = 256
"""Blocks that a sender keeps: bounds its memory while the receiver is away."""


class Sender(Generic[T]):
    """A muster's side. Blocks are numbered from 1 over one life of the muster."""

    def __init__(self, max_blocks: int = KEPT_BLOCKS) -> None:
        self._max_blocks = max_blocks
        self._kept: OrderedDict[int, T] = OrderedDict()
        self._last = 0
        self._sent = 0
        self._until = WINDOW_BLOCKS
        self._resend_at = float("inf")

    @property
    def last(self) -> int:
        """Number of the newest block."""
        return self._last

    @property
    def kept(self) -> int:
        """Blocks that are not taken over yet."""
        return len(self._kept)

    def add(self, block: T) -> int | None:
        """Number a block and keep it; None when the store is full and the block was not taken."""
        if len(self._kept) >= self._max_blocks:
            return None
        self._last += 1
        self._kept[self._last] = block
        return self._last

    def due(self, now: float) -> list[tuple[int, T]]:
        """What may and should be sent now: new blocks within the credit, or all unacknowledged ones after a pause."""
        resend = now >= self._resend_at
        if resend and self._kept:
            self._sent = min(self._sent, next(iter(self._kept)) - 1)
        new = [(n, b) for n, b in self._kept.items() if self._sent < n <= self._until]
        if new:
            self._sent = new[-1][0]
        # New blocks don't put off the resend of older ones.
        if resend or (new and self._resend_at == float("inf")):
            self._resend_at = now + FLOW_RESEND_S if self._kept else float("inf")
        return new

    def not_sent(self, number: int) -> None:
        """The channel did not take block `number`: it and what follows are due again."""
        self._sent = min(self._sent, number - 1)

    def credit(self, ack: int, until: int, now: float) -> None:
        """The receiver has taken over everything up to `ack` and allows numbers up to `until`."""
        if ack > self._last:
            return
        progress = False
        while self._kept and next(iter(self._kept)) <= ack:
            self._kept.popitem(last=False)
            progress = True
        self._sent = max(self._sent, ack)
        self._until = max(self._until, until)
        # Only progress puts a resend off: answers to blocks behind a lost one would put it off for ever.
        if progress:
            self._resend_at = now + FLOW_RESEND_S if self._kept else float("inf")

    def next_due(self) -> float:
        """When something will be due if nothing arrives before."""
        return self._resend_at


class Receiver:
    """The shepherd's side for one life of a muster: takes each number once, in order."""

    def __init__(self) -> None:
        self.taken = 0
        """Number of the last block taken over."""

    def offer(self, number: int) -> bool:
        """Whether to take block `number` now; what is old or out of order is not taken (it will be sent again)."""
        return number == self.taken + 1

    def took(self, number: int) -> None:
        """Block `number` is safe on this side."""
        self.taken = number

    @property
    def until(self) -> int:
        """The highest number that the sender may send."""
        return self.taken + WINDOW_BLOCKS
