"""Files of rows are held against the ledger and against their own checksums, whatever reads them."""

from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import pyarrow.parquet as pq
import pytest

import mustherd.data
from mustherd.data import DataError, ExperimentFolder, merged, merged_frames
from mustherd.rowlog.clustered import dask_frame
from mustherd.rowlog.export import export
from mustherd.rowlog.reader import Log
from tests.log_herd import render, rows
from tests.rowlog.test_reader import CORES, write

COUNT = 2_000

READERS: dict[str, Callable[[ExperimentFolder, Path], object]] = {
    "frame": lambda opened, _: [log.frame() for log in opened.logs()],
    "table": lambda opened, _: [log.table(["rx_bytes"]) for log in opened.logs()],
    "batches": lambda opened, _: [list(log.batches()) for log in opened.logs()],
    "merged": lambda opened, _: merged(opened.logs()),
    "merged_frames": lambda opened, _: list(merged_frames(opened.logs())),
    "dataset": lambda opened, _: [log.dataset().to_table() for log in opened.logs()],
    "units": lambda opened, _: [log.units for log in opened.logs()],
    "dask": lambda opened, _: opened.dask().compute(scheduler="synchronous"),
    "dask merged": lambda opened, _: opened.dask(merged=True).compute(scheduler="synchronous"),
    "duckdb": lambda opened, _: opened.duckdb().execute('SELECT sum(rx_bytes) FROM "rows"').fetchall(),
    "export": lambda opened, into: export(opened.logs(), into, "parquet"),
}
FEET_ALONE = {"units"}
"""What reads no rows."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("held") / "whole"
    for number in range(2):
        texts = {core: render(rows(COUNT, core, start=number * COUNT)) for core in CORES}
        write(folder, texts, spool=number + 1)
    return folder


@pytest.fixture
def opened(tmp_path: Path, whole: Path) -> ExperimentFolder:
    return mustherd.data.open(copytree(whole, tmp_path / "copy"))


def swap(one: Path, other: Path) -> None:
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def swapped_cores(first: Log, second: Log) -> None:
    swap(first.files[0], second.files[0])


def swapped_parts(first: Log, _second: Log) -> None:
    swap(*first.files)


def fewer_rows(first: Log, _second: Log) -> None:
    file = first.files[1]
    table = pq.read_table(file, partitioning=None)
    pq.write_table(table.slice(0, COUNT - 1), file)


def no_rows(first: Log, _second: Log) -> None:
    file = first.files[1]
    pq.write_table(pq.read_table(file, partitioning=None).slice(0, 0), file)


def gone(first: Log, _second: Log) -> None:
    first.files[1].unlink()


def turn_a_bit(file: Path) -> None:
    with pq.ParquetFile(file) as parquet:
        group = parquet.metadata.row_group(0)
        chunk = next(c for k in range(group.num_columns) if (c := group.column(k)).path_in_schema == "rx_bytes")
        at = chunk.data_page_offset + chunk.total_compressed_size - 20
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)


WRONG = [swapped_cores, *(pytest.param(w, marks=pytest.mark.long) for w in (swapped_parts, fewer_rows, no_rows, gone))]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: str(wrong.__name__))
@pytest.mark.parametrize("way", READERS)
def test_a_file_that_is_not_the_ledgers_is_named(
    opened: ExperimentFolder, tmp_path: Path, wrong: Callable[[Log, Log], None], way: str
) -> None:
    pytest.importorskip({"duckdb": "duckdb"}.get(way, "dask"))
    first, second = opened.logs()
    wrong(first, second)
    with pytest.raises(DataError) as told:
        READERS[way](opened, tmp_path / "into")
    assert any(str(file) in str(told.value) for file in (*first.files, *second.files))


@pytest.mark.parametrize("way", sorted(READERS.keys() - FEET_ALONE))
def test_a_bit_that_turned_is_never_read_in_silence(opened: ExperimentFolder, tmp_path: Path, way: str) -> None:
    pytest.importorskip({"duckdb": "duckdb"}.get(way, "dask"))
    file = opened.logs()[0].files[1]
    turn_a_bit(file)
    with pytest.raises(OSError if way == "dataset" else DataError) as told:
        READERS[way](opened, tmp_path / "into")
    assert way == "dataset" or str(file) in str(told.value)


@pytest.mark.parametrize("way", READERS)
def test_what_is_as_the_ledger_says_is_read(opened: ExperimentFolder, tmp_path: Path, way: str) -> None:
    pytest.importorskip({"duckdb": "duckdb"}.get(way, "dask"))
    READERS[way](opened, tmp_path / "into")


def test_a_column_that_a_later_file_lacks_is_said_with_the_file(tmp_path: Path) -> None:
    pytest.importorskip("dask")
    write(tmp_path, {0: b"0 60 1000\n1 61 1010\n"}, ("i", "rx_bytes", "timestamp"), spool=1)
    write(tmp_path, {0: b"2 1020\n3 1030\n"}, ("i", "timestamp"), spool=2)
    opened = mustherd.data.open(tmp_path)
    [log] = opened.logs()
    ways: list[Callable[[list[str] | None], object]] = [
        log.table,
        log.frame,
        lambda names: list(log.batches(names)),
        lambda names: list(log.frames(names)),
        opened.dask,
        lambda names: opened.dask(names, merged=True),
    ]
    for way in ways:
        for names in (None, ["rx_bytes"]):
            with pytest.raises(DataError, match=f"{log.files[1]} has no column 'rx_bytes'"):
                way(names)
        way(["i", "timestamp"])
    assert opened.dask(["i"]).compute(scheduler="synchronous")["i"].tolist() == [0, 1, 2, 3]
    assert log.dataset().to_table().column("rx_bytes").to_pylist() == [60, 61, None, None]


def test_a_file_without_rows_that_no_ledger_names_has_none(opened: ExperimentFolder) -> None:
    pytest.importorskip("dask")
    first, _ = opened.logs()
    no_rows(first, first)
    plain = Log(first.label, first.muster, first.stream, first.account, first.files)
    assert len(plain.frame()) == COUNT
    lazy = dask_frame([plain], ["rx_bytes"], merged=False, rows=500)
    assert len(lazy.compute(scheduler="synchronous")) == COUNT
    emptied = Log(first.label, first.muster, first.stream, first.account, first.files[1:])
    with pytest.raises(DataError, match="have no rows"):
        dask_frame([emptied], ["rx_bytes"], merged=False, rows=500)


def test_files_are_checked_once_unless_that_is_left_out(opened: ExperimentFolder) -> None:
    pytest.importorskip("duckdb")
    file = opened.logs()[0].files[0]
    content = bytearray(file.read_bytes())
    content[200] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match=f"{file} can't be read"):
        opened.duckdb()
    opened.duckdb(verify=False).close()


def test_an_export_that_is_refused_has_written_nothing(opened: ExperimentFolder, tmp_path: Path) -> None:
    """Exit code 2 says that nothing was changed."""
    write(opened.folder, {5: b"0 60 1000\n"}, ("i", "rx_bytes", "timestamp"), spool=5)
    into = tmp_path / "into"
    with pytest.raises(DataError, match="can't be written as intlog's text") as told:
        export(opened.logs(), into, "intlog")
    assert (told.value.exit_code, into.exists()) == (2, False)
    last = into / "0007-1" / "m0" / "ixgbe-log-core-5.csv"
    last.parent.mkdir(parents=True)
    last.touch()
    with pytest.raises(DataError, match="is there already") as told:
        export(opened.logs(), into, "csv")
    assert (told.value.exit_code, list(last.parent.iterdir())) == (2, [last])


def test_an_export_without_some_logs_ends_with_another_code_and_counts_what_it_wrote(
    opened: ExperimentFolder, tmp_path: Path
) -> None:
    first, second = opened.logs()
    turn_a_bit(first.files[1])
    told: list[tuple[str, int]] = []
    with pytest.raises(DataError, match="1 other files were written") as error:
        export(opened.logs(), tmp_path / "into", "csv", lambda file, rows: told.append((file.stem, rows)))
    assert str(first.files[1]) in str(error.value)
    assert error.value.exit_code == 74
    assert told == [(second.stream, 2 * COUNT)]
    with pytest.raises(DataError) as error:
        export([first], tmp_path / "none", "csv")
    assert error.value.exit_code == 2
