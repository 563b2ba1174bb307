"""An opened database of an experiment: one transaction a change, every error told as ours."""

import contextlib
import functools
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from mustherd.store import lock, records
from mustherd.store.database import DATABASE
from mustherd.store.errors import LockedError, NoRoomError, PassingError, StoreError

log = logging.getLogger(__name__)

RETRY_S = 1.0
"""Between two attempts to write where the disk is full, or another program has the database locked."""

P = ParamSpec("P")
R = TypeVar("R")
D = TypeVar("D", bound="OpenDatabase")


def one_change(method: "Callable[Concatenate[D, P], R]") -> "Callable[Concatenate[D, P], R]":
    """A method that is one transaction: where nothing can be written for now it is done again later, if we may wait."""

    @functools.wraps(method)
    def change(self: D, /, *args: P.args, **kwargs: P.kwargs) -> R:
        passed = ""
        while True:
            try:
                done = method(self, *args, **kwargs)
            except PassingError as error:
                if error.passed != passed:
                    log.error("%s; the experiment waits for %s", error, error.waits_for)  # noqa: TRY400 (that says all)
                passed = error.passed
                if not self.may_wait(RETRY_S):
                    raise
            else:
                if passed:
                    log.warning("%s: %s", self.folder, passed)
                return done

    return change


T = TypeVar("T")


class OpenDatabase:
    """What the parts of a store share: the connection, the clock, and who runs the experiment."""

    def __init__(self, folder: Path, connection: sqlite3.Connection, now: Callable[[], float]) -> None:
        self.folder = folder
        self._db = connection
        self._now = now
        self._lock = threading.RLock()
        self._which = self._file()
        """Which file it is: SQLite goes on writing to one that has lost its name, where nobody will find it."""
        self.may_wait: Callable[[float], bool] = lambda _: False
        """Called where nothing can be written for now: sleeps so many seconds and says whether to try again. Whoever
        runs an experiment sets it; anybody else is told at once."""

    def close(self) -> None:
        """Close the database; harmless when it's closed already."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @contextlib.contextmanager
    def own(self) -> Iterator[None]:
        """Be the one who runs this experiment; OwnedError names the pid of whoever does already.

        The kernel gives it back when the process dies, whatever it dies of.
        """
        with lock.own(self.folder):
            yield

    def owner(self) -> int | None:
        """The pid of the process that runs this experiment, None when nobody does."""
        return lock.owner_of(self.folder)

    def data_version(self) -> int:
        """A number that changes when another connection has changed anything: cheap to poll."""
        [[version]] = self._read("PRAGMA data_version")
        return int(version)

    @contextlib.contextmanager
    def _write(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._file() != self._which:
                raise StoreError(
                    f"{self.folder / DATABASE} was moved, removed or replaced while it was written: put back the one"
                    " that was there; what it has can be gone on with"
                )
            try:
                # NORMAL may lose the last commits to a power cut, never to a kill; the next FULL commit saves them too.
                self._db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                self._db.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                raise self._told(error) from error
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException as error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise self._told(error) from error
                raise

    def _each(
        self,
        rows: Sequence[tuple[Any, ...]],
        read: Callable[[tuple[Any, ...]], T],
        name: Callable[[tuple[Any, ...]], str],
        left_out: list[str] | None,
    ) -> list[T]:
        """Rows as values. One that can't be read is a StoreError, or where `left_out` is given a line in there."""
        found = []
        for row in rows:
            try:
                found.append(read(row))
            except records.UNREADABLE as error:
                line = f"{self.folder}: {name(row)} can't be read: {error}"
                if left_out is None:
                    raise StoreError(line) from None
                left_out.append(line)
        return found

    def _file(self) -> tuple[int, int] | None:
        try:
            found = (self.folder / DATABASE).stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _told(self, error: sqlite3.Error) -> StoreError:
        kinds = {sqlite3.SQLITE_FULL: NoRoomError, sqlite3.SQLITE_BUSY: LockedError}
        kind = kinds.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, StoreError)
        return kind(f"{self.folder} can't be written: {error}")

    def _read(self, sql: str, values: Sequence[object] | Mapping[str, object] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                return self._db.execute(sql, values).fetchall()
            except (sqlite3.Error, UnicodeDecodeError) as error:
                raise StoreError(f"{self.folder} can't be read: {error}") from error
