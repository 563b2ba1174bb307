"""The experiment's own row: its definition, how it stands, how long it has run, and its verdict."""

import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from mustherd.store import records
from mustherd.store.errors import StoreError
from mustherd.store.opened import OpenDatabase, one_change
from mustherd.store.records import ExperimentRecord

CREATED = "created"
"""How an experiment stands before anybody has run it."""
Status = Literal["running", "stopped", "done", "failed"]

PHASE = "phase"
"""The kind of the journal's lines that say which phase the loop is in."""


class ExperimentRow(OpenDatabase):
    """The experiment as a whole."""

    def __init__(self, folder: Path, connection: sqlite3.Connection, now: Callable[[], float]) -> None:
        super().__init__(folder, connection, now)
        self._runs = False

    def experiment(self) -> ExperimentRecord:
        """Name, definition, status, plan, verdict: the experiment's own row."""
        [row] = self._read(records.SELECT_EXPERIMENT)
        try:
            return records.experiment(row)
        except records.UNREADABLE as error:
            raise StoreError(f"{self.folder}: what it says of its experiment can't be read: {error}") from error

    @one_change
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
        try:
            if since is None:
                return float(seconds)
            end = self._now() if self._runs or self.owner() is not None else self._last_sign()
            return float(seconds) + max(0.0, end - float(since))
        except (ValueError, TypeError) as error:
            raise StoreError(f"{self.folder}: how long it has run can't be read: {error}") from None

    def _last_sign(self) -> float:
        [[at]] = self._read(
            "SELECT max(coalesce((SELECT max(max(queued_at, coalesce(started_at, 0), coalesce(ended_at, 0))) FROM"
            " trial), 0), coalesce((SELECT max(at) FROM event), 0), (SELECT status_at FROM experiment))"
        )
        return float(at)

    @one_change
    def set_phase(self, phase: str) -> None:
        """Say which phase the loop is in, in a word for whoever watches; the journal has it when it changes."""
        with self._write(durable=False) as database:
            if database.execute("UPDATE experiment SET phase = ? WHERE phase <> ?", (phase, phase)).rowcount:
                database.execute(
                    "INSERT INTO event (at, kind, text, data) VALUES (?, ?, ?, ?)",
                    (self._now(), PHASE, f"the phase is {phase}", records.text({"phase": phase})),
                )

    @one_change
    def set_plan(self, plan: Mapping[str, int]) -> None:
        """Say how many numbers of each kind of trial are meant to finish."""
        with self._write() as database:
            database.execute("UPDATE experiment SET plan = ?", (records.text(dict(plan)),))

    @one_change
    def set_verdict(self, verdict: Mapping[str, Any]) -> None:
        """Store the verdict as JSON types (`msgspec.to_builtins` of a mustherd.experiment.verdict.Verdict)."""
        with self._write() as database:
            database.execute("UPDATE experiment SET verdict = ?", (records.text(dict(verdict)),))
