"""Locks on files, which the kernel takes back when their holder dies, by kill -9 too."""

import contextlib
import errno
import fcntl
import logging
import os
import signal
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from mustherd import files, guard

log = logging.getLogger(__name__)

PAUSE_S = 0.01
"""Between two attempts to get a lock that somebody holds."""

HEIR_PAUSE_S = 0.5
"""Between two looks at who has it."""

NOTE_BYTES = 1000
"""Of a lock's file that are read."""

_held: set[int] = set()
"""Descriptors of the locks that this process holds."""


def _let_go_in_child() -> None:
    # A forked child shares the lock with its parent and would keep it after the parent's death.
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go_in_child)


class LockedError(Exception):
    """Somebody holds the lock; `pid` says which process (0: nobody knows)."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        super().__init__(describe(pid))


class FileLock:
    """An exclusive lock on a file that this user alone may open, held from the constructor until `close`."""

    def __init__(self, path: Path, trusted: Collection[int] | None = None, *, patience_s: float = 0.0) -> None:
        """Wait `patience_s` for it. Raises LockedError, GuardError for a file of somebody else's, and OSError."""
        self._descriptor = -1
        descriptor = _open(path, trusted)
        try:
            until = time.monotonic() + patience_s
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > until:
                        raise LockedError(holder(path) or _pid_in(descriptor)) from None
                    time.sleep(PAUSE_S)
        except BaseException:
            os.close(descriptor)
            raise
        _held.add(descriptor)
        self._descriptor = descriptor
        self.note("")

    def give(self, owner: os.stat_result) -> None:
        """Its file is the owner's of the folder that it is in, whose `stat` is given (mustherd.files.give)."""
        files.give(self._descriptor, owner)

    def note(self, text: str) -> None:
        """Write who holds the lock, and a text, into its file: for people, since the lock itself needs no room."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n{text}".encode("utf-8", "replace"), 0)

    @contextlib.contextmanager
    def shared_with_child(self) -> Iterator[None]:
        """A child that is forked in the block holds the lock too, until it ends or either of them closes it."""
        _held.discard(self._descriptor)
        try:
            yield
        finally:
            _held.add(self._descriptor)

    def close(self) -> None:
        """Let somebody else have it; harmless in a child that was forked."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor in _held:
            _held.discard(descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def locked_by(path: Path) -> int | None:
    """The pid of the process that holds the lock at `path`; 0 where that isn't known, None when nobody holds it.

    Any user may ask, and no one is kept from the lock by it for more than some microseconds.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError:
        return holder(path) or None
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return holder(path) or _pid_in(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None


def noted(path: Path) -> str:
    """The text that the holder of the lock at `path` has written into it; "" where it can't be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    with open(descriptor, "rb") as file:  # noqa: PTH123 (a descriptor, not a path)
        return file.read(NOTE_BYTES).decode("utf-8", "replace").partition("\n")[2]


def holder(path: Path) -> int:
    """The pid of a process that holds a lock on that file by the kernel's own list (proc_locks(5)); 0: none known."""
    try:
        number = path.stat().st_ino
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    for line in lines:
        # 1: FLOCK  ADVISORY  WRITE 1234 08:01:123456 0 EOF
        words = line.split()
        if len(words) == 8 and words[1] == "FLOCK" and words[5].rpartition(":")[2] == str(number):
            return max(0, int(words[4]))
    return 0


def inherit(path: Path, trusted: Collection[int], *, patience_s: float, heirs_s: float) -> FileLock:
    """The lock at `path`, also of a process that shared it with a child and has died.

    Such a child is waited for `heirs_s`; one that stands still (SIGSTOP) is killed, or it would let nobody have the
    lock until somebody found and woke it. Anybody else is waited for `patience_s`. Raises as FileLock.
    """
    until, told, last = time.monotonic() + heirs_s, False, False
    while True:
        try:
            return FileLock(path, trusted, patience_s=0.0 if last else patience_s)
        except LockedError:
            if last or time.monotonic() >= until:
                raise
            heirs = dict(_heirs(path))
            if not heirs:
                # One may have ended since.
                last = True
                continue
            for pid in (pid for pid, state in heirs.items() if state == STOPPED):
                log.warning("%s: process %d stood still with it, whose parent is gone; it is killed", path, pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not told:
                log.warning("%s: waiting for process %s, whose parent is gone", path, ", ".join(map(str, heirs)))
                told = True
            patience_s = max(patience_s, HEIR_PAUSE_S)


def still_heirs(path: Path) -> list[int]:
    """Processes that stand still with the lock at `path`, which one shared with them that has died since."""
    return [pid for pid, state in _heirs(path) if state == STOPPED]


def _heirs(path: Path) -> Iterator[tuple[int, str]]:
    """Who has the lock of a process that has died, and in which state."""
    for heir, pid in _sharing(path):
        if heir != pid and _state(pid) in GONE and (state := _state(heir)) not in GONE:
            yield heir, state


STOPPED, GONE = "T", ("", "Z", "X")
"""Of the letters of a process's state (proc_pid_stat(5))."""


def _state(pid: int) -> str:
    """The letter of a process's state; "" where there is none, "?" where it can't be told."""
    try:
        # pid (its name, which may hold anything) state
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(") ")[2][:1]
    except (FileNotFoundError, ProcessLookupError):
        return ""
    except OSError:
        return "?"


def _sharing(path: Path) -> Iterator[tuple[int, int]]:
    """Processes that have the lock on the file, and the one that took it; 0 for one that is gone, in a container.

    As far as this user may see, and by their descriptors: /proc/locks names a file by a number that one of another file
    system may have too, and in a container no lock of a process that is gone. Who has the file open has no lock yet.
    """
    try:
        wanted = path.stat()
    except OSError:
        return
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            for descriptor in (process / "fdinfo").iterdir():
                if (taker := _taker(descriptor)) is not None and _is(process / "fd" / descriptor.name, wanted):
                    yield int(process.name), taker
                    break


def _taker(descriptor: Path) -> int | None:
    """Who took the lock that a descriptor has, by its fdinfo; None where it has none."""
    with contextlib.suppress(OSError):
        # lock:   1: FLOCK  ADVISORY  WRITE 1234 08:01:123456 0 EOF
        for line in descriptor.read_text("ascii", "replace").splitlines():
            words = line.split()
            if len(words) > 5 and (words[0], words[2]) == ("lock:", "FLOCK"):
                return int(words[5])
    return None


def _is(link: Path, wanted: os.stat_result) -> bool:
    with contextlib.suppress(OSError):
        found = link.stat()
        return (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino)
    return False


def describe(pid: int) -> str:
    """A process as an error names it: `process 1234 (python -m mustherd.muster --config m.toml)`."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") if pid else []
    except OSError:
        words = []
    line = " ".join(" ".join(word.decode("utf-8", "replace") for word in words).split())
    who = f"process {pid}" if pid else "another process"
    return f"{who} ({line[:200]})" if line.isprintable() and line else who


def _open(path: Path, trusted: Collection[int] | None) -> int:
    try:
        descriptor = guard.open_file(path, os.O_RDWR | os.O_CREAT, trusted)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        try:
            return guard.open_file(path, os.O_RDONLY, trusted)
        except FileNotFoundError:
            # That it can't be made is what is wrong.
            raise error from None
    found = os.fstat(descriptor)
    # Who may read it may hold a lock on it.
    if found.st_mode & 0o077 and found.st_uid == os.geteuid():
        os.fchmod(descriptor, 0o600)
    return descriptor


def _pid_in(descriptor: int) -> int:
    try:
        return int(os.pread(descriptor, 20, 0).partition(b"\n")[0])
    except (OSError, ValueError):
        return 0
