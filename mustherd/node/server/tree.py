"""A process and all that came of it: its members, and the time that they took on cores."""

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

PROC = Path("/proc")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

# Fields of /proc/PID/stat after the name, which may hold anything: state is the first (proc(5)).
_PARENT, _UTIME, _CSTIME = 1, 11, 15


def members(pid: int, proc: Path = PROC) -> tuple[int, ...]:
    """The process and its living descendants, itself first; nothing where it is gone."""
    if not _lives(proc / str(pid)):
        return ()
    # A kernel that lists children is asked for each process alone; else every process of the machine is looked at.
    children = _listed if (proc / f"{pid}/task/{pid}/children").exists() else _sought(proc)
    tree = [pid]
    for member in tree:
        tree += [child for child in children(proc / str(member)) if _lives(proc / str(child))]
    return tuple(tree)


def handles(pids: Iterable[int]) -> list[int]:
    """A descriptor for each of these processes that lives, which stands for no other one later."""
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):  # it ended meanwhile
            found.append(os.pidfd_open(pid))
    return found


def _listed(folder: Path) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in (folder / "task").iterdir():
            with contextlib.suppress(OSError):
                found += map(int, (task / "children").read_text(encoding="ascii").split())
    return found


def _sought(proc: Path) -> Callable[[Path], list[int]]:
    parents: dict[int, list[int]] = {}
    for folder in proc.iterdir():
        if folder.name.isdecimal() and (fields := _fields(folder)):
            parents.setdefault(int(fields[_PARENT]), []).append(int(folder.name))
    return lambda folder: parents.get(int(folder.name), [])


def _lives(folder: Path) -> bool:
    fields = _fields(folder)
    return bool(fields) and fields[0] != "Z"


def cpu_seconds(pids: Iterable[int], proc: Path = PROC) -> float:
    """User and system time of these processes, of children that have ended too, in steps of a tick."""
    ticks = 0
    for pid in pids:
        if fields := _fields(proc / str(pid)):
            ticks += sum(map(int, fields[_UTIME:_CSTIME]))
    return ticks / TICKS_PER_SECOND


def threads(pids: Iterable[int], proc: Path = PROC) -> tuple[int, ...]:
    """Ids of all their threads, each process's own first."""
    found: list[int] = []
    for pid in pids:
        with contextlib.suppress(OSError):
            found += sorted(
                (int(task.name) for task in (proc / str(pid) / "task").iterdir()), key=lambda t: (t != pid, t)
            )
    return tuple(found)


def _fields(folder: Path) -> list[str]:
    try:
        return (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []  # it ended meanwhile
