"""Digests of files on the control machine, by which a role tells whether it would do the same again."""

import hashlib
import json
import stat
from collections.abc import Iterable, Mapping
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


def digests(options: str, given: str, files: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Name to digest of everything that decides what a role does, in one call for all of them.

    `options` are pairs of name and value as JSON, `given` is a JSON object, `files` paths by what they are called.
    """
    values = {**dict(json.loads(options)), **json.loads(given)}
    told = {name: json.dumps(value, sort_keys=True).encode() for name, value in values.items()}
    return {
        **{name: digest(paths) for name, paths in files.items()},
        **{name: hashlib.sha256(text).hexdigest() for name, text in told.items()},
    }


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Any]:
        return {"mustherd_files_digest": digest, "mustherd_digests": digests}
