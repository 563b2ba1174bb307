"""Tables of whole numbers as Parquet files, their differences packed in C: for logs, of which that is the most work.

A file is what pyarrow would write with DELTA_BINARY_PACKED columns and checksums, one page a column, and is read by
whatever reads Parquet. What the numbers below mean is in parquet-format's parquet.thrift and Encodings.md; the structs
around the pages are in Thrift's compact protocol.
"""

import functools
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from mustherd.rowlog import native, parse
from mustherd.rowlog.native import Packer

IDLE_COLUMNS = ("c0", "c1", "c1e", "c3", "c6", "c7")
"""Nearly always the same number: a dictionary takes less than differences."""

MAGIC = b"PAR1"
MADE_BY = b"mustherd"

I8, I32, I64, BINARY, LIST, STRUCT, FALSE = 3, 5, 6, 8, 9, 12, 2
"""Thrift's types."""

INT64, UINT_64, OPTIONAL, UNCOMPRESSED, DATA_PAGE = 2, 14, 1, 0, 0
RLE, DELTA_BINARY_PACKED = 3, 5
"""Parquet's encodings."""

Field = tuple[int, int, int | bytes]
"""Number, type and value; a list or struct comes as its bytes."""


def keep(file: Path, table: pa.Table, metadata: dict[bytes, bytes]) -> None:
    """Write a table of log rows: packed in C where that was built, by pyarrow elsewhere. Raises OSError."""
    bounds = [name for name in ("row", "timestamp") if name in table.column_names]
    packer = native.packer()
    if packer is not None and all(pa.types.is_integer(kind) for kind in table.schema.types):
        write(file, table, metadata, packer=packer, statistics=bounds)
        return
    constant = [name for name in table.column_names if name in IDLE_COLUMNS]
    whole = [f.name for f in table.schema if pa.types.is_integer(f.type) and f.name not in (*constant, "row")]
    pq.write_table(
        table.replace_schema_metadata(metadata),
        file,
        # Once differences are packed a compressor finds nothing more: 18.5 bytes a row either way.
        compression="none" if whole else "zstd",
        use_dictionary=constant or False,
        # Counters and clocks: the differences are what they are about.
        column_encoding=dict.fromkeys(["row", *whole], "DELTA_BINARY_PACKED"),
        # A bit that turns on the disk is told when it is read, and is no row of somebody's figures.
        write_page_checksum=True,
        write_statistics=bounds,
    )


def write(
    file: Path, table: pa.Table, metadata: Mapping[bytes, bytes], *, packer: Packer, statistics: Collection[str]
) -> None:
    """Write a table of columns that are int64 or uint64 and without nulls; `statistics`: columns whose bounds are told.

    Raises OSError.
    """
    rows, chunks = len(table), []
    # Every row has a number: one run of ones.
    present = _number(rows << 1) + b"\1"
    page = len(present).to_bytes(4, "little") + present
    page_check, data = zlib.crc32(page), _data(rows)
    with file.open("wb") as out:
        out.write(MAGIC)
        at = len(MAGIC)
        for name, column in zip(table.column_names, table.columns, strict=True):
            pieces = [parse.numbers(chunk) for chunk in column.chunks]
            packed = packer(pieces)
            header = _page_header(len(page) + len(packed), zlib.crc32(packed, page_check), data)
            out.write(header + page)
            out.write(packed)
            size = len(header) + len(page) + len(packed)
            bounds = _bounds(pieces, column.type) if name in statistics else b""
            chunks.append(_chunk(name, rows, at, size, bounds))
            at += size
        group = _struct((1, LIST, _list(STRUCT, chunks)), (2, I64, at - len(MAGIC)), (3, I64, rows))
        footer = _struct(
            (1, I32, 1),
            (2, LIST, _schema(tuple((f.name, pa.types.is_unsigned_integer(f.type)) for f in table.schema))),
            (3, I64, rows),
            (4, LIST, _list(STRUCT, [group])),
            (5, LIST, _list(STRUCT, [_struct((1, BINARY, k), (2, BINARY, v)) for k, v in metadata.items()])),
            (6, BINARY, MADE_BY),
            # By their type's own order: without it bounds count for nothing.
            (7, LIST, _list(STRUCT, [_struct((1, STRUCT, _struct()))] * table.num_columns)),
        )
        out.write(footer + len(footer).to_bytes(4, "little") + MAGIC)


