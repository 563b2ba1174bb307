"""The muster's logs: taps, spool and flow; rows come in from the node's sources and leave in blocks."""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from mustherd.herd.flow import Sender
from mustherd.herd.timing import FLOW_RESEND_S
from mustherd.muster.config import LogsTable
from mustherd.muster.reports import pieces
from mustherd.muster.spool import Description, Spool, SpoolError, Stored
from mustherd.muster.tap import Tap
from mustherd.muster.window import Streams
from mustherd.node.logger import Rows, TextLogger
from mustherd.wire import codec
from mustherd.wire import messages as m
from mustherd.wire.endpoints import MusterEndpoint

log = logging.getLogger(__name__)

PIECE_BYTES = 2 * 1024 * 1024
"""Read in one go at most, over all streams: heartbeats come in between."""

END_S = 10.0
"""How long streams may take to be read to their end."""

RETRY_S = 1.0
"""Until a spool that could not be made is tried again."""

COMPLAINT_S = 60.0
"""Between two lines that say that a spool is full."""

HELD_BYTES = 64 * 1024 * 1024
"""Rows that are held for a shepherd which is taking some. Beyond this more are read only from sources that would lose
them: a disk is for the time when the shepherd is away, not for the time when it is slower than a source."""

HELD_PAUSE_S = 0.01
"""Until such a source is looked at again, if no credit comes before."""

PARKED_SPOOLS = 3
"""Spools kept for logs of other shepherds; the oldest beyond that go, and the log says so."""


