"""The writer of logs: takes blocks from the shepherd's thread, makes them durable in threads of its own, says so."""

import contextlib
import copy
import errno
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from mustherd.files import sync_path
from mustherd.machine import given_out
from mustherd.node.intlog import packages
from mustherd.rowlog import native, parquet
from mustherd.rowlog.accounting import RowAccounting, StreamPosition
from mustherd.rowlog.ledger import DRAFT, Ledger
from mustherd.rowlog.parquet import ReceivedBlock
from mustherd.store.store import LOGS
from mustherd.wire import messages as m

log = logging.getLogger(__name__)

COMMIT_BYTES = 32 * 1024 * 1024
"""Rows of a muster that are written as soon as they are there: 220,000 of intlog's, half of what may be under way."""

IDLE_S = 0.5
"""A muster that has sent nothing for so long may be waiting for its window: what is there is written."""

AGE_S = 10.0
"""How long rows may wait for company."""

NAME_ERRORS = {errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ}
"""What a file system says of a name, not of itself: trying again changes nothing."""

ODD_TOLD = 100
"""Streams of which the log says that they are set aside."""

SYNCS_AT_ONCE = 16
"""Files that are put on disk side by side: a file system that is asked by many at once needs its journal once."""

MOST_PATIENCE = 4
"""How many times as long as it may stand still a flush is waited for at most, while rows are written."""

RETRY_S = 2.0
"""Between two attempts to write to a disk that is full or broken."""


@dataclass
class _Inbox:
    """What a muster's spool has sent and is not durable."""

    got: int
    blocks: list[ReceivedBlock] = field(default_factory=list)
    size: int = 0
    since: float = 0.0
    newest: float = 0.0
    durable: int = 0
    wanted: int = 0
    """Somebody waits for this number."""

    def ready(self, now: float) -> bool:
        """Whether to write what is there."""
        if not self.blocks:
            return False
        waits = self.size >= COMMIT_BYTES or self.wanted > self.durable
        return waits or now - self.newest >= IDLE_S or now - self.since >= AGE_S


