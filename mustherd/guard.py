"""Whom a file may belong to before this process trusts or writes it: one rule for configuration, state, keys and locks.

A file is guarded when nobody but its owners can change it: it is a regular file (or a folder) of theirs, no group and
nobody else may write it, and the same holds for every folder and link on the way to it. A private one can't even be
read by others. A process without powers of its own is held to the rule for the file and its folder alone: whoever
could deceive it from further up gains what the user has anyway.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path, PurePath

from mustherd.errors import UserError, shown

ROOT = 0

LINKS_MOST = 40
"""Links on one path, as Linux counts them (path_resolution(7))."""

FULL_MAP = ["0", "0", "4294967295"]
"""The first line of /proc/self/uid_map where users are the machine's own."""


OF_SEVERAL = bytes.fromhex("d9d505f920a163d7")
"""How an SQLite journal ends that belongs to several databases, as none of ours does."""

MOST_SHOWN = 1024
"""Characters of a place that a message names; whoever made a folder chose its names."""

OF_FILES = (".log", ".lock", ".json", ".yml", ".toml", ".sqlite", ".sqlite-wal", ".sqlite-shm", ".sqlite-journal")
"""Ends of names that files have, and no folder."""

ANOTHER_NAME = (
    "this file has another name (a hard link), where it would be written too; fix: copy it, and put the copy here"
)


class GuardError(UserError):
    """A file may not be trusted; the message names it, what it belongs to, and the fix."""


def what_is_wrong(path: Path, error: Exception) -> str:
    """What `read` of a file raised, for a message that names its path already."""
    if isinstance(error, OSError):
        return "it is a link" if error.errno == errno.ELOOP else error.strerror or str(error)
    return str(error).removeprefix(f"{path}: ")


def owners() -> frozenset[int]:
    """Users whose files this process trusts: root, its own, and with sudo the one that became root."""
    trusted = {ROOT, os.geteuid()}
    if os.geteuid() == ROOT and os.environ.get("SUDO_UID", "").isdecimal():
        trusted.add(int(os.environ["SUDO_UID"]))
    return frozenset(trusted)


def privileged() -> bool:
    """Whether this process may do more to the machine than a plain user: root's powers, or capabilities of its own."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        users = Path("/proc/self/uid_map").read_text(encoding="ascii").split()
    except OSError:
        return os.geteuid() == ROOT
    # In a user namespace root is root of that alone, and the machine's own files belong to nobody there is.
    return users[:3] == FULL_MAP and int(status.partition("CapEff:")[2].split()[0], 16) != 0


def require(path: Path, trusted: Collection[int] | None = None, *, whole: bool | None = None, why: str = "") -> None:
    """GuardError unless nobody but `trusted` (None: `owners`) can change what is at `path`; OSError where nothing is.

    `whole`: the whole way to it is looked at; None: where this process is privileged. `why` ends the message instead of
    the usual fix.
    """
    trusted = owners() if trusted is None else trusted
    steps = list(_steps(path))
    last = len(steps) - 1
    first = 0 if (privileged() if whole is None else whole) else max(0, last - 1)
    for number, (where, found) in enumerate(steps[first:], first):
        _judge(path, where, found, trusted, end=number == last, why=why)


def open_file(
    path: Path, flags: int = os.O_RDONLY, trusted: Collection[int] | None = None, *, private: bool = False
) -> int:
    """A descriptor of a guarded regular file, never of what a link, a pipe or a device at `path` leads to.

    With O_CREAT in `flags` it is made with mode 0600. One that is to be written has no other name, elsewhere perhaps.
    Its folder is the caller's to look at. Raises GuardError and OSError, FileNotFoundError as ever.
    """
    # O_NONBLOCK: to open a pipe would wait for its other end.
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise GuardError(f"{path}: not a regular file; remove it")
        if found.st_nlink > 1 and flags & (os.O_WRONLY | os.O_RDWR):
            raise GuardError(f"{path}: {ANOTHER_NAME}")
        _judge(path, path, found, owners() if trusted is None else trusted, end=True)
        if private and found.st_mode & 0o077:
            raise GuardError(
                f"{path}: readable by others (mode {stat.S_IMODE(found.st_mode):o}); fix: chmod 600 {path}"
            )
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read(path: Path, most: int, trusted: Collection[int] | None = None, *, private: bool = False) -> bytes:
    """What a guarded file holds, `most` bytes at most. Raises GuardError and OSError."""
    descriptor = open_file(path, trusted=trusted, private=private)
    with open(descriptor, "rb") as file:  # noqa: PTH123 (a descriptor, not a path)
        content = file.read(most + 1)
    if len(content) > most:
        raise GuardError(f"{path}: more than {most} bytes, which it never holds; remove it")
    return content


def require_plain(folder: Path, *, shared: str = "", folders: Collection[str] = ()) -> None:
    """GuardError for what is in `folder`, at any depth, and would be written through, or is what it can't be.

    That is a link, a pipe, a socket, a device, or a file with another name; files whose names end with `shared` may
    have one, since they are written once. `folders` are patterns (as `herd/*`) of places that hold a folder if
    anything, and places with other names that end as a file's do, hold a file. What goes meanwhile is no matter.
    """
    todo = [os.fspath(folder)]
    while todo:
        place = todo.pop()
        try:
            with os.scandir(place) as entries:
                found = [(entry, held) for entry in entries if (held := _held(entry)) is not None]
        except FileNotFoundError:
            continue
        except OSError as error:
            name = shown(place, MOST_SHOWN)
            raise GuardError(f"{name}: it can't be looked through ({error.strerror}); fix: move it away") from None
        for entry, held in found:
            kind, name = stat.S_IFMT(held.st_mode), shown(entry.path, MOST_SHOWN)
            as_folder = any(PurePath(entry.path).match(pattern) for pattern in folders)
            if kind == stat.S_IFDIR:
                if not as_folder and entry.name.endswith(OF_FILES):
                    raise GuardError(f"{name}: a folder, where a file belongs; fix: move it away")
                todo.append(entry.path)
            elif kind != stat.S_IFREG:
                raise GuardError(_not_through(name, held.st_mode))
            elif as_folder:
                raise GuardError(f"{name}: a file, where a folder belongs; fix: move it away")
            elif held.st_nlink > 1 and not (shared and entry.name.endswith(shared)):
                raise GuardError(f"{name}: {ANOTHER_NAME}")


def require_no_link(path: Path) -> None:
    """GuardError where `path` is a link."""
    if path.is_symlink():
        raise GuardError(_not_through(shown(path, MOST_SHOWN), stat.S_IFLNK))


def _not_through(name: str, mode: int) -> str:
    what = "a link" if stat.S_ISLNK(mode) else "no regular file"
    return f"{name}: {what}, and nothing is written through one; fix: move it away"


def _held(entry: "os.DirEntry[str]") -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None


def require_plain_database(path: Path, *, write: bool = False) -> None:
    """GuardError where SQLite would write or remove something elsewhere when it opens `path`.

    To the file -shm it writes even to read, and a journal of several databases names a file that it removes.
    """
    for end in ("", "-wal", "-shm", "-journal"):
        file = path.with_name(f"{path.name}{end}")
        with contextlib.suppress(FileNotFoundError):
            found = file.lstat()
            if not stat.S_ISREG(found.st_mode):
                raise GuardError(_not_through(str(file), found.st_mode))
            if found.st_nlink > 1 and (write or (end == "-shm" and os.access(file, os.W_OK))):
                raise GuardError(f"{file}: {ANOTHER_NAME}")
            if end == "-journal" and _end_of(file, len(OF_SEVERAL)) == OF_SEVERAL:
                raise GuardError(f"{file}: it names another file, which SQLite would remove; fix: move it away")


def _end_of(file: Path, most: int) -> bytes:
    with file.open("rb") as opened:
        opened.seek(-min(most, opened.seek(0, os.SEEK_END)), os.SEEK_CUR)
        return opened.read(most)


def own_folder(path: Path, trusted: Collection[int] | None = None) -> frozenset[int]:
    """Make `path` a guarded folder, mode 0700 where there was none; gives whose files in it may be trusted.

    Raises as `trusted_in`.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return trusted_in(path, trusted)


