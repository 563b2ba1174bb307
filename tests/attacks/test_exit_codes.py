"""What an experiment's end says is true: exit codes, who stopped it; and output that goes away ends nothing."""

import contextlib
import errno
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Literal

import pytest

import mustherd
from mustherd import api
from mustherd.cli import app as command
from mustherd.daemon import Stop
from mustherd.definition import goal, loads
from mustherd.errors import UserError
from mustherd.experiment import local_herd
from mustherd.experiment.links import Link
from mustherd.experiment.loop import TrialLoop
from mustherd.goal import Goal
from mustherd.provision import runner
from mustherd.provision.failures import Step
from mustherd.provision.runner import PlaybookResult
from mustherd.rowlog.writer import LogWriter
from mustherd.store.errors import LockedError, NoRoomError, StoreError
from mustherd.store.store import DATABASE, Store
from tests import herding, running
from tests.running import begin, definition, start
from tests.waiting import until

QUICK = definition(musters=1, trials=3, repeats=1)
LONG = definition(musters=1, trials=400, repeats=1, speed=200)


def broken_pipe() -> None:
    """As typer ends: with 1, from where it could not write."""
    try:
        raise BrokenPipeError
    except OSError:
        sys.exit(1)


def raising(error: BaseException) -> Callable[[], None]:
    def call() -> None:
        raise error

    return call


@pytest.mark.parametrize(
    ("ends", "code", "said"),
    [
        (raising(SystemExit(4)), 4, ""),
        (raising(SystemExit(None)), 0, ""),
        (raising(UserError("no such thing")), 2, "mustherd: no such thing\n"),
        (raising(KeyboardInterrupt()), 130, "interrupted\n"),
        (
            raising(RuntimeError("what nobody thought of")),
            70,
            "mustherd: a fault of mustherd itself: RuntimeError: what",
        ),
        (raising(MemoryError()), 74, "mustherd: the machine gives no more memory"),
        (
            raising(OSError(errno.ENOSPC, "No space left on device")),
            74,
            "mustherd: the output: No space left on device",
        ),
        (raising(BrokenPipeError()), 0, ""),
        (broken_pipe, 0, ""),
    ],
)
def test_no_fault_of_ours_is_a_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ends: Callable[[], None], code: int, said: str
) -> None:
    monkeypatch.setattr(command, "needed", lambda _words: ends)
    monkeypatch.setattr(command, "hush", lambda: None)
    assert command._code() == code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(("own", "code"), [(None, 3), (74, 74)])
def test_a_store_that_breaks_while_it_runs_does_not_say_that_nothing_was_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: int | None, code: int
) -> None:
    error = StoreError(f"{tmp_path} can't be read: disk I/O error")
    if own is not None:
        error.exit_code = own
    monkeypatch.setattr(local_herd, "run_here", lambda *_: raising(error)())
    with pytest.raises(StoreError) as raised:
        mustherd.run(QUICK, into=tmp_path / "x", report=False)
    assert raised.value.exit_code == code
    # Before anything was begun it is 2, as ever.
    with pytest.raises(StoreError) as refused:
        mustherd.run(QUICK, into=tmp_path / "x", report=False)
    assert refused.value.exit_code == 2


@pytest.mark.process
@pytest.mark.long
def test_an_experiment_goes_on_when_nobody_reads_it_any_more(tmp_path: Path) -> None:
    file = tmp_path / "x.yml"
    file.write_text(QUICK)
    run = begin("experiment", "start", file, "--into", tmp_path / "x", "--no-report", folder=tmp_path / "x")
    assert run.process.stdout is not None
    assert any(line.startswith("[1/") for line in run.process.stdout), "it ended before its first trial"
    run.process.stdout.close()
    run.process.stdout = None
    code, _, err = run.finish()
    with Store.open(tmp_path / "x", read_only=True) as store:
        assert store.experiment().status == "done"
        assert code == (0 if (store.experiment().verdict or {})["verdict"] == "met" else 1)
    assert "Traceback" not in err


