#!/usr/bin/python3
"""Whether a node is as a role left it.

    mustherd_left.py compare ROLE WANTED      what differs, one line each, exit code 1; nothing and 0 where nothing does
    mustherd_left.py keep ROLE                remember what is there now as what the role leaves, of what was compared

WANTED, which a comparison puts aside for what is kept after it, is one JSON object:
    asked    name to digest of everything that decides what the role does
    files    paths, with the shell's wildcards and ~ACCOUNT; of each its kind, mode, owner and content count
    shell    commands whose output and exit code are to be what they were
    holds    commands that have to print nothing and end with 0, whatever was remembered

A comparison that finds a difference forgets what was remembered, unless --look is given: a role that is interrupted has
left nothing. Only the standard library: it runs on a bare node's Python.
"""

from __future__ import annotations  # an old node's Python reads these types as text

import argparse
import contextlib
import glob
import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def digest(path: str) -> str:
    """SHA-256 of a file's content."""
    found = hashlib.sha256()
    with Path(path).open("rb") as file:
        for part in iter(lambda: file.read(1 << 20), b""):
            found.update(part)
    return found.hexdigest()


def state(path: str) -> str:
    """What a file is: kind, mode, owner, and content or where a link leads."""
    try:
        about = os.lstat(path)
        mode = f"{stat.filemode(about.st_mode)} {about.st_uid}:{about.st_gid}"
        if stat.S_ISLNK(about.st_mode):
            return f"{mode} {Path(path).readlink()}"
        return f"{mode} {digest(path)}" if stat.S_ISREG(about.st_mode) else mode
    except OSError as error:
        return error.strerror or "cannot be read"


def files(patterns: Iterable[str]) -> dict[str, str]:
    """Path to state of everything that the patterns name now."""
    # Path's own passes over links that lead nowhere, and fails for an account that is not there.
    found = {path for pattern in patterns for path in glob.glob(os.path.expanduser(pattern))}  # noqa: PTH111, PTH207
    return {path: state(path) for path in sorted(found)}


def answer(command: str) -> str:
    """A command's output and exit code."""
    done = subprocess.run(
        ["sh", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
    )
    return f"{done.returncode}: {done.stdout.decode('utf-8', 'replace').strip()}"


def now(wanted: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """What was asked for and what is there, as it is remembered."""
    watched = json.dumps({part: wanted.get(part, []) for part in ("files", "shell", "holds")}, sort_keys=True)
    return {
        "asked": {"watched": hashlib.sha256(watched.encode()).hexdigest(), **wanted.get("asked", {})},
        "files": files(wanted.get("files", [])),
        "shell": {command: answer(command) for command in wanted.get("shell", [])},
    }


def differences(was: Mapping[str, Mapping[str, str]], wanted: Mapping[str, Any]) -> list[str]:
    """What is not as it was left, one line each; no line shows a file's content."""
    found = now(wanted)
    lines = []
    for part in ("asked", "files", "shell"):
        old, new = was.get(part, {}), found[part]
        lines += [f"{part}: {name}" for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    held = {command: answer(command) for command in wanted.get("holds", [])}
    return lines + [f"holds: {command}: {said}" for command, said in held.items() if said != "0: "]


def remembered(file: Path) -> dict[str, dict[str, str]] | None:
    """What was kept; None where nothing was, or what is there cannot be read."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and all(isinstance(part, dict) for part in found.values()) else None


def write(file: Path, content: object) -> None:
    """Whole or not at all."""
    file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    # Root's alone: digests of keys are among it.
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as handle:
        json.dump(content, handle, indent=1, sort_keys=True)
    part.replace(file)


def keep(file: Path, compared: Path) -> None:
    """Remember it.

    What a comparison put aside counts: a role that has since found its options to mean something else is compared anew.
    """
    try:
        wanted = json.loads(compared.read_text(encoding="utf-8"))
    except FileNotFoundError:
        sys.exit(f"{compared}: nothing was compared; fix: run the role without tags")
    write(file, now(wanted))
    compared.unlink()


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; gives the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("verb", choices=("compare", "keep"))
    parser.add_argument("role")
    parser.add_argument("wanted", type=json.loads, nargs="?")
    parser.add_argument("--look", action="store_true", help="forget nothing, whatever differs")
    parser.add_argument("--folder", type=Path, default=Path("/var/lib/mustherd-node/left"))
    given = parser.parse_args(arguments)
    file = given.folder / f"{given.role}.json"
    compared = given.folder / f"{given.role}.wanted"
    if given.verb == "keep":
        keep(file, compared)
        return 0
    if given.wanted is None:
        parser.error("compare ROLE WANTED")
    was = remembered(file)
    lines = ["nothing is known of an earlier run"] if was is None else differences(was, given.wanted)
    for line in lines:
        print(line)  # noqa: T201
    if not given.look:
        write(compared, given.wanted)
    if lines and not given.look:
        with contextlib.suppress(FileNotFoundError):
            file.unlink()
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
