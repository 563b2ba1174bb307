"""What Dask and DuckDB give of a folder's rows is what pandas gives, in whatever parts they are read."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mustherd.data
from mustherd import extras
from mustherd.data import DataError, differences, medians, merged, windows
from mustherd.extras import MissingExtraError
from mustherd.goal import Goal
from mustherd.rowlog.writer import LogWriter
from mustherd.store.store import Store
from mustherd.wire import codec
from mustherd.wire import messages as m
from tests.log_herd import render, rows
from tests.rowlog.test_reader import CORES, hello, write

COUNT = 3_000
FILES = 3
LABELS = ("0001-1", "0002-1")
COUNTED = ["instructions", "cycles", "rx_bytes", "energy_joules"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clustered")
    for place, label in enumerate(LABELS):
        for number in range(FILES):
            start = (place * FILES + number) * COUNT
            texts = {core: render(wrapping(start, core)) for core in CORES}
            write(folder, texts, label=label, spool=start + 1)
    return folder


def wrapping(start: int, core: int) -> np.ndarray:
    """Rows whose energy wraps in every file, and of which some hold no counters."""
    table = rows(COUNT, core, start=start)
    table[:, 15] = (np.arange(start, start + COUNT) * 1_000_003 + core) % 2**32
    table[:, 15][table[:, 15] == 0] = 1
    table[::7, [6, 7, 8, 9]] = 0
    return table


@pytest.fixture(autouse=True)
def _here() -> "object":
    dask = pytest.importorskip("dask")
    with dask.config.set(scheduler="synchronous"):
        yield


def test_partitions_are_of_one_stream_each_with_their_units(folder: Path) -> None:
    opened = mustherd.data.open(folder)
    every = opened.dask(rows=2_000)
    assert not every.known_divisions
    assert len(every) == len(LABELS) * len(CORES) * FILES * COUNT
    for part in every.partitions:
        assert len(part[["label", "muster", "stream"]].drop_duplicates().compute()) == 1
    for log in opened.logs():
        own = opened.dask(rows=2_000, label=log.label, stream=log.stream)
        assert own.known_divisions
        assert own.npartitions > FILES
        whole = own.compute()
        pd.testing.assert_frame_equal(whole.reset_index()[log.frame().columns], log.frame())
        assert set(whole["core"]) == {log.core}
        assert set(whole["trial"]) == {log.trial}


@pytest.mark.parametrize("size", [700, *(pytest.param(n, marks=pytest.mark.long) for n in (5_000, 10**6))])
def test_a_trial_merged_is_what_pandas_merges(folder: Path, size: int) -> None:
    opened = mustherd.data.open(folder)
    expected = merged(opened.logs(trial=2))
    lazy = opened.dask(trial=2, merged=True, rows=size)
    assert lazy.npartitions == max(1, round(len(expected) / size))
    assert lazy.known_divisions
    found = lazy.compute().reset_index()
    same(found[expected.columns], expected)
    at = float(expected["time_seconds"].iloc[len(expected) // 2])
    pd.testing.assert_frame_equal(
        lazy.loc[at : at + 1].compute().reset_index()[["row", "time_seconds"]],
        expected[expected["time_seconds"].between(at, at + 1)][["row", "time_seconds"]].reset_index(drop=True),
    )
    same(differences(lazy).compute().reset_index()[expected.columns], differences(expected))


@pytest.mark.parametrize("seconds", [1.0, *(pytest.param(n, marks=pytest.mark.long) for n in (0.25, 100.0))])
def test_windows_are_whole_whatever_partitions_they_lie_in(folder: Path, seconds: float) -> None:
    opened = mustherd.data.open(folder)
    expected = windows(merged(opened.logs(trial=1)), seconds)
    found = windows(opened.dask(trial=1, merged=True, rows=900), seconds).compute()
    same(found, expected)


def test_medians_are_exact(folder: Path) -> None:
    opened = mustherd.data.open(folder)
    lazy = opened.dask(rows=800)
    by, columns = ["label", "stream"], ["rx_bytes", "tx_bytes"]
    same(medians(lazy, columns, by).compute(), medians(lazy.compute(), columns, by))
    with pytest.raises(DataError, match="no column 'rx'"):
        medians(lazy.compute(), ["rx"], by)


def same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(
        found.reset_index(drop=True), expected.reset_index(drop=True), check_dtype=False, rtol=1e-12
    )


def test_what_is_not_there_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = mustherd.data.open(folder)
    with pytest.raises(DataError, match="no rows to read"):
        opened.dask(trial=9)
    with pytest.raises(DataError, match="no column 'rx'"):
        opened.dask(["rx"])
    with pytest.raises(DataError, match="not in the order of time"):
        windows(opened.dask(), 1.0)
    monkeypatch.setattr(extras, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'mustherd\[dask\]'"):
        opened.dask()
    with pytest.raises(MissingExtraError, match=r"pip install 'mustherd\[duckdb\]'"):
        opened.duckdb()


def test_rows_in_sql_have_times_and_owners(folder: Path) -> None:
    pytest.importorskip("duckdb")
    opened = mustherd.data.open(folder)
    with opened.duckdb() as sql:
        told = sql.execute(
            'SELECT label, core, count(*) n, median(rx_bytes) middle, max(time_seconds) last FROM "rows"'
            " GROUP BY ALL ORDER BY label, core"
        ).df()
        [(accounts,)] = sql.execute("SELECT count(*) FROM accounts").fetchall()
    assert accounts == len(opened.logs())
    for row, log in zip(told.to_dict("records"), opened.logs(), strict=True):
        frame = log.frame()
        assert (row["label"], row["core"], row["n"]) == (log.label, log.core, len(frame))
        assert row["middle"] == frame["rx_bytes"].median()
        assert row["last"] == pytest.approx(frame["time_seconds"].max(), rel=1e-15)


def add_power(folder: Path, label: str = LABELS[0]) -> None:
    """As a simulated node logs beside its cores: seconds, and no timestamp."""
    values: dict[str, tuple[float, ...]] = {"node_seconds": (1.0, 2.0), "energy_joules": (100.0, 220.0)}
    block = m.Block(
        muster_epoch=1, shepherd_epoch=1, spool=4711, seq=1, label=label, stream="power-node-0", form="columns",
        columns=(),
    )  # fmt: skip
    with LogWriter(folder) as writer:
        writer.met(hello())
        writer.put("m0", block, memoryview(codec.encode(m.RowColumns(first=0, columns=values))))
        assert writer.flush("m0", 4711, 1, 20.0)


@pytest.mark.parametrize("together", [True, False])
def test_streams_with_other_columns_are_left_out_and_named(tmp_path: Path, *, together: bool) -> None:
    write(tmp_path, {core: render(rows(100, core)) for core in CORES}, label=LABELS[0])
    add_power(tmp_path)
    opened = mustherd.data.open(tmp_path)
    with pytest.warns(UserWarning, match=r"left out of the frame: power-node-0 \(it has no timestamp\)") as told:
        frame = opened.dask(merged=together)
    assert told[0].filename == __file__
    assert len(frame) == len(CORES) * 100
    assert set(frame["stream"].compute()) == {f"ixgbe-log-core-{core}" for core in CORES}
    assert len(opened.dask(merged=together, core=CORES[0])) == 100
    with pytest.raises(DataError, match=r"power-node-0 has no timestamp, .* log\.frame\(\)"):
        opened.dask(merged=together, stream="power-node-0")


def test_streams_with_fewer_columns_are_left_out_unless_what_they_have_is_asked_for(tmp_path: Path) -> None:
    write(tmp_path, {core: render(rows(100, core)) for core in CORES}, label=LABELS[0])
    write(tmp_path, {7: b"0 1000\n1 1010\n"}, ("i", "timestamp"), label=LABELS[0], spool=5)
    opened = mustherd.data.open(tmp_path)
    with pytest.warns(UserWarning, match=r"ixgbe-log-core-7 \(it has no rx_desc\)"):
        assert len(opened.dask(merged=True)) == len(CORES) * 100
    assert len(opened.dask(["i"], merged=True)) == len(CORES) * 100 + 2
    assert len(opened.dask(core=7)) == 2


@pytest.fixture(scope="module")
def repeated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trial 1 in two attempts on two musters, trial 2 in one, and rows that were started by hand."""
    folder = tmp_path_factory.mktemp("repeated")
    for spool, label in enumerate(("0001-1", "0001-2", "0002-1", "by-hand"), start=1):
        write(folder, {0: render(rows(spool * 10, 0))}, label=label, spool=spool)
    write(folder, {1: render(rows(50, 1))}, label="0001-1", spool=9)
    return folder


