"""CPU counters through perf_event_open(2): each CPU's, whatever runs on it."""

import ctypes
import errno
import os
import platform
import resource
import struct
from collections.abc import Sequence

# linux/perf_event.h
PERF_TYPE_HARDWARE = 0
EVENTS = {"instructions": 1, "cycles": 0, "ref_cycles": 9, "llc_miss": 3}
"""Name to PERF_COUNT_HW_*; cache misses are those of the last level (Intel's event 0x2e, mask 0x41, as intlog's)."""

PERF_FLAG_FD_CLOEXEC = 8
MOST_FILES = 0.25
"""Of the files that a process may have open, those that counting cycles may take."""
_TIMES = 3
"""A read gives how long an event was to be counted, and how long it was, behind its count."""
_ATTRIBUTES = struct.Struct("=IIQQQQQIIQ")
"""perf_event_attr in its first version: type, size, config, sample period, sample type, read format, flags, wakeup,
breakpoint type, config1."""

_SYSCALLS = {"x86_64": 298, "aarch64": 241}


class Counters:
    """The events that this machine counts and this process may have, a file for each on each CPU."""

    def __init__(self, cpus: Sequence[int]) -> None:
        self.cpus = tuple(cpus)
        self._files: dict[str, list[int]] = {}
        self.missing = ""
        """Why some are not there; empty when all are."""
        for name, event in EVENTS.items() if cpus else ():
            files: list[int] = []
            try:
                for cpu in cpus:
                    files.append(_open(event, cpu))
            except OSError as error:
                for file in files:
                    os.close(file)
                self.missing = f"{name}: {error.strerror}"
                continue
            self._files[name] = files

    def read(self) -> dict[str, list[int]]:
        """Counts of each of `cpus` since the files were opened. Raises OSError."""
        return {
            name: [int.from_bytes(os.read(file, 8), "little") for file in files] for name, files in self._files.items()
        }

    def close(self) -> None:
        """Give the files back."""
        for files in self._files.values():
            for file in files:
                os.close(file)
        self._files.clear()


class Cycles:
    """Clock cycles in which CPUs were not idle, of each online CPU since the files were opened.

    Where a CPU has fewer counters than are asked of it the kernel counts in turns, and this is what that comes to.
    """

    def __init__(self, cpus: Sequence[int], kind: int = PERF_TYPE_HARDWARE, event: int = EVENTS["cycles"]) -> None:
        """`missing` says why there are none. Another kind or event is counted as they are."""
        self._files: list[int] = []
        self.missing = "" if cpus else "no CPU is known"
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if len(cpus) > limit * MOST_FILES:
            self.missing = f"it takes {len(cpus)} open files, and this process may have {limit}"
            return
        try:
            for cpu in cpus:
                self._files.append(_open(event, cpu, kind, _TIMES))
        except OSError as error:
            self.close()
            self.missing = (error.strerror or str(error)) + (
                "; perf needs CAP_PERFMON, or kernel.perf_event_paranoid at most 0"
                if error.errno in (errno.EACCES, errno.EPERM)
                else "; the machine has no counter that it lends, as in most virtual machines"
                if error.errno in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP)
                else ""
            )

    def read(self) -> float | None:
        """Of all CPUs together; None where one was not counted."""
        total = 0.0
        for file in self._files:
            try:
                count, enabled, running = struct.unpack("=QQQ", os.read(file, 24))
            except (OSError, struct.error):
                return None
            if count and not running:
                return None
            total += count * (enabled / running) if running else 0.0
        return total if self._files else None

    def close(self) -> None:
        """Give the files back."""
        for file in self._files:
            os.close(file)
        self._files.clear()


class Event:
    """One event on one CPU."""

    def __init__(self, file: int) -> None:
        self._file = file

    def read(self) -> int:
        """Counts since it was opened. Raises OSError."""
        return int.from_bytes(os.read(self._file, 8), "little")

    def __del__(self) -> None:
        os.close(self._file)


def open_event(kind: int, config: int, cpu: int) -> Event:
    """An event of a PMU on a CPU, whatever runs there. Raises OSError."""
    return Event(_open(config, cpu, kind))


def _open(event: int, cpu: int, kind: int = PERF_TYPE_HARDWARE, read_format: int = 0) -> int:
    number = _SYSCALLS.get(platform.machine())
    if number is None:
        raise OSError(0, f"no perf_event_open known for {platform.machine()}")
    attributes = _ATTRIBUTES.pack(kind, _ATTRIBUTES.size, event, 0, 0, read_format, 0, 0, 0, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    found = int(libc.syscall(number, attributes, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC))
    if found < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return found
