"""Bulk rows in Parquet: one file per attempt, muster and stream, whole or not there at all.

`logs/trial=0007-1/muster=10.10.1.2/ixgbe-log-core-3.parquet`: pandas, DuckDB and Spark read the folder names as
columns. A file has a column `row`, the row's number since the stream began (a gap is what the source lost), and the
stream's own columns, named with their units where they have one, as doubles: integers are exact up to 2**53.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, unquote

from mustherd.lab.database import sync_folder
from mustherd.lab.errors import StoreError
from mustherd.lab.store import LOGS

if TYPE_CHECKING:
    import pandas as pd

ROWS_PER_GROUP = 65_536
"""Rows of a stream kept in memory before they go to its file: 9 MB with intlog's 17 columns."""

MAX_NAME = 200
"""Longest file name made of a muster's or stream's name; most file systems end at 255 bytes."""


def _safe(name: str) -> str:
    """A name from the wire as one file name: no separators, nothing hidden, and back again with unquote."""
    safe = quote(name, safe=" @:+,=")
    if not name or len(safe) > MAX_NAME:
        raise ValueError(f"{name[:40]!r} is no name for a muster or stream: it takes 1 to {MAX_NAME} plain characters")
    return safe


def _trial_folder(folder: Path, trial: int, attempt: int) -> Path:
    return folder / LOGS / f"trial={trial:04d}-{attempt}"


class _Stream:
    """A file being written, beside the name that it will have."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415

        self.path = path
        self.draft = path.with_suffix(".part")
        self.names = tuple(names)
        self.next_row = 0
        self._pa = pa
        self._schema = pa.schema([("row", pa.int64()), *((name, pa.float64()) for name in names)])
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = pq.ParquetWriter(self.draft, self._schema, compression="zstd")
        self._chunks: list[Any] = []
        self._waiting = 0

    def append(self, first_row: int, columns: Mapping[str, Sequence[float]]) -> None:
        length = len(next(iter(columns.values()), ()))
        if set(columns) != set(self.names):
            raise ValueError(f"{self.path.stem} has columns {', '.join(self.names)}, not {', '.join(columns)}")
        if any(len(values) != length for values in columns.values()):
            raise ValueError(f"{self.path.stem}: the columns differ in length")
        if first_row < self.next_row:
            raise ValueError(f"{self.path.stem}: row {first_row} was stored already, {self.next_row} is the next")
        arrays = [self._pa.array(range(first_row, first_row + length), self._pa.int64())]
        arrays += [self._pa.array(columns[name], self._pa.float64()) for name in self.names]
        self._chunks.append(self._pa.record_batch(arrays, schema=self._schema))
        self._waiting += length
        self.next_row = first_row + length
        if self._waiting >= ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._chunks:
            self._writer.write_table(self._pa.Table.from_batches(self._chunks))
        self._chunks, self._waiting = [], 0

    def finish(self) -> None:
        self._flush()
        self._writer.close()
        with self.draft.open("rb") as file:
            os.fsync(file.fileno())
        self.draft.rename(self.path)
        sync_folder(self.path.parent)

    def drop(self) -> None:
        self._writer.close()
        self.draft.unlink(missing_ok=True)


class BulkWriter:
    """Takes rows as they come and writes them trial by trial. One thread, or one lock around it.

    Rows of a trial that is never closed leave `.part` files behind, which no reader looks at.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._streams: dict[tuple[int, int], dict[tuple[str, str], _Stream]] = {}

    def append(
        self,
        trial: int,
        attempt: int,
        muster: str,
        stream: str,
        *,
        first_row: int,
        columns: Mapping[str, Sequence[float]],
    ) -> None:
        """Take rows `first_row` and on of a stream, as columns of equal length.

        ValueError when the columns changed, differ in length, or a row comes a second time.
        """
        streams = self._streams.setdefault((trial, attempt), {})
        into = streams.get((muster, stream))
        if into is None:
            parent = _trial_folder(self.folder, trial, attempt) / f"muster={_safe(muster)}"
            into = _Stream(parent / f"{_safe(stream)}.parquet", tuple(columns))
            streams[muster, stream] = into
        into.append(first_row, columns)

    def close_trial(self, trial: int, attempt: int) -> list[Path]:
        """Finish the attempt's files, on disk when this returns; gives their paths."""
        streams = self._streams.pop((trial, attempt), {})
        for stream in streams.values():
            stream.finish()
        if streams:
            # The names of the folders on the way must be on disk as well.
            for folder in (_trial_folder(self.folder, trial, attempt), self.folder / LOGS):
                sync_folder(folder)
        return [stream.path for stream in streams.values()]

    def drop_trial(self, trial: int, attempt: int) -> None:
        """Throw the attempt's rows away, those on disk too."""
        for stream in self._streams.pop((trial, attempt), {}).values():
            stream.drop()
        shutil.rmtree(_trial_folder(self.folder, trial, attempt), ignore_errors=True)

    def close(self) -> None:
        """Throw away what was not closed."""
        for streams in self._streams.values():
            for stream in streams.values():
                stream.drop()
        self._streams.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_log(
    folder: Path | str, trial: int, attempt: int | None = None, muster: str | None = None, stream: str | None = None
) -> "pd.DataFrame":
    """A trial's rows: columns `muster`, `stream`, `row` and the streams' own; the last attempt unless told.

    Rows lie in order within muster and stream. Where streams differ in columns, those missing are NaN.
    StoreError when there are no such rows.
    """
    import pandas as pd  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    folder = Path(folder)
    if attempt is None:
        found = [path.name.rpartition("-")[2] for path in (folder / LOGS).glob(f"trial={trial:04d}-*")]
        attempt = max((int(text) for text in found if text.isdecimal()), default=0)
    frames: list[pd.DataFrame] = []
    for path in sorted(_trial_folder(folder, trial, attempt).glob("muster=*/*.parquet")):
        names = unquote(path.parent.name.partition("=")[2]), unquote(path.stem)
        if muster in (None, names[0]) and stream in (None, names[1]):
            frame = pq.ParquetFile(path).read().to_pandas()
            frame.insert(0, "muster", names[0])
            frame.insert(1, "stream", names[1])
            frames.append(frame)
    if not frames:
        wanted = f"{trial}-{attempt}" if attempt else str(trial)
        raise StoreError(f"{folder} holds no such log rows of trial {wanted}")
    return pd.concat(frames, ignore_index=True)
