"""A stream whose columns or clock changed while its label went on: refused, or told apart, never a figure less."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mustherd.data
from mustherd.data import DataError, differences, differences_of, merged, merged_frames
from mustherd.node.intlog import COLUMNS
from mustherd.rowlog.export import ExportError, export
from mustherd.rowlog.reader import Log
from tests.log_herd import render, rows
from tests.rowlog.test_reader import JOULES_PER_COUNT, write

COUNT = 300
FEW = ("i", "rx_bytes", "timestamp")


def text(columns: tuple[str, ...], start: int) -> bytes:
    out = io.StringIO()
    np.savetxt(out, rows(COUNT, 0, start=start)[:, [COLUMNS.index(name) for name in columns]], fmt="%d")
    return out.getvalue().encode()


@pytest.fixture(params=[(FEW, COLUMNS), (COLUMNS, FEW)], ids=["more", "fewer"])
def changed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Rows by hand, with some columns and then with others."""
    for number, columns in enumerate(request.param):
        write(tmp_path, {0: text(columns, number * COUNT)}, columns, label="by-hand", spool=number + 1)
    return tmp_path


def test_columns_that_only_some_files_have_are_not_dropped_in_silence(changed: Path) -> None:
    [log] = mustherd.data.open(changed).logs()
    for read in (log.frame, log.table, lambda: list(log.batches()), lambda: list(log.frames()), lambda: merged([log])):
        with pytest.raises(DataError, match="ask for columns that all have"):
            read()
    assert log.frame(["rx_bytes"]).shape == (2 * COUNT, 2)
    found = log.dataset().to_table().to_pandas()
    assert set(found) == {"row", *COLUMNS}
    assert (len(found), int(found.cycles.count()), int(found.rx_bytes.count())) == (2 * COUNT, COUNT, 2 * COUNT)


def test_sql_has_rows_of_both_kinds_of_file(changed: Path) -> None:
    pytest.importorskip("duckdb")
    with mustherd.data.open(changed).duckdb() as sql:
        found = sql.execute('SELECT count(*), count(cycles), count(rx_bytes) FROM "rows"').fetchall()
    assert found == [(2 * COUNT, COUNT, 2 * COUNT)]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_such_a_log_is_not_exported_and_the_others_are(changed: Path, tmp_path: Path, form: str) -> None:
    write(changed, {0: render(rows(COUNT, 0))}, label="zz-other", spool=9)
    told: list[int] = []
    with pytest.raises(ExportError, match=r"(?s)ask for columns that all have.*1 other files were written"):
        export(mustherd.data.open(changed).logs(), tmp_path / "out", form, lambda _, count: told.append(count))
    assert told == [COUNT]


@pytest.fixture
def restarted(tmp_path: Path) -> tuple[Log, ...]:
    """The node's clock and counters begin anew, as a restart has it."""
    for number, start in enumerate((50 * COUNT, 0)):
        write(tmp_path, {core: render(rows(COUNT, core, start=start)) for core in (0, 1)}, spool=number + 1)
    return mustherd.data.open(tmp_path).logs()


def test_nothing_is_counted_over_a_restart(restarted: tuple[Log, ...]) -> None:
    log = restarted[0]
    raw = log.table(["cycles"]).column("cycles").to_numpy().astype(np.int64)
    expected = sum(int(raw[end - 1] - raw[end - COUNT]) for end in (COUNT, 2 * COUNT))
    counted = differences(log.frame(["cycles", "timestamp"]))
    assert counted.cycles.sum() == expected
    assert counted.cycles.isna().to_numpy().nonzero()[0].tolist() == [0, COUNT]
    parts = differences_of(log.frames(["cycles", "timestamp"], 7))
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), counted)


def test_a_restart_is_no_wrap_of_the_energys_counter(restarted: tuple[Log, ...]) -> None:
    log = restarted[0]
    raw = log.table(["joules"]).column("joules").to_numpy().astype(np.int64)
    assert raw[COUNT] < raw[COUNT - 1]
    expected = sum(int(raw[end - 1] - raw[end - COUNT]) for end in (COUNT, 2 * COUNT)) * JOULES_PER_COUNT
    whole = log.frame(["joules", "timestamp"])
    assert whole.energy_joules.iloc[-1] == expected
    assert differences(whole).energy_joules.sum() == expected
    for size in (7, COUNT, 450):
        parts = pd.concat(log.frames(["joules", "timestamp"], size), ignore_index=True)
        pd.testing.assert_frame_equal(parts, whole)


def test_rows_over_a_restart_have_no_order_by_time(restarted: tuple[Log, ...], tmp_path: Path) -> None:
    for read in (lambda: merged(restarted), lambda: list(merged_frames(restarted, rows=70))):
        with pytest.raises(DataError, match="clock went back"):
            read()
    pytest.importorskip("dask")
    for together in (False, True):
        with pytest.raises(DataError, match="clock went back"):
            mustherd.data.open(tmp_path).dask(["cycles"], merged=together)


def test_odd_column_lists_and_sizes(tmp_path: Path) -> None:
    write(tmp_path, {0: render(rows(COUNT, 0))})
    opened = mustherd.data.open(tmp_path)
    [log] = opened.logs()
    assert list(log.frame(name for name in ("rx_bytes", "cycles"))) == ["row", "rx_bytes", "cycles"]  # type: ignore[arg-type]
    for read in (log.frame, log.table, lambda names: merged([log], names)):
        with pytest.raises(DataError, match=r"give a list of names, as \['rx_bytes'\]"):
            read("rx_bytes")
    with pytest.raises(DataError, match="0 rows at a time: give at least 1"):
        list(log.batches(rows=0))
    pytest.importorskip("dask")
    with pytest.raises(DataError, match="0 rows at a time: give at least 1"):
        opened.dask(rows=0)


def test_sql_without_timed_rows_says_so_whatever_is_asked(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    columns = ("i", "rx_bytes")
    write(tmp_path, {0: b"1 2\n"}, columns)
    with mustherd.data.open(tmp_path).duckdb() as sql:
        for query in ('SELECT trial, core, count(*), median(rx_bytes) FROM "rows" GROUP BY ALL',
                      'SELECT max(time_seconds) FROM "rows"'):  # fmt: skip
            with pytest.raises(duckdb.InvalidInputException, match=r"no log of .* has rows with a timestamp"):
                sql.execute(query).fetchall()
        with pytest.raises(duckdb.InvalidInputException, match="no experiment"):
            sql.execute("SELECT trial, attempt, state FROM trials").fetchall()


def test_a_column_with_the_name_of_sqls_own_costs_no_other_log(tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    write(tmp_path, {0: b"1 2 3\n"}, ("i", "filename", "timestamp"))
    with mustherd.data.open(tmp_path).duckdb() as sql:
        assert sql.execute('SELECT filename FROM "rows"').fetchall() == [(2,)]
