"""An experiment's folder in SQL: DuckDB reads the Parquet files where they lie."""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from mustherd.extras import DUCKDB, need
from mustherd.node.intlog import COLUMNS
from mustherd.rowlog.reader import ROW, Log
from mustherd.store.errors import StoreError

if TYPE_CHECKING:
    import pandas as pd

    from mustherd.rowlog.folder import ExperimentFolder

OWNERS = ("label", "trial", "attempt", "muster", "stream", "core")
"""Columns of `rows` that say whose they are."""


def connection(experiment: "ExperimentFolder", logs: Sequence[Log], *, verify: bool) -> Any:
    """See ExperimentFolder.duckdb. MissingExtraError where DuckDB isn't installed."""
    need(DUCKDB, "duckdb")
    import duckdb  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    from mustherd.rowlog.folder import NAMES, TIMES  # noqa: PLC0415

    timed = [log for log in logs if "timestamp" in log.columns]
    if verify:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(Log.verify, timed))
    told = []
    for log in timed:
        units = log.units
        told += [
            {
                "filename": str(file),
                "label": log.label,
                "trial": log.trial,
                "attempt": log.attempt,
                "muster": log.muster,
                "stream": log.stream,
                "core": log.core,
                "ticks_per_second": units["tsc_khz"] * 1000 if "tsc_khz" in units else None,
                "joules_per_count": units.get("joules_per_count"),
            }
            for file in log.files
        ]
    open_ = duckdb.connect()
    if told:
        files = pd.DataFrame(told).astype({"trial": "Int64", "attempt": "Int64", "core": "Int64"})
        open_.register("files_now", files)
        open_.execute("CREATE TABLE files AS SELECT * FROM files_now")
        open_.execute("SET VARIABLE paths = (SELECT list(filename) FROM files)")
        open_.execute(
            'CREATE VIEW "rows" AS SELECT f.label, f.trial, f.attempt, f.muster, f.stream, f.core,'
            ' r.* EXCLUDE ("its own file"),'
            " r.timestamp / f.ticks_per_second AS time_seconds, f.joules_per_count"
            " FROM read_parquet(getvariable('paths'), union_by_name = true, filename = 'its own file',"
            " hive_partitioning = false) r JOIN files f"
            ' ON f.filename = r."its own file"'
        )
    else:
        why = f"no log of {experiment.folder} has rows with a timestamp: see left_out"
        _refuse(open_, "rows", why, (*OWNERS, ROW, *COLUMNS, "time_seconds", "joules_per_count"))
    open_.register("left_out", _left_out(experiment.logs(), logs, timed))
    try:
        open_.register("trials", experiment.trials())
    except StoreError as error:
        # Rows alone have no trials: those of a shepherd without an experiment.
        _refuse(open_, "trials", str(error), (*NAMES, *TIMES))
    open_.register("accounts", experiment.accounts())
    return open_


def _refuse(open_: Any, view: str, why: str, columns: Iterable[str]) -> None:
    """A view that says why it isn't there: without one DuckDB would take a variable of that name for it.

    It has these columns, so that a query of them comes as far as that.
    """
    quoted = why.replace("'", "''")
    empty = ", ".join(f'NULL::DOUBLE AS "{name}"' for name in columns)
    open_.execute(f"CREATE VIEW \"{view}\" AS SELECT {empty} WHERE error('{quoted}') IS NULL")


def _left_out(every: Iterable[Log], chosen: Sequence[Log], timed: Sequence[Log]) -> "pd.DataFrame":
    """Whose rows aren't among `rows`, and why."""
    import pandas as pd  # noqa: PLC0415

    def of(logs: Iterable[Log]) -> set[tuple[str, str, str]]:
        return {(log.label, log.muster, log.stream) for log in logs}

    counts, there = of(chosen), of(timed)
    found = []
    for log in every:
        key = (log.label, log.muster, log.stream)
        if key not in there:
            why = "another attempt counts" if key not in counts else "no timestamp" if log.files else "no rows"
            found.append((*key, why))
    return pd.DataFrame(found, columns=["label", "muster", "stream", "why"], dtype="str")
