"""One stream of rows of one trial on one muster, as it lies in its files."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mustherd.errors import UserError
from mustherd.node.intlog import core_of
from mustherd.rowlog.accounting import RowAccounting
from mustherd.rowlog.counters import Unwrapped
from mustherd.rowlog.parquet import METADATA

if TYPE_CHECKING:
    # Reports read rows without them, and both take a third of a second to import.
    import pandas as pd
    import pyarrow.dataset as ds

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
        return self.account.written - self.account.rotated

    @property
    def columns(self) -> tuple[str, ...]:
        """Names as the source has them, after `row`."""
        return tuple(name for name in self._schema().names if name != ROW)

    @property
    def units(self) -> dict[str, float]:
        """What the node reported: tsc_khz, joules_per_count, counts_per_wrap; a unit that it didn't report isn't here.

        Raises DataError where it isn't the same in all files.
        """
        return self._same_units([_units(file) for file in self.files])

    def _same_units(self, told: Sequence[dict[str, float]]) -> dict[str, float]:
        if any(units != told[0] for units in told):
            raise DataError(f"{self.label} {self.muster} {self.stream}: the node reported units that changed meanwhile")
        return told[0] if told else {}

    def dataset(self) -> "ds.Dataset":
        """The files as a lazy Arrow dataset: for filters, projections and engines that take one."""
        import pyarrow.dataset as ds  # noqa: PLC0415

        return ds.dataset([str(file) for file in self.files], format="parquet", schema=self._schema())

    def batches(self, columns: Sequence[str] | None = None, rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Rows in order as the source wrote them, so many at a time: memory stays bounded whatever their number."""
        names = self.checked(columns)
        for file in self.files:
            with _reading(file), pq.ParquetFile(file, page_checksum_verification=True) as parquet:
                yield from parquet.iter_batches(rows, columns=names)

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows as the source wrote them."""
        return self._joined(self._tables(self.checked(columns)), columns)

    def _tables(self, names: list[str]) -> list[pa.Table]:
        """Of each file."""
        tables = []
        for file in self.files:
            with _reading(file), pq.ParquetFile(file, page_checksum_verification=True) as parquet:
                tables.append(parquet.read(names))
        return tables

    def _joined(self, tables: list[pa.Table], columns: Sequence[str] | None) -> pa.Table:
        if not tables:
            return self._schema(self.checked(columns)).empty_table()
        with _reading(self.files[0]):
            return pa.concat_tables(tables)

    def frame(self, columns: Sequence[str] | None = None) -> "pd.DataFrame":
        """All rows, in units where the node reported them.

        `timestamp` becomes `time_seconds` (since the node's TSC was 0) and `joules`, a counter that wraps, becomes
        `energy_joules` since the first row; without the unit they stay as they are, as `timestamp_ticks` and
        `energy_counts`. Other columns keep their names.
        """
        tables = self._tables(self.checked(columns))
        with _reading(self.files[0] if self.files else Path()):
            # Each file's foot was read with its rows.
            told = [_units_in(table.schema) for table in tables]
        return InUnits(self._same_units(told)).frame(self._joined(tables, columns))

    def frames(self, columns: Sequence[str] | None = None, rows: int = BATCH_ROWS) -> "Iterator[pd.DataFrame]":
        """What `frame` gives, so many rows at a time: memory stays bounded whatever their number."""
        units = InUnits(self.units)
        for batch in self.batches(columns, rows):
            yield units.frame(pa.Table.from_batches([batch]))

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

    def checked(self, columns: Sequence[str] | None) -> list[str]:
        """The names of columns that were asked for, as they come. DataError for one that isn't there."""
        there = self._schema().names
        if columns is None:
            return list(there)
        for name in columns:
            if name not in there:
                raise DataError(f"{self.stream} has no column {name!r}; it has {', '.join(there)}")
        return [name for name in there if name in (ROW, *columns)]


class InUnits:
    """Rows of one stream in order, a part at a time, as frames in what its node reported."""

    def __init__(self, units: Mapping[str, float], energy: tuple[int | None, int] = (None, 0)) -> None:
        """`energy` is the state of the energy's counter (Unwrapped) behind the stream's rows before."""
        self._units = units
        self._counter = Unwrapped(int(units.get("counts_per_wrap", 0)), *energy)

    def frame(self, table: pa.Table) -> "pd.DataFrame":
        """The stream's next rows."""
        import pandas as pd  # noqa: PLC0415

        units = self._units
        columns: dict[str, np.ndarray] = {}
        for name, column in zip(table.column_names, table.columns, strict=True):
            values = column.to_numpy()
            if name == "timestamp":
                name = "timestamp_ticks"  # noqa: PLW2901
                if "tsc_khz" in units:
                    name, values = "time_seconds", values / (units["tsc_khz"] * 1000)  # noqa: PLW2901
            elif name == "joules":
                name = "energy_counts"  # noqa: PLW2901
                if "joules_per_count" in units:
                    name = "energy_joules"  # noqa: PLW2901
                    values = self._counter.more(values.astype(np.uint64, copy=False), units["joules_per_count"])
            columns[name] = values
            if not values.flags.writeable:
                # Arrow's own memory: a frame is its owner's, to be changed.
                columns[name] = values.copy()
        # As they are: one piece of memory for all columns would be another copy of them.
        return pd.DataFrame(columns, copy=False)


def _units(file: Path) -> dict[str, float]:
    with _reading(file):
        return _units_in(pq.read_schema(file))


def _units_in(schema: pa.Schema) -> dict[str, float]:
    told = json.loads((schema.metadata or {}).get(METADATA, b"{}"))
    return {name: float(told[name]) for name in ("tsc_khz", "joules_per_count", "counts_per_wrap") if name in told}


@contextlib.contextmanager
def _reading(file: Path) -> Iterator[None]:
    """What a file that is gone or damaged brings becomes an UnreadableError with its name."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        what = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UnreadableError(f"{file} can't be read: {what}") from error
