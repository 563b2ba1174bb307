"""Files that are whole or not there at all, and on disk when their writer says so.

Whoever writes what others read, or what must survive a kill, writes a draft beside the place and renames it: a process
killed at any moment leaves the old content or the new one, and at most a draft whose name begins with a dot.
"""

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


@contextlib.contextmanager
def draft(path: Path, *, shared: bool = True) -> Iterator[Path]:
    """A free name beside `path` for a file or a folder; when the block ends it takes the place of `path`.

    When the block raises, what was made under that name goes and `path` stays as it was. `shared`: several processes
    and threads may write `path`, the last one wins. Otherwise one does, and what it left when it was killed is cleared
    first. OSError when the place can't be taken: a folder takes no place but that of an empty folder.
    """
    name = path.with_name(f".{path.name}.{threading.get_native_id()}.part" if shared else f".{path.name}.part")
    _remove(name)
    try:
        yield name
        name.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            _remove(name)
        raise


def replace(
    path: Path,
    content: str | bytes,
    *,
    durable: bool = False,
    shared: bool = True,
    mode: int = 0o666,
    owner: os.stat_result | None = None,
) -> None:
    """Make `content` what `path` holds, at once; text as UTF-8, its line ends as they are. Raises OSError.

    `durable`: on disk, its name too, when this returns. `shared` as in `draft`. `mode` is the new file's, less what the
    umask takes away; `owner` as in `give`. A link at `path` is replaced, never followed.
    """
    with draft(path, shared=shared) as beside:
        write(beside, content, durable=durable, mode=mode, owner=owner)
    if durable:
        sync_folder(path.parent)


def deliver(path: Path, content: str | bytes) -> None:
    """As `replace`, for a place that a person named: what is there and is no file of its own stays what it is.

    A device, a pipe and a link, as /dev/stdout is, are written to; a plain file is replaced, whole. Raises OSError.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not path.is_symlink() and (path.is_file() or not path.exists()):
        replace(path, content)
        return
    with path.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)


def give(descriptor: int, owner: os.stat_result) -> None:
    """What root writes in the folder of a service, whose `stat` is given, is that service's to read and replace.

    Where root may not (in a container without that capability) it stays root's.
    """
    if os.geteuid() == 0 and os.fstat(descriptor).st_uid != owner.st_uid:
        with contextlib.suppress(OSError):
            os.fchown(descriptor, owner.st_uid, owner.st_gid)


def write(
    path: Path,
    content: str | bytes,
    *,
    durable: bool = False,
    mode: int = 0o666,
    owner: os.stat_result | None = None,
) -> None:
    """Write `content` to a new file; `durable`: on disk when this returns. Raises OSError, FileExistsError too.

    Whatever has the name already, a link that somebody has put there for instance, is not written to. `owner` as in
    `give`.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with open(descriptor, "wb") as file:  # noqa: PTH123 (a descriptor, not a path)
        if owner is not None:
            give(descriptor, owner)
        file.write(content.encode() if isinstance(content, str) else content)
        if durable:
            sync(file)


def added_to(path: Path) -> IO[bytes]:
    """A plain file, opened to add to it, made where it isn't there. OSError where its name is a link's or a pipe's."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o644)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return open(descriptor, "ab")  # noqa: PTH123 (a descriptor, not a path)


def folder(path: Path) -> None:
    """Make a folder, and those above it that are missing, which nobody but the user may write to, whatever the umask.

    Raises OSError; not where it is there.
    """
    missing = [path, *path.parents]
    for step in reversed([step for step in missing if not step.exists()]):
        step.mkdir(mode=0o755, exist_ok=True)
    if not path.is_dir():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def head(path: Path, most: int) -> bytes:
    """What a file begins with, `most` bytes at most; what nobody has written to a pipe is not waited for. OSError."""
    with _open(path) as file:
        return file.read(most) or b""


def content(path: Path, most: int) -> bytes:
    """What a regular file holds. OSError where it is another thing, as a pipe, or holds more than `most`."""
    with _open(path) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        held = file.read(most + 1)
    if len(held) > most:
        raise OSError(errno.EFBIG, f"more than {most} bytes, which it never holds", str(path))
    return held


def _open(path: Path) -> IO[bytes]:
    # To open a pipe would wait for its other end.
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))


def sync(file: IO[Any]) -> None:
    """Put what was written to `file` on disk. Raises OSError."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Put the names in `folder` on disk: a file is durable only when its name is too. Raises OSError."""
    sync_path(folder)


def sync_path(path: Path) -> None:
    """Put a file that was written, or the names in a folder, on disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_folder(path: Path) -> None:
    """Remove a folder and all that is in it, as far as it can be."""
    with contextlib.suppress(OSError):
        # Imported when it is asked for: with all that it can compress it takes 0.6 MB of a muster that never asks.
        from shutil import rmtree  # noqa: PLC0415

        rmtree(path, ignore_errors=True)


def checksum(content: bytes) -> str:
    """The SHA-256 of what a file holds, in hex."""
    # Imported when it is asked for: OpenSSL comes with it, 3.6 MB of a muster that has set nothing yet.
    from hashlib import sha256  # noqa: PLC0415

    return sha256(content).hexdigest()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        remove_folder(path)
    else:
        path.unlink(missing_ok=True)
