"""CPU counters through perf_event_open(2): each CPU's, whatever runs on it."""

import ctypes
import os
import platform
import struct
from collections.abc import Sequence

# linux/perf_event.h
PERF_TYPE_HARDWARE = 0
EVENTS = {"instructions": 1, "cycles": 0, "ref_cycles": 9, "llc_miss": 3}
"""Name to PERF_COUNT_HW_*; cache misses are those of the last level (Intel's event 0x2e, mask 0x41, as intlog's)."""

PERF_FLAG_FD_CLOEXEC = 8
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


def _open(event: int, cpu: int, kind: int = PERF_TYPE_HARDWARE) -> int:
    number = _SYSCALLS.get(platform.machine())
    if number is None:
        raise OSError(0, f"no perf_event_open known for {platform.machine()}")
    attributes = _ATTRIBUTES.pack(kind, _ATTRIBUTES.size, event, 0, 0, 0, 0, 0, 0, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    found = int(libc.syscall(number, attributes, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC))
    if found < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return found
