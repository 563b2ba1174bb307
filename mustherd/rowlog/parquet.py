"""Blocks of one stream into Parquet files: text checked and parsed, columns as they are.

`logs/trial=0007-1/muster=10.10.1.2/stream=ixgbe-log-core-3/000000000042.parquet`: pandas, DuckDB and Spark read the
folder names as columns; a stream is one core's, and `core` says so in the rows of those that are. A file has a column
`row`, the row's number since the stream began (a gap is what the source lost), then the stream's own columns, named
with their units where they have one: unsigned 64-bit numbers of text streams, doubles of the others (null where the
node didn't count). The counters stay what the source wrote, so that nothing is lost or assumed; the units that the node
reported are in the file's metadata under `mustherd` (JSON: tsc_khz, joules_per_count, counts_per_wrap; a unit that the
node didn't report isn't there).
Lines that are no rows lie beside it as `...malformed`, byte for byte.
"""

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import msgspec
import numpy as np
import pyarrow as pa

from mustherd import files
from mustherd.node.intlog import core_of
from mustherd.rowlog import packed, parse
from mustherd.rowlog.accounting import GAP, StreamPosition
from mustherd.rowlog.ledger import DRAFT, PartFile
from mustherd.rowlog.numbering import GAP_MOST, number_rows
from mustherd.wire import codec
from mustherd.wire.messages import Block

CHUNK_BYTES = 1024 * 1024
"""Text that is parsed in one go, small enough for a core's cache; chunks of one stream are parsed side by side."""

MAX_NAME = 200
"""Longest file name made of a muster's or stream's name; most file systems end at 255 bytes."""

METADATA = b"mustherd"

MALFORMED = ".malformed"

RESERVED = {"row", "trial", "muster", "stream"}
"""Columns that a file or the folders above it have already."""


@dataclass(frozen=True)
class ReceivedBlock:
    """A block with its rows."""

    block: Block
    rows: memoryview


@dataclass
class Written:
    """What a batch of one stream's blocks has become: files under draft names, and where the stream stands now."""

    parts: list[PartFile]
    place: StreamPosition
    unsafe: list[Path]
    """Files and their folder, which may not be on disk yet: the caller syncs those of all streams at once."""


@dataclass
class _Run:
    """Blocks that are parsed as one text."""

    columns: tuple[str, ...]
    every: int
    again: bool
    overrun: bool
    bad_before: int
    """Lines set aside between the run before and this one."""
    cut: bytes
    """What a former life had read of a line, which may come again as a whole."""
    texts: list[tuple[bytes, memoryview]] = field(default_factory=list)
    """What came before of a line that was cut, and what it goes on with."""
    begins: int = 0


def safe_name(name: str) -> str:
    """A name from the wire as one file name: no separators, nothing hidden, and back again with unquote."""
    safe = quote(name, safe=" @:+,=")
    if not name or len(safe) > MAX_NAME:
        raise ValueError(f"{name[:40]!r} is no name for a muster or stream: it takes 1 to {MAX_NAME} plain characters")
    return safe


def folder_of(label: str, muster: str, stream: str) -> str:
    """Below `logs`."""
    return f"trial={safe_name(label)}/muster={safe_name(muster)}/stream={safe_name(stream)}"


def write(
    logs: Path,
    muster: str,
    blocks: Sequence[ReceivedBlock],
    place: StreamPosition,
    *,
    units: Mapping[str, float],
    pool: Executor,
) -> Written:
    """Write blocks of one stream and label that follow one another; `place` is changed.

    OSError where the disk doesn't take them, ValueError and what else an odd block may bring where they are no rows:
    drafts stay behind.
    """
    first = blocks[0].block
    for arrived in blocks:
        _check_columns(arrived.block.columns)
    writer = _Writer(logs, muster, first, units)
    if first.form == "columns":
        _take_columns(blocks, place, writer)
    else:
        for run in _runs(blocks, place, writer):
            _take_text(run, place, writer, pool)
    return Written(writer.finish(), place, writer.unsafe)


