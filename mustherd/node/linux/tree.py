"""The kernel's files: read and written whole, with one kind of error that says what stood in the way."""

import errno
import os
import re
from enum import StrEnum
from pathlib import Path

MAX_BYTES = 1 << 20
"""No file that is read here comes near this size, but for the one below; more than it is garbage."""

INTERRUPTS = "proc/interrupts"
MAX_INTERRUPTS_BYTES = 256 << 20
"""/proc/interrupts has 11 characters a CPU and line: 1.7 MB at 384 CPUs with two drives, 200 MB at 8192 with 2,000
interrupts."""

PAGE_BYTES = 4096
"""What a seq_file gives at least in one read, if it has so much."""

MAX_CPUS = 8192
"""What Linux on x86 can be built for."""

_NUMBER = re.compile(r"[0-9]{1,20}")
_SPAN = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")


class Cause(StrEnum):
    """Why a file gave nothing."""

    ABSENT = "absent"
    DENIED = "permission denied"
    BUSY = "busy"
    REFUSED = "refused by the kernel"
    GARBAGE = "not understood"
    FAILED = "failed"


_CAUSES = {
    errno.ENOENT: Cause.ABSENT,
    errno.ENOTDIR: Cause.ABSENT,
    errno.ENODEV: Cause.ABSENT,
    errno.ENXIO: Cause.ABSENT,
    errno.EACCES: Cause.DENIED,
    errno.EPERM: Cause.DENIED,
    errno.EROFS: Cause.DENIED,
    errno.EBUSY: Cause.BUSY,
    errno.EAGAIN: Cause.BUSY,
    errno.EINVAL: Cause.REFUSED,
    errno.EOPNOTSUPP: Cause.REFUSED,
    errno.ERANGE: Cause.REFUSED,
}


class TreeError(Exception):
    """A file of the kernel could not be read or written; the message names it and the cause."""

    def __init__(self, path: str, cause: Cause, detail: str = "") -> None:
        super().__init__(f"/{path}: {cause}{f' ({detail})' if detail else ''}")
        self.path = path
        self.cause = cause


class OpenFile:
    """A file that is read whole again and again, and stays open in between: a third of the cost of opening it anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def read(self) -> bytes:
        """Up to MAX_BYTES + 1 of what it holds now. Raises OSError; the next read opens it anew."""
        try:
            if self._descriptor < 0:
                self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            else:
                os.lseek(self._descriptor, 0, os.SEEK_SET)
            content = part = os.read(self._descriptor, 1 << 16)
            # A file of one value is read in one go; others may return less than asked for long before their end.
            while len(content) >= PAGE_BYTES // 2 and part and len(content) <= MAX_BYTES:
                part = os.read(self._descriptor, 1 << 16)
                content += part
        except OSError:
            self.close()
            raise
        return content

    def close(self) -> None:
        """Give the descriptor back."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class HeldFile:
    """A device whose setting lasts as long as it is open: a process that is forked holds it, too."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self.asked = b""
        """What was written last, by this process."""

    def write(self, content: bytes) -> None:
        """Ask for something else. Raises OSError."""
        os.pwrite(self._descriptor, content, 0)
        self.asked = content

    def close(self) -> None:
        """Ask for nothing any more, once every process that holds it has closed it."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            self.close()


