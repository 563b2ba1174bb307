"""A folder that may not be looked into, among others; and one whose name is no text."""

import errno
import os
from pathlib import Path

import pytest

from mustherd.experiment.left_behind import left_in
from mustherd.store.catalog import list_experiments
from mustherd.store.store import DEFINITION, Store, StoreError
from tests.store.test_store import GOAL


def test_it_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed, other = tmp_path / "closed", tmp_path / "other"
    for folder in (closed, other):
        folder.mkdir()
        (folder / DEFINITION).write_text("name: x\n")
    exists, glob = Path.exists, Path.glob

    def refused(path: Path) -> Path:
        # The superuser, who may run this, is refused nothing.
        if closed in (path, path.parent):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return path

    monkeypatch.setattr(Path, "exists", lambda path: exists(refused(path)))
    monkeypatch.setattr(Path, "glob", lambda path, pattern: glob(refused(path), pattern))
    found = {one.name: one.detail for one in list_experiments(tmp_path)}
    assert set(found) == {"closed", "other"}
    assert found["closed"] == "it can't be looked into: Permission denied"
    assert left_in(closed) == ["whether nodes were left changed can't be told: Permission denied"]
    assert left_in(other) == []


def test_a_folder_whose_name_is_no_text_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    """Its configurations and events could not say where they are: it ended as a fault of ours, half made."""
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    odd.mkdir()
    with pytest.raises(StoreError, match=r"caf\\udce9/x' is no text in UTF-8"):
        Store.create(odd / "x", name="x", definition="", resolved={}, digest="", goal=GOAL)
    assert not list(odd.iterdir())
    Store.create(tmp_path / "exp", name="exp", definition="", resolved={}, digest="", goal=GOAL).close()
    (tmp_path / "exp").rename(odd / "exp")
    with pytest.raises(StoreError, match="is no text in UTF-8"):
        Store.open(odd / "exp")
    with Store.open(odd / "exp", read_only=True) as shown:
        assert shown.experiment().name == "exp"
