"""The logbook: blocks of log rows, from the shepherd's thread to the trial that they belong to."""

import threading
from collections import defaultdict

from mustherd.wire.messages import Block


class Logbook:
    """Keeps blocks until their trial fetches them. `add` is for the shepherd's thread and never waits long."""

    def __init__(self) -> None:
        self._arrived = threading.Condition()
        self._blocks: dict[tuple[str, int], list[Block]] = defaultdict(list)
        self._newest: dict[tuple[str, int], int] = {}

    def add(self, muster: str, block: Block) -> None:
        """A block arrived; blocks of one muster's life come in order and once each."""
        with self._arrived:
            self._blocks[muster, block.measure].append(block)
            self._newest[muster, block.boot] = block.seq
            self._arrived.notify_all()

    def fetch(
        self, muster: str, boot: int, measure: int, last_block: int, timeout_s: float
    ) -> tuple[list[Block], bool]:
        """A window's blocks, once everything up to `last_block` is here or the time is over; and whether it is."""
        with self._arrived:
            complete = self._arrived.wait_for(lambda: self._newest.get((muster, boot), 0) >= last_block, timeout_s)
            return self._blocks.pop((muster, measure), []), complete

    def drop(self, muster: str, before_measure: int) -> None:
        """Forget what windows of a muster below that number left: their trials have ended without it."""
        with self._arrived:
            for key in [k for k in self._blocks if k[0] == muster and k[1] < before_measure]:
                del self._blocks[key]
