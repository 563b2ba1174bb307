"""One experiment on disk: everything that was asked, tried and found, safe against a kill at any moment.

A folder holds `experiment.yml` (the definition, verbatim), `store.sqlite` (mustherd.store.schema has its tables) and
`logs/` (Parquet, see mustherd.rowlog.parquet). One process writes, holding `Store.own()`; any number read at any time.
A change of a trial's state is on disk when the call returns, and no call leaves half of its change behind.
"""

import contextlib
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import msgspec

from mustherd.store import lock, records
from mustherd.store.database import make_database, open_database, sync_folder, versions, write_durably
from mustherd.store.errors import OwnedError, StoreError
from mustherd.store.records import Event, ExperimentRecord, MusterRecord
from mustherd.terms import KnobInfo
from mustherd.trial import Trial, TrialKind, TrialState

__all__ = ["DATABASE", "DEFINITION", "INTERRUPTED", "LOGS", "OwnedError", "Status", "Store", "StoreError"]

DEFINITION = "experiment.yml"
DATABASE = "store.sqlite"
LOGS = "logs"

INTERRUPTED = "interrupted"
"""Reason of an attempt whose shepherd died under it."""

Status = Literal["running", "stopped", "done", "failed"]


class Store:
    """An experiment's folder, opened. Use as a context manager, or call `close`.

    Calls may come from several threads. Every method may raise StoreError.
    """

    def __init__(self, folder: Path, connection: sqlite3.Connection, now: Callable[[], float]) -> None:
        self.folder = folder
        self._db = connection
        self._now = now
        self._lock = threading.RLock()
        self._runs = False

    @classmethod
    def create(
        cls,
        folder: Path | str,
        *,
        name: str,
        definition: str,
        resolved: Mapping[str, Any],
        digest: str,
        now: Callable[[], float] = time.time,
    ) -> Self:
        """Make the folder of a new experiment; it appears whole or not at all.

        `definition` is the experiment file's text, `resolved` its meaning as JSON types, `digest` what `resume`
        compares. Raises StoreError when something is there already (an empty folder is taken).
        """
        folder = Path(folder).absolute()
        if (folder / DATABASE).exists():
            raise StoreError(f"{folder} already holds an experiment: resume it, or choose another folder")
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise StoreError(f"{folder} is not an empty folder: choose another one")
        draft = folder.parent / f".{folder.name}.{os.getpid()}.new"
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(draft, ignore_errors=True)
            (draft / LOGS).mkdir(parents=True)
            write_durably(draft / DEFINITION, definition)
            with contextlib.closing(make_database(draft / DATABASE)) as database:
                database.execute(
                    "INSERT INTO experiment (id, name, definition, digest, resolved, versions, created_at, status,"
                    " status_at) VALUES (1, ?, ?, ?, ?, ?, ?, 'created', ?)",
                    (name, definition, digest, records.text(resolved), records.text(versions()), now(), now()),
                )
            sync_folder(draft)
            draft.rename(folder)
            sync_folder(folder.parent)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{folder} can't be made: {error}") from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return cls.open(folder, now=now)

    @classmethod
    def open(cls, folder: Path | str, read_only: bool = False, *, now: Callable[[], float] = time.time) -> Self:
        """Open an experiment's folder; StoreError says what is wrong with it."""
        folder = Path(folder).absolute()
        path = folder / DATABASE
        if not folder.is_dir():
            raise StoreError(f"{folder} does not exist: no experiment has been started there")
        if not path.is_file():
            raise StoreError(f"{folder} holds no experiment: it has no {DATABASE}")
        return cls(folder, open_database(path, read_only=read_only), now)

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

    @contextlib.contextmanager
    def _write(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                # NORMAL may lose the last commits to a power cut, never to a kill; the next FULL commit saves them too.
                self._db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                self._db.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                raise StoreError(f"{self.folder} can't be written: {error}") from error
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException as error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise StoreError(f"{self.folder} can't be written: {error}") from error
                raise

    def _read(self, sql: str, values: Sequence[object] | Mapping[str, object] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                return self._db.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise StoreError(f"{self.folder} can't be read: {error}") from error

    # Trials

    def add(self, trial: Trial) -> Trial:
        """Queue `trial`, before anything of it happens; gives it back as it was stored.

        StoreError when an attempt at that number is queued, running or finished.
        """
        queued = msgspec.structs.replace(trial, state=TrialState.QUEUED, queued_at=trial.queued_at or self._now())
        with self._write() as database:
            _insert(database, queued)
        return queued

    def start(self, trial: Trial, muster: str) -> Trial:
        """Say that `trial` is about to be dispatched to `muster`; on disk when this returns."""
        begun = msgspec.structs.replace(trial, state=TrialState.RUNNING, muster=muster, started_at=self._now())
        with self._write() as database:
            changed = database.execute(
                "UPDATE trial SET state = 'running', muster = ?, started_at = ?"
                " WHERE number = ? AND attempt = ? AND state = 'queued'",
                (muster, begun.started_at, trial.number, trial.attempt),
            ).rowcount
            if changed != 1:
                raise StoreError(f"trial {trial.number}-{trial.attempt} is not queued, so it can't be started")
        return begun

    def finish(self, trial: Trial, *, retry: bool = False) -> Trial | None:
        """Store how `trial` ended (its state: finished, invalid or failed) with everything that was measured.

        With `retry` the next attempt at its number is queued in the same transaction and given back.
        """
        if trial.state not in (TrialState.FINISHED, TrialState.INVALID, TrialState.FAILED):
            raise StoreError(f"trial {trial.number}-{trial.attempt} is {trial.state}, which is not an end")
        if retry and trial.state is TrialState.FINISHED:
            raise StoreError(f"trial {trial.number}-{trial.attempt} is finished: it needs no other attempt")
        with self._write() as database:
            changed = database.execute(
                "UPDATE trial SET state = ?, reason = ?, detail = ?, ended_at = ?, metrics = ?, readings = ?,"
                " energies = ?, load = ? WHERE number = ? AND attempt = ? AND state IN ('running', ?)",
                (
                    trial.state.value,
                    trial.reason,
                    trial.detail,
                    trial.ended_at or self._now(),
                    *records.measured(trial),
                    trial.number,
                    trial.attempt,
                    # What never ran can't have finished, but it may fail: no muster was left to run it.
                    "running" if trial.state is TrialState.FINISHED else "queued",
                ),
            ).rowcount
            if changed != 1:
                raise StoreError(f"trial {trial.number}-{trial.attempt} is not running, so it can't end")
            return _next_attempt(database, trial, self._now()) if retry else None

    def requeue_running(self) -> list[Trial]:
        """Mark trials found running as invalid, `interrupted`, and queue their next attempts, which are given back.

        For resume, by the new owner: a trial found running belongs to a process that is gone.
        """
        now = self._now()
        with self._write() as database:
            lost = [records.trial(row) for row in database.execute(f"{records.SELECT_TRIAL} WHERE state = 'running'")]
            database.execute(
                "UPDATE trial SET state = 'invalid', reason = ?, detail = ?, ended_at = ? WHERE state = 'running'",
                (INTERRUPTED, "the shepherd that ran it ended before the trial did", now),
            )
            return [_next_attempt(database, trial, now) for trial in lost]

    def trials(self, kind: TrialKind | None = None, state: TrialState | None = None) -> list[Trial]:
        """All attempts by number and attempt, or those of one kind or state."""
        found = self._read(
            f"{records.SELECT_TRIAL} WHERE (:kind IS NULL OR kind = :kind) AND (:state IS NULL OR state = :state)"
            " ORDER BY number, attempt",
            {"kind": kind and kind.value, "state": state and state.value},
        )
        return [records.trial(row) for row in found]

    def trial(self, number: int, attempt: int | None = None) -> Trial:
        """One attempt at a number, the last one unless told; StoreError when there is none."""
        found = self._read(
            f"{records.SELECT_TRIAL} WHERE number = :number AND (:attempt IS NULL OR attempt = :attempt)"
            " ORDER BY attempt DESC LIMIT 1",
            {"number": number, "attempt": attempt},
        )
        if not found:
            raise StoreError(f"{self.folder} has no trial {number}" + (f"-{attempt}" if attempt else ""))
        return records.trial(found[0])

    def queued(self) -> list[Trial]:
        """What is to be run, in order of number."""
        return self.trials(state=TrialState.QUEUED)

    def counts(self, kind: TrialKind | None = None) -> dict[str, int]:
        """Attempts by state, every state named."""
        found = dict(
            self._read(
                "SELECT state, count(*) FROM trial WHERE :kind IS NULL OR kind = :kind GROUP BY state", {"kind": kind}
            )
        )
        return {state.value: found.get(state.value, 0) for state in TrialState}

    def next_number(self) -> int:
        """The number of the next new trial: 1 at first."""
        [[last]] = self._read("SELECT coalesce(max(number), 0) FROM trial")
        return int(last) + 1

    # The experiment as a whole

    def experiment(self) -> ExperimentRecord:
        """Name, definition, status, plan, verdict: the experiment's own row."""
        [row] = self._read(records.SELECT_EXPERIMENT)
        return records.experiment(row)

    def set_status(self, status: Status, detail: str = "") -> None:
        """Say how the experiment stands; the time while it's `running` adds up to its wall time."""
        now = self._now()
        with self._write() as database:
            [[since]] = database.execute("SELECT running_since FROM experiment").fetchall()
            if since is not None:
                # A run that another process began, and never ended, lasted until its last sign of life.
                end = now if self._runs else self._last_sign()
                database.execute("UPDATE experiment SET wall_seconds = wall_seconds + ?", (max(0.0, end - since),))
            database.execute(
                "UPDATE experiment SET status = ?, status_detail = ?, status_at = ?, running_since = ?",
                (status, detail, now, now if status == "running" else None),
            )
            self._runs = status == "running"

    def wall_seconds(self) -> float:
        """How long the experiment has run, over all its runs, the present one included."""
        [[seconds, since]] = self._read("SELECT wall_seconds, running_since FROM experiment")
        if since is None:
            return float(seconds)
        end = self._now() if self._runs or self.owner() is not None else self._last_sign()
        return float(seconds) + max(0.0, end - float(since))

    def _last_sign(self) -> float:
        [[at]] = self._read(
            "SELECT max(coalesce((SELECT max(max(queued_at, coalesce(started_at, 0), coalesce(ended_at, 0))) FROM"
            " trial), 0), coalesce((SELECT max(at) FROM event), 0), (SELECT status_at FROM experiment))"
        )
        return float(at)

    def set_phase(self, phase: str) -> None:
        """Say in a word what the loop is at, for whoever watches."""
        with self._write(durable=False) as database:
            database.execute("UPDATE experiment SET phase = ?", (phase,))

    def set_plan(self, plan: Mapping[str, int]) -> None:
        """Say how many numbers of each kind of trial are meant to finish."""
        with self._write() as database:
            database.execute("UPDATE experiment SET plan = ?", (records.text(dict(plan)),))

    def set_verdict(self, verdict: Mapping[str, Any]) -> None:
        """Store the verdict as JSON types (`msgspec.to_builtins` of a mustherd.experiment.verdict.Verdict)."""
        with self._write() as database:
            database.execute("UPDATE experiment SET verdict = ?", (records.text(dict(verdict)),))

    # Journal and musters

    def event(self, kind: str, text: str, data: Mapping[str, Any] | None = None) -> int:
        """Append to the journal; gives the event's id. Events survive a kill; a power cut may take the last ones."""
        with self._write(durable=False) as database:
            made = database.execute(
                "INSERT INTO event (at, kind, text, data) VALUES (?, ?, ?, ?)",
                (self._now(), kind, text, records.text(dict(data or {}))),
            )
            return int(made.lastrowid or 0)

    def events(self, since_id: int = 0) -> list[Event]:
        """Events after `since_id`, oldest first."""
        return [
            records.event(row)
            for row in self._read("SELECT id, at, kind, text, data FROM event WHERE id > ? ORDER BY id", (since_id,))
        ]

    def set_muster(
        self,
        name: str,
        *,
        state: str | None = None,
        facts: Mapping[str, str] | None = None,
        knobs: Sequence[KnobInfo] | None = None,
    ) -> None:
        """Store what is known of a muster; what isn't given stays as it was."""
        with self._write(durable=False) as database:
            database.execute("INSERT OR IGNORE INTO muster (name, changed_at) VALUES (?, ?)", (name, self._now()))
            database.execute(
                "UPDATE muster SET state = coalesce(?, state), facts = coalesce(?, facts),"
                " knobs = coalesce(?, knobs), changed_at = ? WHERE name = ?",
                (
                    state,
                    None if facts is None else records.text(dict(facts)),
                    None if knobs is None else records.text(list(knobs)),
                    self._now(),
                    name,
                ),
            )

    def musters(self) -> dict[str, MusterRecord]:
        """Every muster that was ever part of the experiment, by name."""
        found = self._read("SELECT name, state, facts, knobs, changed_at FROM muster ORDER BY name")
        return {row[0]: records.muster(row) for row in found}

    def data_version(self) -> int:
        """A number that changes when another connection has changed anything: cheap to poll."""
        [[version]] = self._read("PRAGMA data_version")
        return int(version)


def _insert(database: sqlite3.Connection, trial: Trial) -> None:
    try:
        database.execute(
            "INSERT INTO trial (number, attempt, kind, state, settings, demand, queued_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                trial.number,
                trial.attempt,
                trial.kind.value,
                trial.state.value,
                records.settings(trial),
                records.asked_load(trial),
                trial.queued_at,
            ),
        )
    except sqlite3.IntegrityError as error:
        raise StoreError(f"trial {trial.number}-{trial.attempt} can't be queued: {error}") from error


def _next_attempt(database: sqlite3.Connection, trial: Trial, now: float) -> Trial:
    # Made anew, so that nothing measured in the attempt that is over can leak into the next one.
    again = Trial(
        number=trial.number,
        attempt=trial.attempt + 1,
        kind=trial.kind,
        settings=trial.settings,
        load=trial.load,
        queued_at=now,
    )
    _insert(database, again)
    return again
