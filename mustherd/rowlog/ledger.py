"""The log's ledger: which files hold which blocks, up to where musters' spools are safe, and every stream's account.

`logs/ledger.sqlite` beside the Parquet files. A batch of blocks is committed here after its files are on disk under
draft names; then they get their own. What a crash leaves between the two is put right at the next opening.
"""

import contextlib
import json
import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

import msgspec

from mustherd import files
from mustherd.rowlog.accounting import RowAccounting, StreamPosition
from mustherd.store.database import BUSY_MILLISECONDS, connect_to_read, only_ours, require_no_link, require_plain
from mustherd.store.errors import StoreError
from mustherd.terms import MAX_VALUE

FILE = "ledger.sqlite"
DRAFT = ".part"
"""What a file's name ends with until it is committed."""

VERSION = 1

MOST_EMPTY = 10_000
"""Accounts that are kept of streams whose files have all gone."""

_TABLES = """
CREATE TABLE log (number INTEGER NOT NULL, version INTEGER NOT NULL);
CREATE TABLE part (
    path TEXT PRIMARY KEY,
    label TEXT NOT NULL,
    muster TEXT NOT NULL,
    stream TEXT NOT NULL,
    first_row INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    bytes INTEGER NOT NULL
);
CREATE INDEX part_of ON part (label, muster, stream, first_row);
CREATE TABLE spool (muster TEXT NOT NULL, spool INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (muster, spool));
CREATE TABLE stream (
    label TEXT NOT NULL,
    muster TEXT NOT NULL,
    stream TEXT NOT NULL,
    account TEXT NOT NULL CHECK (json_valid(account)),
    place BLOB NOT NULL,
    PRIMARY KEY (label, muster, stream)
);
"""


class PartFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file: rows of one stream in order, or lines set aside."""

    path: str
    """Below the folder `logs`."""
    label: str
    muster: str
    stream: str
    first_row: int
    rows: int
    size: int


class Booked(msgspec.Struct, frozen=True, kw_only=True):
    """A stream's account with its names."""

    label: str
    muster: str
    stream: str
    account: RowAccounting


class NoLogError(StoreError):
    """There is no log to read, or its first process is only making it."""


