"""An experiment's folder, opened to be read: its trials as a frame, its logs by trial, muster and stream."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mustherd.definition.knobs import kind_of_knob
from mustherd.definition.units import scale_of
from mustherd.rowlog.ledger import FILE, Ledger, PartFile
from mustherd.rowlog.reader import DataError, Log
from mustherd.store.store import DATABASE, LOGS, Store

if TYPE_CHECKING:
    import pandas as pd

TIMES = ("queued_at", "started_at", "ended_at")


class ExperimentFolder:
    """What a folder holds. It may be read while its experiment runs: each call sees what is durable by then."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def trials(self) -> "pd.DataFrame":
        """One row for each attempt, in order: settings and metrics as columns, units in their names.

        `dvfs` becomes `dvfs_mhz`; times are UTC; what was not measured is not a number. Raises StoreError where the
        folder holds logs alone.
        """
        with Store.open(self.folder, read_only=True) as store:
            trials = store.trials()
            units = {knob.name: knob.unit for muster in store.musters().values() for knob in muster.knobs}
        import pandas as pd  # noqa: PLC0415

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
            row |= {setting_column(key, units): value for key, value in t.settings.items()}
            rows.append(row | t.metrics)
        return pd.DataFrame(rows)

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

        `trial` without `attempt` is its latest attempt, the one that counts; `label` names any other.
        """
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
                )
                for b in ledger.accounts(label, muster)
                if stream in (None, b.stream)
                for own in [parts.get((b.label, b.muster, b.stream), [])]
            ]
        if trial is not None and attempt is None and label is None:
            attempt = max((log.attempt or 0 for log in found if log.trial == trial), default=None)
        chosen = (
            log
            for log in found
            if trial in (None, log.trial) and attempt in (None, log.attempt) and core in (None, log.core)
        )
        return tuple(sorted(chosen, key=lambda log: (log.label, log.muster, log.core or 0, log.stream)))

    def dask(
        self, columns: Sequence[str] | None = None, *, merged: bool = False, rows: int = 500_000, **which: Any
    ) -> Any:
        """Rows as a Dask dataframe, in units as Log.frame has them, `which` as in `logs`; needs the extra `dask`.

        The index is `time_seconds` (`timestamp_ticks` without the unit); `label`, `trial`, `muster`, `stream`
        and `core` say whose each row is. A partition has about so many `rows` (half a million of all of
        intlog's columns are 100 MB), all of one stream of one trial on one muster; `merged`: of all streams of
        one trial on one muster, by time. What has one clock alone, one log or one trial merged, has known
        divisions. Nothing but the feet of files is read before something is computed.
        DataError where there are no such rows, or they have no timestamp.
        """
        from mustherd.rowlog.clustered import dask_frame  # noqa: PLC0415

        return dask_frame(self.logs(**which), columns, merged=merged, rows=rows)

    def duckdb(self) -> Any:
        """The folder as a DuckDB connection, in memory; needs the extra `duckdb`.

        Views: `rows`, of every log that has a timestamp, as the source wrote them beside `label`, `trial`, `attempt`,
        `muster`, `stream`, `core` and, where the node told what they need, `time_seconds` and `joules_per_count`;
        `trials` and `accounts` as the frames of these names.
        """
        from mustherd.rowlog.sql import connection  # noqa: PLC0415

        return connection(self)

    def accounts(self) -> "pd.DataFrame":
        """One row for each stream of each trial: where its rows went."""
        import pandas as pd  # noqa: PLC0415

        return pd.DataFrame([account_row(log) for log in self.logs()])


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


def setting_column(key: str, units: Mapping[str, str]) -> str:
    """A knob's key as a column: `itr-delay` is `itr_delay_us`, `dvfs@node-0` is `dvfs_mhz@node-0`.

    `units` are those that the nodes told; a unit that is a count of something (threads) says nothing beside the name.
    """
    name, at, sheep = key.partition("@")
    unit = units.get(name) or kind_of_knob(name).unit
    unit = unit.lower() if unit.isalpha() and len(scale_of(unit)) > 1 else ""
    return f"{name.replace('-', '_')}{f'_{unit}' if unit else ''}{at}{sheep}"