def test_rows_of_a_repeated_trial_count_once(repeated: Path) -> None:
    pytest.importorskip("duckdb")
    opened = mustherd.data.open(repeated)
    counted = {("0001-2", 1, 2): 20, ("0002-1", 2, 1): 30, ("by-hand", None, None): 40}
    every = {**counted, ("0001-1", 1, 1): 10 + 50}
    assert {(log.label, log.trial, log.attempt) for log in opened.logs(trial=1)} == {("0001-2", 1, 2)}
    for all_attempts, expected in ((False, counted), (True, every)):
        with opened.duckdb(all_attempts=all_attempts) as sql:
            told = sql.execute('SELECT label, trial, attempt, count(*) FROM "rows" GROUP BY ALL').fetchall()
            left = sql.execute("SELECT label, why FROM left_out").fetchall()
        assert {(row[0], row[1], row[2]): row[3] for row in told} == expected
        assert left == ([] if all_attempts else [("0001-1", "another attempt counts")] * 2)
        for merged_ in (False, True):
            frame = opened.dask(["i"], all_attempts=all_attempts, merged=merged_).compute()
            sizes = frame.groupby(["label", "trial", "attempt"], dropna=False).size()
            assert {tuple(None if pd.isna(k) else k for k in key): n for key, n in sizes.items()} == expected
    assert len(opened.dask(["i"], attempt=1, trial=1)) == 60
    assert len(opened.dask(["i"], label="0001-1")) == 60


