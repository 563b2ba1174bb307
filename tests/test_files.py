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


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["pipe", "device", "huge", "folder"])
def test_only_a_file_of_a_size_that_can_be_is_read(tmp_path: Path, kind: str) -> None:
    odd = tmp_path / "odd"
    if kind == "pipe":
        os.mkfifo(odd)
    elif kind == "device":
        odd.symlink_to("/dev/zero")
    elif kind == "folder":
        odd.mkdir()
    else:
        odd.touch()
        os.truncate(odd, 1 << 34)
    open_ones = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match=r"not a regular file|more than 100 bytes|a directory"):
        files.content(odd, 100)
    assert len(list(Path("/proc/self/fd").iterdir())) == open_ones


@pytest.mark.parametrize("umask", [0, 0o002, 0o077])
def test_a_folder_that_is_made_is_nobody_else_s_to_write(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        files.folder(tmp_path / "a" / "b")
        files.folder(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    for folder in (tmp_path / "a", tmp_path / "a" / "b"):
        assert folder.stat().st_mode & 0o777 == 0o755 & ~umask
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        files.folder(tmp_path / "file")


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


class TestWhatAPersonNamed:
    def test_a_file_is_replaced_whole(self, tmp_path: Path) -> None:
        place = tmp_path / "report.html"
        for content in ("old and longer", "new"):
            files.deliver(place, content)
        assert place.read_text() == "new"
        assert list(tmp_path.iterdir()) == [place]

    def test_a_pipe_stays_one_and_gets_it(self, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        try:
            files.deliver(pipe, "a page")
            assert os.read(reader, 100) == b"a page"
        finally:
            os.close(reader)
        assert pipe.is_fifo()

    def test_a_device_stays_one_also_for_who_could_replace_it(self, tmp_path: Path) -> None:
        place = tmp_path / "null"
        place.symlink_to("/dev/null")
        files.deliver(place, "a page")
        assert place.is_symlink()
        assert Path("/dev/null").is_char_device()

    def test_a_link_leads_to_what_is_written(self, tmp_path: Path) -> None:
        place, end = tmp_path / "link", tmp_path / "end"
        place.symlink_to(end)
        files.deliver(place, "a page")
        assert place.is_symlink()
        assert end.read_text() == "a page"

    @pytest.mark.parametrize("name", [".", ".."])
    def test_a_folder_is_said_to_be_one(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(IsADirectoryError):
            files.deliver(tmp_path / name, "a page")
        with pytest.raises(IsADirectoryError):
            files.deliver(Path(name), "a page")
