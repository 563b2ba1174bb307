"""The registers of a twin: what survives its process, as hardware registers survive one."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from mustherd import files

MOST_BYTES = 64 * 1024


class Registers:
    """Knob values, kept in a file when there is one."""

    def __init__(self, originals: Mapping[str, int], path: Path | None) -> None:
        """Take up what the last process left in `path`, else `originals`.

        ValueError when the file exists and is not what this class writes.
        """
        self._path = path
        self._values = dict(originals)
        if path is None or not path.exists():
            return
        try:
            kept = msgspec.json.decode(files.content(path, MOST_BYTES), type=dict[str, int])
        except msgspec.DecodeError as error:
            raise ValueError(
                f"twin registers in {path}: {error}; delete the file to start from the originals"
            ) from None
        if kept.keys() != self._values.keys():
            raise ValueError(f"twin registers in {path} are of other knobs ({', '.join(kept)}): delete the file")
        self._values = kept

    def __getitem__(self, name: str) -> int:
        return self._values[name]

    def __setitem__(self, name: str, value: int) -> None:
        """OSError when the file can't be written; then nothing has changed."""
        changed = {**self._values, name: value}
        if self._path is not None:
            # Whole or not at all: a process killed here leaves the old values or the new ones.
            files.replace(self._path, msgspec.json.encode(changed))
        self._values = changed
