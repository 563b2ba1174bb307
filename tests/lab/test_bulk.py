"""Bulk rows come back as they went in, in files that are whole."""

from pathlib import Path

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from mustherd.lab import bulk
from mustherd.lab.bulk import BulkWriter, read_log
from mustherd.lab.errors import StoreError


@pytest.fixture
def writer(tmp_path: Path):
    with BulkWriter(tmp_path) as made:
        yield made


def test_rows_come_back(writer: BulkWriter, tmp_path: Path) -> None:
    writer.append(7, 1, "m0", "power-node-0", first_row=0, columns={"power_watts": (90.5, 91), "time_s": (1, 2)})
    writer.append(7, 1, "m0", "power-node-0", first_row=5, columns={"time_s": [6.0], "power_watts": [92.0]})
    writer.append(7, 1, "m1", "other", first_row=3, columns={"rx_bytes": (2**53, 1)})
    assert list(tmp_path.rglob("*.parquet")) == []
    paths = writer.close_trial(7, 1)
    assert [str(path.relative_to(tmp_path)) for path in paths] == [
        "logs/trial=0007-1/muster=m0/power-node-0.parquet",
        "logs/trial=0007-1/muster=m1/other.parquet",
    ]
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(paths)
    frame = read_log(tmp_path, 7, muster="m0")
    assert list(frame.columns) == ["muster", "stream", "row", "power_watts", "time_s"]
    assert frame.values.tolist() == [
        ["m0", "power-node-0", 0, 90.5, 1.0],
        ["m0", "power-node-0", 1, 91.0, 2.0],
        ["m0", "power-node-0", 5, 92.0, 6.0],
    ]
    assert read_log(tmp_path, 7, stream="other")["rx_bytes"].tolist() == [2**53, 1]
    assert len(read_log(tmp_path, 7)) == 5
    # Other tools take the folders' names as columns.
    table = ds.dataset(tmp_path / "logs", partitioning="hive").to_table(filter=ds.field("muster") == "m0")
    assert set(table.column("trial").to_pylist()) == {"0007-1"}


def test_the_last_attempt_is_read_unless_told(writer: BulkWriter, tmp_path: Path) -> None:
    for attempt in (1, 2, 10):
        writer.append(3, attempt, "m0", "s", first_row=0, columns={"x": (attempt,)})
        writer.close_trial(3, attempt)
    assert read_log(tmp_path, 3)["x"].tolist() == [10]
    assert read_log(tmp_path, 3, 2)["x"].tolist() == [2]
    for missing in ({"trial": 4}, {"trial": 3, "attempt": 3}, {"trial": 3, "muster": "m1"}):
        with pytest.raises(StoreError, match="no such log rows of trial"):
            read_log(tmp_path, **missing)


def test_long_streams_go_to_disk_in_groups(writer: BulkWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "ROWS_PER_GROUP", 100)
    for first in range(0, 1000, 40):
        writer.append(1, 1, "m0", "s", first_row=first, columns={"x": range(first, first + 40)})
    [path] = writer.close_trial(1, 1)
    assert pq.ParquetFile(path).num_row_groups == 9
    frame = read_log(tmp_path, 1)
    assert frame["row"].tolist() == frame["x"].tolist() == list(range(1000))


def test_names_from_the_wire_stay_in_the_folder(writer: BulkWriter, tmp_path: Path) -> None:
    names = ("../../etc", "..", "a/b", ".hidden", "a%2Fb", "späte", "10.10.1.2@1", "nul\0")
    for name in names:
        writer.append(1, 1, name, name, first_row=0, columns={"x": (1,)})
    writer.close_trial(1, 1)
    assert set(read_log(tmp_path, 1)["stream"]) == set(names)
    assert {path.parent.parent for path in tmp_path.rglob("*.parquet")} == {tmp_path / "logs" / "trial=0001-1"}
    for bad in ("", "x" * 300, "/" * 70):
        with pytest.raises(ValueError, match="is no name"):
            writer.append(1, 2, bad, "s", first_row=0, columns={"x": (1,)})


def test_rows_that_do_not_fit_are_refused(writer: BulkWriter, tmp_path: Path) -> None:
    writer.append(1, 1, "m0", "s", first_row=10, columns={"x": (1, 2), "y": (1, 2)})
    with pytest.raises(ValueError, match="row 11 was stored already, 12 is the next"):
        writer.append(1, 1, "m0", "s", first_row=11, columns={"x": (1,), "y": (1,)})
    with pytest.raises(ValueError, match="has columns x, y, not x"):
        writer.append(1, 1, "m0", "s", first_row=12, columns={"x": (1,)})
    with pytest.raises(ValueError, match="differ in length"):
        writer.append(1, 1, "m0", "s", first_row=12, columns={"x": (1,), "y": ()})
    writer.append(1, 1, "m0", "s", first_row=12, columns={"x": (), "y": ()})
    writer.close_trial(1, 1)
    assert read_log(tmp_path, 1)["row"].tolist() == [10, 11]


def test_what_was_not_closed_leaves_nothing_to_read(tmp_path: Path) -> None:
    with BulkWriter(tmp_path) as writer:
        for trial in (1, 2):
            writer.append(trial, 1, "m0", "s", first_row=0, columns={"x": (1,)})
        writer.drop_trial(2, 1)
        assert not (tmp_path / "logs" / "trial=0002-1").exists()
        assert writer.close_trial(9, 1) == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
