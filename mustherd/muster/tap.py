"""A tap on one text stream: passes over its source, at a pace set from how fast rows come, into the spool."""

import re
from collections.abc import Callable

from mustherd.muster.spool import Description, Spool, Stored
from mustherd.node.logger import LoggerError, TextLogger

ROWS_A_PASS = 20_000
"""Rows that should wait at the start of a pass: a fiftieth of intlog's buffer, which leaves time for a standstill."""

PERIOD_LEAST_S = 0.002
PERIOD_MOST_S = 5.0
"""Bounds of the time from one pass to the next; at the most, 1,000 rows/s make 5,000 rows."""

BURST_ROWS_PER_S = 200_000
"""Of one source: twice what a core's interrupts were seen to make."""

PERIOD_FIRST_S = 0.05
"""Before the rate is known."""

ROW_BYTES = 100
"""Rough size of a row, to guess a pass's rows from its bytes where lines aren't numbered."""

FULL_PAUSE_S = 0.1
"""While the spool is full, until it is tried again."""

LONGEST_START = 4096

Emit = Callable[[int, Stored], None]


class Tap:
    """Reads one source while it is open. `work` does a piece at a time; nobody else may read the source."""

    def __init__(self, logger: TextLogger, *, again: bool) -> None:
        """`again`: a former life may have read a part of the pass that the source will begin with."""
        self.logger = logger
        self.rows = 0
        """Produced since `open`, as far as the numbers of the rows tell."""
        self.error = ""
        self.label = ""
        """What rows belong to; empty: they are thrown away."""
        self._every = 1
        self._keep: tuple[int, ...] = ()
        self._pattern: re.Pattern[bytes] | None = None
        self._again = again and logger.rewinds
        self._passing = False
        self._begins = logger.rewinds
        self._continues = False
        self._overrun = False
        self._aligned = False
        """Flushed to the beginning of a line."""
        self._start = b""
        self._phase = 0
        self._number: int | None = None
        """`i` of the newest complete line."""
        self._pass_bytes = 0
        self._pass_began = 0.0
        self._period = PERIOD_FIRST_S
        # A burst must not fill the source before it is looked at again.
        self._most = min(max(logger.capacity / BURST_ROWS_PER_S, 0.01), PERIOD_MOST_S) if logger.capacity else 0.01
        self._target = min(ROWS_A_PASS, logger.capacity // 2) if logger.capacity else ROWS_A_PASS
        self._emptied = 0.0
        """When the last pass began that came to its end: what the source holds came since then."""
        self._rows_per_s = 0.0
        self._next = float("inf")
        self._again_at = -float("inf")
        """When a pass under way may go on: it stands still while the spool is full."""
        self._once = False
        """Only to the end of this pass."""
        self._once_more = False
        """This pass was under way when its end was asked for: the source may be read already up to some time before."""

    @property
    def waits_for_room(self) -> bool:
        """Whether the spool had no room when it last had something to do: rows stay in the source."""
        return self._again_at > -float("inf")

    @property
    def busy(self) -> bool:
        """Whether it reads to an end that somebody waits for."""
        return self._once

    def next_pass(self) -> float:
        """When it has something to do."""
        return self._again_at if self._passing else self._next

    def can_wait(self, now: float) -> bool:
        """Whether rows may stay in the source a while longer: it has a writer that waits, or is not yet half full."""
        if self.logger.waits:
            return True
        return 2 * self._rows_per_s * (now - self._emptied) < self.logger.capacity

    def flush(self, now: float) -> None:
        """Throw away what has piled up, in pieces: `busy` until it is done."""
        self.label = ""
        self.close(now)

    def open(self, label: str, now: float, *, every: int = 1, columns: tuple[str, ...] = ()) -> None:
        """Keep rows from here on. ValueError for a column that the stream doesn't have."""
        names = self.logger.columns
        if missing := set(columns) - set(names):
            raise ValueError(f"{self.logger.stream} has no column {', '.join(sorted(missing))}")
        self._keep = tuple(k for k, name in enumerate(names) if k == 0 or name in columns) if columns else ()
        self._pattern = _selection(len(names), self._keep) if self._keep else None
        self.label, self._every, self.rows, self.error = label, every, 0, ""
        self._number, self._phase, self._begins = None, 0, self.logger.rewinds
        # Without a flush nobody knows whether the source stands in the middle of a line: none is taken for cut there.
        self._continues = not self.logger.rewinds and not self._aligned
        self._next = now + PERIOD_FIRST_S

    def close(self, now: float) -> None:
        """Read to the end once more: `busy` until it is done."""
        self._once, self._once_more = True, self._passing
        if not self._passing:
            self._begin_pass(now)

    def stop(self) -> None:
        """Read no more, at once."""
        self.label, self._once, self._passing, self._next = "", False, False, float("inf")
        self._once_more, self._again_at = False, -float("inf")
        self.logger.close()

    def work(self, spool: Spool | None, emit: Emit, now: float) -> int:
        """Read a block's worth if it is time; gives the bytes read. Nothing is read that can't be kept."""
        if now < self.next_pass():
            return 0
        if not self._passing:
            self._begin_pass(now)
        try:
            return self._piece(spool, emit, now) if self.label else self._waste()
        except LoggerError as error:
            self.error = str(error)
            self._end_pass()
            return 0

    def _begin_pass(self, now: float) -> None:
        self._passing, self._pass_bytes, self._pass_began = True, 0, now
        self._again_at = -float("inf")
        if self.logger.rewinds:
            self._begins, self._continues = True, False

    def _end_pass(self) -> None:
        """Come again when there are about as many rows as there should be."""
        self._passing = False
        self._rows_per_s = self._pass_bytes / ROW_BYTES / max(self._pass_began - self._emptied, PERIOD_LEAST_S)
        self._emptied = self._pass_began
        if self._once_more:
            self._once_more = False
            self._begin_pass(self._pass_began)
            return
        if self._once:
            self._once, self._next = False, float("inf")
            self.label = ""
            return
        rows = self._pass_bytes / ROW_BYTES
        wanted = self._period * self._target / max(rows, 1.0)
        # Halfway there: one odd pass is no rate.
        self._period = min(max((self._period + min(wanted, 4 * self._period)) / 2, PERIOD_LEAST_S), self._most)
        self._next = self._pass_began + self._period

    def _waste(self) -> int:
        room = memoryview(_scratch)
        size = self.logger.read_into(room)
        if size:
            # A line that is cut here is the beginning of the next one's block.
            if not self.logger.rewinds:
                _, newline, tail = bytes(room[:size]).rpartition(b"\n")
                self._start = tail if newline else (self._start + tail)[-LONGEST_START:]
        else:
            self._again = self._overrun = False
            self._aligned = True
            self._end_pass()
        return size

    def _piece(self, spool: Spool | None, emit: Emit, now: float) -> int:
        if spool is None:
            return self._waste()
        description = Description(
            label=self.label,
            stream=self.logger.stream,
            form="text",
            columns=tuple(self.logger.columns[k] for k in self._keep) or self.logger.columns,
            every=self._every,
            pass_begins=self._begins,
            again=self._again,
            continues=self._continues,
            overrun=self._overrun,
        )
        start = self._start
        if not spool.begin(description, start):
            self._again_at = now + FULL_PAUSE_S
            return 0
        self._again_at = -float("inf")
        with spool.room as room, room[len(start) :] as rest:
            size = self.logger.read_into(rest)
            filled = len(start) + size
            if size:
                self._count(room, filled)
                filled = self._thin(room, filled)
        if not size:
            spool.abandon()
            self._pass_over()
            return 0
        self._pass_bytes += size
        if filled:
            number, stored = spool.end(filled)
            self._continues = stored.unfinished or not self.logger.rewinds
            self._aligned = False
            self._begins = self._overrun = False
            emit(number, stored)
        else:
            spool.abandon()
        return size

    def _pass_over(self) -> None:
        if self.logger.rewinds:
            self._again, self._start = False, b""
            capacity, number = self.logger.capacity, self._number
            self._overrun = bool(capacity and number is not None and number + 1 >= capacity)
        self._end_pass()

    def _count(self, room: memoryview, filled: int) -> None:
        """Take the number of the last complete line; the difference to the one before says how many rows came."""
        last = bytes(room[max(0, filled - 1024) : filled])
        lines = last.split(b"\n")
        if len(lines) < 3:
            return
        number = _leading(lines[-2])
        if number is None:
            return
        before = self._number
        if before is None:
            first = _leading(bytes(room[: min(filled, 64)]))
            before = first - 1 if first is not None and first <= number else number
        self.rows += number - before if number > before else number + 1
        self._number = number

    def _thin(self, room: memoryview, filled: int) -> int:
        """Leave out what isn't wanted, by whole lines; what is cut at the end comes first in the next block."""
        if self._every == 1 and self._pattern is None:
            self._start = b""
            return filled
        text, newline, tail = bytes(room[:filled]).rpartition(b"\n")
        self._start = tail if newline else b""
        if not newline:
            # Longer than any row: passed on as it is.
            return filled
        if self._every > 1:
            lines = text.split(b"\n")
            text = b"\n".join(lines[self._phase :: self._every])
            self._phase = (self._phase - len(lines)) % self._every
        if self._pattern is not None:
            text = self._pattern.sub(_REPLACEMENT[len(self._keep)], text)
        if text:
            text += b"\n"
            room[: len(text)] = text
        # What was read beyond it would be taken for rows of the next block, if that is never ended.
        room[len(text) : filled] = bytes(filled - len(text))
        return len(text)


_scratch = bytearray(256 * 1024)
"""Where rows go that nobody wants."""

_REPLACEMENT = [b" ".join(b"\\%d" % (k + 1) for k in range(count)) for count in range(65)]


def _selection(columns: int, keep: tuple[int, ...]) -> re.Pattern[bytes]:
    """Matches a whole line, with those columns as groups; a malformed line is not matched, and so passed on whole."""
    fields = [rb"(\d+)" if k in keep else rb"\d+" for k in range(columns)]
    return re.compile(b"^" + b" ".join(fields) + b"$", re.MULTILINE)


def _leading(line: bytes) -> int | None:
    number = line.partition(b" ")[0]
    return int(number) if number.isdigit() and len(number) < 20 else None