class LogWriter:
    """Keeps the contract of mustherd.shepherd.sink.LogSink; `flush` and `accounts` are for the trials' threads."""

    def __init__(
        self,
        folder: Path,
        now: Callable[[], float] = time.monotonic,
        *,
        broken: Callable[[str], None] = lambda _: None,
        most_bytes: int | None = None,
    ) -> None:
        """`folder` is an experiment's. StoreError when its log can't be used, RowParserError for an unknown parser.

        The oldest files go when all together have more than `most_bytes`; None: all are kept.
        `broken` is called, from any thread, when nothing is written any more, and gets the reason.
        """
        native.which()
        self._logs = folder / LOGS
        self._ledger = Ledger(self._logs, write=True)
        self._now = now
        self.most_bytes = most_bytes
        self._durable: Callable[[str, int, int], None] = lambda _m, _s, _n: None
        self._changed = threading.Condition()
        self._safe = self._ledger.spools()
        self._moved = 0
        """How often blocks became durable."""
        self._inboxes: dict[tuple[str, int], _Inbox] = {}
        self._units: dict[str, dict[str, float]] = {}
        self._over = False
        self._complaint = ""
        self._odd: set[tuple[str, str]] = set()
        self._tell_broken = broken
        self.broken = ""
        """Why nothing is written any more; empty while all is well."""
        _put_right(self._logs, self._ledger)
        count = min(4, os.cpu_count() or 1)
        self._streams = ThreadPoolExecutor(count, thread_name_prefix="log-stream")
        self._texts = ThreadPoolExecutor(count, thread_name_prefix="log-text")
        self._syncs = ThreadPoolExecutor(SYNCS_AT_ONCE, thread_name_prefix="log-sync")
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    @property
    def log(self) -> int:
        return self._ledger.number

    def attach(self, durable: Callable[[str, int, int], None]) -> None:
        self._durable = durable

    def met(self, hello: m.Hello) -> None:
        units: dict[str, float] = {}
        if hello.facts.tsc_khz is not None:
            units["tsc_khz"] = hello.facts.tsc_khz
        zone = packages(hello.zones)
        if zone is not None:
            units |= {"joules_per_count": zone.joules_per_count, "counts_per_wrap": zone.counts_per_wrap}
        self._units[hello.muster] = units

    def watermark(self, muster: str, spool: int) -> int:
        with self._changed:
            return self._safe.get((muster, spool), 0)

    def put(self, muster: str, block: m.Block, rows: memoryview) -> None:
        with self._changed:
            inbox = self._inboxes.get((muster, block.spool))
            if inbox is None:
                safe = self._safe.get((muster, block.spool), 0)
                inbox = self._inboxes[muster, block.spool] = _Inbox(got=safe, durable=safe)
            if block.seq <= inbox.got:
                # The muster's next life sends what isn't durable yet once more; here it is under way.
                return
            now = self._now()
            if not inbox.blocks:
                inbox.since = now
            inbox.blocks.append(ReceivedBlock(block, rows))
            inbox.size += len(rows)
            inbox.got, inbox.newest = block.seq, now
            if inbox.ready(now) or len(inbox.blocks) == 1:
                self._changed.notify_all()

    @property
    def folder(self) -> Path:
        """Where the rows are."""
        return self._logs

    def flush(self, muster: str, spool: int, number: int, timeout_s: float) -> bool:
        """Wait until a spool's blocks up to `number` are durable; False when for so long none of anybody became that.

        A herd that is large, or on a busy machine, is waited for while rows are written, MOST_PATIENCE times as long at
        most: whose blocks are lost must not hold up its trial for ever.
        """
        if not spool or not number:
            return True
        with self._changed:
            begun = moved_at = self._now()
            moved = self._moved
            while self._safe.get((muster, spool), 0) < number:
                inbox = self._inboxes.get((muster, spool))
                if inbox is not None:
                    inbox.wanted = max(inbox.wanted, number)
                    self._changed.notify_all()
                now = self._now()
                if self._moved != moved:
                    moved, moved_at = self._moved, now
                left = min(moved_at + timeout_s, begun + MOST_PATIENCE * timeout_s) - now
                if left <= 0 or self.broken:
                    return False
                self._changed.wait(min(left, 0.1))
            return True

    def accounts(self, label: str, muster: str) -> dict[str, RowAccounting]:
        """Every stream's account of a trial, as far as it is durable."""
        with Ledger(self._logs) as ledger:
            return {booked.stream: booked.account for booked in ledger.accounts(label, muster)}

    def close(self) -> None:
        """Write what is there and end."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self._thread.join()
        for pool in (self._streams, self._texts, self._syncs):
            pool.shutdown()
        self._ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            log.critical("log rows are no longer written", exc_info=True)
            with self._changed:
                self._over = True
                self.broken = given_out(error) or f"{type(error).__name__}: {error}"
                self._changed.notify_all()
            self._tell_broken(f"log rows are no longer written: {self.broken}")

    def _work(self) -> None:
        while True:
            with self._changed:
                ready = self._ready()
                while not ready and not self._over:
                    self._changed.wait(IDLE_S / 2 if any(i.blocks for i in self._inboxes.values()) else None)
                    ready = self._ready()
                if self._over and not ready:
                    return
                work = []
                for key in ready:
                    inbox = self._inboxes[key]
                    work.append((key, inbox.blocks, inbox.size))
                    inbox.blocks, inbox.size = [], 0
            for key, blocks, size in work:
                self._commit(key, blocks, size)

    def _ready(self) -> list[tuple[str, int]]:
        now = self._now()
        return [key for key, inbox in self._inboxes.items() if inbox.ready(now) or (self._over and inbox.blocks)]

    def _commit(self, key: tuple[str, int], blocks: list[ReceivedBlock], size: int) -> None:
        """Make blocks durable, or put them back where they were and wait a moment."""
        muster, spool = key
        try:
            try:
                self._write(muster, spool, blocks)
            except (OSError, sqlite3.OperationalError):
                raise
            except Exception:
                log.exception("muster %s: a batch of rows is set aside", muster)
                self._write(muster, spool, blocks, aside=True)
        except (OSError, sqlite3.OperationalError) as error:
            if not self._complaint:
                # Once until it is over: each attempt may name another file.
                self._complaint = str(error)
                log.error("log rows can't be written: %s; musters keep them meanwhile", error)  # noqa: TRY400
            with self._changed:
                inbox = self._inboxes[key]
                inbox.blocks = blocks + inbox.blocks
                inbox.size += size
                if not self._over:
                    self._changed.wait(RETRY_S)
                    return
                # They stay with the muster, which sends them to the next life of this log.
                inbox.blocks = []
            return
        if self._complaint:
            self._complaint = ""
            log.warning("log rows are written again")
        number = blocks[-1].block.seq
        with self._changed:
            self._safe[key] = self._inboxes[key].durable = number
            self._moved += 1
            self._changed.notify_all()
        self._durable(muster, spool, number)

    def _write(self, muster: str, spool: int, blocks: list[ReceivedBlock], *, aside: bool = False) -> None:
        """Write and book a batch, or with `aside` keep it as it came."""
        streams: dict[tuple[str, str], list[ReceivedBlock]] = {}
        for arrived in blocks:
            streams.setdefault((arrived.block.label, arrived.block.stream), []).append(arrived)
        places = {key: self._ledger.place(key[0], muster, key[1]) for key in streams}
        units = self._units.get(muster, {})
        write = self._set_aside if aside else self._write_stream
        jobs = [self._streams.submit(write, muster, of, places[key], units) for key, of in streams.items()]
        outcomes = [job.exception() or job.result() for job in jobs]
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        written = dict(zip(streams, (job.result() for job in jobs), strict=True))
        files = [part for outcome in written.values() for part in outcome.parts]
        ends = {key: outcome.place for key, outcome in written.items()}
        list(self._syncs.map(sync_path, [path for outcome in written.values() for path in outcome.unsafe]))
        self._ledger.commit(muster, spool, blocks[-1].block.seq, files, ends)
        for part in files:
            path = self._logs / part.path
            path.with_name(path.name + DRAFT).rename(path)
        if (most_bytes := self.most_bytes) is not None:
            _rotate(self._logs, self._ledger, most_bytes)

    def _write_stream(
        self, muster: str, blocks: list[ReceivedBlock], place: StreamPosition, units: dict[str, float]
    ) -> parquet.Written:
        """Blocks of one stream; what can't be read is that stream's alone, and set aside. Raises OSError."""
        before = copy.deepcopy(place)
        try:
            return parquet.write(self._logs, muster, blocks, place, units=units, pool=self._texts)
        except Exception as error:  # whatever a block brings, others' rows must not wait for it
            if isinstance(error, OSError) and error.errno not in NAME_ERRORS:
                raise
            stream = (muster, blocks[0].block.stream)
            if stream not in self._odd and len(self._odd) < ODD_TOLD:
                self._odd.add(stream)
                log.error("muster %s: rows of stream %.80r are set aside: %s", *stream, str(error)[:200])  # noqa: TRY400
            return self._set_aside(muster, blocks, before)

    def _set_aside(
        self, muster: str, blocks: list[ReceivedBlock], place: StreamPosition, _units: dict[str, float] | None = None
    ) -> parquet.Written:
        return parquet.set_aside(self._logs, muster, blocks, place)


def _rotate(logs: Path, ledger: Ledger, most_bytes: int) -> None:
    """Remove the oldest files; one that a crash leaves behind isn't in the ledger, and goes at the next opening."""
    try:
        for part in ledger.rotate(most_bytes):
            path = logs / part.path
            path.unlink(missing_ok=True)
            for folder in (path.parent, path.parent.parent, path.parent.parent.parent):
                with contextlib.suppress(OSError):
                    folder.rmdir()
    except (OSError, sqlite3.Error) as error:
        # What was to be written is: the next batch tries again.
        log.warning("the log's oldest files can't be removed: %s", error)


def _put_right(logs: Path, ledger: Ledger) -> None:
    """After a crash: files that were committed get their names, all others go."""
    known = {part.path for part in ledger.parts()}
    for path in [*logs.rglob(f"*{DRAFT}"), *logs.rglob("*.parquet"), *logs.rglob(f"*{parquet.MALFORMED}")]:
        own = path.with_name(path.name.removesuffix(DRAFT))
        if str(own.relative_to(logs)) not in known:
            path.unlink()
        elif path != own:
            path.rename(own)
