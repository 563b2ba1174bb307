"""One machine: its files as a kernel shows them, its cores, and what is wrong with what was asked of it."""

from __future__ import annotations  # an old node's Python reads these types as text

import errno
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Plan = list[tuple[Path, str]]
    """Files, and what is to be in each."""


class RefusedError(Exception):
    """What is wrong and the fix, as one line."""


class UndecidedError(RefusedError):
    """Which port it is shows only when these are brought up, which a plan does not do."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"which of {', '.join(names)} is the port shows when they are brought up")
        self.names = list(names)


class ManagedError(Exception):
    """The kernel places this interrupt itself, and lets nobody else do it."""


class Node:
    """The files of one machine, below `root`."""

    def __init__(self, root: str | Path = "/") -> None:
        self.root = Path(root)
        self.cpu = self.root / "sys/devices/system/cpu"
        self.net = self.root / "sys/class/net"

    def read(self, path: Path) -> str | None:
        """A file's text without the line's end, None where there is no such file or it cannot be read."""
        try:
            return path.read_text(encoding="ascii", errors="replace").strip()
        except OSError:
            return None

    def write(self, path: Path, value: str) -> None:
        try:
            self.put(path, value)
        except OSError as error:
            if error.errno == errno.EIO and path.name == "smp_affinity":
                raise ManagedError from None
            raise RefusedError(f"{path}: cannot write {value!r}: {error.strerror}") from None

    def put(self, path: Path, value: str) -> None:
        """One write to an existing file. Raises OSError."""
        with path.open("w", encoding="ascii") as file:
            file.write(value)

    def online(self) -> list[int]:
        text = self.read(self.cpu / "online")
        if text is None:
            raise RefusedError(f"{self.cpu / 'online'}: cannot tell which CPUs are online. Fix: mount /sys")
        return parse_cores(text)

    def interfaces(self, driver: str) -> list[str]:
        """Interfaces whose device is bound to `driver`."""
        names = []
        for folder in sorted(self.net.iterdir()) if self.net.is_dir() else []:
            link = folder / "device/driver"
            if link.exists() and Path(os.path.realpath(link)).name == driver:
                names.append(folder.name)
        return names

    def drivers(self) -> str:
        """Every interface that has a device, with its driver, as text."""
        found = []
        for folder in sorted(self.net.iterdir()) if self.net.is_dir() else []:
            link = folder / "device/driver"
            if link.exists():
                found.append(f"{folder.name} ({Path(os.path.realpath(link)).name})")
        return ", ".join(found) or "no card at all"


def parse_cores(text: str) -> list[int]:
    """The numbers of a list such as `0-3,8`."""
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if not match:
            raise RefusedError(f"{text!r} is no list of cores. Fix: write it like 0-6,8-14")
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    return found


def mask(cores: Iterable[int]) -> str:
    """A set of cores as the kernel writes it: hexadecimal, a comma every 32 bits."""
    number = sum(1 << core for core in set(cores))
    words: list[int] = []
    while number or not words:
        words.insert(0, number & 0xFFFFFFFF)
        number >>= 32
    return ",".join([f"{words[0]:x}", *(f"{word:08x}" for word in words[1:])])


def same(path: Path, old: str, new: str) -> bool:
    """Whether a file already says `new`; masks compare as numbers."""
    if path.name in ("smp_affinity", "xps_cpus"):
        return int(old.replace(",", "") or "0", 16) == int(new.replace(",", ""), 16)
    if path.name == "control" and new == "off":
        return old in ("off", "forceoff")
    return old == new


def choice(name: str, value: str, allowed: Sequence[str]) -> str:
    """The value, when it is one of those allowed."""
    if value not in allowed:
        raise RefusedError(f"{name}={value}: allowed is {' or '.join(allowed)}")
    return value