def _data(rows: int) -> bytes:
    """Of a page: how many rows, and how they are packed."""
    return _struct((1, I32, rows), (2, I32, DELTA_BINARY_PACKED), (3, I32, RLE), (4, I32, RLE))


def _page_header(size: int, check: int, data: bytes) -> bytes:
    signed = check - (1 << 32) if check >> 31 else check
    return _struct((1, I32, DATA_PAGE), (2, I32, size), (3, I32, size), (4, I32, signed), (5, STRUCT, data))


def _chunk(name: str, rows: int, begin: int, size: int, bounds: bytes) -> bytes:
    told: list[Field] = [(12, STRUCT, bounds)] if bounds else []
    # What is the same in every file is made once, up to the first field that isn't.
    column = _column(name) + _struct(
        *((5, I64, rows), (6, I64, size), (7, I64, size), (9, I64, begin), *told),
        after=4,
    )
    return _struct((2, I64, begin), (3, STRUCT, column))


@functools.lru_cache(maxsize=1024)
def _column(name: str) -> bytes:
    """How a column is kept, without the end of its struct: fields 1 to 4."""
    encodings = _list(I32, [_signed(RLE), _signed(DELTA_BINARY_PACKED)])
    path = _list(BINARY, [_number(len(name.encode())) + name.encode()])
    return _struct((1, I32, INT64), (2, LIST, encodings), (3, LIST, path), (4, I32, UNCOMPRESSED))[:-1]


def _bounds(pieces: list[npt.NDArray[np.uint64]], kind: pa.DataType) -> bytes:
    values = [piece.view(np.uint64 if pa.types.is_unsigned_integer(kind) else np.int64) for piece in pieces]
    most, least = (function([function(v) for v in values if len(v)]) for function in (np.max, np.min))
    return _struct((3, I64, 0), (5, BINARY, most.tobytes()), (6, BINARY, least.tobytes()))


@functools.lru_cache(maxsize=64)
def _schema(columns: tuple[tuple[str, bool], ...]) -> bytes:
    """Columns by name and whether they have no sign, below their root."""
    root = _struct((4, BINARY, b"schema"), (5, I32, len(columns)))
    return _list(STRUCT, [root, *(_element(name, unsigned=unsigned) for name, unsigned in columns)])


def _element(name: str, *, unsigned: bool) -> bytes:
    told: list[Field] = [(1, I32, INT64), (3, I32, OPTIONAL), (4, BINARY, name.encode())]
    if unsigned:
        # 64 bits without a sign, in the words of format versions 1 and 2.
        kind = b"\x13\x40" + bytes([1 << 4 | FALSE]) + b"\0"
        told += [(6, I32, UINT_64), (10, STRUCT, _struct((10, STRUCT, kind)))]
    return _struct(*told)


def _struct(*fields: Field, after: int = 0) -> bytes:
    """Fields in the order of their numbers, which go on after one that is written already."""
    out, last = bytearray(), after
    for number, kind, value in fields:
        out.append(number - last << 4 | kind)
        last = number
        if isinstance(value, int):
            out += _signed(value)
        else:
            out += _number(len(value)) + value if kind == BINARY else value
    return bytes(out) + b"\0"


def _list(kind: int, items: list[bytes]) -> bytes:
    head = bytes([len(items) << 4 | kind]) if len(items) < 15 else bytes([0xF0 | kind]) + _number(len(items))
    return head + b"".join(items)


def _signed(value: int) -> bytes:
    """A number whose sign is its last bit."""
    return _number(value << 1 if value >= 0 else (-value << 1) - 1)


def _number(value: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
