"""The muster's text streams: read between an order to start and one to stop, and their rows counted."""

import itertools
import logging
from collections.abc import Sequence

from mustherd.muster.config import LogsTable
from mustherd.muster.tap import Tap
from mustherd.muster.window import Streams
from mustherd.node.logger import TextLogger
from mustherd.wire import messages as m

log = logging.getLogger(__name__)

END_S = 10.0
"""How long streams may take to be read to their end."""


class Taps:
    """A tap on each stream that the configuration takes, and the order under way: a window's or an operator's."""

    def __init__(self, loggers: Sequence[TextLogger], table: LogsTable, *, again: bool = True) -> None:
        self._table = table
        self._turn = itertools.count(1)
        self._turns: dict[Tap, int] = {}
        self._taps = {logger.stream: Tap(logger, again=again) for logger in loggers if table.takes(logger.stream)}
        self._waiting_until = float("inf")
        self._lost: dict[str, int] = {}
        self._order: m.LogOrder | None = None
        self._objection = ""

    def streams(self) -> tuple[str, ...]:
        """Names of the text streams that may be read."""
        return tuple(self._taps)

    def due(self, now: float) -> list[Tap]:
        """Taps whose pass is due or under way, the one in front that was not read for longest."""
        due = [tap for tap in self._taps.values() if tap.next_pass() <= now]
        return sorted(due, key=lambda tap: self._turns.get(tap, 0))

    def took_turn(self, tap: Tap) -> None:
        """A tap has been read; others that are due go before it next time."""
        self._turns[tap] = next(self._turn)

    def next_pass(self) -> float:
        """When a stream has something to do."""
        return min((tap.next_pass() for tap in self._taps.values()), default=float("inf"))

    def flush(self, streams: Sequence[str], now: float) -> None:
        """Throw away what has piled up; `busy` until that is done."""
        for name in streams or self._taps:
            self._taps[name].flush(now)
        self._waiting_until = now + END_S

    def open(self, streams: Sequence[str], label: str, now: float, every: int = 0, columns: Sequence[str] = ()) -> None:
        """Keep rows from now on. KeyError for a stream that isn't there, ValueError for a column."""
        for name in streams or self._taps:
            self._taps[name].open(
                label, now, every=every or self._table.every, columns=tuple(columns) or self._table.columns
            )
        self._lost.clear()

    def close(self, streams: Sequence[str], now: float) -> None:
        """Read to the end and stop; `busy` until that is done."""
        for name in streams or self._taps:
            if self._taps[name].label:
                self._taps[name].close(now)
        self._waiting_until = now + END_S

    def stop(self) -> None:
        """Read nothing more."""
        for tap in self._taps.values():
            tap.stop()
        self._waiting_until = float("inf")
        self._order = None

    def busy(self, now: float) -> bool:
        """Whether streams are still on their way to an end that was asked for."""
        unfinished = [name for name, tap in self._taps.items() if tap.busy]
        if unfinished and now >= self._waiting_until:
            for name in unfinished:
                log.error("stream %s did not come to its end within %g s", name, END_S)
                self._taps[name].stop()
                # Nobody knows how many rows it still holds.
                self._lost[name] = self._lost.get(name, 0) + 1
            return False
        return bool(unfinished)

    def direct(self, wanted: Streams, label: str, now: float) -> None:
        """Have the text streams do what a window wants of them."""
        match wanted:
            case Streams.FLUSH:
                self.flush((), now)
            case Streams.OPEN:
                self.open((), label, now)
            case Streams.CLOSE:
                self.close((), now)

    def order(self, order: m.LogOrder, now: float, *, in_use: bool) -> None:
        """Begin to carry an order out; `answer` says when it is."""
        self._order, self._objection, wanted = order, "", order.wanted
        try:
            if in_use:
                self._objection = "the streams are in use: a window is under way"
            elif wanted.action == "start":
                self.open(wanted.streams, wanted.label, now, wanted.every, wanted.columns)
            elif wanted.action == "flush":
                self.flush(wanted.streams, now)
            else:
                self.close(wanted.streams, now)
        except KeyError as error:
            self._objection = f"there is no text stream {error} on this node"
        except ValueError as error:
            self._objection = str(error)

    def answer(self, now: float, *, spool: int, last_block: int) -> m.Logged | None:
        """What became of the order under way; None while there is none, or it isn't carried out yet."""
        order = self._order
        if order is None or (not self._objection and self.busy(now)):
            return None
        self._order = None
        rows, lost = ({}, {}) if self._objection else self.counts()
        return m.Logged(
            order=order.order,
            error=self._objection[:2000],
            spool=spool,
            last_block=last_block,
            rows=rows,
            rows_lost=lost,
        )

    def counts(self) -> tuple[dict[str, int], dict[str, int]]:
        """Rows that sources produced since `open`, and rows known to be lost on the way to here."""
        rows = {name: tap.rows for name, tap in self._taps.items()}
        lost = dict(self._lost)
        for name, tap in self._taps.items():
            if tap.error:
                log.error("stream %s: %s", name, tap.error)
                lost[name] = lost.get(name, 0) + 1
        return rows, lost
