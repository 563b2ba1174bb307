"""A file that is replaced is the old one or the new one, whatever happens to its writer."""

import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mustherd import files


def test_content_is_kept_as_it_is(tmp_path: Path) -> None:
    files.replace(tmp_path / "text", "a\r\nb\n\u2713")
    files.replace(tmp_path / "bytes", b"\0\xff", durable=True)
    assert (tmp_path / "text").read_bytes() == "a\r\nb\n\u2713".encode()
    assert (tmp_path / "bytes").read_bytes() == b"\0\xff"


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_nothing_but_the_file_is_left(tmp_path: Path, durable: bool, shared: bool) -> None:
    for content in ("old", "new"):
        files.replace(tmp_path / "file", content, durable=durable, shared=shared)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "new"


@pytest.mark.parametrize("made", ["file", "folder", "nothing"])
def test_a_draft_that_breaks_leaves_what_was_there(tmp_path: Path, made: str) -> None:
    def broken() -> None:
        with files.draft(tmp_path / "x") as draft:
            if made == "file":
                draft.write_text("half")
            elif made == "folder":
                draft.mkdir()
                (draft / "inside").write_text("half")
            raise ValueError("it broke")

    (tmp_path / "x").write_text("old")
    with pytest.raises(ValueError, match="broke"):
        broken()
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_text() == "old"


def test_a_folder_appears_with_all_that_is_in_it(tmp_path: Path) -> None:
    with files.draft(tmp_path / "folder") as draft:
        draft.mkdir()
        (draft / "inside").write_text("all")
        assert not (tmp_path / "folder").exists()
    assert (tmp_path / "folder" / "inside").read_text() == "all"


def test_a_folder_in_use_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inside").write_text("mine")
    with pytest.raises(OSError, match="not empty"), files.draft(tmp_path / "folder") as draft:
        draft.mkdir()
    assert (tmp_path / "folder" / "inside").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_what_an_only_writer_left_when_it_was_killed_is_cleared(tmp_path: Path) -> None:
    left = tmp_path / ".folder.part"
    left.mkdir()
    (left / "rubbish").write_text("")
    with files.draft(tmp_path / "folder", shared=False) as draft:
        assert draft == left
        draft.mkdir()
    assert list((tmp_path / "folder").iterdir()) == []


def test_durable_means_file_then_name_then_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(descriptor: int) -> None:
        done.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    def noted_replace(self: Path, target: Path) -> Path:
        done.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    files.replace(tmp_path / "file", "x", durable=True, shared=False)
    assert done == [str(tmp_path / ".file.part"), "rename", str(tmp_path)]


WRITER = """
import sys
from pathlib import Path
from mustherd import files
print("on", flush=True)
while True:
    for letter in "ab":
        files.replace(Path(sys.argv[1]), letter * 1_000_000)
"""


@pytest.mark.process
def test_a_killed_writer_and_a_reader_beside_it_never_see_half(tmp_path: Path) -> None:
    file = tmp_path / "file"
    for moment in (random.Random(1).uniform(0, 0.05) for _ in range(10)):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(file)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        timer = threading.Timer(moment, writer.send_signal, [signal.SIGKILL])
        timer.start()
        while writer.poll() is None:
            whole(file)
        timer.join()
        writer.stdout.close()
        whole(file)


def whole(file: Path) -> None:
    if file.exists():
        content = file.read_text()
        assert content in ("a" * 1_000_000, "b" * 1_000_000)
