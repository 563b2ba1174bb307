"""The two files of a journal: where one is damaged the other counts, and the log says so.

What they say counts as far as the files beside the knobs' locks say nothing else (mustherd.muster.claims).
"""

import contextlib
import errno
import logging
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import msgspec

from mustherd import files, guard
from mustherd.muster.claims import MOST_BYTES, Kept, left_by, way_back
from mustherd.terms import MAX_VALUE

log = logging.getLogger(__name__)

FILE_NAME, COPY_NAME = "originals.json", "originals.copy.json"

MOST_ORIGINALS = MOST_BYTES - 4096
"""Bytes of what is to be put back; the rest is for what stands around it. The guardian has as much room."""


class Original(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a knob was found at before this software touched it."""

    sheep: str
    knob: str
    value: Annotated[int, msgspec.Meta(ge=-MAX_VALUE, le=MAX_VALUE)]
    """0 where there are places."""
    places: dict[str, str] = {}
    note: str = ""
    """The file beside the lock of what the knob physically is; "" where it has none."""

    @classmethod
    def of(cls, key: tuple[str, str], kept: Kept, note: str = "") -> "Original":
        """As a file or the guardian keeps it."""
        return cls(*key, kept, note=note) if isinstance(kept, int) else cls(*key, 0, kept, note)

    @property
    def kept(self) -> Kept:
        """What to put back."""
        return self.places or self.value


class Content(msgspec.Struct, frozen=True):
    """A file of the journal. Version 0.1 wrote neither a number nor a check."""

    boot_id: str
    originals: tuple[Original, ...]
    generation: int = 0
    """Rises with each change, so that of two files the newer one is known."""
    state: str = ""
    """The state folder that it was written in; "" of a version before."""
    check: str = ""
    """SHA-256 of all the rest."""

    def checked(self) -> "Content":
        """With its check filled in."""
        parts = (self.boot_id, self.generation, self.originals)
        content = msgspec.json.encode((*parts, self.state) if self.state else parts)
        return msgspec.structs.replace(self, check=files.checksum(content))

    def entries(self, folder: Path, boot_id: str) -> dict[tuple[str, str], Kept]:
        """What the muster of a state folder still has to put back: nothing of an earlier boot, nor what is back, was
        never touched or was taken over by another muster as the files beside the locks have it.

        Of a folder that was moved, or is a copy, only what the files beside the locks say that it was left changed by
        the muster of the folder before, found as it says: of a copy the other one may have put it back.
        """
        if self.boot_id != boot_id:
            return {}
        was = Path(self.state) if self.state else folder.resolve()
        moved = was != folder.resolve()

        def counting(note: str, kept: Kept) -> Kept | None:
            if not note:
                return kept
            if moved:
                return kept if left_by(Path(note), was, boot_id, kept) else None
            return way_back(Path(note), was, boot_id, kept)

        counted = {(one.sheep, one.knob): counting(one.note, one.kept) for one in self.originals}
        return {key: kept for key, kept in counted.items() if kept is not None}


_decoder = msgspec.json.Decoder(Content)


class Files:
    """Those of one state folder, to read and write; what can't be done is an OSError that names the place."""

    def __init__(self, folder: Path, trusted: Collection[int], boot_id: str) -> None:
        self._folder, self._trusted, self._boot_id = folder, trusted, boot_id
        self._owner = folder.stat()
        self._file, self._copy = folder / FILE_NAME, folder / COPY_NAME
        self._generation = 0
        self.is_torn = False
        """Whether the last change that failed stands in one of the two, for all that is known."""

    def load(self) -> Content:
        """What is to go on with."""
        self._check_place()
        found, damaged = read(self._folder, self._trusted)
        if damaged and not found:
            path, why = damaged[0]
            advice = "damaged; put the node's knobs right by hand, then remove the file (and its copy)"
            raise OSError(errno.EIO, f"{advice}: {why}", str(path))
        for path, why in damaged:
            log.error("%s is damaged and its other copy is used: %s", path, why)
            with contextlib.suppress(OSError):
                _set_aside(path)
        if found and not damaged and not self._file.exists():
            log.error("%s is gone and its copy is used", self._file)
        latest = newest(found, self._boot_id)
        self._generation = latest.generation
        return latest

    def write(self, originals: tuple[Original, ...]) -> None:
        """Make that what they hold, durable. ValueError where it is too much."""
        self.is_torn = False
        self._check_place()
        if (size := len(msgspec.json.encode(originals))) > MOST_ORIGINALS:
            raise ValueError(f"{size} bytes of originals; allowed: {MOST_ORIGINALS}")
        self._generation += 1
        encoded = b""
        for path in (self._copy, self._file):
            try:
                # Here, since the first check loads what makes it: no file may be left to be opened.
                content = Content(self._boot_id, originals, self._generation, str(self._folder.resolve())).checked()
                encoded = msgspec.json.encode(content)
                files.replace(path, encoded, durable=True, shared=False, mode=0o600, owner=self._owner)
            except OSError as error:
                self.is_torn = _may_hold(self._copy, encoded, self._trusted)
                raise OSError(error.errno, error.strerror or str(error), str(path)) from None

    def _check_place(self) -> None:
        """OSError where the folder is not the one that was opened and locked: who has the lock of what is there now
        nobody knows, and what is written into it is not found where it is looked for."""
        now = self._folder.stat()
        if (now.st_dev, now.st_ino) != (self._owner.st_dev, self._owner.st_ino):
            why = "it is another folder than when this began: it was moved, or something was mounted over it"
            raise OSError(errno.ESTALE, f"{why}; put it back as it was", str(self._folder))


def _may_hold(path: Path, content: bytes, trusted: Collection[int]) -> bool:
    """Whether a file holds that, or can't be read."""
    try:
        return guard.read(path, MOST_BYTES, trusted) == content
    except FileNotFoundError:
        return False
    except (OSError, guard.GuardError):
        return True


def _set_aside(path: Path) -> None:
    """What stands in the way of the next one is kept for whoever wants to see it; a pipe, a link or a device holds
    nothing to see, and would itself stand in the way of whoever looks through the folder. Raises OSError."""
    mode = path.lstat().st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        path.replace(path.with_name(path.name + ".damaged"))
    else:
        path.unlink()


def newest(found: Collection[Content], boot_id: str) -> Content:
    """The one that counts; an empty one where there is none."""
    return max(found, key=lambda content: content.generation, default=Content(boot_id, ()))


def read(folder: Path, trusted: Collection[int]) -> tuple[list[Content], list[tuple[Path, str]]]:
    """What the files of a journal hold, and of those that can't be believed, what is wrong with them."""
    found: list[Content] = []
    damaged: list[tuple[Path, str]] = []
    for path in (folder / FILE_NAME, folder / COPY_NAME):
        try:
            content = _decoder.decode(guard.read(path, MOST_BYTES, trusted))
            if (content.check or content.generation) and content.check != content.checked().check:
                raise ValueError("its check does not fit its content")
            found.append(content)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError, guard.GuardError) as error:
            damaged.append((path, guard.what_is_wrong(path, error)))
    return found, damaged