def trusted_in(path: Path, trusted: Collection[int] | None = None) -> frozenset[int]:
    """Whose files in the folder `path` may be trusted: those of `trusted` (None: `owners`).

    A folder that root has made for another user, in a folder where nobody else could have, is that user's: root trusts
    what is in it as the user's own process does. Raises GuardError where somebody else could have put something there,
    and OSError.
    """
    trusted = owners() if trusted is None else frozenset(trusted)
    found = path.stat()
    if found.st_uid not in trusted and os.geteuid() == ROOT and not _shared(path.parent):
        require(path.parent, trusted)
        trusted |= {found.st_uid}
    require(path, trusted)
    return trusted


def _shared(folder: Path) -> bool:
    return bool(folder.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def _judge(
    path: Path, where: Path, found: os.stat_result, trusted: Collection[int], *, end: bool, why: str = ""
) -> None:
    link = stat.S_ISLNK(found.st_mode)
    # A link has no mode of its own. In a folder with the sticky bit (/tmp) only an owner may replace what is in it.
    loose = (
        not link
        and found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        and not (not end and stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX)
    )
    if found.st_uid in trusted and not loose:
        return
    who = " or ".join("root" if user == ROOT else f"user {user}" for user in sorted(trusted))
    place = f"{path}" if where == path else f"{path}: {where}"
    raise GuardError(
        f"{place} belongs to user {found.st_uid} with mode {stat.S_IMODE(found.st_mode):o}: "
        + (why or f"only {who} may be able to change it; see what it holds, then chown it and chmod go-w")
    )


def _steps(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Every folder and link that is passed on the way to `path`, and what is there. Raises OSError."""
    at = Path("/")
    todo = list((Path.cwd() / path).parts[:0:-1])
    links = 0
    yield at, at.stat()
    while todo:
        name = todo.pop()
        if name == "..":
            at = at.parent
            continue
        step = at / name
        found = step.lstat()
        yield step, found
        if not stat.S_ISLNK(found.st_mode):
            at = step
            continue
        links += 1
        if links > LINKS_MOST:
            raise OSError(40, "Too many levels of symbolic links", str(path))
        target = step.readlink()
        if target.is_absolute():
            at = Path("/")
        todo.extend(reversed([part for part in target.parts if part != "/"]))
