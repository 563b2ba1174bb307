"""The journal of original values: written to disk before the first write to a knob, kept until it is put back."""

import json
import os
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class JournalError(Exception):
    """The journal can't be written or read; without it no knob may be touched."""


class Journal:
    """Knob (sheep, name) to the value it had before this software touched it, durable before `record` returns.

    A machine that has rebooted since has its own values again: entries of an earlier boot are dropped at opening.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "originals.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._boot_id = BOOT_ID.read_text(encoding="ascii").strip() if BOOT_ID.exists() else ""
            self._entries = self._load()
        except OSError as error:
            raise JournalError(f"{self._file}: {error.strerror or error}") from None

    def __len__(self) -> int:
        return len(self._entries)

    def originals(self) -> dict[tuple[str, str], int]:
        """What is to be put back."""
        return dict(self._entries)

    def record(self, found: dict[tuple[str, str], int]) -> None:
        """Remember values found, for knobs that have none yet: the first one is the original."""
        new = {key: value for key, value in found.items() if key not in self._entries}
        if new:
            self._entries |= new
            self._store()

    def forget(self, key: tuple[str, str]) -> None:
        """A knob is back at its original."""
        if self._entries.pop(key, None) is not None:
            self._store()

    def _load(self) -> dict[tuple[str, str], int]:
        try:
            text = self._file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        try:
            content = json.loads(text)
            entries = {(str(e["sheep"]), str(e["knob"])): int(e["value"]) for e in content["originals"]}
            return entries if content["boot_id"] == self._boot_id else {}
        except (ValueError, KeyError, TypeError):
            raise JournalError(
                f"{self._file}: damaged; put the node's knobs right by hand, then remove the file"
            ) from None

    def _store(self) -> None:
        entries = [{"sheep": s, "knob": k, "value": v} for (s, k), v in sorted(self._entries.items())]
        draft = self._file.with_suffix(".new")
        try:
            with draft.open("w", encoding="utf-8") as file:
                json.dump({"boot_id": self._boot_id, "originals": entries}, file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._file)
            folder = os.open(self._file.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise JournalError(f"{self._file}: cannot write: {error.strerror or error}") from None
