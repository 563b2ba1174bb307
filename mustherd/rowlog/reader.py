"""One stream of rows of one trial on one muster, as it lies in its files."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from mustherd.errors import UserError
from mustherd.node.intlog import core_of
from mustherd.rowlog.accounting import RowAccounting
from mustherd.rowlog.parquet import METADATA

BATCH_ROWS = 65_536

ROW = "row"
"""The row's number since the stream began; a gap is what the source lost."""


class DataError(UserError):
    """What was asked for isn't there; the message says what there is."""


class UnreadableError(DataError):
    """A file of rows is gone or damaged; the message names it."""


@dataclass(frozen=True)
class Log:
    """Rows of one stream. Nothing is read before it is asked for."""

    label: str
    """What the rows belong to: `0007-1` is attempt 1 of trial 7; other labels were given by hand."""
    muster: str
    stream: str
    account: RowAccounting
    """Rows produced, received, written, and lost and why."""
    files: tuple[Path, ...] = field(repr=False)
    """Parquet, in the order of their rows."""
    aside: tuple[Path, ...] = field(repr=False, default=())
    """Lines that are no rows, byte for byte."""

    @property
    def trial(self) -> int | None:
        """The trial's number; None for a label given by hand."""
        return self._numbers()[0]

    @property
    def attempt(self) -> int | None:
        """Which attempt at the trial."""
        return self._numbers()[1]

    @property
    def core(self) -> int | None:
        """Whose log it is; None for a stream that isn't a core's."""
        return core_of(self.stream)

    @property
    def rows(self) -> int:
        """In the files."""
        return self.account.written

    @property
    def columns(self) -> tuple[str, ...]:
        """Names as the source has them, after `row`."""
        return tuple(name for name in self._schema().names if name != ROW)

    @property
    def units(self) -> dict[str, float]:
        """What the node reported: tsc_khz, joules_per_count, counts_per_wrap; a unit that it didn't report isn't here.

        Raises DataError where it isn't the same in all files.
        """
        found = {json.dumps(_units(file), sort_keys=True) for file in self.files}
        if len(found) > 1:
            raise DataError(f"{self.label} {self.muster} {self.stream}: the node reported units that changed meanwhile")
        return _units(self.files[0]) if self.files else {}

    def dataset(self) -> ds.Dataset:
        """The files as a lazy Arrow dataset: for filters, projections and engines that take one."""
        return ds.dataset([str(file) for file in self.files], format="parquet", schema=self._schema())

    def batches(self, columns: Sequence[str] | None = None, rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Rows in order as the source wrote them, so many at a time: memory stays bounded whatever their number."""
        names = self._checked(columns)
        for file in self.files:
            with _reading(file), pq.ParquetFile(file, page_checksum_verification=True) as parquet:
                yield from parquet.iter_batches(rows, columns=names)

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows as the source wrote them."""
        names = self._checked(columns)
        return pa.Table.from_batches(self.batches(columns), self._schema(names))

    def frame(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """All rows, in units where the node reported them.

        `timestamp` becomes `time_seconds` (since the node's TSC was 0) and `joules`, a counter that wraps, becomes
        `energy_joules` since the first row; without the unit they stay as they are, as `timestamp_ticks` and
        `energy_counts`. Other columns keep their names.
        """
        table = self.table(columns)
        units = self.units
        frame = table.to_pandas()
        if "timestamp" in frame:
            frame = frame.rename(columns={"timestamp": "timestamp_ticks"})
            if "tsc_khz" in units:
                at = frame.columns.get_loc("timestamp_ticks")
                seconds = frame.pop("timestamp_ticks") / (units["tsc_khz"] * 1000)
                frame.insert(at, "time_seconds", seconds)
        if "joules" in frame:
            frame = frame.rename(columns={"joules": "energy_counts"})
            if "joules_per_count" in units:
                at = frame.columns.get_loc("energy_counts")
                counts = frame.pop("energy_counts").to_numpy(np.uint64)
                joules = unwrapped(counts, int(units["counts_per_wrap"])) * units["joules_per_count"]
                frame.insert(at, "energy_joules", joules)
        return frame

    def _numbers(self) -> tuple[int | None, int | None]:
        number, _, attempt = self.label.partition("-")
        if len(number) >= 4 and number.isdecimal() and attempt.isdecimal():
            return int(number), int(attempt)
        return None, None

    def _schema(self, names: Sequence[str] | None = None) -> pa.Schema:
        if not self.files:
            return pa.schema([(ROW, pa.int64())])
        with _reading(self.files[0]):
            schema = pq.read_schema(self.files[0])
        return schema if names is None else pa.schema([schema.field(n) for n in names], schema.metadata)

    def _checked(self, columns: Sequence[str] | None) -> list[str]:
        there = self._schema().names
        if columns is None:
            return list(there)
        for name in columns:
            if name not in there:
                raise DataError(f"{self.stream} has no column {name!r}; it has {', '.join(there)}")
        return [name for name in there if name in (ROW, *columns)]


def unwrapped(counts: np.ndarray, counts_per_wrap: int) -> np.ndarray:
    """A counter that wraps, as doubles counted from its first value that isn't 0.

    0 is what the driver's older versions print for rows less than 1 ms after the one before: not a reading, so not a
    number in the result. Between two readings the counter may wrap once at most (RAPL's takes minutes).
    """
    found = np.full(len(counts), np.nan)
    read = np.flatnonzero(counts)
    if len(read):
        values = counts[read].astype(np.int64)
        steps = (values[1:] - values[:-1]) % counts_per_wrap
        found[read] = np.concatenate([[0], np.cumsum(steps)])
    return found


def _units(file: Path) -> dict[str, float]:
    with _reading(file):
        told = json.loads((pq.read_schema(file).metadata or {}).get(METADATA, b"{}"))
        return {name: float(told[name]) for name in ("tsc_khz", "joules_per_count", "counts_per_wrap") if name in told}


@contextlib.contextmanager
def _reading(file: Path) -> Iterator[None]:
    """What a file that is gone or damaged brings becomes an UnreadableError with its name."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        what = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UnreadableError(f"{file} can't be read: {what}") from error
