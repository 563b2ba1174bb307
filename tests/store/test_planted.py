"""A folder of an experiment's from elsewhere, in which what would be written leads out of it, or waits for ever."""

import os
from pathlib import Path

import pytest

from mustherd import api
from mustherd.goal import Goal
from mustherd.rowlog.ledger import FILE, Ledger
from mustherd.store import DEFINITION
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
