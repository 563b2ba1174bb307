"""Lines into columns: twelve kinds of what isn't a row, each counted and kept aside, its neighbours intact.

Everything is seen with both parsers: ours in C, which `make setup` builds where a compiler is, and Arrow's.
"""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mustherd.node.intlog import COLUMNS
from mustherd.rowlog import native, parse
from mustherd.rowlog.parse import (
    BLANK,
    CUT,
    LONG,
    NOT_A_NUMBER,
    ORDER,
    SHORT,
    TOO_LARGE,
    Lines,
    as_text,
    in_order,
    read,
)
from tests.typed import some

GOOD = [b"%d 1 60 2 70 1000 2000 1500 9 0 0 0 0 0 0 42 %d\n" % (k, 10**15 + 3_000_000 * k) for k in range(6)]

MALFORMED = {
    "short": (b"3 1 60 2\n", SHORT),
    "long": (b"3 1 60 2 70 1000 2000 1500 9 0 0 0 0 0 0 42 1000000009000000 7\n", LONG),
    "cut": (b"3 1 60 2 70 1000 20003 1 60 2 70 1000 2000 1500 9 0 0 0 0 0 0 42 1000000009000000\n", LONG),
    "negative": (b"3 1 -60 2 70 1000 2000 1500 9 0 0 0 0 0 0 42 1000000009000000\n", NOT_A_NUMBER),
    "over 64 bits": (b"3 1 60 2 70 18446744073709551616 2000 1500 9 0 0 0 0 0 0 42 1000000009000000\n", TOO_LARGE),
    "blank": (b"\n", BLANK),
    "binary": (b"\xff\xfe\x00\x81\x1b[2J\n", NOT_A_NUMBER),
    "CRLF": (GOOD[3].replace(b"\n", b"\r\n"), NOT_A_NUMBER),
    "repeated header": (" ".join(COLUMNS).encode() + b"\n", NOT_A_NUMBER),
    "10 MB line": (b"1" * 10_000_000 + b"\n", LONG),
    "NUL": (b"3 1 60 2 70 1000 2000 1500 9 0 0 0 0 0 0 42 10000000\x009000000\n", NOT_A_NUMBER),
    "two spaces": (GOOD[3].replace(b" 60 ", b"  60 "), NOT_A_NUMBER),
    "tab": (GOOD[3].replace(b" 60 ", b"\t60 "), NOT_A_NUMBER),
    "hexadecimal": (GOOD[3].replace(b" 60 ", b" 0x60 "), NOT_A_NUMBER),
    "plus": (GOOD[3].replace(b" 60 ", b" +60 "), NOT_A_NUMBER),
    "quoted": (GOOD[3].replace(b" 60 ", b' "60" '), NOT_A_NUMBER),
}


