"""The table of trials: every attempt, from the queue to its end."""

import sqlite3

import msgspec

from mustherd.reasons import Reason
from mustherd.store import records
from mustherd.store.errors import StoreError
from mustherd.store.opened import OpenDatabase, one_change
from mustherd.trial import Trial, TrialKind, TrialState, next_attempt


class TrialTable(OpenDatabase):
    """Attempts at trials. The table's index allows one at each number to be queued, running or finished."""

    @one_change
    def add(self, trial: Trial) -> Trial:
        """Queue `trial`, before anything of it happens; gives it back as it was stored.

        StoreError when an attempt at that number is queued, running or finished.
        """
        queued = msgspec.structs.replace(trial, state=TrialState.QUEUED, queued_at=trial.queued_at or self._now())
        with self._write() as database:
            _insert(database, queued)
        return queued

    @one_change
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

    @one_change
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
                " energies = ?, load_report = ? WHERE number = ? AND attempt = ? AND state IN ('running', ?)",
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

    @one_change
    def requeue_running(self) -> list[Trial]:
        """Mark trials found running as invalid, `shepherd-died`, and queue their next attempts, which are given back.

        For resume, by the new owner: a trial found running belongs to a process that is gone.
        """
        now = self._now()
        with self._write() as database:
            rows = database.execute(f"{records.SELECT_TRIAL} WHERE state = 'running'").fetchall()
            lost = self._each(rows, records.trial, _called, None)
            database.execute(
                "UPDATE trial SET state = 'invalid', reason = ?, detail = ?, ended_at = ? WHERE state = 'running'",
                (Reason.SHEPHERD_DIED, "the shepherd that ran it ended before the trial did", now),
            )
            return [_next_attempt(database, trial, now) for trial in lost]

    def trials(
        self, kind: TrialKind | None = None, state: TrialState | None = None, *, left_out: list[str] | None = None
    ) -> list[Trial]:
        """All attempts by number and attempt, or those of one kind or state.

        StoreError names the first one that can't be read; with `left_out` it gets a line for each, and gives the rest.
        """
        found = self._read(
            f"{records.SELECT_TRIAL} WHERE (:kind IS NULL OR kind = :kind) AND (:state IS NULL OR state = :state)"
            " ORDER BY number, attempt",
            {"kind": kind and kind.value, "state": state and state.value},
        )
        return self._each(found, records.trial, _called, left_out)

    def trial(self, number: int, attempt: int | None = None) -> Trial:
        """One attempt at a number, the last one unless told; StoreError when there is none."""
        found = self._read(
            f"{records.SELECT_TRIAL} WHERE number = :number AND (:attempt IS NULL OR attempt = :attempt)"
            " ORDER BY attempt DESC LIMIT 1",
            {"number": number, "attempt": attempt},
        )
        if not found:
            raise StoreError(f"{self.folder} has no trial {number}" + (f"-{attempt}" if attempt else ""))
        return self._each(found, records.trial, _called, None)[0]

    def counts(self, kind: TrialKind | None = None) -> dict[str, int]:
        """Attempts by state, every state named."""
        found = dict(
            self._read(
                "SELECT state, count(*) FROM trial WHERE :kind IS NULL OR kind = :kind GROUP BY state", {"kind": kind}
            )
        )
        return {state.value: found.get(state.value, 0) for state in TrialState}

    def states(self) -> dict[tuple[int, int], TrialState]:
        """The state of every attempt by number and attempt: cheap, for whoever looks what has changed."""
        found = self._read("SELECT number, attempt, state FROM trial")
        return dict(self._each(found, lambda row: ((row[0], row[1]), TrialState(row[2])), _called, None))


def _called(row: tuple[object, ...]) -> str:
    return f"trial {row[0]}-{row[1]}"


def _insert(database: sqlite3.Connection, trial: Trial) -> None:
    try:
        database.execute(
            "INSERT INTO trial (number, attempt, kind, state, settings, load, queued_at, round, place)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                trial.number,
                trial.attempt,
                trial.kind.value,
                trial.state.value,
                records.settings(trial),
                records.asked_load(trial),
                trial.queued_at,
                trial.round,
                trial.place,
            ),
        )
    except sqlite3.IntegrityError as error:
        raise StoreError(f"trial {trial.number}-{trial.attempt} can't be queued: {error}") from error


def _next_attempt(database: sqlite3.Connection, trial: Trial, now: float) -> Trial:
    again = next_attempt(trial, now)
    _insert(database, again)
    return again
