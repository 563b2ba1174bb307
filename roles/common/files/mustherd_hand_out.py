#!/usr/bin/python3
"""Files handed out to a node in one call, with the folders that they are in: keys, configuration, units.

    python3 - [--look] < this program, and a line `main(WANTED)` after it

WANTED is a JSON object, which comes by stdin as it has secrets:
    folders  path to [owner, group, mode]
    files    path to [owner, group, mode, content], and, where a fifth is given, a command for sh that has to take the
             file ($1, a draft of it under its own name) before it is put in place; not with --look,
             since what it names may not be there yet
    links    path to where it leads
    alone    folders in which nothing else is to be, such as keys that are accepted

Prints the path of everything that was not so, and nothing of any content. With --look nothing is changed. A file is
there whole or as it was, and at no time with another mode. Only the standard library: it runs on a bare node's Python.
"""

from __future__ import annotations  # an old node's Python reads these types as text

import contextlib
import errno
import grp
import json
import os
import pwd
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


def ids(owner: str, group: str) -> tuple[int, int] | None:
    """User and group by number; None where there is no such account yet."""
    try:
        return pwd.getpwnam(owner).pw_uid, grp.getgrnam(group).gr_gid
    except KeyError:
        return None


def is_so(path: Path, owners: tuple[int, int] | None, mode: int, content: str | None) -> bool:
    """Whether a file, or without content a folder, is as it is to be."""
    try:
        about = path.lstat()
    except FileNotFoundError:
        return False
    kind = stat.S_ISDIR(about.st_mode) if content is None else stat.S_ISREG(about.st_mode)
    same = kind and (about.st_uid, about.st_gid) == owners and stat.S_IMODE(about.st_mode) == mode
    return same and (content is None or path.read_bytes() == content.encode())


def write(path: Path, owners: tuple[int, int], mode: int, content: str) -> None:
    """Whole or not at all, and for nobody else to read before it has its owner."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
        os.fchown(descriptor, *owners)
        os.fchmod(descriptor, mode)
    part.replace(path)


def check(path: Path, content: str, command: str) -> None:
    """What a program cannot take never replaces what it runs on."""
    with tempfile.TemporaryDirectory(prefix="mustherd-") as folder:
        draft = Path(folder, path.name)
        draft.write_text(content, encoding="utf-8")
        done = subprocess.run(
            ["sh", "-c", command, "sh", str(draft)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        said = done.stdout.decode("utf-8", "replace").strip().replace(str(draft), str(path))
        sys.exit(f"{path}: it was refused and is as it was: {said}; fix: correct what it is made of")


def refuse_link(path: Path) -> None:
    """A folder that is a link: somebody else may say where it leads, and secrets are written into it."""
    if path.is_symlink():
        sys.exit(f"{path}: it is a link to {os.readlink(path)}, and has to be a folder; fix: remove the link")  # noqa: PTH115


def make_folder(path: Path, owners: tuple[int, int], mode: int) -> None:
    """With those above it, as they come."""
    path.mkdir(parents=True, exist_ok=True)
    os.chown(path, *owners)
    path.chmod(mode)


def link(path: Path, to: str) -> None:
    """In place of whatever is there."""
    path.unlink(missing_ok=True)
    path.symlink_to(to)


@contextlib.contextmanager
def named(path: str) -> Iterator[None]:
    """An error of what was opened already, such as a full disk's, names no file: it is this one's."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, error.filename or path) from error


FIXES = {
    errno.ENOSPC: "free space there",
    errno.EDQUOT: "raise the quota there, or free space",
    errno.EROFS: "mount its file system to be written to",
    errno.EACCES: "let the role become root (ansible_become)",
    errno.EPERM: "let the role become root (ansible_become), and see lsattr for files that can't be changed",
    errno.ENOTDIR: "move away what is in the way of a folder",
    errno.EEXIST: "move away what is in the way of a folder",
    errno.EISDIR: "move away the folder that is in the way",
}


def hand_out(wanted: Mapping[str, Mapping[str, Sequence[str]]], *, look: bool) -> list[str]:
    """Make it so, or only look; gives the paths of what was not.

    OSError with the path that failed.
    """
    changed = []
    for part in ("folders", "files"):
        for name, (owner, group, mode, *content) in wanted.get(part, {}).items():
            path, owners, text = Path(name), ids(owner, group), content[0] if content else None
            command = content[1] if len(content) > 1 else ""
            if text is None:
                refuse_link(path)
            if is_so(path, owners, int(mode, 8), text):
                continue
            changed.append(name)
            if look:
                continue
            if text is not None and command:
                check(path, text, command)
            if owners is None:
                sys.exit(f"{name}: no account {owner} with group {group}; fix: run the role without tags")
            with named(name):
                if text is None:
                    make_folder(path, owners, int(mode, 8))
                else:
                    write(path, owners, int(mode, 8), text)
    for name, to in wanted.get("links", {}).items():
        if not (Path(name).is_symlink() and os.readlink(name) == to):  # noqa: PTH115 (as it is written)
            changed.append(name)
            if not look:
                with named(name):
                    link(Path(name), str(to))
    for folder in wanted.get("alone", []):
        for path in sorted(Path(folder).iterdir()) if Path(folder).is_dir() else []:
            if str(path) not in wanted.get("files", {}) and path.name.endswith(".key"):
                changed.append(str(path))
                if not look:
                    path.unlink()
    return changed


def main(text: str) -> None:
    """Do what the command line says with what came by stdin."""
    try:
        changed = hand_out(json.loads(text), look="--look" in sys.argv[1:])
    except OSError as error:
        fix = FIXES.get(error.errno or 0, "make it possible by hand")
        sys.exit(f"{error.filename}: {error.strerror}; fix: {fix}")
    for name in changed:
        print(name)  # noqa: T201
