"""Logs out of an experiment's folder, for other programs: the reference's per-core text files, CSV, Parquet."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from mustherd import files
from mustherd.errors import UNWRITTEN
from mustherd.node.intlog import COLUMNS
from mustherd.rowlog.parquet import safe_name
from mustherd.rowlog.parse import as_text
from mustherd.rowlog.reader import ROW, DataError, Log, UnreadableError

Progress = Callable[[Path, int], None]
"""Told each file that was written, and its rows."""


class ExportError(DataError):
    """Some files were written, and others could not be; the message names these."""

    exit_code = UNWRITTEN


def export(logs: Iterable[Log], into: Path, form: str, progress: Progress = lambda _file, _rows: None) -> None:
    """Write each log to `into/LABEL/MUSTER/STREAM` plus the form's suffix.

    `intlog`: lines as the driver printed them, byte for byte; streams of other columns are refused. `csv`: a head line,
    then the columns as the source wrote them, after `row`. `parquet`: the same with the units in its metadata.
    A file that is there already is never changed. Raises DataError, before anything is written, for streams of other
    columns and files that are there. A log whose files can't be read, or differ in their columns, is left out, and the
    others are written all the same; then ExportError has a line for each, or DataError where nothing was written.
    """
    write, suffix = _FORMS[form]
    unreadable: list[str] = []
    chosen: list[tuple[Log, Path]] = []
    for log in logs:
        file = into / safe_name(log.label) / safe_name(log.muster) / f"{safe_name(log.stream)}{suffix}"
        try:
            log.hold()
            if form == "intlog":
                _check_is_intlogs(log)
        except UnreadableError as error:
            unreadable.append(str(error))
            continue
        try:
            _check_is_one(log)
        except DataError as error:
            unreadable.append(str(error))
            continue
        if file.exists():
            raise DataError(f"{file} is there already; give another folder")
        chosen.append((log, file))
    written = 0
    for log, file in chosen:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            if file.exists():
                raise _error(written, f"{file} is there already; give another folder")
            with files.draft(file) as draft, draft.open("xb") as out:
                rows = write(log, out)
        except UnreadableError as error:
            unreadable.append(str(error))
            continue
        except OSError as error:
            raise _error(written, f"{file} can't be written: {os.strerror(error.errno or 0)}") from None
        written += 1
        progress(file, rows)
    if unreadable:
        raise _error(written, "\n".join(unreadable))


def _check_is_one(log: Log) -> None:
    """DataError for a log whose files differ in their columns."""
    names = log.checked(None)
    for place in range(len(log.files)):
        with log.opened(place, names, whole=True):
            pass


def _error(written: int, text: str) -> DataError:
    return ExportError(f"{text}\n{written} other files were written") if written else DataError(text)


def _check_is_intlogs(log: Log) -> None:
    columns = log.columns
    if columns == COLUMNS:
        return
    missing = sorted(set(COLUMNS) - set(columns))
    raise DataError(
        f"{log.label} {log.muster} {log.stream} can't be written as intlog's text: "
        + (f"columns {', '.join(missing)} were not kept" if missing else "it has other columns")
        + "; use csv or parquet, or leave it out with --stream"
    )


def _intlog(log: Log, out: IO[bytes]) -> int:
    rows = 0
    for batch in log.batches(COLUMNS):
        out.write(as_text(pa.Table.from_batches([batch]), COLUMNS))
        rows += len(batch)
    return rows


def _csv(log: Log, out: IO[bytes]) -> int:
    out.write(",".join((ROW, *log.columns)).encode() + b"\n")
    rows = 0
    for batch in log.batches():
        pcsv.write_csv(batch, out, pcsv.WriteOptions(include_header=False))
        rows += len(batch)
    return rows


def _parquet(log: Log, out: IO[bytes]) -> int:
    writer: pq.ParquetWriter | None = None
    rows = 0
    try:
        for batch in log.batches():
            writer = writer or pq.ParquetWriter(out, batch.schema, compression="zstd", write_page_checksum=True)
            writer.write_batch(batch)
            rows += len(batch)
    finally:
        if writer is not None:
            writer.close()
    return rows


_FORMS: dict[str, tuple[Callable[[Log, IO[bytes]], int], str]] = {
    "intlog": (_intlog, ""),
    "csv": (_csv, ".csv"),
    "parquet": (_parquet, ".parquet"),
}
