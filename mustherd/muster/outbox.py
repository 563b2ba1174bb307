"""Rows on their way to the shepherd: spooled on disk, sent in blocks, forgotten once they are safe there."""

import logging
from pathlib import Path

from mustherd import files
from mustherd.herd.flow import Sender
from mustherd.herd.timing import FLOW_RESEND_S
from mustherd.muster.config import LogsTable
from mustherd.muster.reports import pieces
from mustherd.muster.spool import Description, Spool, SpoolError, Stored
from mustherd.node.logger import Rows
from mustherd.wire import codec
from mustherd.wire import messages as m
from mustherd.wire.endpoints import MusterEndpoint

log = logging.getLogger(__name__)

PARKED_SPOOLS = 3
"""Spools kept for logs of other shepherds; the oldest beyond that go, and the log says so."""


class Outbox:
    """Keeps rows for one log at a time, named by the shepherd's welcome; none are kept before there is one."""

    def __init__(self, table: LogsTable, state: Path) -> None:
        self._table = table
        self._home = Path(table.spool) if table.spool else state / "spool"
        self._spool: Spool | None = None
        self._flow: Sender[Stored] = Sender()
        self._log = 0
        self._next_offer = float("inf")
        self._full = False
        self._renewed = False

    @property
    def wanted(self) -> bool:
        """Whether a shepherd has asked for rows."""
        return self._log != 0

    @property
    def last(self) -> int:
        """Number of the newest block; 0 without a spool."""
        return self._spool.last if self._spool is not None else 0

    @property
    def spool(self) -> int:
        """Number of the spool; 0 without one."""
        return self._spool.number if self._spool is not None else 0

    @property
    def folder(self) -> Path:
        """Where the rows of this log wait."""
        return self._home / f"{self._log:014x}"

    def welcome(self, log_number: int, now: float) -> None:
        """A shepherd took the muster in, and writes this log (0: none)."""
        if log_number != self._log and log_number:
            self._park()
            self._log = log_number
            self._unpark()
        self._flow.pause()
        self._next_offer = now if log_number and self._spool is not None else float("inf")

    def credit(self, credit: m.Credit, now: float) -> bool:
        """The shepherd's word on the flow; whether there is more room now."""
        if self._spool is None or credit.spool != self._spool.number:
            return False
        if self._flow.paused and not self._renewed and not self._flow.was_sent(credit.got):
            self._renew(self._spool, credit, now)
            return True
        more = bool(self._flow.credit(credit.ack, credit.got, credit.window, now))
        if more:
            self._spool.forget(self._flow.first - 1)
        if not self._flow.paused:
            self._next_offer = float("inf")
        return more

    def validate(self) -> None:
        """Raise AssertionError where the flow of blocks breaks a promise; for tests."""
        self._flow.validate()

    def next_due(self) -> float:
        """When there is something to send, if nothing arrives before."""
        return min(self._flow.next_due(), self._next_offer)

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

    def behind(self, most_bytes: int) -> bool:
        """Whether a shepherd that takes rows takes them more slowly than they come."""
        return not self._flow.paused and self._flow.kept_bytes >= most_bytes

    def ready(self) -> Spool | None:
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

    def add(self, _number: int, stored: Stored) -> None:
        """A block is in the spool."""
        self._flow.add(stored, stored.size)

    def keep(self, label: str, stream: str, rows: Rows) -> int:
        """Keep rows that came as columns; gives how many could not be kept."""
        unkept = 0
        spool = self.ready()
        if spool is None:
            return len(rows) if self._log else 0
        for piece in pieces(rows):
            content = codec.encode(m.RowColumns(first=piece.first, columns=piece.columns))
            description = Description(label=label, stream=stream, form="columns", columns=tuple(piece.columns))
            # As the block's start, since what is begun with may fill a file's last bit as well.
            if not spool.begin(description, content):
                unkept += len(piece)
                continue
            self.add(*spool.end(len(content)))
        return unkept

    def leave(self) -> None:
        """The process ends; what isn't safe elsewhere stays on disk."""
        if self._spool is not None:
            self._spool.close(remove=not self._flow.kept)
            self._spool = None

    def _offer(self, muster_epoch: int, shepherd_epoch: int, now: float) -> m.Offer | None:
        """What to ask the shepherd now, so that it says where to go on."""
        if now < self._next_offer or self._spool is None:
            return None
        self._next_offer = now + FLOW_RESEND_S
        return m.Offer(
            muster_epoch=muster_epoch, shepherd_epoch=shepherd_epoch, spool=self._spool.number, first=self._flow.first
        )

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

    def _open_spool(self) -> None:
        self._spool = spool = Spool(self.folder, self._table.spool_mib * 1024 * 1024)
        first = spool.recovered[0][0] if spool.recovered else spool.last + 1
        self._flow = Sender(first - 1)
        for _, stored in spool.recovered:
            self._flow.add(stored, stored.size, again=True)
        spool.recovered.clear()
        self._renewed = False
        self._next_offer = -float("inf")

    def _renew(self, spool: Spool, credit: m.Credit, now: float) -> None:
        """The shepherd has blocks that are gone here: the disk broke, or the power went. Its next ones are others."""
        log.error(
            "%s: the shepherd has blocks up to %d, which are gone here: the disk has lost what was written last; what"
            " comes now is kept under another number",
            spool.folder,
            credit.got,
        )
        durable = min(credit.ack, self._flow.newest_sent)
        self._flow.credit(durable, durable, 0, now)
        spool.forget(self._flow.first - 1)
        # Once: what a disk has lost it had lost when this life opened it.
        self._renewed = True
        spool.renew()
        self._flow.pause()
        self._next_offer = now

    def _park(self) -> None:
        self.leave()
        self._flow = Sender()

    def _unpark(self) -> None:
        """Go on with what a former life left for this log; make room where too many others wait."""
        if self.folder.exists():
            self.ready()
        try:
            others = sorted(
                (path for path in self._home.iterdir() if path != self.folder), key=lambda path: path.stat().st_mtime
            )
        except OSError:
            return
        for path in others[:-PARKED_SPOOLS]:
            log.error("%s: rows that no shepherd came back for are thrown away", path)
            files.remove_folder(path)
