"""Lines of text into columns, checked: what isn't a row is set aside and never takes its neighbours with it.

A row is one line of as many unsigned decimal numbers of at most 64 bits as the stream has columns, with one space
between two; timestamps increase, and `i` doesn't jump where the rows on both sides of it agree.
"""

import re
from bisect import bisect_left
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv

from mustherd.rowlog import native

Integers = npt.NDArray[np.uint64]

SHORT = "short"
"""Too few numbers."""
LONG = "long"
"""Too many numbers, or too long for any row."""
BLANK = "blank"
NOT_A_NUMBER = "not-a-number"
"""A sign, a letter, a byte that isn't text."""
TOO_LARGE = "over-64-bits"
CUT = "cut"
"""The line has no end: the source stopped in the middle of it."""
ODD = "odd-block"
"""The block around it can't be kept as rows: its stream's name or columns make no sense, or reading it failed."""
ORDER = "order"
"""A timestamp or number that its neighbours rule out."""

LONGEST_LINE = 4096
"""17 numbers of 20 digits are 357 bytes."""

MOST = 2**64 - 1
MOST_DIGITS = 20
PIECE = 65_536
_NEWLINE, _RETURN = b"\n\r"
NUMBER_MOST = 2**53 - 1
"""Of a row: no source counts as far, and sums of what lies between stay exact."""
JUMP = 1_000_000
"""A gap in `i` beyond this is looked at twice."""


@dataclass
class Lines:
    """What a text held."""

    table: pa.Table
    """Rows, all columns uint64."""
    places: "npt.NDArray[np.int64] | None" = None
    """For each row the number of its line; None where every line is a row."""
    lines: int = 0
    bad: list[tuple[str, bytes]] = field(default_factory=list)
    """Reason and line of each that isn't a row."""


def read(text: memoryview | bytes, names: tuple[str, ...]) -> Lines:
    """Whole lines, each with its newline, into columns. The memory of `text` may be used again afterwards."""
    found = _read_fast(text, names)
    return found if found is not None else _read_slowly(bytes(text), names)


def in_order(found: Lines, after: int) -> Lines:
    """Set aside rows whose timestamp is not above `after` (-1: any) and those before, or whose `i` stands alone."""
    table = found.table
    keep: npt.NDArray[np.bool_] | None = None
    if "timestamp" in table.column_names and len(table):
        times = column(table, "timestamp")
        if int(times[0]) <= after or not bool(np.all(times[1:] > times[:-1])):
            keep = _increasing(times, after)
    if "i" in table.column_names and len(table):
        numbers = column(table, "i")
        if int(numbers.max()) > NUMBER_MOST:
            within = numbers <= NUMBER_MOST
            keep = within if keep is None else keep & within
    if "i" in table.column_names and len(table) > 2:
        alone = _alone(column(table, "i") if keep is None else column(table, "i")[keep])
        if alone.any():
            if keep is None:
                keep = ~alone
            else:
                keep[np.flatnonzero(keep)[alone]] = False
    if keep is None or bool(keep.all()):
        return found
    places = found.places if found.places is not None else np.arange(len(table))
    dropped = table.filter(pa.array(~keep))
    bad = [(ORDER, b" ".join(b"%d" % v for v in row.values()) + b"\n") for row in dropped.to_pylist()]
    return Lines(table.filter(pa.array(keep)), places[keep], found.lines, found.bad + bad)


def column(table: pa.Table, name: str) -> Integers:
    """A column as numpy, without a copy where it is in one piece."""
    pieces = [numbers(piece) for piece in table.column(name).chunks]
    return pieces[0] if len(pieces) == 1 else np.concatenate([np.empty(0, np.uint64), *pieces])


def numbers(array: pa.Array) -> Integers:
    """Numbers of 64 bits, none of them null, as numpy and as they lie. Arrow's own way there imports pandas first."""
    whole: Integers = np.frombuffer(array.buffers()[1], np.uint64)
    return whole[array.offset : array.offset + len(array)]


def array_of(numbers: npt.NDArray[np.generic], kind: pa.DataType) -> pa.Array:
    """And back, numbers of 64 bits again."""
    return pa.Array.from_buffers(kind, len(numbers), [None, pa.py_buffer(numbers)])


def _read_fast(text: memoryview | bytes, names: tuple[str, ...]) -> Lines | None:
    """None unless every line is a row."""
    parser = native.parser()
    if parser is None:
        table = read_by_arrow(text, names)
    elif not len(text):
        table = _empty(names)
    else:
        columns = parser(np.frombuffer(text, dtype=np.uint8), len(names))
        table = None if columns is None else _table(columns, names)
    return None if table is None else Lines(table, None, len(table))


def _table(columns: Integers, names: tuple[str, ...]) -> pa.Table:
    """Columns (shape: columns, rows) as they lie in memory, which the table keeps."""
    arrays = [array_of(column, pa.uint64()) for column in columns]
    return pa.Table.from_arrays(arrays, names=list(names))


