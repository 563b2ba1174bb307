"""Where a program of the load runs: this machine, or another one behind the same protocol."""

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from mustherd import files, programs
from mustherd.load.error import LoadError
from mustherd.node.server import tree
from mustherd.reasons import Reason

END_TIMEOUT_S = 2.0
AS_ROOT = ("sudo", "-n")
"""How a command begins that only root may give."""


class Job(Protocol):
    """A program that was started."""

    def ended(self) -> int | None:
        """Its exit code; None while it runs."""
        ...

    def output(self) -> str:
        """What it printed so far, standard error included; no more than about programs.MOST_PRINTED of it."""
        ...

    def length(self) -> int:
        """How many bytes it printed so far."""
        ...

    def end(self) -> None:
        """End it if it still runs, and let go of what it took."""
        ...


class Host(Protocol):
    """A machine that runs programs. Commands are lists of arguments; an implementation that must go through a shell
    quotes each of them.
    """

    @property
    def name(self) -> str:
        """Its address, as the other machines of the load reach it."""
        ...

    @property
    def is_here(self) -> bool:
        """Whether its clock is this machine's."""
        ...

    def start(self, argv: Sequence[str]) -> Job:
        """Start a program. LoadError when it isn't there."""
        ...

    def digest(self, program: str) -> str:
        """A digest of the program's file: equal for equal builds. LoadError when it isn't there."""
        ...

    def new_file(self) -> str:
        """The path of a new, empty file there that only its owner may read. LoadError."""
        ...

    def take(self, file: str, called: str = "") -> str:
        """What a file there holds; it is removed. LoadError, too where it holds more than programs.MOST_PRINTED.

        `called` is what errors call the file: its path tells nothing to whoever did not choose it.
        """
        ...

    def close(self) -> None:
        """Log out, where it was logged in to."""
        ...


def within_bound(job: Job, called: str) -> None:
    """Raise LoadError for a program that printed more than an answer may have."""
    if job.length() > programs.MOST_PRINTED:
        raise too_much(called)


def too_much(called: str) -> LoadError:
    """The error of an output without an end: read whole, it would take all memory."""
    allowed = f"{programs.MOST_PRINTED >> 20} MiB"
    return LoadError(Reason.OUTPUT_UNREADABLE, f"{called}: the load prints too much; allowed: {allowed}")


class LocalHost:
    """This machine."""

    def __init__(self, name: str = "127.0.0.1") -> None:
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    @property
    def is_here(self) -> bool:
        return True

    def start(self, argv: Sequence[str]) -> "LocalJob":
        if os.geteuid() == 0 and tuple(argv[:2]) == AS_ROOT:
            argv = argv[2:]  # in a unit that gains no privileges, sudo itself is refused
        self._find(argv[0])
        return LocalJob(argv)

    def digest(self, program: str) -> str:
        return hashlib.sha256(self._find(program).read_bytes()).hexdigest()

    def new_file(self) -> str:
        try:
            descriptor, path = tempfile.mkstemp(prefix="mustherd-", suffix=".samples")
        except OSError as error:
            raise LoadError(Reason.LOAD_FAILED, f"no file for samples can be made: {error.strerror}") from None
        os.close(descriptor)
        return path

    def close(self) -> None:
        """Nothing to log out of."""

    def take(self, file: str, called: str = "") -> str:
        try:
            held = files.head(Path(file), programs.MOST_PRINTED + 1)
            Path(file).unlink()
        except OSError as error:
            raise LoadError(Reason.LOAD_FAILED, f"{called or file}: {error.strerror}") from None
        if len(held) > programs.MOST_PRINTED:
            raise too_much(called or file)
        return held.decode("ascii", "replace").replace("\r\n", "\n")

    @staticmethod
    def _find(program: str) -> Path:
        found = shutil.which(program)
        if found is None:
            raise LoadError(Reason.TOOL_MISSING, f"{program} is not installed here, or not executable")
        return Path(found)


class LocalJob:
    """A process of this one."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the job
        try:
            self._process = subprocess.Popen(
                list(argv), stdin=subprocess.DEVNULL, stdout=self._said, stderr=subprocess.STDOUT
            )
        except OSError as error:
            self._said.close()
            raise LoadError(Reason.TOOL_MISSING, f"{argv[0]}: {error.strerror}") from None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ended(self) -> int | None:
        return self._process.poll()

    def output(self) -> str:
        if self._said.closed:
            return ""
        # The file's position is the process's as well: reading must not move it.
        descriptor = self._said.fileno()
        return os.pread(descriptor, min(self.length(), programs.MOST_PRINTED), 0).decode("utf-8", "replace")

    def length(self) -> int:
        return 0 if self._said.closed else os.fstat(self._said.fileno()).st_size

    def end(self) -> None:
        # What it started is known as long as it lives itself.
        started = tree.handles(tree.members(self.pid)[1:]) if self._process.poll() is None else []
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_TIMEOUT_S)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for one in started:
            with contextlib.suppress(OSError):  # it has ended, or become somebody else's
                signal.pidfd_send_signal(one, signal.SIGKILL)
            os.close(one)
        self._said.close()
