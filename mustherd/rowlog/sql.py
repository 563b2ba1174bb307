"""An experiment's folder in SQL: DuckDB reads the Parquet files where they lie."""

import contextlib
from typing import TYPE_CHECKING, Any

from mustherd.extras import DUCKDB, need
from mustherd.rowlog.reader import DataError
from mustherd.store.errors import StoreError

if TYPE_CHECKING:
    from mustherd.rowlog.folder import ExperimentFolder


def connection(experiment: "ExperimentFolder") -> Any:
    """See ExperimentFolder.duckdb. MissingExtraError where DuckDB isn't installed."""
    need(DUCKDB, "duckdb")
    import duckdb  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    told = []
    for log in experiment.logs():
        if not log.files or "timestamp" not in log.columns:
            continue
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
    if not told:
        raise DataError(f"{experiment.folder} has no rows with a timestamp")
    open_ = duckdb.connect()
    files = pd.DataFrame(told).astype({"trial": "Int64", "attempt": "Int64", "core": "Int64"})
    open_.register("files_now", files)
    open_.execute("CREATE TABLE files AS SELECT * FROM files_now")
    open_.execute("SET VARIABLE paths = (SELECT list(filename) FROM files)")
    open_.execute(
        'CREATE VIEW "rows" AS SELECT f.label, f.trial, f.attempt, f.muster, f.stream, f.core,'
        " r.* EXCLUDE (filename), r.timestamp / f.ticks_per_second AS time_seconds, f.joules_per_count"
        " FROM read_parquet(getvariable('paths'), union_by_name = true, filename = true, hive_partitioning = false) r"
        " JOIN files f USING (filename)"
    )
    # Rows alone have no trials: those of a shepherd without an experiment.
    with contextlib.suppress(StoreError):
        open_.register("trials", experiment.trials())
    open_.register("accounts", experiment.accounts())
    return open_
