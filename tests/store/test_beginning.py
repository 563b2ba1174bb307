"""An experiment that is about to begin says what is going on, and nobody begins it a second time meanwhile."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mustherd.store.beginning import begin, beginning_in, begins
from mustherd.store.catalog import newest
from mustherd.store.errors import OwnedError, StoreError
from mustherd.store.store import Store

HOLD = """
import sys, time
from pathlib import Path
from mustherd.store.beginning import begin
with begin(Path(sys.argv[1])) as tell:
    tell("musters are awaited")
    print(flush=True)
    time.sleep(60)
"""


def test_it_is_said_while_it_lasts_and_nothing_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "of/mine"
    with begin(folder) as tell:
        assert begins(folder).endswith(f"by process {os.getpid()}: its herd is looked at")
        tell("its links\n are tried")
        said = begins(folder)
        assert said.startswith("about to begin for 0 s by process")
        assert said.endswith(r": its links\n are tried")
        assert beginning_in(folder.parent) == [f"{folder} is {said}"]
        for read_only in (True, False):
            with pytest.raises(StoreError, match=r"does not exist yet: its experiment is about to begin .*are tried"):
                Store.open(folder, read_only)
        with pytest.raises(StoreError, match=r"no experiment in .* yet: .*/mine is about to begin"):
            newest(folder.parent)
        with (
            pytest.raises(OwnedError, match=f"by process {os.getpid()}: wait for it, or end that process$"),
            begin(folder),
        ):
            pass
    assert begins(folder) == ""
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StoreError, match="no experiment has been started there"):
        Store.open(folder)


def test_what_was_there_stays(tmp_path: Path) -> None:
    with begin(tmp_path / "x"):
        (tmp_path / "x").mkdir()
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert beginning_in(tmp_path) == beginning_in(tmp_path / "nowhere") == []


def test_a_folder_that_cannot_be_written_only_tells_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with begin(tmp_path / "file/x") as tell:
        tell("anything")
        assert begins(tmp_path / "file/x") == ""


@pytest.mark.process
def test_one_that_was_killed_is_not_about_to_begin(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout
        child.stdout.readline()
        assert begins(folder).endswith(f"by process {child.pid}: musters are awaited")
    finally:
        child.kill()
        child.wait()
        child.stdout.close()  # type: ignore[union-attr]
    assert begins(folder) == ""
    with begin(folder):
        assert f"process {os.getpid()}" in begins(folder)
