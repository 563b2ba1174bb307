"""Who runs an experiment: one process at a time, known by a lock in the experiment's folder."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from mustherd import guard, locks
from mustherd.store.errors import OwnedError, StoreError

LOCK_NAME = "owner.lock"

_PATIENCE_SECONDS = 0.3
"""A look at the lock (`owner_of`) holds it for some microseconds; whoever wants to own waits that out."""


@contextlib.contextmanager
def own(folder: Path) -> Iterator[None]:
    """Hold the experiment in `folder` while the block runs.

    Raises OwnedError when it's held already, by this process too, and StoreError for a folder in which somebody else
    may put files, which whoever runs the experiment would write through or believe.
    """
    try:
        guard.require(folder)
        lock = locks.FileLock(folder / LOCK_NAME, patience_s=_PATIENCE_SECONDS)
    except locks.LockedError as error:
        raise OwnedError(folder, error.pid) from None
    except guard.GuardError as error:
        raise StoreError(str(error)) from None
    except OSError as error:
        raise StoreError(f"{folder / LOCK_NAME}: {error.strerror or error}") from None
    try:
        yield
    finally:
        lock.close()


def owner_of(folder: Path) -> int | None:
    """The pid of the process that runs the experiment, None when nobody does.

    0 where somebody does but nobody knows who.
    """
    return locks.locked_by(folder / LOCK_NAME)
