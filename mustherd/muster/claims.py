"""Claims: one owner per physical knob, over all musters of a machine.

A muster's state folder is its own; the registers behind its knobs are the machine's. So whoever may set a knob holds a
lock that is named after what the knob physically is, in `run/mustherd` below the machine's root, for as long as it (or
its guardian) lives. Beside the lock stands the original while the knob is changed: where a muster dies with its
guardian, whoever comes next puts back what that one found, and never takes what it left for what was there. It notes
from whom it took that over, so that a journal from before says nothing any more when its muster begins again.

The note is written before its knob is touched, and says that the knob is back before the journal does. So of the two
it knows better: a journal that could not be written, or that an old copy was put in the place of, counts for nothing
that the note says otherwise.

Both are gone after a reboot, as what is set is.
"""

import contextlib
import logging
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import msgspec

from mustherd import files, guard, locks
from mustherd.errors import UserError
from mustherd.node.knob import Knob, Site

log = logging.getLogger(__name__)

FOLDER = Path("run/mustherd")
"""Below the root of the machine whose knobs they are."""

MOST_BYTES = 1024 * 1024
"""Of a journal, or of one knob's part of it: a thousand knobs take a tenth of it."""

GUARDIAN_S = 660.0
"""How long the guardian of a muster that is gone may be at putting the node back: a knob may take ten minutes to
settle."""

MOST_TAKEN = 64
"""Former owners that are noted beside a lock, the latest; those that were killed with their guardians go first."""

Key = tuple[str, str]
"""Sheep and knob."""

Kept: TypeAlias = int | dict[str, str]
"""What a knob is put back to: its value in its canonical unit, or of one that is kept in several places, each one's
text (mustherd.node.knob.Placed)."""


class ClaimError(UserError):
    """A knob is another process's, or it can't be told whose it is; the message says which, whose, and what to do."""

    exit_code = 3


class HeldError(ClaimError):
    """Another process holds a knob."""


class _Left(msgspec.Struct, frozen=True):
    """What stands beside a lock while its knob is changed, and after that for journals that count no more."""

    boot_id: str
    value: Kept | None
    """None: it is back, or was never touched."""
    state: str
    """The state folder of who changed it."""
    taken: tuple[str, ...] = ()
    """State folders of those who had it before, whose journals count no more: others have taken over what they left
    changed, or they have put it back themselves."""
    check: str = ""
    """SHA-256 of all the rest."""

    def checked(self) -> "_Left":
        parts = (self.boot_id, self.value, self.state)
        content = msgspec.json.encode((*parts, self.taken) if self.taken else parts)
        return msgspec.structs.replace(self, check=files.checksum(content))


_decoder = msgspec.json.Decoder(_Left)


@dataclass
class _Claim:
    lock: locks.FileLock
    file: Path
    trusted: Collection[int]
    content: bytes | None = None
    """What the file holds as far as this process wrote it."""
    taken: tuple[str, ...] = ()
    former: _Left | None = None
    """What another muster left, until this one has noted that it has taken that over."""