def set_aside(logs: Path, muster: str, blocks: Sequence[ReceivedBlock], place: StreamPosition) -> Written:
    """Keep blocks that `write` can't as they came, every line of them counted; `place` is changed. Raises OSError."""
    first = blocks[0].block
    try:
        safe_name(first.stream)
    except ValueError:
        # The ledger has the whole name.
        digest = hashlib.sha256(first.stream.encode("utf-8", "surrogatepass")).hexdigest()
        first = msgspec.structs.replace(first, stream=f"odd-{digest[:32]}")
    writer = _Writer(logs, muster, first, {}, stream=blocks[0].block.stream)
    writer.forget_drafts()
    if place.fragment:
        _set_aside(parse.CUT, place.fragment + b"\n", place, writer)
    place.fragment, place.fragment_is_aside = b"", False
    for arrived in blocks:
        lines = max(1, bytes(arrived.rows).count(b"\n"))
        place.account.received += lines
        place.account.malformed[parse.ODD] = place.account.malformed.get(parse.ODD, 0) + lines
        writer.aside([bytes(arrived.rows)])
    return Written(writer.finish(), place, writer.unsafe)


def _check_columns(names: Sequence[str]) -> None:
    """ValueError for columns that no file can have."""
    if len(set(names)) != len(names):
        raise ValueError("a column comes twice")
    if taken := RESERVED.intersection(names):
        raise ValueError(f"a column is called {taken.pop()}, as one of ours")


