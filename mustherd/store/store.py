"""One experiment on disk: everything that was asked, tried and found, safe against a kill at any moment.

A folder holds `experiment.yml` (the definition, verbatim), `store.sqlite` (mustherd.store.schema has its tables) and
`logs/` (Parquet, see mustherd.rowlog.parquet). One process writes, holding `Store.own()`; any number read at any time.
A change of a trial's state is on disk when the call returns, and no call leaves half of its change behind.
"""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from mustherd import files, unix_time
from mustherd.goal import Goal
from mustherd.store import DEFINITION, records
from mustherd.store.beginning import begins
from mustherd.store.database import DATABASE, make_database, open_database, versions
from mustherd.store.errors import OwnedError, StoreError
from mustherd.store.experiment_row import ExperimentRow, Status
from mustherd.store.journal import Journal
from mustherd.store.lock import owner_of
from mustherd.store.trial_table import TrialTable

__all__ = ["DATABASE", "DEFINITION", "LOGS", "OwnedError", "Status", "Store", "StoreError"]

LOGS = "logs"


def _require_text(folder: Path) -> None:
    """StoreError for a path that is no text: configurations, the store and reports couldn't say it."""
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        raise StoreError(f"{str(folder)!r} is no text in UTF-8, as a folder of experiments has to be") from None


def vacant(folder: str | os.PathLike[str]) -> Path:
    """The folder as it was given, where a new experiment can be made in it; an empty one is taken. StoreError."""
    _require_text(Path(folder).absolute())
    if not os.fspath(folder):
        raise StoreError("the new experiment's folder has no name: leave it out, or choose one")
    if (Path(folder) / DATABASE).exists():
        if (owner := owner_of(Path(folder))) is not None:
            raise OwnedError(Path(folder), owner, conducted=True)
        raise StoreError(
            f"{folder} already holds an experiment: go on with it, mustherd experiment resume {folder}, or choose"
            " another folder"
        )
    if Path(folder).exists() and (not Path(folder).is_dir() or any(Path(folder).iterdir())):
        raise StoreError(f"{folder} is not an empty folder: choose another one")
    return Path(folder)


class Store(TrialTable, ExperimentRow, Journal):
    """An experiment's folder, opened. Use as a context manager, or call `close`.

    Calls may come from several threads. Every method may raise StoreError.
    """

    @classmethod
    def create(
        cls,
        folder: Path | str,
        *,
        name: str,
        definition: str,
        resolved: Mapping[str, Any],
        digest: str,
        goal: Goal,
        now: Callable[[], float] = unix_time.now,
    ) -> Self:
        """Make the folder of a new experiment; it appears whole or not at all.

        `definition` is the experiment file's text, `resolved` its meaning as JSON types, `digest` what `resume`
        compares, `goal` what it is after. Raises StoreError when something is there already (an empty folder is taken).
        """
        folder = vacant(folder).absolute()
        try:
            files.folder(folder.parent)
            with files.draft(folder) as made:
                files.folder(made / LOGS)
                files.write(made / DEFINITION, definition, durable=True)
                row = (name, definition, digest, records.text(resolved), records.text(goal), records.text(versions()))
                with contextlib.closing(make_database(made / DATABASE)) as database:
                    database.execute(
                        "INSERT INTO experiment (id, name, definition, digest, resolved, goal, versions, created_at,"
                        " status, status_at) VALUES (1, ?, ?, ?, ?, ?, ?, ?, 'created', ?)",
                        (*row, now(), now()),
                    )
                files.sync_folder(made)
            files.sync_folder(folder.parent)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{folder} can't be made: {getattr(error, 'strerror', None) or error}") from error
        return cls.open(folder, now=now)

    @classmethod
    def open(cls, folder: Path | str, read_only: bool = False, *, now: Callable[[], float] = unix_time.now) -> Self:
        """Open an experiment's folder; StoreError says what is wrong with it."""
        folder = Path(folder).absolute()
        path = folder / DATABASE
        if not read_only:
            _require_text(folder)
        if not folder.is_dir():
            if soon := begins(folder):
                raise StoreError(f"{folder} does not exist yet: its experiment is {soon}")
            raise StoreError(f"{folder} does not exist: no experiment has been started there")
        if not path.is_file():
            raise StoreError(f"{folder} holds no experiment: it has no {DATABASE}")
        return cls(folder, open_database(path, read_only=read_only), now)
