"""Who runs an experiment: one process at a time, known by locks in the experiment's folder.

The shepherd that conducts it holds one of them, and the command that begins it or goes on with it another one, from
before it touches anything in there until it has put away what it made: keys, musters, what these left changed.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mustherd import guard, locks
from mustherd.store.errors import OwnedError, StoreError

LOCK_NAME = "owner.lock"
"""The shepherd's."""
COMMAND_LOCK = "command.lock"
"""The command's."""
FOLDERS = ("logs", "herd", "herd/*", "herd/*/state", "again")
"""What is a folder within an experiment's."""
ROWS = ".parquet"
"""The end of names of files that are written once, and may therefore have other names too, as snapshots give them."""

_HERD_RUNS = "its shepherd runs"
"""What a command notes in its lock: from now on it is at its end once no shepherd owns the experiment."""

_PATIENCE_SECONDS = 0.3
"""A look at the lock (`owner_of`) holds it for some microseconds; whoever wants to own waits that out."""

_ENDING_SECONDS = 60.0
"""How long another command may take to end once its shepherd has: musters put nodes back, a report is written."""
_LOOK_SECONDS = 0.05


@contextlib.contextmanager
def own(folder: Path) -> Iterator[None]:
    """Hold the experiment in `folder` while the block runs.

    Raises OwnedError when it's held already, by this process too, and StoreError for a folder in which somebody else
    may put files, which whoever runs the experiment would write through or believe.
    """
    lock = _taken(folder, LOCK_NAME)
    try:
        yield
    finally:
        lock.close()


@contextlib.contextmanager
def command(folder: Path) -> Iterator[Callable[[], None]]:
    """Within, this process alone begins the experiment in `folder`, runs its herd and cleans up after it.

    Gives what is to be called once its shepherd owns the experiment. Of another command whose shepherd has ended the
    end is waited for. Raises OwnedError where somebody else runs it, and StoreError, as `own`.
    """
    deadline = time.monotonic() + _ENDING_SECONDS
    while True:
        try:
            lock = _taken(folder, COMMAND_LOCK)
            break
        except OwnedError:
            if not _ends(folder) or time.monotonic() > deadline:
                raise
            time.sleep(_LOOK_SECONDS)
    try:
        # A command that was killed leaves a shepherd that still ends in good order.
        if (owner := owner_of(folder)) is not None:
            raise OwnedError(folder, owner, conducted=True)
        yield lambda: lock.note(_HERD_RUNS)
    finally:
        lock.close()


def owner_of(folder: Path) -> int | None:
    """The pid of the process that conducts the experiment, None when nobody does.

    0 where somebody does but nobody knows who.
    """
    return locks.locked_by(folder / LOCK_NAME)


def _ends(folder: Path) -> bool:
    """Whether the shepherd of the command that has the experiment has ended."""
    return locks.noted(folder / COMMAND_LOCK) == _HERD_RUNS and owner_of(folder) is None


def _taken(folder: Path, name: str) -> locks.FileLock:
    try:
        guard.require(folder)
        guard.require_plain(folder, shared=ROWS, folders=FOLDERS)
        return locks.FileLock(folder / name, patience_s=_PATIENCE_SECONDS)
    except locks.LockedError as error:
        raise OwnedError(folder, error.pid, conducted=True) from None
    except guard.GuardError as error:
        raise StoreError(str(error)) from None
    except OSError as error:
        raise StoreError(f"{folder / name}: {error.strerror or error}") from None