class _Writer:
    """Files of one stream, named after the first block in them."""

    def __init__(
        self, logs: Path, muster: str, first: Block, units: Mapping[str, float], *, stream: str | None = None
    ) -> None:
        """`stream` is the name in the ledger, where no folder can have it."""
        self._logs = logs
        self._stream = first.stream if stream is None else stream
        self._muster = muster
        self._first = first
        self._units = units
        self._folder = folder_of(first.label, muster, first.stream)
        self._parts: list[PartFile] = []
        self._aside: list[bytes] = []
        self._made = False
        self.unsafe: list[Path] = []
        """What was written and isn't synced."""

    def table(self, table: pa.Table, rows: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> None:
        """Rows with their numbers."""
        if not len(table):
            return
        table = table.add_column(0, "row", parse.array_of(rows, pa.int64()))
        core = core_of(self._first.stream)
        told = {**self._units, "muster": self._muster, "stream": self._first.stream}
        if core is not None:
            told["core"] = core
        file = self._file(f"{f'-{len(self._parts)}' if self._parts else ''}.parquet")
        packed.keep(file, table, {METADATA: json.dumps(told).encode()})
        self._add(file, int(rows[0]), len(rows))

    def forget_drafts(self) -> None:
        """What an attempt to write the same blocks has left."""
        for path in (self._logs / self._folder).glob(f"{self._first.seq:012d}*{DRAFT}"):
            path.unlink()

    def aside(self, lines: Sequence[bytes]) -> None:
        """Lines that are no rows."""
        self._aside.extend(lines)

    def finish(self) -> list[PartFile]:
        """Everything is written, under draft names, and `unsafe` is what to sync."""
        if self._aside:
            file = self._file(MALFORMED)
            with file.open("wb") as out:
                out.writelines(self._aside)
            self._add(file, -1, 0)
        if self._made:
            self.unsafe.append(self._logs / self._folder)
        return self._parts

    def _file(self, end: str) -> Path:
        folder = self._logs / self._folder
        name = f"{self._first.seq:012d}{end}"
        if (folder / name).exists():
            # Of another spool of that muster, whose first one was lost: its blocks are numbered from 1 as well.
            name = f"{self._first.seq:012d}-{self._first.spool:014x}{end}"
        if not self._made:
            self._made = True
            if not folder.exists():
                folder.mkdir(parents=True)
                for parent in (folder.parent, folder.parent.parent, self._logs):
                    files.sync_folder(parent)
        return folder / f"{name}{DRAFT}"

    def _add(self, file: Path, first_row: int, rows: int) -> None:
        self.unsafe.append(file)
        self._parts.append(
            PartFile(
                path=f"{self._folder}/{file.name.removesuffix(DRAFT)}",
                label=self._first.label,
                muster=self._muster,
                stream=self._stream,
                first_row=first_row,
                rows=rows,
                size=file.stat().st_size,
            )
        )


def _take_columns(blocks: Sequence[ReceivedBlock], place: StreamPosition, writer: _Writer) -> None:
    tables: list[pa.Table] = []
    numbers: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []

    def write_out() -> None:
        if tables:
            writer.table(pa.concat_tables(tables), np.concatenate(numbers))
        tables.clear()
        numbers.clear()

    account = place.account
    for arrived in blocks:
        try:
            told = codec.row_columns(arrived.rows)
            _check_columns(tuple(told.columns))
            lengths = {len(values) for values in told.columns.values()}
            if len(lengths) != 1:
                raise ValueError("columns differ in length")
        except ValueError:
            account.received += 1
            account.set_aside(parse.NOT_A_NUMBER)
            writer.aside([bytes(arrived.rows)])
            continue
        count = lengths.pop()
        # A source that counts from its beginning again has lost nothing that could be numbered.
        missing = max(0, told.first - place.last_i - 1) if place.last_i >= 0 else 0
        if unknown := missing > GAP_MOST:
            missing = 1
        account.lose(GAP, missing)
        account.produced += count + missing
        account.received += count
        account.written += count
        first = place.next_row + missing if unknown else max(told.first, place.next_row)
        place.next_row, place.last_i = first + count, told.first + count - 1
        table = pa.table(
            {name: pa.array(values, pa.float64(), from_pandas=True) for name, values in told.columns.items()}
        )
        if tables and tables[0].column_names != table.column_names:
            write_out()
        tables.append(table)
        numbers.append(np.arange(first, first + count, dtype=np.int64))
    write_out()


def _runs(blocks: Sequence[ReceivedBlock], place: StreamPosition, writer: _Writer) -> list[_Run]:
    """Blocks joined as far as they can be parsed together, lines that were cut between them made whole."""
    runs: list[_Run] = []
    bad, cut, anew = 0, b"", False
    for arrived in blocks:
        block, head, rows = arrived.block, b"", arrived.rows
        if place.fragment_is_aside:
            # The rest of a line that was too long.
            place.fragment_is_aside = block.continues
            if block.continues:
                rows = memoryview(_rest_of_line(bytes(rows), place, writer))
        elif place.fragment:
            if block.continues:
                head = place.fragment
            elif block.again:
                cut, anew = place.fragment, True
            else:
                _set_aside(parse.CUT, place.fragment + b"\n", place, writer)
                bad, anew = bad + 1, True
            place.fragment = b""
        run = runs[-1] if runs else None
        if (
            run is None
            or anew
            or block.overrun
            or (run.columns, run.every, run.again) != (block.columns, block.every, block.again)
        ):
            run = _Run(block.columns, block.every, block.again, block.overrun, bad, cut)
            runs.append(run)
            bad, cut, anew = 0, b"", False
        if block.unfinished and not place.fragment_is_aside:
            end = _last_line(rows)
            rest, rows = bytes(rows[end:]), rows[:end]
            if not end:
                rest, head = head + rest, b""
            if len(rest) > parse.LONGEST_LINE:
                _set_aside(parse.LONG, rest, place, writer)
                place.fragment_is_aside = True
                bad, anew = bad + 1, True
            else:
                place.fragment = rest
        run.texts.append((head, rows))
        run.begins += block.pass_begins
    if bad:
        runs.append(_Run(blocks[-1].block.columns, 1, again=False, overrun=False, bad_before=bad, cut=b""))
    return runs


def _last_line(text: memoryview) -> int:
    """Where the last line begins, which may be empty."""
    for reach in (parse.LONGEST_LINE, len(text)):
        tail = bytes(text[-reach:])
        found = tail.rfind(b"\n")
        if found >= 0:
            return len(text) - len(tail) + found + 1
    return 0


def _rest_of_line(text: bytes, place: StreamPosition, writer: _Writer) -> bytes:
    line, newline, rest = text.partition(b"\n")
    writer.aside([line + newline])
    if newline:
        place.fragment_is_aside = False
    return rest


def _set_aside(reason: str, line: bytes, place: StreamPosition, writer: _Writer) -> None:
    place.account.received += 1
    place.account.set_aside(reason)
    writer.aside([line])


def _take_text(run: _Run, place: StreamPosition, writer: _Writer, pool: Executor) -> None:
    place.bad_since += run.bad_before
    chunks: list[list[memoryview | bytes]] = [[]]
    size = 0
    for texts in run.texts:
        chunks[-1] += texts
        size += sum(map(len, texts))
        # Every text but the last of a run ends with a line's end, or the next one continues it.
        if size >= CHUNK_BYTES:
            chunks.append([])
            size = 0
    found = list(pool.map(lambda chunk: _read(chunk, run.columns), filter(None, chunks)))
    if not found:
        return
    lines, begins = _joined(found), run.begins
    if run.again and "timestamp" in run.columns:
        repeated = place.account.repeated
        lines = _without_repeats(lines, place)
        if place.account.repeated > repeated:
            # The source had not been emptied.
            begins = max(0, begins - 1)
        elif run.cut:
            _set_aside(parse.CUT, run.cut + b"\n", place, writer)
            place.bad_since += 1
    elif len(lines.table) and "timestamp" in run.columns:
        times = parse.column(lines.table, "timestamp")
        if place.last_timestamp >= 0 and int((times <= place.last_timestamp).sum()) * 2 > len(times):
            # Most of it lies before what came last: the machine's clock was set to zero, as a restart does.
            place.last_timestamp = -1
    lines = parse.in_order(lines, place.last_timestamp)
    writer.aside([line for _, line in lines.bad])
    rows = number_rows(place, lines, every=run.every, begins=begins, overrun=run.overrun)
    writer.table(lines.table, rows)


def _read(texts: Sequence[memoryview | bytes], columns: tuple[str, ...]) -> parse.Lines:
    """Join texts and read them. Always in the same memory: new pages for each chunk cost more than half of a parse."""
    size = sum(map(len, texts))
    room: bytearray | None = getattr(_scratch, "room", None)
    if room is None or len(room) < size:
        room = _scratch.room = bytearray(max(size, 2 * CHUNK_BYTES))
    at = 0
    for text in texts:
        room[at : at + len(text)] = text
        at += len(text)
    return parse.read(memoryview(room)[:size], columns)


_scratch = threading.local()


def _joined(found: list[parse.Lines]) -> parse.Lines:
    if len(found) == 1:
        return found[0]
    places = None
    if any(f.places is not None for f in found):
        starts = np.cumsum([0, *(f.lines for f in found)])
        places = np.concatenate(
            [
                s + (f.places if f.places is not None else np.arange(len(f.table)))
                for s, f in zip(starts, found, strict=False)
            ]
        )
    table = pa.concat_tables([f.table for f in found])
    return parse.Lines(table, places, sum(f.lines for f in found), [b for f in found for b in f.bad])


def _without_repeats(found: parse.Lines, place: StreamPosition) -> parse.Lines:
    """Leave out rows that were written before the muster started anew."""
    new = parse.column(found.table, "timestamp") > max(place.last_timestamp, 0)
    repeated = int((~new).sum())
    if not repeated or place.last_timestamp < 0:
        return found
    place.account.repeated += repeated
    places = found.places if found.places is not None else np.arange(len(found.table))
    kept = places[new]
    # What was left out counts neither as arrived nor as a gap's filling.
    offset = int(kept[0]) if len(kept) else found.lines
    return parse.Lines(found.table.filter(pa.array(new)), kept - offset, found.lines - offset, found.bad)