def test_the_attempt_that_counts_is_the_trials_whatever_else_is_asked_for(repeated: Path) -> None:
    """Core 1 has rows of the first attempt alone, which another took the place of."""
    opened = mustherd.data.open(repeated)
    assert opened.logs(trial=1, core=1) == opened.logs(trial=1, stream="ixgbe-log-core-1") == ()
    assert {log.label for log in opened.logs(core=1)} == {"0001-1"}


def test_sql_without_timed_rows_has_the_rest(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    folder = tmp_path / "exp"
    with Store.create(folder, name="exp", definition="", resolved={}, digest="d", goal=Goal()):
        pass
    add_power(folder)
    with mustherd.data.open(folder).duckdb() as sql:
        assert sql.execute("SELECT stream, written FROM accounts").fetchall() == [("power-node-0", 2)]
        assert sql.execute("SELECT count(*) FROM trials").fetchall() == [(0,)]
        assert sql.execute("SELECT stream, why FROM left_out").fetchall() == [("power-node-0", "no timestamp")]
        with pytest.raises(duckdb.Error, match=r"no log of .* has rows with a timestamp: see left_out"):
            sql.execute('SELECT count(*) FROM "rows"').fetchall()


def test_sql_of_rows_alone_says_that_there_are_no_trials(repeated: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    trials = pd.DataFrame({"trial": [1]})  # which DuckDB would otherwise read
    with mustherd.data.open(repeated).duckdb() as sql, pytest.raises(duckdb.Error, match="holds no experiment"):
        print(sql.execute("SELECT count(*) FROM trials").fetchall(), trials)


ON_A_CLUSTER = """
import sys
import mustherd.data
from distributed import Client, LocalCluster
if __name__ == "__main__":
    limit = int(sys.argv[2])
    with LocalCluster(n_workers=2, threads_per_worker=1, memory_limit=limit, dashboard_address=None) as cluster:
        with Client(cluster) as client:
            rows = mustherd.data.open(sys.argv[1]).dask(merged=True, rows=100_000)
            size = rows.map_partitions(lambda part: part.memory_usage(deep=True).sum()).sum().compute()
            counted = mustherd.data.differences(rows)
            middle = mustherd.data.medians(rows, ["rx_bytes"], ["stream"]).compute()
            print(size, len(counted), counted.cycles.sum().compute(), *middle.rx_bytes)
"""


@pytest.mark.long
@pytest.mark.night
@pytest.mark.process
def test_two_workers_read_more_than_they_have_memory_for(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    limit, count, files = 640 * 2**20, 120_000, 20
    cycles = 0
    received: dict[int, list[np.ndarray]] = {core: [] for core in CORES}
    for number in range(files):
        tables = {core: rows(count, core, start=number * count) for core in CORES}
        write(tmp_path, {core: render(table) for core, table in tables.items()}, spool=number + 1)
        for core, table in tables.items():
            received[core].append(table[:, 2])
            cycles += int(table[-1, 6]) if number == files - 1 else 0
            cycles -= int(table[0, 6]) if not number else 0
    program = tmp_path / "cluster.py"
    program.write_text(ON_A_CLUSTER)
    asked = [sys.executable, str(program), str(tmp_path), str(limit)]
    told = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    size, length, counted, *middle = map(float, told.stdout.split())
    assert size > limit
    assert length == len(CORES) * files * count
    assert counted == pytest.approx(cycles)
    assert middle == [float(np.median(np.concatenate(received[core]))) for core in CORES]
