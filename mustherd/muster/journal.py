"""The journal of original values: written to disk before the first write to a knob, kept until it is put back."""

import fcntl
import json
import os
from collections.abc import Iterable
from pathlib import Path

from mustherd import files
from mustherd.errors import UserError

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class JournalError(UserError):
    """The journal can't be written or read; without it no knob may be touched."""

    exit_code = 3


class Journal:
    """Knob (sheep, name) to the value it had before this software touched it, durable before `record` returns.

    A machine that has rebooted since has its own values again: entries of an earlier boot are dropped at opening. One
    process at a time has the folder, until `close`.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "originals.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise JournalError(f"{folder}: {error.strerror or error}") from None
        try:
            fcntl.flock(self._folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._boot_id = BOOT_ID.read_text(encoding="ascii").strip() if BOOT_ID.exists() else ""
            self._entries = self._load()
        except BlockingIOError:
            self.close()
            raise JournalError(
                f"{folder}: another muster uses this state folder; stop it, or give this one its own"
            ) from None
        except OSError as error:
            self.close()
            raise JournalError(f"{self._file}: {error.strerror or error}") from None
        except JournalError:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._entries)

    def originals(self) -> dict[tuple[str, str], int]:
        """What is to be put back."""
        return dict(self._entries)

    def record(self, found: dict[tuple[str, str], int]) -> None:
        """Remember values found, for knobs that have none yet: the first one is the original."""
        new = {key: value for key, value in found.items() if key not in self._entries}
        if new:
            self._store(new | self._entries)

    def forget(self, keys: Iterable[tuple[str, str]]) -> None:
        """Knobs are back at their originals."""
        gone = set(keys) & self._entries.keys()
        if gone:
            self._store({key: value for key, value in self._entries.items() if key not in gone})

    def close(self) -> None:
        """Let another process have the folder."""
        folder, self._folder = self._folder, -1
        if folder >= 0:
            os.close(folder)

    def _load(self) -> dict[tuple[str, str], int]:
        try:
            text = self._file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        try:
            content = json.loads(text)
            entries = {(str(e["sheep"]), str(e["knob"])): int(e["value"]) for e in content["originals"]}
            return entries if content["boot_id"] == self._boot_id else {}
        except (ValueError, KeyError, TypeError, RecursionError):
            raise JournalError(
                f"{self._file}: damaged; put the node's knobs right by hand, then remove the file"
            ) from None

    def _store(self, entries: dict[tuple[str, str], int]) -> None:
        """Make `entries` durable, then hold them: what isn't on disk is never taken for journalled."""
        rows = [{"sheep": s, "knob": k, "value": v} for (s, k), v in sorted(entries.items())]
        content = json.dumps({"boot_id": self._boot_id, "originals": rows})
        try:
            files.replace(self._file, content, durable=True, shared=False)
        except OSError as error:
            raise JournalError(f"{self._file}: cannot write: {error.strerror or error}") from None
        self._entries = entries