@pytest.fixture(params=["c", "arrow"], autouse=True)
def _parser(request: pytest.FixtureRequest) -> Iterator[None]:
    """Hypothesis runs all of a test's examples within one of them."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "arrow":
            patch.setattr(native, "parser", lambda: None)
        assert native.which() == request.param, "without a C compiler make setup builds no parser"
        yield


def texts(found: Lines) -> bytes:
    return as_text(found.table, COLUMNS)


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_line_is_set_aside_and_its_neighbours_are_intact(kind: str) -> None:
    line, reason = MALFORMED[kind]
    found = read(b"".join([*GOOD[:3], line, *GOOD[3:]]), COLUMNS)
    assert texts(found) == b"".join(GOOD)
    assert found.bad == [(reason, line)]
    assert some(found.places).tolist() == [0, 1, 2, 4, 5, 6]
    assert found.lines == 7


@pytest.mark.parametrize("number", [b"0" * 20 + b"3", b"0" * 25 + b"3", b"0" + b"1" * 20])
def test_a_number_of_more_than_20_digits_is_no_row_whatever_it_comes_to(number: bytes) -> None:
    """Alone in its block: Arrow alone would take it."""
    found = read(b"1 2\n" + number + b" 4\n", ("a", "b"))
    assert found.table.to_pydict() == {"a": [1], "b": [2]}
    assert found.bad == [(TOO_LARGE, number + b" 4\n")]
    assert read(b"0" * 20 + b" 4\n", ("a", "b")).table.to_pydict() == {"a": [0], "b": [4]}


@pytest.mark.parametrize("before", [0, 1, parse.PIECE - 42, parse.PIECE - 22, parse.PIECE - 8, parse.PIECE + 1])
def test_such_a_number_is_found_wherever_it_lies(before: int) -> None:
    filled = b"1\n" * (before // 2)
    assert parse.read_by_arrow(filled + b"0" * 20 + b"3\n", ("a",)) is None
    assert parse.read_by_arrow(filled + b"0" * 19 + b"3\n" + filled, ("a",)) is not None


def test_a_last_line_without_its_end_is_set_aside() -> None:
    found = read(b"".join(GOOD)[:-1], COLUMNS)
    assert texts(found) == b"".join(GOOD[:-1])
    assert found.bad == [(CUT, GOOD[-1][:-1])]


def test_nothing_but_rows_is_read_in_one_go_and_comes_out_byte_for_byte() -> None:
    found = read(b"".join(GOOD), COLUMNS)
    assert found.places is None
    assert texts(found) == b"".join(GOOD)
    assert read(b"", COLUMNS).lines == 0
    extreme = b" ".join([b"18446744073709551615"] * 17) + b"\n"
    assert texts(read(extreme, COLUMNS)) == extreme


ODD_NUMBERS = st.one_of(
    st.integers(0, 2**64 + 2**62).map(str),
    st.integers(2**64 - 3, 2**64 + 3).map(str),
    st.sampled_from(["", "00", "0" * 19 + "7", "0" * 20 + "7", "0" * 25 + "3", "0" + "1" * 20, "9" * 20]),
    st.sampled_from(["18446744073709551615", "18446744073709551616"]),
    st.text("0123456789 \n\r\t+-./:x\x00", max_size=24),
)


@settings(max_examples=400)
@given(st.lists(st.lists(ODD_NUMBERS, min_size=1, max_size=4).map(" ".join), max_size=8), st.booleans())
def test_both_parsers_find_the_same_rows_in_anything(lines: list[str], ended: bool) -> None:
    text = "\n".join(lines).encode() + b"\n" * ended
    names = ("a", "b", "c")
    view = np.frombuffer(text, dtype=np.uint8)
    ours = some(native.load())(view, 3) if len(view) else np.empty((3, 0), np.uint64)
    theirs = parse.read_by_arrow(text, names)
    assert (ours is None) == (theirs is None), text
    if ours is not None:
        assert [some(theirs).column(name).to_pylist() for name in names] == ours.tolist()


@settings(max_examples=150)
@given(
    st.lists(
        st.one_of(
            st.sampled_from(GOOD),
            st.sampled_from([line for line, _ in MALFORMED.values() if len(line) < 1000]),
            st.binary(max_size=60).map(lambda b: b.replace(b"\n", b" ") + b"\n"),
        ),
        max_size=12,
    )
)
def test_every_line_is_either_a_row_or_aside_and_neither_changes(lines: list[bytes]) -> None:
    found = read(b"".join(lines), COLUMNS)
    rows = texts(found).splitlines(keepends=True)
    places = some(found.places).tolist() if found.places is not None else list(range(len(rows)))
    rest = iter(line for _, line in found.bad)
    back = dict(zip(places, rows, strict=True))
    again = [back[k] if k in back else next(rest) for k in range(found.lines)]
    plain = [line for line in again if b"00" not in line]
    # Leading zeros are the one thing that a number doesn't keep.
    assert len(again) == len(lines)
    assert [line for line in lines if b"00" not in line] == plain or any(b" 0" in line for line in lines)


def times(values: list[int]) -> Lines:
    return read(b"".join(b"%d %d\n" % (k, v) for k, v in enumerate(values)), ("i", "timestamp"))


@pytest.mark.parametrize(
    ("values", "after", "kept"),
    [
        ([10, 20, 30], -1, [10, 20, 30]),
        ([10, 20, 5, 30], -1, [10, 20, 30]),
        ([10, 10, 20], -1, [10, 20]),
        ([10, 2**64 - 1, 20, 30], -1, [10, 20, 30]),
        ([1, 10, 20], 5, [10, 20]),
    ],
)
def test_timestamps_increase_and_the_fewest_rows_give_way(values: list[int], after: int, kept: list[int]) -> None:
    found = in_order(times(values), after)
    assert sorted(parse.column(found.table, "timestamp").tolist()) == kept
    assert [reason for reason, _ in found.bad] == [ORDER] * (len(values) - len(kept))
    assert len(found.places if found.places is not None else values) == len(kept)


def test_a_number_that_its_neighbours_rule_out_is_set_aside() -> None:
    text = b"0 10\n1 20\n999999999999 30\n3 40\n0 50\n5 60\n"
    found = in_order(read(text, ("i", "timestamp")), -1)
    assert parse.column(found.table, "i").tolist() == [0, 1, 3, 5]
    assert found.bad == [(ORDER, b"999999999999 30\n"), (ORDER, b"0 50\n")]


def test_a_source_that_was_emptied_counts_anew_and_no_row_gives_way() -> None:
    text = b"".join(b"%d %d\n" % (i, 10 + k) for k, i in enumerate([5, 6, 7, 0, 1, 2]))
    assert in_order(read(text, ("i", "timestamp")), -1).bad == []
    assert np.all(parse.column(read(text, ("i", "timestamp")).table, "i") == [5, 6, 7, 0, 1, 2])
