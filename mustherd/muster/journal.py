"""The journal of original values: written to disk before the first write to a knob, kept until it is put back."""

import contextlib
import errno
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from mustherd import files, guard, locks
from mustherd.errors import UserError
from mustherd.muster.claims import GUARDIAN_S, MOST_BYTES, ClaimError, Claims, Kept, Key
from mustherd.muster.originals import FILE_NAME, Files, Original, newest, read
from mustherd.node.knob import Knob
from mustherd.terms import Reading

log = logging.getLogger(__name__)

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

LOCK_NAME = "muster.lock"
WORD_NAME = "put-back.json"

PATIENCE_S = 0.3
"""A look at who holds the folder takes its lock for some microseconds; that is waited out."""


CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)
"""What a folder that can't be written says."""


class JournalError(UserError):
    """The journal can't be written or read; without it no knob may be touched."""

    exit_code = 3


class PutBack(msgspec.Struct, frozen=True, kw_only=True):
    """What a guardian did when its muster was gone."""

    reason: str
    readings: tuple[Reading, ...]


_word_decoder = msgspec.json.Decoder(PutBack)


class Journal:
    """Knob (sheep, name) to what it was found at before this software touched it, durable before `record` returns.

    Kept twice, `originals.json` and `originals.copy.json`, each with a check: where one is damaged the other counts,
    and the log says so. A machine that has rebooted since has its own values again: entries of an earlier boot are
    dropped at opening. One process at a time has the folder, until `close`.
    """

    def __init__(self, folder: Path, *, patience_s: float = PATIENCE_S) -> None:
        """Raises JournalError: for a folder or file that somebody else could have written, too.

        `patience_s`: how long to wait for whoever has the folder; the guardian of a muster that is gone has
        GUARDIAN_S to put the node back.
        """
        self.tell: Callable[[Mapping[tuple[str, str], Kept]], None] = lambda _: None
        """Gets the entries whenever they have changed, after they are on disk and before anything is done about it."""
        self._file = folder / FILE_NAME
        self._word = folder / WORD_NAME
        self._folder = folder
        self._stale = False
        """Whether the files hold what counts no more, or name a folder that was moved: that has to be gone before the
        claims are noted, or it would count again, or no more."""
        self.behind = False
        """Whether a change was written in part: to one of two files, or not to those beside the locks, or the guardian
        wasn't told. Whoever comes next may take that for what is to be put back; `forget` writes it all once more."""
        self._notes: dict[tuple[str, str], str] = {}
        """Files beside the locks of what was changed, as the journal had them."""
        self._lock: locks.FileLock | None = None
        self._claims: Claims | None = None
        try:
            self._trusted = guard.own_folder(folder)
            self._owner = folder.stat()
            self._lock = locks.inherit(folder / LOCK_NAME, self._trusted, patience_s=patience_s, heirs_s=GUARDIAN_S)
            self._lock.give(self._owner)
            self._boot_id = BOOT_ID.read_text(encoding="ascii").strip() if BOOT_ID.exists() else ""
            self._files = Files(folder, self._trusted, self._boot_id)
            self._entries = self._load()
        except locks.LockedError as error:
            raise JournalError(
                f"{folder}: another muster uses this state folder, {error}; stop it, or give this one its own"
            ) from None
        except guard.GuardError as error:
            self.close()
            raise JournalError(str(error)) from None
        except OSError as error:
            self.close()
            way_out = "; give it a `state` that it can write to" if error.errno in CLOSED else ""
            raise JournalError(f"{error.filename or self._file}: {error.strerror or error}{way_out}") from None

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def closed(self) -> bool:
        """Whether another process may have the folder."""
        return self._lock is None

    def claim(self, knobs: Iterable[Knob], *, patience_s: float = PATIENCE_S, only_free: bool = False) -> None:
        """Be the only process on this machine that may set these knobs, and those with entries; until `close`.

        `only_free`: without those that another process has, unless they have an entry.

        What another owner left changed and didn't put back has to be put back from now on as if it were our own.
        Raises ClaimError, which says whose a knob is, and JournalError; the journal is closed then. What this muster
        left changed of another card is put onto no card but that one: then it is refused, too.
        """
        try:
            needed = [*self._entries] if only_free else None
            self._claims = Claims(knobs, self._folder, self._boot_id, patience_s=patience_s, needed=needed)
            # Asked once more, by who has the locks: another may have come and gone since this journal was read.
            own = {key: kept for key, kept in self._entries.items() if not self._is_overtaken(key, self._claims)}
            if gone := sorted(self._entries.keys() - own.keys()):
                log.info("%s: left changed by this muster, and taken over by another one since", gone)
            self._refuse_what_is_of_another(own, self._claims)
            entries = self._claims.left | own
            self._claims.begin()
            if gone or self._stale or entries != self._entries:
                self._store(entries)
            else:
                self._claims.keep(entries)
        except OSError as error:
            self.close()
            raise JournalError(f"{error.filename}: {error.strerror}") from None
        except BaseException:
            self.close()
            raise

    @property
    def unrestored(self) -> int:
        """Knobs whose original is still in it, be it that it can't be written any more."""
        return len(self) or int(self.behind)

    def originals(self) -> dict[tuple[str, str], Kept]:
        """What is to be put back."""
        return dict(self._entries)

    def record(self, found: Mapping[tuple[str, str], Kept]) -> None:
        """Remember values found, for knobs that have none yet: the first one is the original."""
        new = {key: value for key, value in found.items() if key not in self._entries}
        if new or self.behind:
            self._store(new | self._entries, new=new)

    def forget(self, keys: Iterable[tuple[str, str]]) -> None:
        """Knobs are back at their originals."""
        gone = set(keys) & self._entries.keys()
        if gone or self.behind:
            self._settle({key: value for key, value in self._entries.items() if key not in gone})

    @contextlib.contextmanager
    def shared_with_child(self) -> Iterator[None]:
        """A child that is forked in the block keeps the folder when this process is killed."""
        with contextlib.ExitStack() as stack:
            for held in (self._lock, self._claims):
                if held is not None:
                    stack.enter_context(held.shared_with_child())
            yield

    def leave_word(self, word: PutBack) -> None:
        """Tell the next life what the guardian of this one did. Raises JournalError."""
        try:
            files.replace(self._word, msgspec.json.encode(word), shared=False, mode=0o600, owner=self._owner)
        except OSError as error:
            raise JournalError(f"{self._word}: cannot write: {error.strerror or error}") from None

    def take_word(self) -> PutBack | None:
        """What the guardian of a former life did, said once; None where there was nothing to do."""
        try:
            word = _word_decoder.decode(guard.read(self._word, MOST_BYTES, self._trusted))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, guard.GuardError) as error:
            log.warning("%s can't be read: %s", self._word, guard.what_is_wrong(self._word, error))
            word = None
        with contextlib.suppress(OSError):
            self._word.unlink()
        return word

    def take_up(self, left: Mapping[Key, Kept]) -> None:
        """Go on where another process ended, all of whose knobs are back but these: what else it wrote it was about
        to change. Raises JournalError."""
        if self._claims is not None:
            self._claims.take_up()
        with contextlib.suppress(OSError):
            # How far it had come.
            self._load()
        self._settle(dict(left))

    def close(self) -> None:
        """Let another process have the folder."""
        lock, self._lock = self._lock, None
        claims, self._claims = self._claims, None
        for held in (claims, lock):
            if held is not None:
                held.close()

    def _load(self) -> dict[tuple[str, str], Kept]:
        content = self._files.load()
        entries = content.entries(self._folder, self._boot_id)
        notes = {(entry.sheep, entry.knob): entry.note for entry in content.originals}
        self._notes = {key: notes[key] for key in entries}
        # What was before a boot can't count again: it needs no folder that can be written.
        self._stale = content.boot_id == self._boot_id and (
            entries != {(one.sheep, one.knob): one.kept for one in content.originals}
            or content.state not in ("", str(self._folder.resolve()))
        )
        return entries

    def _store(self, entries: dict[Key, Kept], *, new: Collection[Key] = ()) -> None:
        """Make `entries` durable, then hold them: what isn't on disk is never taken for journalled. Of `new` no knob
        was changed so far."""
        with self._named():
            if self._claims is not None:
                self._claims.begin(new)
        self._write(entries)
        self.behind = True
        with self._named():
            if self._claims is not None:
                self._claims.keep(entries)
            self.tell(entries)
        self._entries, self.behind = entries, False

    def _settle(self, entries: dict[Key, Kept]) -> None:
        """All others are back: hold no more than `entries`, and make that known as far as possible, first beside the
        locks, which are believed where the files can't be written."""
        self._entries, self.behind = entries, True
        try:
            with self._named():
                if self._claims is not None:
                    self._claims.keep(entries)
        finally:
            try:
                self._write(entries)
            finally:
                with self._named():
                    self.tell(entries)
        self.behind = False

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Within, what can't be written, or told to the guardian, is a JournalError that names it."""
        try:
            yield
        except OSError as error:
            raise JournalError(f"{error.filename or 'the guardian'}: cannot write: {error.strerror or error}") from None
        except ValueError as error:
            raise JournalError(f"{self._file}: {error}") from None

    def _write(self, entries: Mapping[Key, Kept]) -> None:
        """To both files. Raises JournalError."""
        originals = tuple(Original.of(key, entries[key], self._note(key)) for key in sorted(entries))
        try:
            with self._named():
                self._files.write(originals)
        except JournalError:
            self.behind |= self._files.is_torn
            raise
        self._stale = False

    def _is_overtaken(self, key: tuple[str, str], claims: Claims) -> bool:
        """Whether an entry is: that of another card, say, has another file beside its lock."""
        return key in claims.overtaken and self._is_the_same(key, claims)

    def _refuse_what_is_of_another(self, own: Iterable[tuple[str, str]], claims: Claims) -> None:
        """ClaimError where a knob is physically another one than that of which this journal has the original."""
        for key in sorted(own):
            if not self._is_the_same(key, claims):
                here, left = (Path(file or "").stem for file in (claims.file_of(key), self._notes[key]))
                raise ClaimError(
                    f"{key[1]} on {key[0]} is {here} here, and this muster left {left} changed: start it once more as"
                    " it was configured then, which puts that back, or boot the machine"
                )

    def _is_the_same(self, key: tuple[str, str], claims: Claims) -> bool:
        """Whether a knob is physically what this journal has an original of, as far as it says what that is."""
        left, claimed = self._notes.get(key, ""), claims.file_of(key)
        return not left or claimed is None or Path(left).name == claimed.name

    def _note(self, key: tuple[str, str]) -> str:
        claimed = self._claims.file_of(key) if self._claims is not None else None
        # One that isn't there in this life may be in the next.
        return self._notes.get(key, "") if claimed is None else str(claimed)


def left_changed(folder: Path, *, ended: bool = False) -> dict[tuple[str, str], Kept]:
    """Originals in the journal of a state folder that nobody has open: what was left changed, and never put back.

    `ended`: its muster is known to have ended, so that whoever has it open is a guardian at it. One that stands still
    after its muster puts nothing back.
    Takes no lock and writes nothing. Raises JournalError for a journal that can't be read.
    """
    if not ended and locks.locked_by(lock := folder / LOCK_NAME) is not None and not locks.still_heirs(lock):
        return {}
    boot_id = BOOT_ID.read_text(encoding="ascii").strip() if BOOT_ID.exists() else ""
    found, damaged = read(folder, guard.owners())
    if damaged and not found:
        path, why = damaged[-1]
        raise JournalError(f"{path}: {why}")
    return newest(found, boot_id).entries(folder, boot_id)
