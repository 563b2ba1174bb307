"""A log that is bounded: the oldest files go, their rows are counted, and what is there can be read."""

from pathlib import Path

import pytest

from mustherd.data import open as open_folder
from mustherd.rowlog.ledger import Ledger
from mustherd.rowlog.writer import LogWriter
from tests.rowlog.test_writer import STREAM, Blocks, rows

COUNT = 12
EACH = 2000


def write(folder: Path, most_bytes: int | None, first: int = 0) -> None:
    with LogWriter(folder, most_bytes=most_bytes) as writer:
        blocks = Blocks(writer, last=first)
        for number in range(first, first + COUNT):
            blocks.text(rows(number * EACH, EACH))
            blocks.flush()


def on_disk(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*.parquet"))


@pytest.fixture
def whole(tmp_path: Path) -> int:
    """Bytes of the same rows in a log without a bound."""
    write(tmp_path / "whole", None)
    return on_disk(tmp_path / "whole")


def test_the_oldest_files_go_and_the_account_says_so(tmp_path: Path, whole: int) -> None:
    write(tmp_path / "l", whole // 3)
    assert 0 < on_disk(tmp_path / "l") <= whole // 3
    [log] = open_folder(tmp_path / "l").logs()
    assert log.account.written == log.account.produced == COUNT * EACH
    assert log.account.rotated > COUNT * EACH // 2
    frame = log.frame()
    assert len(frame) == log.rows == COUNT * EACH - log.account.rotated
    # What is left are the newest rows, all of them, under the numbers that they always had.
    assert frame["row"].tolist() == list(range(log.account.rotated, COUNT * EACH))


def test_it_goes_on_within_the_bound_after_a_restart(tmp_path: Path, whole: int) -> None:
    write(tmp_path / "l", whole // 3)
    write(tmp_path / "l", whole // 3, first=COUNT)
    assert 0 < on_disk(tmp_path / "l") <= whole // 3
    [log] = open_folder(tmp_path / "l").logs()
    assert log.account.written == 2 * COUNT * EACH
    assert log.frame()["row"].iloc[-1] == 2 * COUNT * EACH - 1


def test_a_file_that_a_crash_left_behind_goes_at_the_next_opening(tmp_path: Path) -> None:
    write(tmp_path, None)
    with Ledger(tmp_path / "logs", write=True) as ledger:
        gone = ledger.rotate(1)
        assert len(gone) == COUNT - 1, "the newest stays"
    assert all((tmp_path / "logs" / part.path).exists() for part in gone)
    LogWriter(tmp_path).close()
    assert not any((tmp_path / "logs" / part.path).exists() for part in gone)
    [log] = open_folder(tmp_path).logs(stream=STREAM)
    assert log.rows == len(log.frame()) == EACH


def test_folders_of_trials_whose_rows_have_gone_go_too(tmp_path: Path) -> None:
    with LogWriter(tmp_path, most_bytes=1) as writer:
        blocks = Blocks(writer)
        blocks.text(rows(0, 10))
        blocks.flush()
        blocks.text(rows(0, 10), stream="another")
        blocks.flush()
    [file] = tmp_path.rglob("*.parquet")
    assert file.parent.name == "stream=another"
    assert not list((tmp_path / "logs").rglob(f"stream={STREAM}"))
