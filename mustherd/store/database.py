"""The file under the store: how it is made and how it is opened."""

import contextlib
import os
import platform
import re
import sqlite3
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import msgspec

from mustherd import guard
from mustherd.store import lock, migration, schema
from mustherd.store.errors import StoreError

DATABASE = "store.sqlite"
"""The database's file in an experiment's folder."""

BUSY_MILLISECONDS = 10_000
"""How long a call waits for another process's write before it gives up."""

VALUE_BYTES = 64 * 2**20
"""The longest value that is read: far more than any of ours, and too little for one that fills a machine's memory."""

VIEWS = re.findall(r"CREATE VIEW \w+ AS[^;]*", schema.SQL)
"""Of what our schemas have beside tables and their indexes: views, each as it was made."""

_INDEX = re.compile(r"CREATE (UNIQUE )?INDEX |$")
"""How an index's text begins; one that a table needs by itself has none."""

_STILL = "immutable=1"
"""A database that nobody writes, beside which SQLite then makes no file either."""

_PACKAGES = ("msgspec", "numpy", "pyzmq", "scikit-learn", "scikit-optimize", "scipy")
"""Packages whose versions may change what is measured or proposed."""


def versions() -> dict[str, str]:
    """The versions of ourselves, of Python, of the system and of the packages that matter."""
    found = {"mustherd": "", "python": platform.python_version(), "system": platform.platform(terse=True)}
    for package in ("mustherd", *_PACKAGES):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return {name: version for name, version in found.items() if version}


def require_plain(path: Path, *, write: bool = False) -> None:
    """StoreError where SQLite would write elsewhere when it opens `path`."""
    with _refused():
        guard.require_plain_database(path, write=write)


def require_no_link(path: Path) -> None:
    """StoreError where `path` is a link."""
    with _refused():
        guard.require_no_link(path)


@contextlib.contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except guard.GuardError as error:
        raise StoreError(str(error)) from None


def _connect(path: Path, query: str) -> sqlite3.Connection:
    if query != _STILL:
        require_plain(path, write=query != "mode=ro")
    made = sqlite3.connect(
        f"{path.as_uri()}?{query}", uri=True, isolation_level=None, check_same_thread=False, timeout=0
    )
    try:
        made.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
        only_ours(made)
    except BaseException:
        made.close()
        raise
    return made


def only_ours(database: sqlite3.Connection) -> None:
    """sqlite3.DatabaseError where a database does more than hold tables: somebody may have made it to be opened.

    A view in a table's place may go on without end, a trigger change what is written, one value take all memory.
    """
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, VALUE_BYTES)
    # As bytes: what is damaged may be no text.
    query = "SELECT CAST(type AS BLOB), CAST(name AS BLOB), CAST(sql AS BLOB) FROM sqlite_master"
    for row in database.execute(query).fetchall():
        kind, name, sql = ((word or b"").decode(errors="replace") for word in row)
        # SQLite obeys what the text says, whatever kind the row has, and writes its first words in one way itself.
        plain = sql.startswith("CREATE TABLE ") if kind == "table" else kind == "index" and _INDEX.match(sql)
        if not plain and not (kind == "view" and sql in VIEWS):
            odd = f"{kind} {name!r}" if kind in ("view", "trigger") else f"virtual table {name!r}"
            raise sqlite3.DatabaseError(f"it has a {odd}, which none of ours has")


def make_database(path: Path) -> sqlite3.Connection:
    """Make an experiment's database, empty but for its tables. Raises sqlite3.Error."""
    database = _connect(path, "mode=rwc")
    try:
        [mode] = database.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StoreError(f"{path.parent} lies where SQLite can't share memory between processes: use a local disk")
        database.executescript(schema.SQL)
        database.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {schema.VERSION}")
    except BaseException:
        database.close()
        raise
    return database


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Open a database of ours that is only read, on media that can't be written too. Raises sqlite3.Error."""
    log = path.with_name(f"{path.name}-wal")
    try:
        return _connect(path, "mode=ro")
    except StoreError:
        # Snapshots give all files other names; where all is in the database itself, SQLite needs none beside it.
        if not path.is_file() or path.is_symlink() or log.is_symlink() or (log.exists() and log.stat().st_size):
            raise
        return _connect(path, _STILL)
    except sqlite3.OperationalError:
        if os.access(path.parent, os.W_OK) or (log.exists() and log.stat().st_size):
            raise
        # SQLite wants to make a file beside it even to read; on read-only media nobody can be writing.
        return _connect(path, _STILL)


def _migrated(
    database: sqlite3.Connection, path: Path, version: int, on_error: contextlib.ExitStack, *, read_only: bool
) -> sqlite3.Connection:
    """The database with today's tables: itself, or where it is only read a copy in memory, which stays as it is."""
    try:
        if read_only:
            copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            on_error.callback(copy.close)
            database.backup(copy)
            database.close()
            migration.migrate(copy, version, time.time())
            return copy
        with lock.own(path.parent):
            migration.migrate(database, version, time.time())
            return database
    except (ValueError, TypeError, KeyError, AttributeError, msgspec.MsgspecError) as error:
        raise StoreError(
            f"{path} has tables of version {version}, and what they hold can't be brought to version {schema.VERSION}:"
            f" {error}; open it with the version of mustherd that wrote it"
        ) from error


def open_database(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """Open an experiment's database; StoreError when it's another program's, a later version's, or damaged.

    One of an earlier version is changed to today's tables, for good unless it is only read; OwnedError while somebody
    runs it.
    """
    with contextlib.ExitStack() as on_error:
        try:
            database = connect_to_read(path) if read_only else _connect(path, "mode=rw")
            on_error.callback(database.close)
            [application] = database.execute("PRAGMA application_id").fetchone()
            [version] = database.execute("PRAGMA user_version").fetchone()
            if application != schema.APPLICATION_ID:
                raise StoreError(f"{path} is a database, but not one of ours")
            if not migration.OLDEST <= version <= schema.VERSION:
                raise StoreError(
                    f"{path} has tables of version {version}, this program reads versions {migration.OLDEST} to"
                    f" {schema.VERSION}: open it with the version of mustherd that wrote it"
                )
            if version < schema.VERSION:
                database = _migrated(database, path, version, on_error, read_only=read_only)
            if database.execute("SELECT count(*) FROM experiment").fetchone() != (1,):
                raise StoreError(f"{path} holds no experiment")
        # Of a damaged schema SQLite may tell a name that is no text any more.
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise StoreError(f"{path} can't be read: {error}") from error
        on_error.pop_all()
        return database
