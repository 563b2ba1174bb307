"""The spool: log blocks on the node's disk, from the moment they are read until the shepherd has them safe.

Sources are read straight into files that are mapped into memory, so that a kill at any moment loses nothing that was
read: what a read has put there belongs to the kernel's page cache, whether or not we come back from it. It doesn't
outlive the machine's power, and neither do the sources. Files are given their room when they are made: a disk that is
full says so then, and never in the middle of a write to memory.

A file holds blocks one after another: a head of HEAD bytes (magic, number, size of the rows, size of the description,
a word each), the description, the rows. Size 0 is a block being filled; its rows end at the last byte that isn't 0.
"""

import contextlib
import errno
import json
import logging
import mmap
import os
from collections import deque
from pathlib import Path

import msgspec

from mustherd import files, guard
from mustherd.terms import new_number

log = logging.getLogger(__name__)

SEGMENT_BYTES = 4 * 1024 * 1024
"""Of one file: what is mapped at a time."""

BLOCK_BYTES = 512 * 1024
"""Rows in one block at most."""

LEAST_ROOM = 64 * 1024
"""With less than this left for rows a file is full."""

SPARE_SEGMENTS = 16
"""Files kept for reuse, as many as one credit may set free: making one costs several times what wiping one does."""

MAPPED_SEGMENTS = 3
"""Files that are mapped at a time: what is sent soon after it was read needs no second copy."""

MADV_POPULATE_WRITE = 23
"""Linux 5.14: make the pages ready in one go, which costs a fraction of as many faults."""

_ZEROS = bytes(64 * 1024)

WORD = 8
HEAD = 4 * WORD
MAGIC = 0x314B434F4C424853
"""`SHBLOCK1`."""

SUFFIX = ".blocks"


class SpoolError(Exception):
    """The spool's folder can't be used; the message names it and the cause."""


class Description(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What is known of a block before its rows are; see mustherd.wire.messages.Block."""

    label: str
    stream: str
    form: str
    columns: tuple[str, ...] = ()
    every: int = 1
    pass_begins: bool = False
    again: bool = False
    continues: bool = False
    overrun: bool = False


class Stored(msgspec.Struct, frozen=True):
    """Where a block lies."""

    segment: int
    offset: int
    size: int
    unfinished: bool
    """Its last line goes on in the stream's next block."""
    description: Description


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Description)


