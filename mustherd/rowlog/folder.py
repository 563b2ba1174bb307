"""An experiment's folder, opened to be read: its trials as a frame, its logs by trial, muster and stream."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mustherd.definition.knobs import kind_of_knob
from mustherd.definition.units import scale_of
from mustherd.rowlog.accounting import RowAccounting
from mustherd.rowlog.ledger import FILE, Ledger, PartFile
from mustherd.rowlog.reader import DataError, Log, numbers_of
from mustherd.store.store import DATABASE, LOGS, Store

if TYPE_CHECKING:
    import pandas as pd

NAMES = ("trial", "attempt", "kind", "state", "reason", "muster")
TIMES = ("queued_at", "started_at", "ended_at")


class ExperimentFolder:
    """What a folder holds. It may be read while its experiment runs: each call sees what is durable by then."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def trials(self) -> "pd.DataFrame":
        """One row for each attempt, in order: settings and metrics as columns, units in their names.

        `dvfs` becomes `dvfs_mhz`; times are UTC; what was not measured is not a number. A metric called as another
        column is has `metric_` before its name. Raises StoreError where the folder holds logs alone.
        """
        with Store.open(self.folder, read_only=True) as store:
            trials = store.trials()
            units = {knob.name: knob.unit for muster in store.musters().values() for knob in muster.knobs}
        import pandas as pd  # noqa: PLC0415

        settings = {key: setting_column(key, units) for t in trials for key in t.settings}
        taken = {*NAMES, *TIMES, *settings.values()}
        rows = []
        for t in trials:
            row: dict[str, object] = {
                "trial": t.number,
                "attempt": t.attempt,
                "kind": str(t.kind),
                "state": str(t.state),
                "reason": t.reason,
                "muster": t.muster,
            }
            row |= {name: pd.to_datetime(getattr(t, name) or None, unit="s", utc=True) for name in TIMES}
            row |= {settings[key]: value for key, value in t.settings.items()}
            rows.append(row | {f"metric_{name}" if name in taken else name: value for name, value in t.metrics.items()})
        return pd.DataFrame(rows, columns=None if rows else [*NAMES, *TIMES])

    def logs(
        self,
        *,
        trial: int | None = None,
        attempt: int | None = None,
        label: str | None = None,
        muster: str | None = None,
        stream: str | None = None,
        core: int | None = None,
    ) -> tuple[Log, ...]:
        """The logs that fit, by label, muster and core; none where none does.

        `trial` without `attempt` is its latest attempt, the one that counts, whichever muster had it; `label` names
        any other. Without `trial` all attempts are there.
        """
        return self._logs(
            counting=trial is not None,
            trial=trial,
            attempt=attempt,
            label=label,
            muster=muster,
            stream=stream,
            core=core,
        )

    def _logs(
        self,
        *,
        counting: bool,
        trial: int | None = None,
        attempt: int | None = None,
        label: str | None = None,
        muster: str | None = None,
        stream: str | None = None,
        core: int | None = None,
    ) -> tuple[Log, ...]:
        """See `logs`; `counting`: of each trial the latest attempt alone, unless `attempt` or `label` names another."""
        if not (self.folder / LOGS / FILE).exists():
            return ()
        with Ledger(self.folder / LOGS) as ledger:
            parts: dict[tuple[str, str, str], list[PartFile]] = {}
            for part in ledger.parts(label, muster, stream):
                parts.setdefault((part.label, part.muster, part.stream), []).append(part)
            found = [
                Log(
                    label=b.label,
                    muster=b.muster,
                    stream=b.stream,
                    account=b.account,
                    files=tuple(ledger.file(p) for p in own if p.rows),
                    aside=tuple(ledger.file(p) for p in own if not p.rows),
                    booked=tuple(p for p in own if p.rows),
                )
                for b in ledger.accounts(label, muster)
                if stream in (None, b.stream)
                for own in [parts.get((b.label, b.muster, b.stream), [])]
            ]
            latest: dict[int | None, int] = {}
            if counting and attempt is None and label is None:
                for b in ledger.accounts():
                    number, of = numbers_of(b.label)
                    if of is not None:
                        latest[number] = max(of, latest.get(number, 0))
        chosen = (
            log
            for log in found
            if trial in (None, log.trial)
            and attempt in (None, log.attempt)
            and core in (None, log.core)
            and log.attempt == latest.get(log.trial, log.attempt)
        )
        return tuple(sorted(chosen, key=lambda log: (log.label, log.muster, log.core or 0, log.stream)))

    def dask(
        self,
        columns: Sequence[str] | None = None,
        *,
        merged: bool = False,
        rows: int = 500_000,
        all_attempts: bool = False,
        **which: Any,
    ) -> Any:
        """Rows as a Dask dataframe, in units as Log.frame has them, `which` as in `logs`; needs the extra `dask`.

        Of each trial they are those of its latest attempt, the one that counts, unless `attempt` or `label` names
        another; with `all_attempts` of all of them.
        The index is `time_seconds` (`timestamp_ticks` without the unit); `label`, `trial`, `attempt`, `muster`,
        `stream` and `core` say whose each row is. The columns are those that are asked for, or those that most streams
        with a timestamp have; streams that lack one (`power-node-0`, which has no timestamp) are left out, and a
        warning names them. A partition has about so many `rows` (half a million of all of
        intlog's columns are 100 MB), all of one stream of one trial on one muster; `merged`: of all streams of
        one trial on one muster, by time. What has one clock alone, one log or one trial merged, has known
        divisions. Nothing but the feet of files is read before something is computed.
        DataError where there are no such rows, or none with a timestamp, and for a file that lacks a column.
        """
        from mustherd.rowlog.clustered import dask_frame  # noqa: PLC0415

        return dask_frame(self._logs(counting=not all_attempts, **which), columns, merged=merged, rows=rows)

    def duckdb(self, *, all_attempts: bool = False, verify: bool = True) -> Any:
        """The folder as a DuckDB connection, in memory; needs the extra `duckdb`.

        Views: `rows`, of every log that has a timestamp, as the source wrote them beside `label`, `trial`, `attempt`,
        `muster`, `stream`, `core` and, where the node told what they need, `time_seconds` and `joules_per_count`: of
        each trial those of its latest attempt, the one that counts, with `all_attempts` of all of them;
        `left_out`, the logs that `rows` is without, and why; `trials` and `accounts` as the frames of these names.
        Where no log has a timestamp a query of `rows` says so.

        DuckDB doesn't check pages, so each file of `rows` is read here once and checked: 0.2 CPU seconds a million
        rows, on all cores. UnreadableError for one that is damaged. `verify=False` leaves that out, and holds only the
        files' feet against the ledger.
        """
        from mustherd.rowlog.sql import connection  # noqa: PLC0415

        return connection(self, self._logs(counting=not all_attempts), verify=verify)

    def accounts(self) -> "pd.DataFrame":
        """One row for each stream of each trial: where its rows went."""
        import pandas as pd  # noqa: PLC0415

        return pd.DataFrame([account_row(log) for log in self.logs()], columns=ACCOUNT)