class Tree:
    """The file system below `root`; paths are given without a leading slash.

    `read_bytes`, `opened`, `held`, `write_bytes`, `open_to_write`, `pread`, `pwrite`, `entries` and `target` are
    the only ways to the machine, and raise OSError; all the rest is built on them and raises TreeError.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    @property
    def is_this_machine(self) -> bool:
        """Whether these are the files of the kernel that runs."""
        return str(self.root) == "/"

    def read_bytes(self, path: str) -> bytes:
        """The file's content up to one byte more than it may have."""
        most = largest(path)
        with (self.root / path).open("rb", buffering=0) as file:
            parts = []
            size = 0
            # A seq_file may return less than asked for long before its end.
            while size <= most and (part := file.read(1 << 16)):
                parts.append(part)
                size += len(part)
            return b"".join(parts)

    def opened(self, path: str) -> OpenFile:
        """A file to be read again and again."""
        return OpenFile(self.root / path)

    def held(self, path: str) -> HeldFile:
        """A device, opened now."""
        return HeldFile(self.root / path)

    def write_bytes(self, path: str, content: bytes) -> None:
        """Give `content` to an existing file in one write; never creates one."""
        descriptor = os.open(self.root / path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        try:
            os.write(descriptor, content)
        finally:
            os.close(descriptor)

    def open_to_write(self, path: str) -> None:
        """Open a file as `write_bytes` does, but change nothing."""
        os.close(os.open(self.root / path, os.O_WRONLY | os.O_CLOEXEC))

    def pread(self, path: str, size: int, offset: int) -> bytes:
        """`size` bytes at `offset` of a device."""
        descriptor = os.open(self.root / path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(descriptor, size, offset)
        finally:
            os.close(descriptor)

    def pwrite(self, path: str, content: bytes, offset: int) -> None:
        """Write `content` at `offset` of a device."""
        descriptor = os.open(self.root / path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(descriptor, content, offset)
        finally:
            os.close(descriptor)

    def entries(self, path: str) -> list[str]:
        """Names in a folder."""
        return os.listdir(self.root / path)  # noqa: PTH208  (names, not paths)

    def target(self, path: str) -> str:
        """What a symbolic link says."""
        return os.readlink(self.root / path)  # noqa: PTH115

    def text(self, path: str) -> str:
        """The file as text without surrounding blanks; what is not ASCII becomes '?'."""
        try:
            content = self.read_bytes(path)
        except OSError as error:
            raise wrapped(path, error) from None
        if len(content) > largest(path):
            raise TreeError(path, Cause.GARBAGE, f"more than {largest(path)} bytes")
        return content.decode("ascii", "replace").replace("\ufffd", "?").strip().strip("\0")

    def number(self, path: str, highest: int = 2**64 - 1) -> int:
        """A file that holds one unsigned decimal number."""
        text = self.text(path)
        if not _NUMBER.fullmatch(text) or (value := int(text)) > highest:
            raise TreeError(path, Cause.GARBAGE, f"{text[:40]!r}, not a number up to {highest}")
        return value

    def cpus(self, path: str) -> tuple[int, ...]:
        """A file that holds a list such as `0-3,8`, which may be empty."""
        text = self.text(path)
        try:
            return parse_cpus(text)
        except ValueError as error:
            raise TreeError(path, Cause.GARBAGE, str(error)) from None

    def names(self, path: str) -> tuple[str, ...]:
        """Names in a folder, sorted; numbers in them in the order of numbers."""
        try:
            found = self.entries(path)
        except OSError as error:
            raise wrapped(path, error) from None
        return tuple(sorted(found, key=_natural))

    def link(self, path: str) -> str:
        """The last part of what a symbolic link points to, such as the name of a device's driver."""
        try:
            return self.target(path).rsplit("/", 1)[-1]
        except OSError as error:
            raise wrapped(path, error) from None

    def has(self, path: str) -> bool:
        """Whether the path exists."""
        return (self.root / path).exists()

    def write(self, path: str, text: str) -> None:
        """Give `text` to an existing file."""
        try:
            self.write_bytes(path, text.encode("ascii"))
        except OSError as error:
            raise wrapped(path, error) from None

    def check_writable(self, path: str) -> None:
        """TreeError where the file can't be written by whoever asks."""
        try:
            self.open_to_write(path)
        except OSError as error:
            raise wrapped(path, error) from None

    def peek(self, path: str) -> str:
        """The file as text, or "" when it gives nothing."""
        try:
            return self.text(path)
        except TreeError:
            return ""

    def listed(self, path: str) -> tuple[str, ...]:
        """Names in a folder, or nothing when it can't be listed."""
        try:
            return self.names(path)
        except TreeError:
            return ()


def largest(path: str) -> int:
    """How many bytes a file may have."""
    return MAX_INTERRUPTS_BYTES if path == INTERRUPTS else MAX_BYTES


def wrapped(path: str, error: OSError) -> TreeError:
    """An error of the operating system as this module's."""
    return TreeError(path, _CAUSES.get(error.errno or 0, Cause.FAILED), error.strerror or str(error))


def parse_cpus(text: str) -> tuple[int, ...]:
    """`0-3,8` as numbers, ascending. ValueError says what isn't understood."""
    found: set[int] = set()
    for part in text.split(",") if text else ():
        span = _SPAN.fullmatch(part.strip())
        low = int(span[1]) if span else -1
        high = int(span[2] or span[1]) if span else -1
        if not 0 <= low <= high < MAX_CPUS:
            raise ValueError(f"{part[:40]!r} is no range of CPUs below {MAX_CPUS}")
        found.update(range(low, high + 1))
    return tuple(sorted(found))


def cpu_list(cpus: tuple[int, ...]) -> str:
    """The opposite of `parse_cpus`."""
    spans: list[list[int]] = []
    for cpu in sorted(cpus):
        if spans and cpu == spans[-1][1] + 1:
            spans[-1][1] = cpu
        else:
            spans.append([cpu, cpu])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() and part.isascii() else (-1, part) for part in re.split(r"(\d+)", name)]