class Spool:
    """Blocks in `folder`, numbered from 1 over the folder's life. One process at a time has it.

    `begin`, fill `room` from its start, then `end` or `abandon`. Raises SpoolError from the constructor alone; a full
    disk or budget shows as `begin` giving False.
    """

    def __init__(self, folder: Path, budget_bytes: int) -> None:
        self.folder = folder
        self.number = 0
        """Tells this spool from others, for as long as its folder lives."""
        self.recovered: list[tuple[int, Stored]] = []
        """Blocks that a former life left, oldest first."""
        self._most = max(2, budget_bytes // SEGMENT_BYTES)
        self._segments: deque[int] = deque()
        """Of each file the number of its first block, which names it."""
        self._spare: list[tuple[Path, mmap.mmap | None]] = []
        self._maps: dict[int, mmap.mmap] = {}
        """The newest files that are in use, oldest first."""
        self._view = memoryview(b"")
        self._words = memoryview(b"").cast("Q")
        self._head = 0
        """Where the block that is filled, or the next one, has its head."""
        self._wiped = 0
        """Up to here nothing of a former use is left in the file, nor of anything behind the newest block."""
        self._rows = 0
        self._description: Description | None = None
        self._last = 0
        self._safe = 0
        """Number of the newest block that is safe elsewhere."""
        try:
            self._trusted = guard.own_folder(folder)
            self.number = self._identity(folder / "spool.json")
            self._recover()
        except (OSError, ValueError, KeyError, TypeError, guard.GuardError) as error:
            raise SpoolError(f"{folder}: the spool of log rows can't be used: {error}") from None

    @property
    def last(self) -> int:
        """Number of the newest block."""
        return self._last

    def begin(self, description: Description, start: bytes = b"") -> bool:
        """Prepare the next block, whose rows begin with `start`; False when disk or budget have no room."""
        told = _encoder.encode(description)
        full = not self._view or SEGMENT_BYTES - self._head - HEAD - len(told) - len(start) < LEAST_ROOM
        if full and not self._extend():
            return False
        at, rows, words = self._head, self._head + HEAD + len(told), self._words
        self._wipe(rows + BLOCK_BYTES + HEAD + WORD)
        words[at // WORD] = 0
        words[at // WORD + 1] = self._last + 1
        words[at // WORD + 2] = 0
        words[at // WORD + 3] = len(told)
        self._view[at + HEAD : rows] = told
        self._view[rows : rows + len(start)] = start
        # From here on the block counts as being filled.
        words[at // WORD] = MAGIC
        self._rows, self._description = rows, description
        return True

    @property
    def room(self) -> memoryview:
        """Where the rows of the block that was begun go."""
        return self._view[self._rows : min(self._rows + BLOCK_BYTES, SEGMENT_BYTES)]

    def end(self, filled: int) -> tuple[int, Stored]:
        """The block that was begun holds `filled` bytes, at least 1; gives its number and place."""
        stop = self._rows + filled
        # In one store: from here on the block counts as filled.
        self._words[self._head // WORD + 2] = filled
        self._last += 1
        described, self._description = self._description, None
        if described is None:
            raise ValueError("no block was begun")
        unfinished = described.form == "text" and self._view[stop - 1] != ord("\n")
        stored = Stored(self._segments[-1], self._rows, filled, unfinished, described)
        self._head = _aligned(stop)
        return self._last, stored

    def abandon(self) -> None:
        """Nothing came for the block that was begun."""
        if self._description is not None:
            # Nothing of it may be taken for rows of the block that comes here instead.
            stop = min(self._rows + LEAST_ROOM, SEGMENT_BYTES)
            self._view[self._head : stop] = bytes(stop - self._head)
            self._description = None

    def load(self, stored: Stored) -> bytes | memoryview:
        """A block's rows, not to be changed. Raises OSError.

        A view into a file that is mapped goes on showing what is there: when a block is durable elsewhere its place may
        be taken by another, and a copy of it that is still under way means nothing any more.
        """
        mapped = self._maps.get(stored.segment)
        if mapped is not None:
            return memoryview(mapped)[stored.offset : stored.offset + stored.size]
        descriptor = self._open(self._path(stored.segment), os.O_RDONLY)
        try:
            return os.pread(descriptor, stored.size, stored.offset)
        finally:
            os.close(descriptor)

    def forget(self, up_to: int) -> None:
        """Blocks up to that number are safe elsewhere. The newest file stays: it says which number comes next."""
        self._safe = up_to
        while len(self._segments) > 1 and self._segments[1] <= up_to + 1:
            first = self._segments.popleft()
            path, mapped = self._path(first), self._maps.pop(first, None)
            if len(self._spare) < min(SPARE_SEGMENTS, self._most - len(self._segments)):
                self._spare.append((path.rename(path.with_suffix(".spare")), mapped))
            else:
                path.unlink()

    def renew(self) -> None:
        """Be another spool from now on, with the blocks that are there; its own folder is told as far as it can be."""
        self.number = new_number()
        with contextlib.suppress(OSError):
            _name(self.folder / "spool.json", self.number)

    def close(self, *, remove: bool = False) -> None:
        """Let another process have it; with `remove` there is nothing left to have."""
        self._unmap()
        if remove:
            files.remove_folder(self.folder)

    def _path(self, first: int) -> Path:
        return self.folder / f"{first:015d}{SUFFIX}"

    def _unmap(self) -> None:
        # Not closed: blocks on their way to the network may still look into it, and it goes when the last has left.
        self._view = memoryview(b"")
        self._words = memoryview(b"").cast("Q")
        self._maps.clear()
        self._spare = [(path, None) for path, _ in self._spare]

    def _extend(self) -> bool:
        """Another file, empty, mapped."""
        path = self._path(self._last + 1)
        if self._segments and self._segments[-1] == self._last + 1:
            # Left without a block by a former life.
            self._segments.pop()
        elif not self._spare and len(self._segments) >= self._most:
            return False
        reused = bool(self._spare) or path.exists()
        mapped: mmap.mmap | None = None
        try:
            if self._spare:
                spare, mapped = self._spare.pop()
                spare.rename(path)
            if mapped is None:
                self._unmap_one()
                mapped = self._map(path)
        except OSError:
            if self._segments:
                path.unlink(missing_ok=True)
            try:
                mapped = self._again(path)
            except OSError:
                return False
            if mapped is None:
                return False
            reused = True
        self._maps[self._last + 1] = mapped
        self._view = memoryview(mapped)
        self._words = self._view.cast("Q")
        self._wiped = 0 if reused else SEGMENT_BYTES
        self._segments.append(self._last + 1)
        self._head = 0
        return True

    def _wipe(self, up_to: int) -> None:
        """Just before rows are read to there, so that these find it in the processor's cache."""
        while self._wiped < min(up_to, SEGMENT_BYTES):
            self._view[self._wiped : self._wiped + len(_ZEROS)] = _ZEROS
            self._wiped += len(_ZEROS)

    def _again(self, path: Path) -> mmap.mmap | None:
        """The only file once more, where the disk has no room for a second and all that is in it is safe."""
        if len(self._segments) != 1 or self._segments[0] > self._last or self._safe < self._last:
            return None
        first = self._segments[0]
        self._path(first).rename(path)
        self._segments.pop()
        return self._maps.pop(first, None) or self._map(path)

    def _unmap_one(self) -> None:
        """Make room for another file."""
        if len(self._maps) + sum(1 for _, mapped in self._spare if mapped is not None) < MAPPED_SEGMENTS:
            return
        for place, (path, mapped) in enumerate(self._spare):
            if mapped is not None:
                self._spare[place] = (path, None)
                _let_go(mapped)
                return
        _let_go(self._maps.pop(next(iter(self._maps))))

    def _recover(self) -> None:
        for spare in self.folder.glob("*.spare"):
            spare.unlink()
        for path in sorted(self.folder.glob("*" + SUFFIX)):
            first = int(path.name.removesuffix(SUFFIX))
            self._last = max(self._last, first - 1)
            with open(self._open(path, os.O_RDWR), "r+b") as file:  # noqa: PTH123 (a descriptor, not a path)
                content = file.read(SEGMENT_BYTES)
                found = _blocks(content, first)
                if found and not found[-1][2]:
                    # It was being filled: now it is full, so that a further recovery finds the same.
                    file.seek(found[-1][0] + 2 * WORD)
                    file.write(found[-1][1].size.to_bytes(WORD, "little"))
            for _, stored, _ in found:
                self._last += 1
                self.recovered.append((self._last, stored))
            if found or not self._segments:
                self._segments.append(first)
            else:
                path.unlink()

    def _map(self, path: Path) -> mmap.mmap:
        """A file of SEGMENT_BYTES, made where there is none, with room on the disk. Raises OSError."""
        with open(self._open(path, os.O_RDWR | os.O_CREAT), "r+b") as file:  # noqa: PTH123 (a descriptor, not a path)
            return _mapped(file.fileno())

    def _open(self, path: Path, flags: int) -> int:
        """A file of the spool that nobody else could have put there. Raises OSError."""
        try:
            return guard.open_file(path, flags, self._trusted)
        except guard.GuardError as error:
            raise OSError(errno.EPERM, str(error)) from None

    def _identity(self, file: Path) -> int:
        """Who this spool is; made up where nobody has said so yet."""
        try:
            return int(json.loads(guard.read(file, 1024, self._trusted))["spool"])
        except FileNotFoundError:
            error: Exception | None = FileNotFoundError("it is gone") if any(self.folder.glob("*" + SUFFIX)) else None
        except (ValueError, KeyError, TypeError) as found:
            error = found
        if error is not None:
            # Of a machine that lost its power, say. Whose blocks these are nobody knows, and some may have arrived.
            aside = self.folder.with_name(f"{self.folder.name}.damaged")
            files.remove_folder(aside)
            self.folder.rename(aside)
            log.error("%s: %s: what waited there is set aside in %s", file, error, aside)
            guard.own_folder(self.folder)
        number = new_number()
        _name(file, number)
        return number


def _name(file: Path, number: int) -> None:
    """On disk at once: without it nobody knows whose blocks these are. Raises OSError."""
    files.replace(file, json.dumps({"spool": number}), durable=True, shared=False, mode=0o600)


def _mapped(descriptor: int) -> mmap.mmap:
    """A file of SEGMENT_BYTES with room on the disk and its pages ready. Raises OSError."""
    size = os.fstat(descriptor).st_size
    os.posix_fallocate(descriptor, 0, SEGMENT_BYTES)
    if not size:
        # Of what is written in one go kernels since 6.16 (ext4; XFS: 5.18) keep larger pages than of what is touched
        # first: to map the file again, whenever its turn comes, then takes an eighth of the time.
        zeros = bytes(BLOCK_BYTES)
        for at in range(0, SEGMENT_BYTES, BLOCK_BYTES):
            os.pwrite(descriptor, zeros, at)
    mapped = mmap.mmap(descriptor, SEGMENT_BYTES)
    # An older kernel doesn't know it: there the pages come one by one.
    with contextlib.suppress(OSError, ValueError):
        mapped.madvise(MADV_POPULATE_WRITE)
    return mapped


def _let_go(mapped: mmap.mmap) -> None:
    """Take a file's pages out of this process now: blocks under way may keep the map for long, and need few of them.

    They stay in the kernel's page cache, from where a block that is still read gets its own again.
    """
    mapped.madvise(mmap.MADV_DONTNEED)


def _aligned(offset: int) -> int:
    return (offset + WORD - 1) & -WORD


def _blocks(content: bytes, first: int) -> list[tuple[int, Stored, bool]]:
    """The blocks of a file: where the head is, the block, and whether it had been ended."""
    found: list[tuple[int, Stored, bool]] = []
    at, number = 0, first
    while at + HEAD <= len(content):
        magic, seq, size, described = (
            int.from_bytes(content[at + k * WORD : at + (k + 1) * WORD], "little") for k in range(4)
        )
        rows = at + HEAD + described
        if magic != MAGIC or seq != number or rows + size > len(content):
            break
        ended = size > 0
        if not ended:
            size = len(content[rows : rows + BLOCK_BYTES].rstrip(b"\0"))
        try:
            description = _decoder.decode(content[at + HEAD : rows])
        except (msgspec.DecodeError, ValueError):
            break
        if not size:
            break
        unfinished = description.form == "text" and content[rows + size - 1] != ord("\n")
        found.append((at, Stored(first, rows, size, unfinished, description), ended))
        at, number = _aligned(rows + size), number + 1
    return found