@pytest.mark.process
@pytest.mark.long
def test_an_experiment_needs_no_open_descriptor(tmp_path: Path) -> None:
    """Whatever it opens must not take the numbers of what it prints to."""
    (tmp_path / "x.yml").write_text(QUICK)
    line = f'"{sys.executable}" -m mustherd experiment start x.yml --into x --no-report <&- >&- 2>&-'
    environment = {**os.environ, "PYTHONPATH": running.PYTHONPATH}
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, check=False, env=environment)
    assert done.returncode in (0, 1)
    with Store.open(tmp_path / "x", read_only=True) as store:
        assert store.experiment().status == "done"


@pytest.mark.process
@pytest.mark.long
def test_an_experiment_s_folder_is_nobody_else_s_whatever_the_umask(tmp_path: Path) -> None:
    """One that others may write to is refused: under umask 002, usual where each user has a group, its own was."""
    (tmp_path / "x.yml").write_text(QUICK)
    line = f'umask 000; "{sys.executable}" -m mustherd experiment start x.yml --into made/x'
    subprocess.run(["sh", "-c", line], cwd=tmp_path, check=False, env={**os.environ, "PYTHONPATH": running.PYTHONPATH})
    with Store.open(tmp_path / "made/x", read_only=True) as store:
        assert store.experiment().status == "done"
    assert not [path for path in (tmp_path / "made").rglob("*") if path.lstat().st_mode & 0o022]


@contextlib.contextmanager
def full_disk() -> Iterator[IO[str]]:
    with Path("/dev/full").open("w") as stream:
        yield stream


