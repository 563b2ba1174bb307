"""Logs out of an experiment's folder, for other programs: the reference's per-core text files, CSV, Parquet."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from mustherd import files
from mustherd.node.intlog import COLUMNS
from mustherd.rowlog.parquet import safe_name
from mustherd.rowlog.parse import as_text
from mustherd.rowlog.reader import ROW, DataError, Log, UnreadableError

Progress = Callable[[Path, int], None]
"""Told each file that was written, and its rows."""


def export(logs: Iterable[Log], into: Path, form: str, progress: Progress = lambda _file, _rows: None) -> None:
    """Write each log to `into/LABEL/MUSTER/STREAM` plus the form's suffix. Raises DataError.

    `intlog`: lines as the driver printed them, byte for byte; streams of other columns are refused. `csv`: a head line,
    then the columns as the source wrote them, after `row`. `parquet`: the same with the units in its metadata.
    A file that is there already is never changed. A log whose files can't be read is left out, and the others are
    written all the same; then DataError has a line for each.
    """
    write, suffix = _FORMS[form]
    unreadable: list[str] = []
    for log in logs:
        try:
            columns = log.columns
        except UnreadableError as error:
            unreadable.append(str(error))
            continue
        if form == "intlog" and columns != COLUMNS:
            missing = sorted(set(COLUMNS) - set(columns))
            raise DataError(
                f"{log.label} {log.muster} {log.stream} can't be written as intlog's text: "
                + (f"columns {', '.join(missing)} were not kept" if missing else "it has other columns")
                + "; use csv or parquet, or leave it out with --stream"
            )
        file = into / safe_name(log.label) / safe_name(log.muster) / f"{safe_name(log.stream)}{suffix}"
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            if file.exists():
                raise DataError(f"{file} is there already; give another folder")
            with files.draft(file) as draft, draft.open("xb") as out:
                write(log, out)
        except UnreadableError as error:
            unreadable.append(str(error))
            continue
        except OSError as error:
            raise DataError(f"{file} can't be written: {os.strerror(error.errno or 0)}") from None
        progress(file, log.rows)
    if unreadable:
        raise DataError("\n".join(unreadable))


def _intlog(log: Log, out: IO[bytes]) -> None:
    for batch in log.batches(COLUMNS):
        out.write(as_text(pa.Table.from_batches([batch]), COLUMNS))


def _csv(log: Log, out: IO[bytes]) -> None:
    out.write(",".join((ROW, *log.columns)).encode() + b"\n")
    for batch in log.batches():
        pcsv.write_csv(batch, out, pcsv.WriteOptions(include_header=False))


def _parquet(log: Log, out: IO[bytes]) -> None:
    writer: pq.ParquetWriter | None = None
    try:
        for batch in log.batches():
            writer = writer or pq.ParquetWriter(out, batch.schema, compression="zstd")
            writer.write_batch(batch)
    finally:
        if writer is not None:
            writer.close()


_FORMS: dict[str, tuple[Callable[[Log, IO[bytes]], None], str]] = {
    "intlog": (_intlog, ""),
    "csv": (_csv, ".csv"),
    "parquet": (_parquet, ".parquet"),
}
