"""A folder of an experiment's from elsewhere, in which what would be written leads out of it, or waits for ever."""

import os
import shutil
import socket
import struct
import subprocess
from pathlib import Path

import pytest

from mustherd import api
from mustherd.definition import Experiment
from mustherd.experiment import again
from mustherd.goal import Goal
from mustherd.guard import OF_SEVERAL
from mustherd.rowlog.ledger import FILE, Ledger
from mustherd.store import DEFINITION
from mustherd.store.database import DATABASE
from mustherd.store.errors import StoreError
from mustherd.store.lock import command, own
from mustherd.store.store import Store

WRITTEN = ["shepherd.log", "muster-1.log", "store.sqlite-wal", "owner.lock", "command.lock", "logs/ledger.sqlite"]
FOLDERS = ["logs", "herd", "herd/muster-1", "herd/muster-1/state"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "experiment"
    for name in FOLDERS[:1] + FOLDERS[-1:]:
        (made / name).mkdir(parents=True)
    return made


def plant(place: Path, kind: str, elsewhere: Path) -> None:
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "link":
        place.symlink_to(elsewhere)
    else:
        place.hardlink_to(elsewhere)


@pytest.mark.parametrize("kind", ["pipe", "link", "hard link"])
@pytest.mark.parametrize("name", WRITTEN)
def test_nothing_is_written_through_what_was_planted(folder: Path, tmp_path: Path, name: str, kind: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    elsewhere.chmod(0o644)
    plant(folder / name, kind, elsewhere)
    for taken in (own, command):
        with pytest.raises(StoreError, match=f"^{folder / name}: .*; fix: "), taken(folder):
            pytest.fail("it was taken")
    assert elsewhere.read_text() == "mine"
    assert elsewhere.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("name", FOLDERS)
def test_no_folder_may_be_a_link(folder: Path, tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    (folder / name).rename(elsewhere)
    (folder / name).symlink_to(elsewhere)
    before = sorted(elsewhere.rglob("*"))
    with pytest.raises(StoreError, match=f"^{folder / name}: a link, and nothing is written through one"), own(folder):
        pytest.fail("it was taken")
    assert sorted(elsewhere.rglob("*")) == before


def test_rows_may_have_other_names_as_snapshots_give_them(folder: Path, tmp_path: Path) -> None:
    rows = folder / "logs/1.parquet"
    rows.touch()
    (tmp_path / "snapshot.parquet").hardlink_to(rows)
    with own(folder):
        pass


def test_a_planted_name_is_told_in_one_line(folder: Path) -> None:
    (folder / "a\nmustherd: all is well").symlink_to(folder)
    with pytest.raises(StoreError, match=r"/a\\nmustherd: all is well: a link, and nothing"), own(folder):
        pytest.fail("it was taken")


def test_what_cannot_be_looked_through_is_named_and_not_the_lock(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    for _ in range(2100):
        os.mkdir("dd", dir_fd=descriptor)
        below = os.open("dd", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    with (
        pytest.raises(StoreError, match=r"/dd/dd.*: it can't be looked through \(File name too long\); fix: "),
        own(folder),
    ):
        pytest.fail("it was taken")
    subprocess.run(["rm", "-rf", folder / "dd"], check=True)  # deeper than Python's recursion goes


@pytest.mark.parametrize("kind", ["pipe", "link", "hard link"])
def test_who_only_looks_writes_nowhere_else(tmp_path: Path, kind: str) -> None:
    folder, elsewhere = tmp_path / "x", tmp_path / "elsewhere"
    Store.create(folder, name="x", definition="name: x\n", resolved={}, digest="d", goal=Goal()).close()
    elsewhere.write_text("mine")
    (folder / f"{DATABASE}-wal").write_bytes(b"not empty")
    (folder / f"{DATABASE}-shm").unlink(missing_ok=True)
    plant(folder / f"{DATABASE}-shm", kind, elsewhere)
    with pytest.raises(StoreError, match=f"^{folder}/{DATABASE}-shm: .*; fix: "):
        Store.open(folder, read_only=True)
    (folder / f"{DATABASE}-wal").unlink()
    # A snapshot, whose files all have another name, is looked at without a write.
    if kind == "hard link":
        Store.open(folder, read_only=True).close()
    assert elsewhere.read_text() == "mine"


def test_a_linked_database_is_not_opened(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    Store.create(folder, name="x", definition="name: x\n", resolved={}, digest="d", goal=Goal()).close()
    (tmp_path / "home").mkdir()
    (folder / DATABASE).rename(tmp_path / "home/db")
    (folder / DATABASE).symlink_to(tmp_path / "home/db")
    with pytest.raises(StoreError, match=f"^{folder}/{DATABASE}: a link, and nothing is written through one"):
        Store.open(folder, read_only=True)
    assert [file.name for file in (tmp_path / "home").iterdir()] == ["db"]


def test_no_log_elsewhere_is_looked_at(tmp_path: Path) -> None:
    Ledger(tmp_path / "home/logs", write=True).close()
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / "logs").symlink_to(tmp_path / "home/logs")
    with pytest.raises(StoreError, match=f"^{folder}/logs: a link, and nothing is written through one"):
        Ledger(folder / "logs")
    assert [file.name for file in (tmp_path / "home/logs").iterdir()] == [FILE]


def test_no_journal_removes_a_file_elsewhere(tmp_path: Path) -> None:
    elsewhere, file = tmp_path / "elsewhere", tmp_path / "logs" / FILE
    elsewhere.write_text("mine")
    Ledger(tmp_path / "logs", write=True).close()
    name, pages = os.fsencode(elsewhere), file.stat().st_size // 4096
    head = OF_SEVERAL + struct.pack(">5I", 0, 1, pages, 512, 4096)
    end = struct.pack(">I", (1 << 30) // 4096 + 1) + name + struct.pack(">2I", len(name), sum(name)) + OF_SEVERAL
    (tmp_path / "logs" / f"{FILE}-journal").write_bytes(head.ljust(512, b"\0") + end)
    with pytest.raises(StoreError, match="names another file, which SQLite would remove; fix: "):
        Ledger(tmp_path / "logs", write=True)
    assert elsewhere.read_text() == "mine"


def test_no_pipe_is_waited_for_where_a_definition_or_a_log_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    Store.create(folder, name="x", definition="name: x\n", resolved={}, digest="d", goal=Goal()).close()
    (folder / DEFINITION).unlink()
    os.mkfifo(folder / DEFINITION)
    with pytest.raises(StoreError, match=f"^{folder / DEFINITION} can't be read: not a regular file$"):
        api.resume(folder)
    (tmp_path / "logs").mkdir()
    os.mkfifo(tmp_path / "logs" / FILE)
    with pytest.raises(StoreError, match="can't be used: not a regular file"):
        Ledger(tmp_path / "logs")


def test_no_other_day_is_written_through_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(again, "definition_of_day", lambda *_: "")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / again.DAYS).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="again: a link, and nothing is written through one; fix: "):
        again.another_day(tmp_path, Experiment.model_construct(name="x"), None, days=0)


@pytest.mark.parametrize("name", [*FOLDERS, *WRITTEN, "again"])
def test_a_folder_is_no_file_and_a_file_no_folder(folder: Path, name: str) -> None:
    place, file = folder / name, name in WRITTEN
    if file:
        place.mkdir()
    else:
        shutil.rmtree(place, ignore_errors=True)
        place.touch()
    what = "a folder, where a file belongs" if file else "a file, where a folder belongs"
    with pytest.raises(StoreError, match=f"^{place}: {what}; fix: move it away"), own(folder):
        pytest.fail("it was taken")


def test_a_socket_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("muster-1.log")
        with pytest.raises(StoreError, match=r"muster-1\.log: no regular file"), own(folder):
            pytest.fail("it was taken")