@contextlib.contextmanager
def unread() -> Iterator[IO[str]]:
    """A pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        yield stream


@pytest.mark.parametrize(
    ("output", "states", "code"),
    [
        (unread, ["wrong", "ok"], 1),
        (unread, ["ok", "wrong"], 1),
        (full_disk, ["ok", "wrong"], 1),
        (unread, ["ok"], 0),
        (full_disk, ["ok"], 74),
    ],
)
def test_a_check_whose_lines_nobody_takes_ends_with_what_all_its_links_come_to(
    monkeypatch: pytest.MonkeyPatch,
    output: Callable[[], AbstractContextManager[IO[str]]],
    states: list[Literal["ok", "wrong"]],
    code: int,
) -> None:
    """`check FILE | head -1` ended with 0, whatever was wrong."""

    def try_links(*_: object, tell: Callable[[Link], object], **__: object) -> list[Link]:
        links = [Link(name="a link", state=state, found="this") for state in states]
        for link in links:
            tell(link)
        return links

    monkeypatch.setattr(api, "links", try_links)
    monkeypatch.setattr(sys, "argv", ["mustherd", "experiment", "check", "x.yml"])
    # Click has its output swallow what it still holds when it is flushed, not when it is closed.
    with contextlib.suppress(BrokenPipeError), output() as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert command._code() == code
        monkeypatch.undo()


@pytest.mark.parametrize("failed", [True, False])
def test_a_play_goes_on_when_nobody_reads_it_any_more(monkeypatch: pytest.MonkeyPatch, failed: bool) -> None:
    """`herd start | head -1` was cut off at its second task, with 0."""
    ended = []

    def play(*_: object, on_step: Callable[[Step], object], **__: object) -> PlaybookResult:
        for task in ("one", "two"):
            on_step(Step(play="play", task=task, host="", state="started"))
        ended.append(True)
        return PlaybookResult(code=2 if failed else 0, failures=(), changed={}, artifacts=Path())

    monkeypatch.setattr(runner, "run", play)
    monkeypatch.setattr(sys, "argv", ["mustherd", "herd", "start", "-i", "hosts.yml"])
    with contextlib.suppress(BrokenPipeError), unread() as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert (command._code(), ended) == (3 if failed else 0, [True])
        monkeypatch.undo()


@pytest.mark.process
def test_what_could_not_be_printed_is_told(tmp_path: Path) -> None:
    command_line = [sys.executable, "-m", "mustherd", "experiment", "list", str(tmp_path), "--json"]
    with full_disk() as output:
        done = subprocess.run(command_line, stdout=output, stderr=subprocess.PIPE, text=True, check=False)
    said = done.stderr.splitlines()
    assert (done.returncode, said[-1]) == (74, "mustherd: the output: No space left on device")
    assert not [line for line in said if "Traceback" in line]


@pytest.mark.process
@pytest.mark.parametrize("output", [full_disk, unread])
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "words",
    [
        ["mustherd", "experiment", "show", "nowhere"],
        ["mustherd", "experiment", "strat"],
        ["mustherd.muster", "--config", "nowhere.toml"],
    ],
)
def test_a_wrong_request_ends_with_its_code_whether_it_can_be_told_or_not(
    tmp_path: Path, output: Callable[[], AbstractContextManager[IO[str]]], unbuffered: str, words: list[str]
) -> None:
    """It was 120, or 74, or 0 as of one that was done; of a muster 1, so that its command started it again."""
    environment = {**os.environ, "PYTHONPATH": running.PYTHONPATH, "PYTHONUNBUFFERED": unbuffered}
    with output() as stderr:
        command_line = [sys.executable, "-m", *words]
        done = subprocess.run(command_line, cwd=tmp_path, stderr=stderr, check=False, env=environment)
    assert done.returncode == 2


@pytest.mark.process
def test_where_no_output_takes_anything_it_is_told_by_the_code(tmp_path: Path) -> None:
    """The interpreter made it 120."""
    with full_disk() as output:
        command_line = [sys.executable, "-m", "mustherd", "experiment", "list", str(tmp_path), "--json"]
        done = subprocess.run(command_line, stdout=output, stderr=output, check=False)
        assert done.returncode == 74
        command_line = [sys.executable, "-m", "mustherd", "--version"]
        assert subprocess.run(command_line, stdout=output, stderr=output, check=False).returncode == 74


@pytest.mark.process
@pytest.mark.parametrize("output", [full_disk, unread])
def test_a_word_aside_that_is_not_taken_costs_no_json(
    tmp_path: Path, output: Callable[[], AbstractContextManager[IO[str]]]
) -> None:
    with output() as stderr:
        command_line = [sys.executable, "-m", "mustherd", "experiment", "list", str(tmp_path), "--json"]
        done = subprocess.run(command_line, stdout=subprocess.PIPE, stderr=stderr, text=True, check=False)
    assert (done.returncode, json.loads(done.stdout)) == (0, [])


def started(folder: Path, *more: str, stdout: IO[str] | int, stderr: IO[str] | int) -> subprocess.CompletedProcess[str]:
    (folder / "x.yml").write_text(QUICK)
    words = [sys.executable, "-m", "mustherd", "experiment", "start", "x.yml", "--into", "x", "--no-report", *more]
    environment = {**os.environ, "PYTHONPATH": running.PYTHONPATH}
    return subprocess.run(words, cwd=folder, stdout=stdout, stderr=stderr, text=True, check=False, env=environment)


@pytest.mark.process
@pytest.mark.long
@pytest.mark.parametrize("more", [("--json",), ()])
def test_an_experiment_whose_end_could_not_be_printed_says_so(tmp_path: Path, more: tuple[str, ...]) -> None:
    """It ended with 0, and a script that read its output had nothing."""
    with full_disk() as output:
        done = started(tmp_path, *more, stdout=output, stderr=subprocess.PIPE)
    said = done.stderr.splitlines()[-1]
    lost = f"mustherd: the output: No space left on device; what was found is in {tmp_path / 'x'}"
    assert (done.returncode, said) == (74, lost)
    with Store.open(tmp_path / "x", read_only=True) as store:
        assert store.experiment().status == "done"


@pytest.mark.process
@pytest.mark.long
@pytest.mark.parametrize("output", [full_disk, unread])
@pytest.mark.parametrize("buffered", [True, False], ids=["buffered", "unbuffered"])
def test_progress_that_could_not_be_printed_loses_nothing_of_what_was_asked_for(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    output: Callable[[], AbstractContextManager[IO[str]]],
    buffered: bool,
) -> None:
    """With --json it goes to stderr, where a full disk or a closed pipe is no reason to call the JSON lost."""
    monkeypatch.setenv("PYTHONUNBUFFERED", "" if buffered else "1")
    with output() as stream:
        done = started(tmp_path, "--json", stdout=subprocess.PIPE, stderr=stream)
    assert done.returncode in (0, 1)
    assert json.loads(done.stdout)["status"] == "done"


@pytest.mark.process
@pytest.mark.long
def test_who_ended_an_experiment_is_said(tmp_path: Path) -> None:
    run = start(tmp_path, LONG)

    def trials() -> int:
        with Store.open(run.folder, read_only=True) as store:
            return store.counts()["finished"]

    def told() -> tuple[str, str]:
        with Store.open(run.folder, read_only=True) as store:
            return store.experiment().status, store.experiment().status_detail

    def shepherd() -> int:
        return until(lambda: run.child("shepherd")).pid

    def go_on() -> None:
        nonlocal run
        before = trials()
        run = begin("experiment", "resume", run.folder, "--no-report", "--json", folder=run.folder)
        until(lambda: trials() > before, 120)

    until(lambda: (run.folder / "store.sqlite").exists() and trials() > 0, 120)
    os.kill(shepherd(), signal.SIGTERM)
    assert run.finish()[0] == 4
    assert told() == ("stopped", "it was told to end by SIGTERM")
    go_on()
    run.process.send_signal(signal.SIGINT)
    assert run.finish()[0] == 4
    assert told() == ("stopped", "it was interrupted (SIGINT)")
    go_on()
    assert running.run("experiment", "stop", run.folder)[0] == 0
    assert run.finish()[0] == 4
    assert told() == ("stopped", "the operator asked for it")
    go_on()
    begun = run.children
    run.process.kill()
    run.process.communicate()
    until(lambda: not any(child.is_running() and child.status() != "zombie" for child in begun))
    assert told() == ("stopped", "the command that ran it is gone")


GOAL = Goal(limits=(), margin=0.0, loads=(6e5,), repeats=1)


def full(store: Store) -> None:
    """SQLite finds no room for another page, as on a disk that is full."""
    [[pages]] = store._read("PRAGMA page_count")
    store._read(f"PRAGMA max_page_count = {pages}")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "exp", name="exp", definition="", resolved={}, digest="d", goal=GOAL)


def test_a_store_waits_for_room_and_then_writes_once(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    asked = threading.Event()

    def wait(seconds: float) -> bool:
        assert seconds > 0
        if asked.is_set():
            store._read("PRAGMA max_page_count = 1000000")
        asked.set()
        return True

    with store:
        full(store)
        store.may_wait = wait
        store.event("long", "x" * 100_000)
        assert [event.kind for event in store.events()] == ["long"]
    said = [record.message for record in caplog.records]
    assert len([line for line in said if "the experiment waits for room" in line]) == 1
    assert len([line for line in said if "there is room again" in line]) == 1


def test_a_store_that_another_program_has_locked_waits_for_it(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """As one that copies it: an experiment of hours ended after ten seconds of that."""
    with store, contextlib.closing(sqlite3.connect(store.folder / DATABASE, isolation_level=None)) as other:
        store._read("PRAGMA busy_timeout = 10")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LockedError, match="database is locked"):
            store.event("refused", "who may not wait is told")
        caplog.clear()
        left = [3]

        def wait(seconds: float) -> bool:
            assert seconds > 0
            left[0] -= 1
            if not left[0]:
                other.execute("ROLLBACK")
            return True

        store.may_wait = wait
        store.event("written", "once")
        assert [event.kind for event in store.events()] == ["written"]
    said = [record.message for record in caplog.records]
    assert len([line for line in said if "the experiment waits for whoever has it locked" in line]) == 1
    assert len([line for line in said if "it can be written again" in line]) == 1


def test_who_may_not_wait_is_told(store: Store) -> None:
    with store:
        full(store)
        with pytest.raises(NoRoomError, match="full"):
            store.event("long", "x" * 100_000)
        assert store.events() == []


@pytest.mark.herd
def test_a_folder_that_breaks_in_mid_run_is_no_mistake_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2 would say that nothing was changed."""
    experiment = loads(QUICK, "x.yml")
    with (
        Store.create(
            tmp_path / "exp", name="x", definition=QUICK, resolved={}, digest="d", goal=goal(experiment)
        ) as store,
        LogWriter(store.folder) as logs,
        herding.shepherd(sink=logs) as (shepherd, _),
    ):

        def look(_: TrialLoop) -> None:
            # From now on there is no room for anything.
            full(store)
            store.event("long", "x" * 100_000)

        monkeypatch.setattr(TrialLoop, "_look", look)
        with pytest.raises(NoRoomError) as caught:
            TrialLoop(store, experiment, shepherd, logs, expected=1, stop=Stop()).run()
        assert caught.value.exit_code == 3
