"""Who runs an experiment: a lock that the kernel takes back when its holder dies, by kill -9 too."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from mustherd.store.errors import OwnedError

LOCK_NAME = "owner.lock"

_PATIENCE_SECONDS = 0.3
"""A look at the lock (`owner_of`) holds it for some microseconds; whoever wants to own waits that out."""

_held: set[int] = set()
"""Descriptors of the locks that this process holds."""


def _let_go_in_child() -> None:
    # A forked child shares the lock with its parent and would keep it after the parent's death.
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go_in_child)


def _pid_in(path: Path) -> int:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


@contextlib.contextmanager
def own(folder: Path) -> Iterator[None]:
    """Hold the experiment in `folder` while the block runs.

    Raises OwnedError when it's held already, by this process too.
    """
    path = folder / LOCK_NAME
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        patience = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > patience:
                    raise OwnedError(folder, _pid_in(path)) from None
                time.sleep(0.01)
    except BaseException:
        os.close(descriptor)
        raise
    _held.add(descriptor)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        yield
    finally:
        if descriptor in _held:
            _held.discard(descriptor)
            os.close(descriptor)


def owner_of(folder: Path) -> int | None:
    """The pid of the process that runs the experiment, None when nobody does.

    0 where somebody does but hasn't written its pid yet.
    """
    path = folder / LOCK_NAME
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid_in(path)
    finally:
        os.close(descriptor)
    return None
