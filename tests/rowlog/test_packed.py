"""Files whose columns are packed in C hold what pyarrow's own would, for every reader that there is here."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mustherd.rowlog import native, packed
from tests.log_herd import rows
from tests.typed import some

MOST = 2**64 - 1
METADATA = {b"mustherd": b'{"core": 3}', b"": b"\0\xff"}

NUMBERS = st.one_of(
    st.integers(0, MOST),
    st.sampled_from([0, 1, 127, 128, 2**31, 2**32, 2**63 - 1, 2**63, MOST - 1, MOST]),
    st.integers(0, 3),
)
COLUMNS = st.one_of(
    st.lists(NUMBERS, min_size=1, max_size=400),
    # What grows evenly, but for a number here or there.
    st.builds(
        lambda first, step, count, odd: [(first + step * k + (k == odd)) % (MOST + 1) for k in range(count)],
        *(NUMBERS, NUMBERS, st.integers(1, 600), st.integers(-600, 600)),
    ),
)


def table_of(names: Sequence[str], columns: Sequence[Sequence[int]], cuts: Sequence[int]) -> pa.Table:
    """In pieces, some of them without a row."""
    count = min(map(len, columns))
    whole = pa.table({n: pa.array(np.array(c[:count], np.uint64)) for n, c in zip(names, columns, strict=True)})
    edges = [0, *sorted(min(cut, count) for cut in cuts), count]
    return pa.concat_tables([whole.slice(a, b - a) for a, b in itertools.pairwise(edges)])


def write(file: Path, table: pa.Table) -> None:
    packed.write(file, table, METADATA, packer=some(native.packer()), statistics=["a"])


@settings(max_examples=200)
@given(columns=st.lists(COLUMNS, min_size=1, max_size=3), cuts=st.lists(st.integers(0, 600), max_size=4))
def test_what_was_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, columns: list[list[int]], cuts: list[int]
) -> None:
    table = table_of("abc"[: len(columns)], columns, cuts)
    file = tmp_path_factory.getbasetemp() / "packed.parquet"
    write(file, table)
    with pq.ParquetFile(file, page_checksum_verification=True) as found:
        assert found.read().equals(table)
        bounds = found.metadata.row_group(0).column(0).statistics
        values = table.column("a").to_pylist()
        assert (bounds.min, bounds.max, bounds.null_count) == (min(values), max(values), 0)


def test_a_file_says_of_itself_what_pyarrows_own_says(tmp_path: Path) -> None:
    table = table_of("ab", [range(1000), range(7, 1007)], [300])
    table = table.add_column(0, "row", pa.array(range(1000), pa.int64())).replace_schema_metadata(METADATA)
    write(tmp_path / "ours", table)
    pq.write_table(
        table,
        tmp_path / "pyarrow",
        compression="none",
        use_dictionary=False,
        column_encoding=dict.fromkeys(table.column_names, "DELTA_BINARY_PACKED"),
        write_statistics=["a"],
    )
    ours, theirs = (pq.ParquetFile(tmp_path / name) for name in ("ours", "pyarrow"))
    with ours, theirs:
        assert ours.schema_arrow.equals(theirs.schema_arrow, check_metadata=True)
        assert ours.schema.equals(theirs.schema)
        assert ours.metadata.num_rows == theirs.metadata.num_rows == 1000
        for k in range(3):
            a, b = (file.metadata.row_group(0).column(k).to_dict() for file in (ours, theirs))
            told = ("path_in_schema", "physical_type", "num_values", "statistics", "compression", "encodings")
            assert {name: a[name] for name in told} == {name: b[name] for name in told}


def test_log_rows_take_no_more_room_than_pyarrow_makes_of_them(tmp_path: Path) -> None:
    table = table_of([f"c{k}" for k in range(17)], rows(20_000, 0).T.tolist(), [])
    packed.write(tmp_path / "ours", table, {}, packer=some(native.packer()), statistics=[])
    pq.write_table(
        *(table, tmp_path / "pyarrow"),
        compression="none",
        use_dictionary=[f"c{k}" for k in range(9, 15)],
        column_encoding={f"c{k}": "DELTA_BINARY_PACKED" for k in (*range(9), 15, 16)},
    )
    assert (tmp_path / "ours").stat().st_size <= (tmp_path / "pyarrow").stat().st_size


def test_a_filter_and_a_projection_find_their_rows(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", table_of("ab", [range(0, 2000, 2), range(1000)], []))
    found = ds.dataset(tmp_path, format="parquet").to_table(columns=["b"], filter=ds.field("a") > 1990)
    assert found.column("b").to_pylist() == [996, 997, 998, 999]


def test_a_bit_that_turns_is_told(tmp_path: Path) -> None:
    file = tmp_path / "x.parquet"
    numbers = np.random.default_rng(1).integers(0, 2**60, 1000)
    write(file, table_of("a", [numbers.tolist()], []))
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    file.write_bytes(damaged)
    with pytest.raises(OSError, match="CRC"), pq.ParquetFile(file, page_checksum_verification=True) as found:
        found.read()
