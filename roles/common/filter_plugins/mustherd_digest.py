"""Digests of files on the control machine, by which a role tells whether it would do the same again."""

import hashlib
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def digest(paths: Iterable[str]) -> str:
    """SHA-256 over names, modes and contents of these files, and of all below these folders.

    What is not there counts too.
    """
    found = hashlib.sha256()
    for top in sorted(map(str, paths)):
        path = Path(top)
        inside = sorted(file for file in path.rglob("*") if "__pycache__" not in file.parts) if path.is_dir() else []
        for file in inside or [path]:
            if file.is_file():
                mode = stat.S_IMODE(file.stat().st_mode)
                found.update(f"{file}\0{mode:o}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
            else:
                found.update(f"{file}\0{'folder' if file.is_dir() else 'absent'}\0".encode())
    return found.hexdigest()


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Any]:
        return {"mustherd_files_digest": digest}