class Claims:
    """The knobs that this muster alone may set, from the constructor until `close`, or until its process ends."""

    def __init__(
        self,
        knobs: Iterable[Knob],
        state: Path,
        boot_id: str,
        *,
        patience_s: float,
        needed: Collection[Key] | None = None,
    ) -> None:
        """Raises ClaimError. Knobs without a site are nobody else's anyway. `patience_s`: how long to wait for each;
        `needed`: those without which it can't be done, None for all; another one that is held is left out."""
        self._boot_id = boot_id
        self._state = str(state.resolve())
        self._claims: dict[Key, _Claim] = {}
        self._settings: dict[tuple[Path, str], locks.FileLock] = {}
        """Those that knobs of several sheep are parts of: who has one part has them all."""
        self.left: dict[Key, Kept] = {}
        """Originals of knobs that somebody left changed who is gone."""
        self.overtaken: set[Key] = set()
        """Knobs that this muster left changed, and another has taken over since."""
        try:
            for knob in knobs:
                site: Site | None = getattr(knob, "site", None)
                key = (knob.info.sheep, knob.info.name)
                is_needed = needed is None or key in needed
                try:
                    if site is not None:
                        # The others are not waited for: a machine may have hundreds, and a unit's end has its time.
                        self._claim(key, site, *((patience_s, GUARDIAN_S) if is_needed else (0.0, 0.0)))
                except HeldError:
                    if is_needed:
                        raise
            self._look_for_other_sheep()
        except BaseException:
            self.close()
            raise

    def keep(self, originals: Mapping[Key, Kept]) -> None:
        """What would have to be put back from now on, for whoever comes next. Raises OSError, which names the file."""
        for key, claim in self._claims.items():
            if key in originals or claim.taken or claim.content is not None:
                self._write(claim, _Left(self._boot_id, originals.get(key), self._state, claim.taken))

    def begin(self, new: Collection[Key] = ()) -> None:
        """What a journal says that is written before `keep` counts once that is done: note so. Raises OSError.

        Killed between the two, this muster would take its journal for the way back for ever, though the former owner,
        to whom the note still gives it, has put back the knob since; or though it has never touched one of `new`.
        """
        for key, claim in self._claims.items():
            if key in new and claim.content is None:
                self._write(claim, _Left(self._boot_id, None, self._state, claim.taken))
            if claim.former is not None:
                taken = (*(one for one in claim.former.taken if one != self._state), self._state)[-MOST_TAKEN:]
                self._write(claim, msgspec.structs.replace(claim.former, taken=taken))
                claim.former = None

    def file_of(self, key: Key) -> Path | None:
        """The file beside a knob's lock; None where it has none."""
        return self._claims[key].file if key in self._claims else None

    def take_up(self) -> None:
        """Another process has written since: what stands beside the locks isn't known here."""
        for claim in self._claims.values():
            claim.content = b"" if claim.file.exists() else None

    @contextlib.contextmanager
    def shared_with_child(self) -> Iterator[None]:
        """A child that is forked in the block holds them too."""
        with contextlib.ExitStack() as stack:
            for lock in (*self._settings.values(), *(claim.lock for claim in self._claims.values())):
                stack.enter_context(lock.shared_with_child())
            yield

    def close(self) -> None:
        """Let others have them."""
        for lock in (*self._settings.values(), *(claim.lock for claim in self._claims.values())):
            lock.close()
        self._settings.clear()
        self._claims.clear()

    def _claim(self, key: Key, site: Site, patience_s: float, heirs_s: float) -> None:
        sheep, name = key
        folder = site.root / FOLDER
        place = folder / site.what.replace("/", "_")
        whole = (folder, site.setting.replace("/", "_"))
        try:
            trusted = guard.own_folder(folder)
            if site.setting and whole not in self._settings:
                self._settings[whole] = _locked(folder / f"{whole[1]}.lock", trusted, patience_s, heirs_s)
            lock = _locked(place.with_name(f"{place.name}.lock"), trusted, patience_s, heirs_s)
        except locks.LockedError as error:
            raise HeldError(
                f"{name} on {sheep} of this machine is held by {error}: stop that one, or leave {name} out of [ranges]"
            ) from None
        except (guard.GuardError, OSError) as error:
            why = str(error) if isinstance(error, guard.GuardError) else f"{folder}: {error.strerror or error}"
            if isinstance(error, PermissionError):
                why += f"; as root: install -d -m 0700 -o {os.geteuid()} {folder}"
            raise ClaimError(f"whose {name} on {sheep} is can't be told: {why}") from None
        claim = self._claims[key] = _Claim(lock, place.with_name(f"{place.name}.json"), trusted)
        self._look(key, claim)

    def _write(self, claim: _Claim, left: _Left) -> None:
        content = msgspec.json.encode(left.checked())
        if content == claim.content:
            return
        try:
            try:
                files.replace(claim.file, content, shared=False, mode=0o600, owner=claim.file.parent.stat())
            except OSError:
                if left.value is not None or claim.content is None:
                    raise
                # Where there is no room for another file there is some in this one; torn, it says nothing.
                claim.content = b""
                with claim.file.open("r+b") as file:
                    file.write(content)
                    file.truncate()
        except OSError as error:
            raise OSError(error.errno, error.strerror or str(error), str(claim.file)) from None
        claim.content = content

    def _look(self, key: Key, claim: _Claim) -> None:
        """See what a former owner left."""
        claim.content = _content(claim.file, claim.trusted)
        if claim.content is None:
            return
        found = _former(claim.file, claim.content)
        if found is None or found.boot_id != self._boot_id:
            return
        if self._state in found.taken:
            self.overtaken.add(key)
        # An old copy of the folder of who put it back counts no more either, as far as there is room to say so.
        former = (*found.taken, found.state) if found.value is not None else (found.state, *found.taken)
        claim.taken = tuple(state for state in dict.fromkeys(former) if state != self._state)[-MOST_TAKEN:]
        if found.value is not None:
            self.left[key] = found.value
            if found.state != self._state:
                claim.former = found
                log.warning("%s on %s was left changed by the muster of %s", key[1], key[0], found.state)

    def _look_for_other_sheep(self) -> None:
        """Of a setting that is had whole here, a former owner may have left parts, or the other way round."""
        own = {claim.file for claim in self._claims.values()}
        for folder, setting in self._settings:
            trusted = guard.trusted_in(folder)
            for file in sorted(set(folder.glob(f"*.{setting}.json")) - own):
                content = _content(file, trusted)
                found = _former(file, content) if content is not None else None
                if found is not None and found.boot_id == self._boot_id and found.value is not None:
                    sheep = file.name.removesuffix(f".{setting}.json")
                    raise ClaimError(
                        f"{setting} on {sheep} was left changed by the muster of {found.state}, and is no sheep here: "
                        "start that one once more, which puts it back, or boot the machine"
                    )


