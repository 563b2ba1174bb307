"""One stream of rows of one trial on one muster, as it lies in its files."""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mustherd.errors import UserError
from mustherd.node.intlog import core_of
from mustherd.rowlog.accounting import RowAccounting
from mustherd.rowlog.counters import Unwrapped
from mustherd.rowlog.ledger import PartFile
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
    """A file of rows is gone, damaged, or not the one that the ledger names; the message names it."""


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
    booked: tuple[PartFile, ...] = field(repr=False, default=())
    """What the ledger says of each of `files`, which they are held against; empty: it says nothing of them."""

    @property
    def trial(self) -> int | None:
        """The trial's number; None for a label given by hand."""
        return numbers_of(self.label)[0]

    @property
    def attempt(self) -> int | None:
        """Which attempt at the trial."""
        return numbers_of(self.label)[1]

    @property
    def core(self) -> int | None:
        """Whose log it is; None for a stream that isn't a core's."""
        return core_of(self.stream)

    @property
    def rows(self) -> int:
        """In the files."""
        return sum(p.rows for p in self.booked) if self.booked else self.account.written - self.account.rotated

    @property
    def columns(self) -> tuple[str, ...]:
        """Names as the source has them, after `row`."""
        return tuple(name for name in self._schema().names if name != ROW)

    @property
    def units(self) -> dict[str, float]:
        """What the node reported: tsc_khz, joules_per_count, counts_per_wrap; a unit that it didn't report isn't here.

        Raises DataError where it isn't the same in all files.
        """
        told = []
        for place in range(len(self.files)):
            with self.opened(place) as parquet:
                told.append(_units_in(parquet.schema_arrow))
        return self._same_units(told)

    def _same_units(self, told: Sequence[dict[str, float]]) -> dict[str, float]:
        if any(units != told[0] for units in told):
            raise DataError(f"{self.label} {self.muster} {self.stream}: the node reported units that changed meanwhile")
        return told[0] if told else {}

    def dataset(self) -> "ds.Dataset":
        """The files as a lazy Arrow dataset: for filters, projections and engines that take one.

        Their feet are read here; a page that is damaged ends the scan that comes to it with OSError. A column that only
        some of the files have is null for rows of the others.
        """
        import pyarrow.dataset as ds  # noqa: PLC0415

        found = [self._schema()]
        for place in range(len(self.files)):
            with self.opened(place) as parquet:
                found.append(parquet.schema_arrow)
        schema = pa.unify_schemas(found)
        scan = ds.ParquetFragmentScanOptions(page_checksum_verification=True)
        form = ds.ParquetFileFormat(default_fragment_scan_options=scan)
        return ds.dataset([str(file) for file in self.files], format=form, schema=schema)

    def each_file(self) -> "tuple[Log, ...]":
        """A log of each file alone, for readers that share them out."""
        return tuple(
            replace(self, files=(file,), aside=(), booked=self.booked[place : place + 1])
            for place, file in enumerate(self.files)
        )

    def hold(self) -> None:
        """Hold each file's foot against the ledger, and read no rows. UnreadableError for one that is another's."""
        for place in range(len(self.files)):
            with self.opened(place):
                pass

    def verify(self) -> None:
        """Read every page of every file and keep none: UnreadableError for one that isn't as it was written."""
        # By themselves: files may differ in their columns.
        for part in self.each_file():
            for _ in part.batches():
                pass

    def batches(self, columns: Sequence[str] | None = None, rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Rows in order as the source wrote them, so many at a time: memory stays bounded whatever their number."""
        check_size(rows)
        names = self.checked(columns)
        for place in range(len(self.files)):
            with self.opened(place, names, whole=columns is None) as parquet:
                yield from parquet.iter_batches(rows, columns=names)

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows as the source wrote them."""
        names = self.checked(columns)
        return self._joined(self._tables(names, whole=columns is None), names)

    def _tables(self, names: list[str], *, whole: bool) -> list[pa.Table]:
        """Of each file."""
        tables = []
        for place in range(len(self.files)):
            with self.opened(place, names, whole=whole) as parquet:
                tables.append(parquet.read(names))
        return tables

    @contextlib.contextmanager
    def opened(self, place: int, names: Sequence[str] = (), *, whole: bool = False) -> Iterator[pq.ParquetFile]:
        """A file, its pages checked as they are read.

        DataError for one that lacks one of these columns, or, `whole`, that has others.
        """
        file = self.files[place]
        with reading(file), pq.ParquetFile(file, page_checksum_verification=True) as parquet:
            if self.booked:
                _hold(file, parquet, self.booked[place])
            there = parquet.schema.names
            if missing := [name for name in names if name not in there]:
                raise DataError(
                    f"{file} has no column {missing[0]!r}, which other files of {self.label} {self.muster} "
                    f"{self.stream} have; it has {', '.join(there)}: ask for columns that all have"
                )
            if whole and (more := [name for name in there if name not in names]):
                raise DataError(
                    f"{file} has a column {more[0]!r}, which other files of {self.label} {self.muster} {self.stream} "
                    f"lack; these have {', '.join(names)}: ask for columns that all have"
                )
            yield parquet

    def _joined(self, tables: list[pa.Table], names: list[str]) -> pa.Table:
        if not tables:
            return self._schema(names).empty_table()
        with reading(self.files[0]):
            return pa.concat_tables(tables)

    def frame(self, columns: Sequence[str] | None = None) -> "pd.DataFrame":
        """All rows, in units where the node reported them.

        `timestamp` becomes `time_seconds` (since the node's TSC was 0) and `joules`, a counter that wraps, becomes
        `energy_joules` since the first row (a restart of the node, which sets the counter to 0, adds nothing where
        `timestamp` is read too); without the unit they stay as they are, as `timestamp_ticks` and
        `energy_counts`. Other columns keep their names.
        """
        names = self.checked(columns)
        tables = self._tables(names, whole=columns is None)
        with reading(self.files[0] if self.files else Path()):
            # Each file's foot was read with its rows.
            told = [_units_in(table.schema) for table in tables]
        return InUnits(self._same_units(told)).frame(self._joined(tables, names))

    def frames(self, columns: Sequence[str] | None = None, rows: int = BATCH_ROWS) -> "Iterator[pd.DataFrame]":
        """What `frame` gives, so many rows at a time: memory stays bounded whatever their number."""
        units = InUnits(self.units)
        for batch in self.batches(columns, rows):
            yield units.frame(pa.Table.from_batches([batch]))

    def _schema(self, names: Sequence[str] | None = None) -> pa.Schema:
        if not self.files:
            return pa.schema([(ROW, pa.int64())])
        with self.opened(0) as parquet:
            schema = parquet.schema_arrow
        return schema if names is None else pa.schema([schema.field(n) for n in names], schema.metadata)

    def checked(self, columns: Sequence[str] | None) -> list[str]:
        """The names of columns that were asked for, as they come. DataError for one that isn't there."""
        there = self._schema().names
        if columns is None:
            return list(there)
        asked = names_in(columns)
        for name in asked:
            if name not in there:
                raise DataError(f"{self.stream} has no column {name!r}; it has {', '.join(there)}")
        return [name for name in there if name in (ROW, *asked)]


def names_in(columns: Iterable[str]) -> list[str]:
    """Columns that were asked for. DataError for a single name, whose letters would be taken for names."""
    if isinstance(columns, str):
        raise DataError(f"columns {columns!r}: give a list of names, as [{columns!r}]")
    return list(columns)


def check_size(rows: int) -> None:
    """DataError for a number of rows that nothing can be read by."""
    if rows < 1:
        raise DataError(f"{rows} rows at a time: give at least 1")


def numbers_of(label: str) -> tuple[int | None, int | None]:
    """The trial and the attempt at it; neither for a label given by hand."""
    number, _, attempt = label.partition("-")
    if len(number) >= 4 and number.isdecimal() and attempt.isdecimal():
        return int(number), int(attempt)
    return None, None


class InUnits:
    """Rows of one stream in order, a part at a time, as frames in what its node reported."""

    def __init__(self, units: Mapping[str, float], energy: tuple[int | None, int] = (None, 0)) -> None:
        """`energy` is the state of the energy's counter (Unwrapped) behind the stream's rows before."""
        self._units = units
        self._counter = Unwrapped(int(units.get("counts_per_wrap", 0)), *energy)
        self._tick: int | None = None
        """Of the last row."""

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
                    values = self._energy(table, values.astype(np.uint64, copy=False), units["joules_per_count"])
            columns[name] = values
            if not values.flags.writeable:
                # Arrow's own memory: a frame is its owner's, to be changed.
                columns[name] = values.copy()
        # As they are: one piece of memory for all columns would be another copy of them.
        return pd.DataFrame(columns, copy=False)

    def _energy(self, table: pa.Table, counts: np.ndarray, unit: float) -> np.ndarray:
        """Where the clock goes back the machine was restarted, and what its counter lost by that is no wrap."""
        if "timestamp" not in table.column_names or not len(table):
            return self._counter.more(counts, unit)
        ticks = table.column("timestamp").to_numpy()
        if self._tick is not None and ticks[0] < self._tick:
            self._counter.begins_anew()
        self._tick = ticks[-1]
        first, *others = np.split(counts, np.flatnonzero(ticks[1:] < ticks[:-1]) + 1)
        found = [self._counter.more(first, unit)]
        for part in others:
            self._counter.begins_anew()
            found.append(self._counter.more(part, unit))
        return np.concatenate(found) if others else found[0]


def _hold(file: Path, parquet: pq.ParquetFile, booked: PartFile) -> None:
    """UnreadableError for a file that isn't the one that the ledger names there."""
    foot = parquet.metadata
    muster, stream = _owner((foot.metadata or {}).get(METADATA, b"{}"))
    first = foot.row_group(0).column(0).statistics if foot.num_row_groups else None
    found = (
        booked.muster if muster is None else muster,
        booked.stream if stream is None else stream,
        foot.num_rows,
        first.min if first is not None and first.has_min_max else booked.first_row,
        file.stat().st_size,
    )
    wanted = (booked.muster, booked.stream, booked.rows, booked.first_row, booked.size)
    if found != wanted:
        names = ("muster", "stream", "rows", "first row", "bytes")
        what, value, want = next(one for one in zip(names, found, wanted, strict=True) if one[1] != one[2])
        raise UnreadableError(f"{file} is not what the ledger names: its {what}: {value}; in the ledger: {want}")


@lru_cache(maxsize=1024)
def _owner(told: bytes) -> tuple[str | None, str | None]:
    """The muster and the stream that a file says it is of, as all files of a stream do."""
    names = json.loads(told)
    return names.get("muster"), names.get("stream")


def _units_in(schema: pa.Schema) -> dict[str, float]:
    told = json.loads((schema.metadata or {}).get(METADATA, b"{}"))
    return {name: float(told[name]) for name in ("tsc_khz", "joules_per_count", "counts_per_wrap") if name in told}


@contextlib.contextmanager
def reading(file: Path) -> Iterator[None]:
    """What a file that is gone or damaged brings becomes an UnreadableError with its name."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        what = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UnreadableError(f"{file} can't be read: {what}") from error
