"""One holder at a time, known by name, gone with its process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from mustherd import locks
from mustherd.guard import GuardError
from mustherd.locks import FileLock, LockedError
from tests.waiting import until

HOLD = """
import os, sys, time
from pathlib import Path
from mustherd.locks import FileLock
lock = FileLock(Path(sys.argv[1]))
if len(sys.argv) > 2 and os.fork() == 0:
    os.write(1, b"%d\\n" % os.getpid())
    time.sleep(60)
os.write(1, b"%d\\n" % os.getpid())
time.sleep(60)
"""


@pytest.mark.process
@pytest.mark.parametrize("children", [False, True])
def test_it_is_held_by_one_named_process_and_ends_with_it(tmp_path: Path, children: bool) -> None:
    path = tmp_path / "lock"
    more = ["fork"] if children else []
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(path), *more], stdout=subprocess.PIPE, text=True)
    assert child.stdout
    pids = {int(child.stdout.readline()) for _ in range(1 + children)}
    try:
        assert locks.locked_by(path) == child.pid
        assert locks.holder(path) == child.pid
        with pytest.raises(LockedError, match=rf"process {child.pid} \(.*FileLock") as caught:
            FileLock(path)
        assert caught.value.pid == child.pid
        child.kill()
        child.wait()
        assert locks.locked_by(path) is None
        FileLock(path, patience_s=5).close()
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
        for pid in pids - {child.pid}:
            os.kill(pid, 9)


def test_a_lock_that_others_could_open_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text("")
    path.chmod(0o644)
    FileLock(path).close()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_file_is_no_lock(tmp_path: Path, kind: str) -> None:
    path, target = tmp_path / "lock", tmp_path / "target"
    target.write_text("content")
    if kind == "link":
        path.symlink_to(target)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises((GuardError, OSError)):
        FileLock(path)
    assert target.read_text() == "content"
    assert locks.locked_by(path) is None


def test_who_may_not_open_it_is_told_who_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "lock"
    lock = FileLock(path)
    monkeypatch.setattr(os, "open", refused)
    assert locks.locked_by(path) == os.getpid()
    lock.close()
    assert locks.locked_by(path) is None


@pytest.mark.process
def test_a_heir_that_stands_still_is_one_with_the_lock(tmp_path: Path) -> None:
    """Not who only has the file open, and would be killed for it."""
    path = tmp_path / "lock"
    muster = os.fork()
    if not muster:
        with FileLock(path).shared_with_child():
            if not (guardian := os.fork()):
                signal.pause()
                os._exit(0)
        (tmp_path / "pid").write_text(str(guardian))
        os._exit(0)
    os.waitpid(muster, 0)
    guardian = int((tmp_path / "pid").read_text())
    with path.open() as file:
        reader = subprocess.Popen(["sleep", "60"], stdin=file)
    try:
        reader.send_signal(signal.SIGSTOP)
        until(lambda: psutil.Process(reader.pid).status() == psutil.STATUS_STOPPED)
        assert locks.still_heirs(path) == []
        os.kill(guardian, signal.SIGSTOP)
        until(lambda: locks.still_heirs(path) == [guardian])
    finally:
        reader.kill()
        reader.wait()
        os.kill(guardian, signal.SIGKILL)


@pytest.mark.process
def test_no_heir_of_a_living_one_is_ended_nor_one_that_goes_on(tmp_path: Path) -> None:
    """Whoever wants the lock ends it; not one that goes on, a stranger who has the file open, or a living one's."""
    place = tmp_path / "lock"
    into, out = os.pipe()
    holder = os.fork()
    if not holder:
        lock = FileLock(place)
        with lock.shared_with_child():
            heir = os.fork()
        if heir:
            os.write(out, b"%d\n" % heir)
        signal.pause()
    heir = int(os.read(into, 20))
    stranger = subprocess.Popen(["tail", "-f", place], stdout=subprocess.DEVNULL)
    try:
        until(lambda: str(place) in [file.path for file in psutil.Process(stranger.pid).open_files()])
        for process in (psutil.Process(heir), psutil.Process(stranger.pid)):
            process.suspend()
            until(lambda process=process: process.status() == psutil.STATUS_STOPPED)  # type: ignore[misc]
        assert locks.still_heirs(place) == [], "its owner lives"
        os.kill(holder, signal.SIGKILL)
        until(lambda: psutil.Process(holder).status() == psutil.STATUS_ZOMBIE)
        assert locks.still_heirs(place) == [heir]
        os.kill(heir, signal.SIGCONT)
        until(lambda: not locks.still_heirs(place))
    finally:
        os.kill(heir, signal.SIGKILL)
        os.waitpid(holder, 0)
        stranger.kill()
        stranger.wait()


SHARED = """
import os, signal, sys, time
from pathlib import Path
from mustherd.locks import FileLock
with FileLock(Path(sys.argv[1])).shared_with_child():
    if not os.fork():
        sys.argv[2] == "stands still" and os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(float(sys.argv[3]))  # fixed: how long it is at it
        os._exit(0)
"""


@pytest.mark.process
def test_what_a_dead_one_shared_is_waited_for_and_taken_from_one_that_stands_still(tmp_path: Path) -> None:
    """A guardian may be at putting a node back; three seconds were all that it had, whatever its knobs take."""
    path, own = tmp_path / "lock", frozenset([os.geteuid()])
    for kind, seconds, heirs_s in (("is at it", "1.5", 60.0), ("stands still", "100", 60.0)):
        subprocess.run([sys.executable, "-c", SHARED, path, kind, seconds], check=True, timeout=60)
        locks.inherit(path, own, patience_s=0.1, heirs_s=heirs_s).close()
    subprocess.run([sys.executable, "-c", SHARED, path, "is at it", "3"], check=True, timeout=60)
    with pytest.raises(LockedError):
        locks.inherit(path, own, patience_s=0.1, heirs_s=0.3)
    lock = locks.inherit(path, own, patience_s=0.1, heirs_s=60.0)
    with pytest.raises(LockedError):  # a living one's is nobody's to wait for
        locks.inherit(path, own, patience_s=0.1, heirs_s=60.0)
    lock.close()