class Logs:
    """Everything that a muster does with rows. Rows are kept for one log at a time, named by the shepherd's welcome."""

    def __init__(self, loggers: Sequence[TextLogger], table: LogsTable, state: Path, *, again: bool = True) -> None:
        self._table = table
        self._home = Path(table.spool) if table.spool else state / "spool"
        self._taps = {logger.stream: Tap(logger, again=again) for logger in loggers if table.takes(logger.stream)}
        self._spool: Spool | None = None
        self._flow: Sender[Stored] = Sender()
        self._log = 0
        self._next_offer = float("inf")
        self._waiting_until = float("inf")
        self._full = False
        self._next_complaint = -float("inf")
        self._retry_at = -float("inf")
        self._lost: dict[str, int] = {}
        self._order: m.LogOrder | None = None
        self._objection = ""

    # --- the shepherd ---

    def welcome(self, log_number: int, now: float) -> None:
        """A shepherd reigns, and writes this log (0: none)."""
        if log_number != self._log and log_number:
            self._park()
            self._log = log_number
            self._unpark()
        self._flow.pause()
        self._next_offer = now if log_number and self._spool is not None else float("inf")

    def _offer(self, muster_epoch: int, shepherd_epoch: int, now: float) -> m.Offer | None:
        """What to ask the shepherd now, so that it says where to go on."""
        if now < self._next_offer or self._spool is None:
            return None
        self._next_offer = now + FLOW_RESEND_S
        return m.Offer(
            muster_epoch=muster_epoch, shepherd_epoch=shepherd_epoch, spool=self._spool.number, first=self._flow.first
        )

    def credit(self, credit: m.Credit, now: float) -> None:
        """The shepherd's word on the flow."""
        if self._spool is None or credit.spool != self._spool.number:
            return
        if self._flow.credit(credit.ack, credit.got, credit.window, now):
            self._spool.forget(self._flow.first - 1)
            self._retry_at = -float("inf")
        if not self._flow.paused:
            self._next_offer = float("inf")

    def ship(self, end: MusterEndpoint, muster_epoch: int, shepherd_epoch: int, now: float) -> bool:
        """Send what is due; False when the network takes no more just now."""
        offer = self._offer(muster_epoch, shepherd_epoch, now)
        if offer is not None:
            end.send_offer(offer)
        for seq, stored in self._flow.due(now):
            try:
                block, rows = self._block(seq, stored, muster_epoch, shepherd_epoch)
            except OSError:
                log.exception("a block can't be read from the spool")
                self._flow.not_sent(seq)
                return False
            if not end.send_block(block, rows):
                self._flow.not_sent(seq)
                return False
        return True

    def _block(
        self, number: int, stored: Stored, muster_epoch: int, shepherd_epoch: int
    ) -> tuple[m.Block, bytes | memoryview]:
        """A block as a message. Raises OSError."""
        if self._spool is None:
            raise ValueError("there is no spool")
        d = stored.description
        block = m.Block(
            muster_epoch=muster_epoch,
            shepherd_epoch=shepherd_epoch,
            spool=self._spool.number,
            seq=number,
            label=d.label,
            stream=d.stream,
            form=d.form,
            columns=d.columns,
            every=d.every,
            pass_begins=d.pass_begins,
            again=d.again,
            continues=d.continues,
            unfinished=stored.unfinished,
            overrun=d.overrun,
        )
        return block, self._spool.load(stored)

    @property
    def last(self) -> int:
        """Number of the newest block; 0 without a spool."""
        return self._spool.last if self._spool is not None else 0

    @property
    def spool(self) -> int:
        """Number of the spool; 0 without one."""
        return self._spool.number if self._spool is not None else 0

    # --- streams ---

    def streams(self) -> tuple[str, ...]:
        """Text streams that may be read."""
        return tuple(self._taps)

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

    def answer(self, now: float) -> m.Logged | None:
        """What became of the order under way; None while there is none, or it isn't carried out yet."""
        order = self._order
        if order is None or (not self._objection and self.busy(now)):
            return None
        self._order = None
        rows, lost = ({}, {}) if self._objection else self.counts()
        return m.Logged(
            order=order.order,
            error=self._objection[:2000],
            spool=self.spool,
            last_block=self.last,
            rows=rows,
            rows_lost=lost,
        )

    def counts(self, streams: Sequence[str] = ()) -> tuple[dict[str, int], dict[str, int]]:
        """Rows that sources produced since `open`, and rows known to be lost on the way to here."""
        names = streams or list(self._taps)
        rows = {name: self._taps[name].rows for name in names}
        lost = dict(self._lost)
        for name in names:
            if self._taps[name].error:
                log.error("stream %s: %s", name, self._taps[name].error)
                lost[name] = lost.get(name, 0) + 1
        return rows, lost

    def next_work(self) -> float:
        """When a stream has something to do."""
        return max(min((tap.next_pass() for tap in self._taps.values()), default=float("inf")), self._retry_at)

    def work(self, now: float) -> None:
        """Read what is due, PIECE_BYTES at most."""
        if now < self.next_work():
            return
        left, spool = PIECE_BYTES, self._ready()
        if spool is None and self._log:
            self._retry_at = now + RETRY_S
            return
        held = not self._flow.paused and self._flow.kept_bytes >= HELD_BYTES
        for tap in sorted(self._taps.values(), key=Tap.next_pass):
            if left <= 0 or tap.next_pass() > now:
                return
            if held and tap.label and not tap.busy and tap.can_wait(now):
                self._retry_at = now + HELD_PAUSE_S
                continue
            left -= tap.work(spool, self._emit, now)
            if tap.waits_for_room:
                self._tell_of_room(now)

    def next_due(self) -> float:
        """When there is something to send, if nothing arrives before."""
        return min(self._flow.next_due(), self._next_offer)

    def keep(self, label: str, stream: str, rows: Rows) -> int:
        """Keep rows that came as columns; gives how many could not be kept."""
        unkept = 0
        spool = self._ready()
        if spool is None:
            return len(rows) if self._log else 0
        for piece in pieces(rows):
            content = codec.encode(m.RowColumns(first=piece.first, columns=piece.columns))
            description = Description(label=label, stream=stream, form="columns", columns=tuple(piece.columns))
            # As the block's start, since what is begun with may fill a file's last bit as well.
            if not spool.begin(description, content):
                unkept += len(piece)
                continue
            self._emit(*spool.end(len(content)))
        return unkept

    def leave(self) -> None:
        """The process ends; what isn't safe elsewhere stays on disk."""
        self.stop()
        if self._spool is not None:
            self._spool.close(remove=not self._flow.kept)
            self._spool = None

    # --- inside ---

    def _tell_of_room(self, now: float) -> None:
        """Not for each piece that finds none: where the shepherd is slow there is some, and none, and some."""
        if now >= self._next_complaint:
            self._next_complaint = now + COMPLAINT_S
            log.warning(
                "%s has no room for more rows (spool_mib = %d, or the disk is full): they wait in their sources, "
                "and what these can't hold is lost and counted",
                self._folder(),
                self._table.spool_mib,
            )

    def _emit(self, _number: int, stored: Stored) -> None:
        self._flow.add(stored, stored.size)

    def _ready(self) -> Spool | None:
        """The spool of the log that is written, made when the first row comes; None when no rows are wanted."""
        if self._spool is None and self._log:
            try:
                self._open_spool()
            except SpoolError as error:
                if not self._full:
                    log.error("%s", error)  # noqa: TRY400 (the message says all)
                self._full = True
                return None
        return self._spool

    def _folder(self) -> Path:
        return self._home / f"{self._log:014x}"

    def _open_spool(self) -> None:
        self._spool = spool = Spool(self._folder(), self._table.spool_mib * 1024 * 1024)
        first = spool.recovered[0][0] if spool.recovered else spool.last + 1
        self._flow = Sender(first - 1)
        for _, stored in spool.recovered:
            self._flow.add(stored, stored.size)
        spool.recovered.clear()
        self._next_offer = -float("inf")

    def _park(self) -> None:
        if self._spool is not None:
            self._spool.close(remove=not self._flow.kept)
            self._spool = None
        self._flow = Sender()

    def _unpark(self) -> None:
        """Go on with what a former life left for this log; make room where too many others wait."""
        if self._folder().exists():
            self._ready()
        try:
            others = sorted(
                (path for path in self._home.iterdir() if path != self._folder()), key=lambda path: path.stat().st_mtime
            )
        except OSError:
            return
        for path in others[:-PARKED_SPOOLS]:
            log.error("%s: rows that no shepherd came back for are thrown away", path)
            shutil.rmtree(path, ignore_errors=True)
