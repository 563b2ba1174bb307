"""What is said where the machine gives no more open files, processes or memory."""

import errno
import os
import resource
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from mustherd.cli import app as command
from mustherd.errors import UserError
from mustherd.machine import SQLITE_CANTOPEN, MachineError, given_out, need_files, need_shepherds_files


@pytest.fixture
def few_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (20, 20))


@pytest.mark.usefixtures("few_files")
def test_too_few_open_files_are_told_before_anything_starts() -> None:
    with pytest.raises(MachineError) as refused:
        need_shepherds_files(2)
    assert str(refused.value).startswith("a shepherd of 2 musters needs 52 open files, and a process may have 20 here")
    assert "`ulimit -n 1024`" in str(refused.value)
    assert refused.value.exit_code == 74
    need_files(20, "a muster")


def test_what_sqlite_calls_a_file_that_can_not_be_opened_is_its_own_number() -> None:
    assert SQLITE_CANTOPEN == sqlite3.SQLITE_CANTOPEN


def test_what_a_process_may_have_is_no_error() -> None:
    need_files(1, "it")


@pytest.mark.usefixtures("few_files")
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "this process may have 20 open files, and has them"),
        (OSError(errno.ENFILE, "Too many open files in system"), "the machine has as many files open as it may"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "the machine gives no more memory"),
        (MemoryError(), "the machine gives no more memory"),
        (RuntimeError("can't start new thread"), "for this user, who may have 20: end some, or raise `ulimit -u`"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), ""),
        (OSError(errno.ENOENT, "No such file"), ""),
        (ValueError("memory"), ""),
    ],
)
def test_what_the_machine_does_not_give_is_named(error: BaseException, said: str) -> None:
    assert said in given_out(error)
    assert bool(given_out(error)) is bool(said)


def test_what_brought_an_error_is_looked_at() -> None:
    told = UserError("the file can't be read")
    told.__cause__ = OSError(errno.EMFILE, "Too many open files")
    assert "ulimit -n" in given_out(told)


@pytest.mark.process
def test_a_process_that_is_not_started_is_told_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "_fork_exec", none)
    monkeypatch.setattr(subprocess, "_USE_POSIX_SPAWN", False)
    with pytest.raises(BlockingIOError) as refused:
        subprocess.run([sys.executable, "-c", ""], check=False)
    assert "no more processes" in given_out(refused.value)


def test_a_file_that_may_not_grow_is_told_of_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = sqlite3.connect(tmp_path / "x.db")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(sqlite3.OperationalError, match="disk I/O") as of_sqlite:
            database.execute("CREATE TABLE x (y)")
        with pytest.raises(OSError, match="too large") as of_a_file:
            (tmp_path / "y").write_bytes(bytes(2000))
        for refused in (of_sqlite, of_a_file):
            assert given_out(refused.value) == (
                "a file may have 1000 bytes here: raise `ulimit -f` or a unit's LimitFSIZE"
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        database.close()
    assert given_out(of_sqlite.value) == "", "a disk that really fails"


def test_a_database_that_no_descriptor_is_left_for_is_told_of_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(sqlite3.OperationalError) as refused:
        sqlite3.connect(tmp_path / "none" / "x.db")
    assert given_out(refused.value) == ""

    def none(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "open", none)
    assert "ulimit -n" in given_out(refused.value)


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "Too many open files"), MemoryError()])
def test_a_command_ends_with_one_line_and_no_fault_of_its_own(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: object) -> None:
        raise error

    monkeypatch.setattr(command, "needed", lambda _: lambda: broken(None))
    assert command._code() == 74
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "fault" not in said
    assert "ulimit" in said


@pytest.mark.process
@pytest.mark.parametrize("verb", [["experiment", "start"], ["shepherd", "run", "--ports", "0,0,0,0"]])
def test_a_command_with_few_open_files_says_how_many_it_needs(verb: list[str], tmp_path: Path) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30))

    ended = subprocess.run(
        [sys.executable, "-m", "mustherd", *verb], capture_output=True, text=True, check=False, cwd=tmp_path,
        preexec_fn=few, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 74, ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("mustherd: a shepherd of ")
    assert "ulimit -n 1024" in ended.stderr
    assert list(tmp_path.iterdir()) == []