def way_back(note: Path, state: Path, boot_id: str, kept: Kept) -> Kept | None:
    """To what the muster of a state folder has to put back a knob that stands in its journal with `kept`, as far as the
    file beside the lock knows better: not at all, None, where it is back, was never touched or was taken over by
    others, whose way back it is; to another value where the journal is older than that.

    `note` stands in that muster's journal; what can't be a note, or can't be read, says nothing.
    """
    found = _read(note, boot_id)
    if found is None:
        return kept
    own = str(state.resolve())
    if own in found.taken:
        return None
    return found.value if found.state == own else kept


def left_by(note: Path, state: Path, boot_id: str, kept: Kept) -> bool:
    """Whether it says that the muster of a state folder, which may be there no more, left its knob changed, which it
    had found at `kept`: another value is of a later change, of which an old copy of the folder knows nothing."""
    found = _read(note, boot_id)
    return found is not None and found.value == kept and str(state) == found.state


def _read(note: Path, boot_id: str) -> _Left | None:
    if note.parts[-3:-1] != FOLDER.parts or note.suffix != ".json":
        return None
    try:
        found = _decoded(guard.read(note, MOST_BYTES, guard.trusted_in(note.parent)))
    except (OSError, ValueError, RecursionError, guard.GuardError):
        return None
    return found if found.boot_id == boot_id else None


def _content(file: Path, trusted: Collection[int]) -> bytes | None:
    """What stands beside a lock; None where nothing does. Raises ClaimError."""
    try:
        return guard.read(file, MOST_BYTES, trusted)
    except FileNotFoundError:
        return None
    except (OSError, guard.GuardError) as error:
        raise ClaimError(f"{file}: {guard.what_is_wrong(file, error)}") from None


def _locked(file: Path, trusted: Collection[int], patience_s: float, heirs_s: float) -> locks.FileLock:
    lock = locks.inherit(file, trusted, patience_s=patience_s, heirs_s=heirs_s)
    lock.give(file.parent.stat())
    return lock


def _former(file: Path, content: bytes) -> _Left | None:
    """What stands beside a lock; None, with a word in the log, where that is damaged."""
    try:
        return _decoded(content)
    except (ValueError, RecursionError) as error:
        # The journal of who wrote it has the original twice.
        log.error("%s is damaged and thrown away: %s", file, error)  # noqa: TRY400 (the message says all)
        return None


def _decoded(content: bytes) -> _Left:
    """Raises ValueError and RecursionError for what is damaged."""
    found = _decoder.decode(content)
    if found.check != found.checked().check:
        raise ValueError("its check does not fit its content")
    return found