def read_by_arrow(text: memoryview | bytes, names: tuple[str, ...]) -> pa.Table | None:
    """What rows.c does, where it isn't built: None unless every line is a row."""
    view = np.frombuffer(text, dtype=np.uint8)
    if not len(view):
        return _empty(names)
    # The reader below would take letters (0x1f), tabs and carriage returns for parts of a number.
    if int(view[-1]) != _NEWLINE or int(view.max()) > ord("9") or int(view.min()) < _NEWLINE or (view == _RETURN).any():
        return None
    try:
        found = pcsv.read_csv(
            pa.BufferReader(pa.py_buffer(text)),
            pcsv.ReadOptions(column_names=list(names), use_threads=False, block_size=max(1 << 20, len(view))),
            pcsv.ParseOptions(delimiter=" ", quote_char=False, ignore_empty_lines=False),
            pcsv.ConvertOptions(column_types=dict.fromkeys(names, pa.uint64()), null_values=[], check_utf8=False),
        )
    except pa.ArrowInvalid:
        return None
    # Of more than 20 digits it takes those that begin with noughts.
    return None if _has_run(view >= ord("0")) else found


def _has_run(true: "npt.NDArray[np.bool_]") -> bool:
    """Whether more than MOST_DIGITS follow one another; in pieces that stay in a core's cache."""
    for begin in range(0, len(true), PIECE):
        runs = true[begin : begin + PIECE + MOST_DIGITS]
        # Runs of 2, 4, 8, 16 and 21.
        for step in (1, 2, 4, 8, MOST_DIGITS - 15):
            runs = runs[:-step] & runs[step:]
        if runs.any():
            return True
    return False


def _read_slowly(text: bytes, names: tuple[str, ...]) -> Lines:
    """Line by line: for texts that hold something else than rows."""
    pattern = re.compile(rb"\d{1,20}(?: \d{1,20}){%d}" % (len(names) - 1))
    good: list[bytes] = []
    places: list[int] = []
    bad: list[tuple[str, bytes]] = []
    lines = text.split(b"\n")
    end = lines.pop()
    for place, line in enumerate(lines):
        if len(line) <= LONGEST_LINE and pattern.fullmatch(line) and _fits(line):
            good.append(line)
            places.append(place)
        else:
            bad.append((_reason(line, len(names)), line + b"\n"))
    if end:
        bad.append((CUT if len(end) <= LONGEST_LINE else LONG, end))
    found = _read_fast(b"".join(line + b"\n" for line in good), names)
    if found is None:
        raise ValueError("lines that were checked can't be read")
    return Lines(found.table, np.array(places, dtype=np.int64), len(lines) + bool(end), bad)


def _fits(line: bytes) -> bool:
    return all(len(number) < 20 or int(number) <= MOST for number in line.split(b" "))


def _reason(line: bytes, columns: int) -> str:
    if not line:
        return BLANK
    if len(line) > LONGEST_LINE:
        return LONG
    fields = line.split(b" ")
    if not all(f.isdigit() for f in fields):
        return NOT_A_NUMBER
    if len(fields) != columns:
        return SHORT if len(fields) < columns else LONG
    return TOO_LARGE


def _empty(names: tuple[str, ...]) -> pa.Table:
    return _table(np.empty((len(names), 0), np.uint64), names)


def _increasing(times: Integers, after: int) -> "npt.NDArray[np.bool_]":
    """Which rows to keep so that timestamps increase: the most that can be (longest increasing subsequence)."""
    keep = np.zeros(len(times), dtype=np.bool_)
    tails: list[int] = []
    at: list[int] = []
    before = [-1] * len(times)
    for k, time in enumerate(times.tolist()):
        if time <= after:
            continue
        length = bisect_left(tails, time)
        before[k] = at[length - 1] if length else -1
        if length == len(tails):
            tails.append(time)
            at.append(k)
        else:
            tails[length], at[length] = time, k
    k = at[-1] if at else -1
    while k >= 0:
        keep[k] = True
        k = before[k]
    return keep


def _alone(numbers: Integers) -> "npt.NDArray[np.bool_]":
    """Rows whose number goes back or jumps far while the rows on both sides of it follow one another."""
    alone = np.zeros(len(numbers), dtype=np.bool_)
    odd = (numbers[1:] <= numbers[:-1]) | (numbers[1:] - numbers[:-1] > JUMP)
    if not odd.any():
        return alone
    values = numbers
    for k in (np.flatnonzero(odd) + 1).tolist():
        if 1 <= k < len(values) - 1 and 0 < int(values[k + 1]) - int(values[k - 1]) <= 2:
            alone[k] = True
    return alone


def as_text(table: pa.Table, names: tuple[str, ...]) -> bytes:
    """Rows as the source wrote them: the numbers of those columns with a space between two, a line a row."""
    fields = [pc.cast(table.column(name), pa.string()) for name in names]
    lines = pc.binary_join_element_wise(*fields, " ").to_pylist()
    return ("\n".join(lines) + "\n").encode() if lines else b""