class Ledger:
    """One process writes, from one thread; any number read."""

    def __init__(self, folder: Path, *, write: bool = False) -> None:
        """`folder` is an experiment's `logs`. NoLogError when there is none to read, StoreError for another version.

        To read it makes a file beside it, so that no link leads to it.
        """
        self.folder = folder
        require_no_link(folder)
        file = folder / FILE
        if not write and not file.exists():
            raise NoLogError(f"{folder} holds no log")
        if file.exists() and not file.is_file():
            raise StoreError(f"{file} can't be used: not a regular file")
        try:
            if write:
                files.folder(folder)
                require_plain(file, write=True)
            self._database = (
                sqlite3.connect(file, check_same_thread=False, timeout=BUSY_MILLISECONDS / 1000)
                if write
                else connect_to_read(file.absolute())
            )
            self.number = self._prepare(write=write)
        except (OSError, sqlite3.Error, TypeError, UnicodeDecodeError) as error:
            raise StoreError(f"{file} can't be used: {error}") from error

    def _prepare(self, *, write: bool) -> int:
        """The log's number. What is wrong with the file ends the connection."""
        with contextlib.ExitStack() as on_error:
            on_error.callback(self._database.close)
            if write:
                only_ours(self._database)
                self._database.execute("PRAGMA journal_mode = WAL")
                self._database.execute("PRAGMA synchronous = FULL")
                self._make()
            if not self._made():
                raise NoLogError(f"{self.folder} holds no log")
            number, version = self._database.execute("SELECT number, version FROM log").fetchone()
            if version != VERSION:
                raise StoreError(f"{self.folder / FILE} is of version {version}, this program writes {VERSION}")
            on_error.pop_all()
        return int(number)

    def _make(self) -> None:
        if self._made():
            return
        with self._database:
            self._database.executescript(f"BEGIN; {_TABLES}")
            self._database.execute("INSERT INTO log VALUES (?, ?)", (secrets.randbelow(MAX_VALUE) + 1, VERSION))

    def _made(self) -> bool:
        return self._database.execute("SELECT 1 FROM sqlite_master WHERE name = 'log'").fetchone() is not None

    def spools(self) -> dict[tuple[str, int], int]:
        """Number of the last durable block of every spool ever seen, by muster and spool."""
        with self._reading():
            rows = self._database.execute("SELECT muster, spool, seq FROM spool")
            return {(str(muster), int(spool)): int(seq) for muster, spool, seq in rows}

    def place(self, label: str, muster: str, stream: str) -> StreamPosition:
        """Where a stream stands; at its beginning if it was never seen."""
        found = self._database.execute(
            "SELECT place FROM stream WHERE (label, muster, stream) = (?, ?, ?)", (label, muster, stream)
        ).fetchone()
        return (
            msgspec.msgpack.decode(found[0], type=StreamPosition) if found else StreamPosition(account=RowAccounting())
        )

    def commit(
        self,
        muster: str,
        spool: int,
        seq: int,
        parts: Iterable[PartFile],
        places: dict[tuple[str, str], StreamPosition],
    ) -> None:
        """Blocks of a spool up to `seq` are in these files; `places` by label and stream. Raises sqlite3.Error."""
        with self._database as database:
            database.executemany(
                "INSERT INTO part VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(p.path, p.label, p.muster, p.stream, p.first_row, p.rows, p.size) for p in parts],
            )
            database.executemany(
                "INSERT OR REPLACE INTO stream VALUES (?, ?, ?, ?, ?)",
                [(label, muster, stream, *_stored(p)) for (label, stream), p in places.items()],
            )
            database.execute("INSERT OR REPLACE INTO spool VALUES (?, ?, ?)", (muster, spool, seq))

    def parts(self, label: str | None = None, muster: str | None = None, stream: str | None = None) -> list[PartFile]:
        """Files, in the order of their rows."""
        where, values = _where(label=label, muster=muster, stream=stream)
        with self._reading():
            rows = self._database.execute(
                f"SELECT path, label, muster, stream, first_row, rows, bytes FROM part{where}"  # noqa: S608 (our names)
                " ORDER BY label, muster, stream, first_row, path",
                values,
            )
            return [msgspec.convert(dict(zip(PartFile.__struct_fields__, row, strict=True)), PartFile) for row in rows]

    def accounts(self, label: str | None = None, muster: str | None = None) -> list[Booked]:
        """Streams' accounts."""
        where, values = _where(label=label, muster=muster)
        with self._reading():
            rows = self._database.execute(
                f"SELECT label, muster, stream, account FROM stream{where} ORDER BY label, muster, stream",  # noqa: S608
                values,
            )
            return [
                Booked(
                    label=str(r[0]),
                    muster=str(r[1]),
                    stream=str(r[2]),
                    account=msgspec.json.decode(r[3], type=RowAccounting),
                )
                for r in rows
            ]

    def size(self) -> int:
        """Bytes of all files."""
        return int(self._database.execute("SELECT coalesce(sum(bytes), 0) FROM part").fetchone()[0])

    def _count(self) -> int:
        return int(self._database.execute("SELECT count(*) FROM part").fetchone()[0])

    def rotate(self, most_bytes: int) -> list[PartFile]:
        """Let go of the oldest files, in the order in which they were committed, until the others are small enough.

        The newest stays, however large. Gives what no longer counts: the files are the caller's to remove. Raises
        sqlite3.Error.
        """
        left, gone = self.size(), list[PartFile]()
        if left <= most_bytes:
            return gone
        names = "path, label, muster, stream, first_row, rows, bytes"
        for row in self._database.execute(f"SELECT {names} FROM part ORDER BY rowid LIMIT {self._count() - 1}"):  # noqa: S608
            part = msgspec.convert(dict(zip(PartFile.__struct_fields__, row, strict=True)), PartFile)
            gone.append(part)
            left -= part.size
            if left <= most_bytes:
                break
        rows: dict[tuple[str, str, str], int] = {}
        for part in gone:
            of = (part.label, part.muster, part.stream)
            rows[of] = rows.get(of, 0) + part.rows
        with self._database as database:
            database.executemany("DELETE FROM part WHERE path = ?", [(part.path,) for part in gone])
            for (label, muster, stream), count in rows.items():
                place = self.place(label, muster, stream)
                place.account.rotated += count
                database.execute(
                    "UPDATE stream SET account = ?, place = ? WHERE (label, muster, stream) = (?, ?, ?)",
                    (*_stored(place), label, muster, stream),
                )
            # A stream that is still written to is among the newest.
            database.execute(
                "DELETE FROM stream WHERE rowid <= (SELECT max(rowid) FROM stream) - ? AND NOT EXISTS (SELECT 1 FROM"
                " part WHERE (part.label, part.muster, part.stream) = (stream.label, stream.muster, stream.stream))",
                (MOST_EMPTY,),
            )
        return gone

    def file(self, part: PartFile) -> Path:
        """Where a committed file lies: under its own name, or still its draft's; its own where it is gone."""
        path = self.folder / part.path
        beside = path.with_name(path.name + DRAFT)
        return beside if not path.exists() and beside.exists() else path

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, msgspec.MsgspecError, ValueError, TypeError) as error:
            raise StoreError(f"{self.folder / FILE} can't be read: {error}") from error

    def close(self) -> None:
        """Give the database back."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def accounts_by_label(folder: Path) -> dict[str, RowAccounting]:
    """Of an experiment's `logs`, over all musters and streams; empty where nothing is logged. StoreError otherwise."""
    try:
        with Ledger(folder) as ledger:
            found: dict[str, RowAccounting] = {}
            for booked in ledger.accounts():
                found.setdefault(booked.label, RowAccounting(malformed={}, lost={})).add(booked.account)
            return found
    except NoLogError:
        return {}


def _stored(place: StreamPosition) -> tuple[str, bytes]:
    """A stream's account and place as the table has them."""
    return json.dumps(msgspec.to_builtins(place.account)), msgspec.msgpack.encode(place)


def _where(**wanted: str | None) -> tuple[str, list[str]]:
    given = {name: value for name, value in wanted.items() if value is not None}
    clause = " AND ".join(f"{name} = ?" for name in given)
    return (f" WHERE {clause}" if clause else ""), list(given.values())