def open_folder(folder: Path | str) -> ExperimentFolder:
    """An experiment's folder. Raises DataError when it isn't one."""
    path = Path(folder)
    if not (path / DATABASE).exists() and not (path / LOGS / FILE).exists():
        raise DataError(f"{path} is no experiment's folder: it holds neither {DATABASE} nor {LOGS}/{FILE}")
    return ExperimentFolder(path)


def account_row(log: Log) -> dict[str, object]:
    """A stream's account as one row."""
    account = log.account
    return {
        "label": log.label,
        "muster": log.muster,
        "stream": log.stream,
        "produced": account.produced,
        "received": account.received,
        "written": account.written,
        "repeated": account.repeated,
        "rotated": account.rotated,
        "malformed": sum(account.malformed.values()),
        "lost": account.rows_lost,
        "lost_why": account.why_lost(),
        "malformed_why": ", ".join(f"{why} {count}" for why, count in sorted(account.malformed.items())),
        "passes": account.passes,
        "clears": account.clears,
    }


ACCOUNT = (*account_row(Log("", "", "", RowAccounting(), ())),)
"""Names of an account's row."""


def setting_column(key: str, units: Mapping[str, str]) -> str:
    """A knob's key as a column: `itr-delay` is `itr_delay_us`, `dvfs@node-0` is `dvfs_mhz@node-0`.

    `units` are those that the nodes told; a unit that is a count of something (threads) says nothing beside the name.
    """
    name, at, sheep = key.partition("@")
    unit = units.get(name) or kind_of_knob(name).unit
    unit = unit.lower() if unit.isalpha() and len(scale_of(unit)) > 1 else ""
    return f"{name.replace('-', '_')}{f'_{unit}' if unit else ''}{at}{sheep}"
