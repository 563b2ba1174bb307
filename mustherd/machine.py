"""What a machine gives a process: open files, processes, memory; and what is said where it gives no more."""

import errno
import os
import resource
from types import TracebackType

from mustherd.errors import UNWRITTEN, UserError

SHEPHERD_FILES, MUSTER_FILES = 44, 32
"""Open files of a shepherd without musters and of a muster, with room for what it opens for a moment."""

FILES_A_MUSTER = 4
"""Open files that a shepherd has for each muster: three connections, and its rows."""

CHAIN = 10
"""Errors behind an error that are looked at."""

FORKS = ("/subprocess.py", "/multiprocessing/popen_fork.py", "/multiprocessing/util.py")
"""Of Python's: where a process is started."""

SQLITE_IOERR, SQLITE_CANTOPEN = 10, 14
"""Of sqlite3.h: what a file that can't be written or opened is, in an error's lowest byte. sqlite3 itself is not loaded
for it: a muster has no use for it, and `--help` neither."""


class MachineError(UserError):
    """The machine gives no more of something; the message says of what, the limit, and how it is raised."""

    exit_code = UNWRITTEN


def need_files(needed: int, who: str) -> None:
    """See that this process, or one that it starts, may open so many files. Raises MachineError.

    libzmq ends the process where it may not.
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if 0 <= hard < needed:
        raise MachineError(
            f"{who} needs {needed} open files, and a process may have {hard} here: raise the limit, as by"
            f" `ulimit -n {_rounded(needed)}`, by `nofile` in /etc/security/limits.conf or a unit's LimitNOFILE"
        )


def need_shepherds_files(musters: int) -> None:
    """See that a shepherd of so many musters may open as many files as it needs. Raises MachineError."""
    needed = SHEPHERD_FILES + FILES_A_MUSTER * musters
    need_files(needed, f"a shepherd of {musters} muster{'s' if musters > 1 else ''}")


def _rounded(needed: int) -> int:
    """A number with room that people set."""
    return max(1024, 2 * needed)


def given_out(error: BaseException) -> str:
    """What the machine doesn't give, where an error, or what brought it, comes of that: a sentence.

    '' otherwise, and of a MachineError, which says so itself.
    """
    if isinstance(error, MachineError):
        return ""
    one: BaseException | None = error
    for _ in range(CHAIN):
        if one is None:
            return ""
        if told := _of(one):
            return told
        one = one.__cause__ or one.__context__
    return ""


def _of(error: BaseException) -> str:
    number = getattr(error, "errno", None)
    if number == errno.EMFILE or _no_file(error):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = "" if hard == soft else f" of at most {_number(hard)}"
        return (
            f"this process may have {_number(soft)} open files{most}, and has them: raise the limit, as by"
            f" `ulimit -n {_rounded(soft)}`"
        )
    if number == errno.ENFILE:
        return "the machine has as many files open as it may: see `sysctl fs.file-max`, and who has them by `lsof`"
    if number == errno.EFBIG or _sqlite(error) == SQLITE_IOERR:
        soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
        if soft != resource.RLIM_INFINITY:
            return f"a file may have {soft} bytes here: raise `ulimit -f` or a unit's LimitFSIZE"
    if isinstance(error, MemoryError) or number == errno.ENOMEM:
        return "the machine gives no more memory: end what else uses it, or raise `ulimit -v` or a unit's MemoryMax"
    if (number == errno.EAGAIN and _forks(error.__traceback__)) or (
        isinstance(error, RuntimeError) and str(error).startswith("can't start new thread")
    ):
        soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
        memory, _ = resource.getrlimit(resource.RLIMIT_AS)
        more = "" if memory == resource.RLIM_INFINITY else ", `ulimit -v`"
        return (
            f"the machine starts no more processes or threads for this user, who may have {_number(soft)}: end some, or"
            f" raise `ulimit -u`{more} or a unit's TasksMax"
        )
    return ""


def _number(limit: int) -> str:
    return "any number of" if limit == resource.RLIM_INFINITY else str(limit)


def _sqlite(error: BaseException) -> int:
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


def _no_file(error: BaseException) -> bool:
    """Whether SQLite could not open a file since no more may be opened, which it doesn't say."""
    if _sqlite(error) != SQLITE_CANTOPEN:
        return False
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as second:
        return second.errno == errno.EMFILE
    return False


def _forks(trace: TracebackType | None) -> bool:
    """Whether an error arose where Python starts a process: EAGAIN of anything else is about waiting."""
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.endswith(FORKS):
            return True
        trace = trace.tb_next
    return False
