"""Reading and packing rows in C, where that was built: see rows.c and hatch_build.py."""

import ctypes
import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from mustherd.errors import UserError, shown

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

VARIABLE = "MUSTHERD_ROW_PARSER"
C, ARROW = "c", "arrow"

LIBRARY = Path(__file__).with_name("_rows.so")

Columns: TypeAlias = "npt.NDArray[np.uint64]"
Parser = Callable[["npt.NDArray[np.uint8]", int], "Columns | None"]
"""Text and how many columns its rows have, to the columns (shape: columns, rows); None unless every line is a row."""


Packer = Callable[["Sequence[npt.NDArray[np.uint64]]"], memoryview]
"""Numbers in pieces, one at least, to what Parquet calls DELTA_BINARY_PACKED."""


class RowParserError(UserError):
    """The environment asks for a parser that isn't there."""


@cache
def parser() -> Parser | None:
    """What `load` gives; None with MUSTHERD_ROW_PARSER=arrow, to compare with it. RowParserError."""
    return None if _asked() == ARROW else load()


def _asked() -> str:
    """What the environment asks for; nothing is C where it is built."""
    asked = os.environ.get(VARIABLE, "")
    if asked not in ("", C, ARROW):
        raise RowParserError(
            f"{VARIABLE} is '{shown(asked)}': allowed are c, arrow, and nothing, which is c where it is built"
        )
    if asked == C and load() is None:
        raise RowParserError(
            f"{VARIABLE} is 'c', and no parser in C was built here: make setup builds it where a compiler is"
        )
    return asked


def load() -> Parser | None:
    """The parser; None where it was not built or is for another kind of processor."""
    try:
        library = ctypes.CDLL(str(LIBRARY))
        function, count = library.mustherd_rows, library.mustherd_lines
    except (OSError, AttributeError):
        return None
    function.restype = ctypes.c_int64
    function.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
    count.restype = ctypes.c_int64
    count.argtypes = [ctypes.c_void_p, ctypes.c_int64]

    def parse(text: "npt.NDArray[np.uint8]", columns: int) -> "Columns | None":
        lines = count(text.ctypes.data, len(text))
        # A line of that many columns has at least two bytes for each: what is odd is told before there is room for it.
        if lines * 2 * columns > len(text):
            return None
        import numpy as np  # noqa: PLC0415 - a muster's node has none, and asks whether there is a parser

        found = np.empty((columns, lines), np.uint64)
        # Other threads run meanwhile.
        read = function(text.ctypes.data, len(text), columns, lines, found.ctypes.data)
        return found if read == lines else None

    return parse


@cache
def packer() -> Packer | None:
    """What packs columns; None where it was not built, and with MUSTHERD_ROW_PARSER=arrow. RowParserError."""
    if _asked() == ARROW:
        return None
    try:
        function = ctypes.CDLL(str(LIBRARY)).mustherd_pack
    except (OSError, AttributeError):
        return None
    function.restype = ctypes.c_int64
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p]

    def pack(pieces: "Sequence[npt.NDArray[np.uint64]]") -> memoryview:
        import numpy as np  # noqa: PLC0415 - a muster's node has none, and asks whether there is a parser

        total = sum(map(len, pieces))
        out = np.empty(10 * total + 400, np.uint8)
        places = (ctypes.c_void_p * len(pieces))(*(piece.ctypes.data for piece in pieces))
        counts = (ctypes.c_int64 * len(pieces))(*map(len, pieces))
        return out.data[: function(places, counts, total, out.ctypes.data)]

    return pack


def which() -> str:
    """Which parser reads rows here, in a word for reports. RowParserError."""
    return C if parser() is not None else ARROW


def why() -> str:
    """That word, and why it is this one. RowParserError."""
    if which() == C:
        return f"{C} (compiled)"
    return f"{ARROW} ({f'{VARIABLE}=arrow' if _asked() == ARROW else 'no parser in C was built here'})"
