"""A daemon as a process: its descriptors, its signals, and ending with its parent."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from types import FrameType
from typing import IO

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that a process gets when its parent ends."""

# signal(7): what can't be caught; what doesn't end a process (Python ignores SIGPIPE and SIGXFSZ); and what a fault of
# the process itself brings, which comes again when a handler returns.
_NOT_CAUGHT = {signal.SIGKILL, signal.SIGSTOP}
_NO_END = {
    *(signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH, signal.SIGPIPE, signal.SIGXFSZ),
    *(signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU),
}
_FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS}


STOP_SIGNALS = tuple(
    number
    for number in sorted(signal.valid_signals())
    if number not in _NOT_CAUGHT and number not in _NO_END and number not in _FAULTS
)
"""Every signal that would end a process and can be caught, real-time ones too."""


class EndedError(KeyboardInterrupt):
    """A signal told this process to end in good order: what holds of Ctrl-C holds of it."""


AGAIN_S = 0.05
"""After which a signal that came in the middle of an import comes again."""


def may_raise(number: int, frame: FrameType | None) -> bool:
    """For the handler of signal `number`: whether it may raise where it is; otherwise the signal comes again soon.

    An import that an exception ends leaves half a module behind: numpy, for one, can't be imported a second time.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            again = threading.Timer(AGAIN_S, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
            return False
        frame = frame.f_back
    return True


class Stop(threading.Event):
    """Set when something shall end in good order; `why` says who wants it, as the end of a sentence."""

    why = ""

    def ask(self, why: str) -> None:
        """Set it. The first reason counts."""
        self.why = self.why or why
        self.set()


def keep_descriptors() -> None:
    """Give standard input, output and error somewhere to go where they were closed.

    Otherwise the next file that is opened takes their numbers, and what is printed goes into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free: this one.
            os.open(os.devnull, os.O_RDWR)


def keep_others_out() -> None:
    """Let nobody but the user change what this process and its children make, whatever umask it was started with.

    What others could have written is refused when it is read (mustherd.guard): under umask 002, which is usual where
    each user has a group, an experiment's own folder would be.
    """
    os.umask(os.umask(0o077) | 0o022)


class StopSignals:
    """Which signal has stopped this process, and what it says about its exit."""

    def __init__(self, stop: Callable[[], None], reread: Callable[[], object] | None = None) -> None:
        """From the main thread: call `stop` at every signal that would end this process; `reread` at SIGHUP instead."""
        self.number = 0

        def handle(number: int, _frame: object) -> None:
            self.number = self.number or number
            stop()

        for number in STOP_SIGNALS:
            signal.signal(number, handle)
        if reread is not None:
            signal.signal(signal.SIGHUP, lambda *_: reread())

    def who(self, parent: int) -> str:
        """Who that was, as the end of a sentence; `parent` is the process that this one ends with, 0: none."""
        if parent and os.getppid() != parent:
            return "the command that ran it is gone"
        name = signal.Signals(self.number).name if self.number else "no signal"
        return f"it was interrupted ({name})" if self.number == signal.SIGINT else f"it was told to end by {name}"

    def exit_code(self, code: int) -> int:
        """`code`, or where all went well after a signal that nobody stops a service with, 128 and its number.

        systemd would take some of them for a clean end and not start the service again.
        """
        return code or (0 if self.number in (0, signal.SIGTERM, signal.SIGINT) else 128 + self.number)


def notify(state: str) -> None:
    """Tell systemd (sd_notify(3)): `READY=1`, `WATCHDOG=1`. Nothing where it doesn't wait for that."""
    where = os.environ.get("NOTIFY_SOCKET", "")
    if not where:
        return
    # Only a unit has one; what is imported with this module is imported by every command.
    import socket  # noqa: PLC0415

    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as end:
        end.setblocking(False)
        end.connect("\0" + where[1:] if where.startswith("@") else where)
        end.send(state.encode())


def end_with(parent: int) -> None:
    """Get SIGTERM when process `parent`, which started this one, ends, however it ends."""
    import ctypes  # noqa: PLC0415 - as above

    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        # It ended before we could ask to be told.
        os.kill(os.getpid(), signal.SIGTERM)


def killed_with(parent: int) -> Callable[[], None]:
    """What a new process does before it becomes a program, so that the kernel kills it with the thread that made it."""
    import ctypes  # noqa: PLC0415 - as above

    prctl = ctypes.CDLL(None).prctl

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return ask


def how_ended(code: int | None) -> str:
    """How a process ended, in words; `code` as subprocess has it, below 0 where a signal killed it; None: not known."""
    if code is None:
        return "ended"
    if code >= 0:
        return f"ended with exit code {code}"
    # Not every number has a name.
    name = f" ({signal.Signals(-code).name})" if -code in set(signal.Signals) else ""
    return f"was killed by signal {-code}{name}"


class OnStderr:
    """A stdout whose text goes to stderr; where that takes nothing the text is lost, and who prints doesn't notice."""

    def write(self, text: str) -> int:
        if sys.stderr is not None:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if sys.stderr is not None:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.flush()

    def __getattr__(self, name: str) -> object:
        """Whatever else an output has, such as `buffer` and `isatty`."""
        return getattr(sys.stderr, name)


def printing_on_stderr() -> contextlib.AbstractContextManager[object]:
    """What is printed meanwhile goes to stderr, since stdout may be for JSON alone; but not in a thread beside the main
    one, since two that change the whole process's stdout would not put it back."""
    if threading.current_thread() is not threading.main_thread():
        return contextlib.nullcontext()
    return contextlib.redirect_stdout(OnStderr())


def hush(*gone: IO[str] | None) -> None:
    """Print nothing more where what reads the output is gone, or can't take it. Not even the interpreter at its end.

    `gone`: outputs of which this is known. Of the others it is seen where they still hold what they could not write;
    one without a buffer holds nothing.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
            if stream not in gone:
                continue
        except OSError:
            pass
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, stream.fileno())
        os.close(descriptor)
