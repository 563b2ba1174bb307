"""An experiment's folder, opened to be read: its trials as a frame, its logs by trial, muster and stream."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from mustherd.definition.knobs import kind_of_knob
from mustherd.definition.units import scale_of
from mustherd.rowlog.ledger import FILE, Ledger
from mustherd.rowlog.reader import DataError, Log
from mustherd.store.store import DATABASE, LOGS, Store

TIMES = ("queued_at", "started_at", "ended_at")


class ExperimentFolder:
    """What a folder holds. It may be read while its experiment runs: each call sees what is durable by then."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def trials(self) -> pd.DataFrame:
        """One row for each attempt, in order: settings and metrics as columns, units in their names.

        `dvfs` becomes `dvfs_mhz`; times are UTC; what was not measured is not a number. Raises StoreError where the
        folder holds logs alone.
        """
        with Store.open(self.folder, read_only=True) as store:
            trials = store.trials()
            units = {knob.name: knob.unit for muster in store.musters().values() for knob in muster.knobs}
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
        """The logs that fit, by label, muster and core; none where none does."""
        if not (self.folder / LOGS / FILE).exists():
            return ()
        with Ledger(self.folder / LOGS) as ledger:
            parts = ledger.parts(label, muster, stream)
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
                for own in [[p for p in parts if (p.label, p.muster, p.stream) == (b.label, b.muster, b.stream)]]
            ]
        chosen = (
            log
            for log in found
            if trial in (None, log.trial) and attempt in (None, log.attempt) and core in (None, log.core)
        )
        return tuple(sorted(chosen, key=lambda log: (log.label, log.muster, log.core or 0, log.stream)))

    def accounts(self) -> pd.DataFrame:
        """One row for each stream of each trial: where its rows went."""
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
