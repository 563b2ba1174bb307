"""The muster's logs: rows come in from the node's sources by taps and leave in blocks by the outbox."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from mustherd.muster.config import LogsTable
from mustherd.muster.outbox import Outbox
from mustherd.muster.spool import Spool
from mustherd.muster.taps import Taps
from mustherd.node.logger import TextLogger
from mustherd.wire import messages as m

log = logging.getLogger(__name__)

PIECE_BYTES = 2 * 1024 * 1024
"""Read in one go at most, over all streams: heartbeats come in between."""

PIECE_CPU_S = 0.01
"""CPU time after which no further block is read in that go: a simulated node makes its rows while they are read."""

RETRY_S = 1.0
"""Until a spool that could not be made is tried again."""

COMPLAINT_S = 60.0
"""Between two lines that say that a spool is full."""

HELD_BYTES = 64 * 1024 * 1024
"""Rows that are held for a shepherd which is taking some. Beyond this more are read only from sources that would lose
them: a disk is for the time when the shepherd is away, not for the time when it is slower than a source."""

HELD_PAUSE_S = 0.01
"""Until such a source is looked at again, if no credit comes before."""


class Logs:
    """Reads what is due from `taps` into `outbox`."""

    def __init__(self, loggers: Sequence[TextLogger], table: LogsTable, state: Path, *, again: bool = True) -> None:
        self.taps = Taps(loggers, table, again=again)
        self.outbox = Outbox(table, state)
        self._spool_mib = table.spool_mib
        self._next_complaint = -float("inf")
        self._retry_at = -float("inf")

    def credit(self, credit: m.Credit, now: float) -> None:
        """The shepherd's word on the flow."""
        if self.outbox.credit(credit, now):
            self._retry_at = -float("inf")

    def next_work(self) -> float:
        """When a stream has something to do."""
        return max(self.taps.next_pass(), self._retry_at)

    def work(self, now: float) -> None:
        """Read what is due, PIECE_BYTES at most."""
        if now < self.next_work():
            return
        left, spool = PIECE_BYTES, self.outbox.ready()
        if spool is None and self.outbox.wanted:
            self._retry_at = now + RETRY_S
            return
        enough = time.thread_time() + PIECE_CPU_S
        while left > 0 and time.thread_time() < enough and (read := self._read_each(spool, left, enough, now)):
            left -= read

    def _read_each(self, spool: Spool | None, most: int, enough: float, now: float) -> int:
        """Read a block of each stream that is due, until it is `most` bytes or the thread's time is `enough`.

        Gives how many bytes it was.
        """
        read, held = 0, self.outbox.behind(HELD_BYTES)
        for tap in self.taps.due(now):
            if read >= most or (read and time.thread_time() >= enough):
                break
            if held and tap.label and not tap.busy and tap.can_wait(now):
                self._retry_at = now + HELD_PAUSE_S
                continue
            read += tap.work(spool, self.outbox.add, now)
            self.taps.took_turn(tap)
            if tap.waits_for_room:
                self._tell_of_room(now)
        return read

    def answer(self, now: float) -> m.Logged | None:
        """What became of the log order under way; None while there is none, or it isn't carried out yet."""
        return self.taps.answer(now, spool=self.outbox.spool, last_block=self.outbox.last)

    def leave(self) -> None:
        """The process ends; what isn't safe elsewhere stays on disk."""
        self.taps.stop()
        self.outbox.leave()

    def _tell_of_room(self, now: float) -> None:
        """Not for each piece that finds none: where the shepherd is slow there is some, and none, and some."""
        if now >= self._next_complaint:
            self._next_complaint = now + COMPLAINT_S
            log.warning(
                "%s has no room for more rows (spool_mib = %d, or the disk is full): they wait in their sources, "
                "and what these can't hold is lost and counted",
                self.outbox.folder,
                self._spool_mib,
            )
