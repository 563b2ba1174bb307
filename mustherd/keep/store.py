"""A keeper on disk: what was in force when and why, what it saved, and what it goes on with after a kill.

`keep.sqlite` in a folder of its own; one process writes, any number read meanwhile. Times are Unix seconds. The oldest
lines go when there are too many, so that it never grows beyond some tens of megabytes.
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import msgspec

from mustherd import files, guard
from mustherd.errors import UserError
from mustherd.keep.events import Decide, Paired, Story
from mustherd.keep.ledger import Day
from mustherd.locks import FileLock, LockedError
from mustherd.store.database import DATABASE as EXPERIMENT
from mustherd.store.database import only_ours

DATABASE = "keep.sqlite"
LOCK = "keep.lock"
APPLICATION_ID = 0x6D686B70
VERSION = 1
MOST_LINES = 50_000
"""Of each table of lines that is kept."""
PRUNE_EVERY = 1000

SQL = """
CREATE TABLE state (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE story (id INTEGER PRIMARY KEY, at REAL NOT NULL, node TEXT NOT NULL, kind TEXT NOT NULL,
    text TEXT NOT NULL);
CREATE TABLE decision (id INTEGER PRIMARY KEY, at REAL NOT NULL, node TEXT NOT NULL, settings TEXT NOT NULL,
    why TEXT NOT NULL);
CREATE TABLE pair (id INTEGER PRIMARY KEY, at REAL NOT NULL, node TEXT NOT NULL, load REAL NOT NULL,
    default_power REAL NOT NULL, kept_power REAL NOT NULL, settings TEXT NOT NULL);
CREATE TABLE day (number INTEGER PRIMARY KEY, sums TEXT NOT NULL);
"""


class KeepStoreError(UserError):
    """A keeper's folder can't be used; the message names it."""


class UnwrittenError(KeepStoreError):
    """It could be used until now: the herd has been tuned."""

    exit_code = 3


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the story, as it was stored."""

    at: float
    node: str
    kind: str
    text: str


class KeepStore:
    """A keeper's folder, opened; a context manager. Calls come from one thread, and raise KeepStoreError."""

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        """Open it; one that isn't there is made unless it is only read. KeepStoreError: another process writes it."""
        self.folder = folder.absolute()
        path = self.folder / DATABASE
        self._open = contextlib.ExitStack()
        self._written = 0
        try:
            if read_only:
                if not path.is_file():
                    raise KeepStoreError(f"{self.folder} holds no keeper: it has no {DATABASE}")
                guard.require_plain_database(path)
                database = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)
            else:
                if (self.folder / EXPERIMENT).exists():
                    raise KeepStoreError(f"{self.folder} holds an experiment: a keeper needs a folder of its own")
                files.folder(self.folder)
                guard.require_plain(self.folder)
                guard.require_plain_database(path, write=True)
                self._open.callback(FileLock(self.folder / LOCK).close)
                database = sqlite3.connect(path, isolation_level=None)
            self._open.callback(database.close)
            self._database = database
            database.execute("PRAGMA busy_timeout = 10000")
            only_ours(database)
            [version] = database.execute("PRAGMA user_version").fetchone()
            if not version and not read_only:
                database.execute("PRAGMA journal_mode = WAL")
                database.executescript(f"BEGIN; {SQL} PRAGMA application_id = {APPLICATION_ID};"
                                       f" PRAGMA user_version = {VERSION}; COMMIT;")  # fmt: skip
            elif version != VERSION:
                raise KeepStoreError(f"{path} has tables of version {version}, this program reads version {VERSION}")
        except LockedError as error:
            self._open.close()
            raise KeepStoreError(f"{self.folder}: another keeper runs there ({error})") from None
        except guard.GuardError as error:
            self._open.close()
            raise KeepStoreError(str(error)) from None
        except (sqlite3.Error, OSError) as error:
            self._open.close()
            raise KeepStoreError(f"{path} can't be used: {error}") from error
        except BaseException:
            self._open.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder."""
        self._open.close()

    def write(self, at: float, actions: list[Story | Decide | Paired]) -> None:
        """Lines that belong together, in one transaction."""
        if not actions:
            return
        with self._transaction() as database:
            for one in actions:
                match one:
                    case Story():
                        row = (at, one.node, one.kind, one.text)
                        database.execute("INSERT INTO story (at, node, kind, text) VALUES (?, ?, ?, ?)", row)
                    case Decide():
                        told = (at, one.node, _text(one.settings), one.why)
                        database.execute("INSERT INTO decision (at, node, settings, why) VALUES (?, ?, ?, ?)", told)
                    case Paired():
                        pair = (at, one.node, one.load, one.default_power, one.kept_power, _text(one.settings))
                        database.execute(
                            "INSERT INTO pair (at, node, load, default_power, kept_power, settings)"
                            " VALUES (?, ?, ?, ?, ?, ?)",
                            pair,
                        )
            self._written += len(actions)
            if self._written >= PRUNE_EVERY:
                self._written = 0
                for table in ("story", "decision", "pair"):
                    database.execute(
                        f"DELETE FROM {table} WHERE id <= (SELECT max(id) FROM {table}) - {MOST_LINES}"  # noqa: S608
                    )

    def save(self, state: Mapping[str, Any], days: list[Day]) -> None:
        """What the keeper knows now: each key's value as JSON, and the ledger's newest days."""
        with self._transaction() as database:
            for key, value in state.items():
                database.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (key, _text(value)))
            for day in days[-2:]:
                database.execute("INSERT OR REPLACE INTO day VALUES (?, ?)", (day.number, _text(day)))

    def state(self, key: str, kind: Any) -> Any:
        """What was saved under a key, as `kind`; None: nothing."""
        found = self._all("SELECT value FROM state WHERE key = ?", key)
        return self._decoded(key, found[0][0], kind) if found else None

    def days(self) -> list[Day]:
        """The ledger's days, the newest last."""
        return [self._decoded("a day", sums, Day) for (sums,) in self._all("SELECT sums FROM day ORDER BY number")]

    def story(self, last: int = 100) -> list[Line]:
        """The newest lines, the newest last."""
        rows = self._all("SELECT at, node, kind, text FROM story ORDER BY id DESC LIMIT ?", last)
        return [Line(at=at, node=node, kind=kind, text=text) for at, node, kind, text in reversed(rows)]

    def decisions(self, last: int = 100) -> list[tuple[float, str, dict[str, int], str]]:
        """When, of which node, what and why: the newest last."""
        rows = self._all("SELECT at, node, settings, why FROM decision ORDER BY id DESC LIMIT ?", last)
        kind = dict[str, int]
        return [(at, node, self._decoded("a decision", of, kind), why) for at, node, of, why in reversed(rows)]

    def _decoded(self, what: str, text: Any, kind: Any) -> Any:
        try:
            return msgspec.json.decode(text, type=kind)
        except (msgspec.MsgspecError, TypeError) as error:
            raise KeepStoreError(f"{self.folder / DATABASE}: {what} can't be read: {error}") from error

    def _all(self, what: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            return self._database.execute(what, values).fetchall()
        except sqlite3.Error as error:
            raise KeepStoreError(f"{self.folder / DATABASE} can't be read: {error}") from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            raise UnwrittenError(f"{self.folder / DATABASE} can't be written: {error}") from error


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()
