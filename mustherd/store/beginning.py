"""An experiment that is about to begin: its herd is tried, and of itself nothing is there yet.

A file beside its folder, locked by the process that begins it, says what is going on; it goes when that is over.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from mustherd import guard, locks, unix_time
from mustherd.errors import shown
from mustherd.store.errors import OwnedError

_END = "-begins"

Tell = Callable[[str], None]


def unheard(_what: str) -> None:
    """Told where nobody listens."""


@contextlib.contextmanager
def begin(folder: Path) -> Iterator[Tell]:
    """Within, the experiment of `folder` is about to begin; gives what is called with what is going on.

    Raises OwnedError where another process begins it. Where the file can't be written nothing is told.
    """
    place = _place(folder)
    new = not place.parent.exists()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = locks.FileLock(place)
    except locks.LockedError as error:
        raise OwnedError(folder, error.pid) from None
    except (OSError, guard.GuardError):
        yield unheard
        return
    since = unix_time.now()

    try:
        yield lambda what: lock.note(f"{since:.0f} {what}")
    finally:
        place.unlink(missing_ok=True)
        lock.close()
        if new:
            with contextlib.suppress(OSError):
                place.parent.rmdir()


def begins(folder: Path) -> str:
    """What is going on in an experiment that is about to begin, in a phrase; "" where none is in that folder."""
    place = _place(folder)
    pid = locks.locked_by(place)
    if pid is None:
        return ""
    since, _, what = locks.noted(place).partition(" ")
    age = f" for {max(0.0, unix_time.now() - int(since)):.0f} s" if since.isdecimal() else ""
    who = f" by process {pid}" if pid else ""
    return f"about to begin{age}{who}: {shown(what, 200) or 'its herd is looked at'}"


def beginning_in(parent: Path) -> list[str]:
    """The same of every experiment that is about to begin right below `parent`, with its folder."""
    try:
        folders = [parent / place.name[1 : -len(_END)] for place in sorted(parent.glob(f".*{_END}"))]
    except OSError:
        return []
    return [f"{folder} is {soon}" for folder in folders if (soon := begins(folder))]


def _place(folder: Path) -> Path:
    whole = folder.absolute()
    return whole.parent / f".{whole.name}{_END}"
