"""A daemon as a process: its log, its descriptors, its signals, and ending with its parent."""

import contextlib
import ctypes
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TextIO

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


class Bounded(logging.Filter):
    """Lets so many lines of one kind through in a minute: a peer that errs on and on fills no disk.

    Lines that the same place in the source writes are of one kind. How many were held back is told by the next that
    passes. Critical ones always pass.
    """

    MOST, PERIOD_S = 200, 60.0

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._kinds: dict[tuple[str, int], tuple[float, int]] = {}
        """When the minute of a kind began, and how many lines it has had since."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written."""
        if record.levelno >= logging.CRITICAL:
            return True
        now, kind = self._now(), (record.pathname, record.lineno)
        began, lines = self._kinds.get(kind, (now, 0))
        if now - began >= self.PERIOD_S:
            if lines > self.MOST:
                record.msg = f"{record.getMessage()} ({lines - self.MOST} more like this were held back)"
                record.args = ()
            began, lines = now, 0
        self._kinds[kind] = (began, lines + 1)
        return lines < self.MOST


LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what stderr is when it writes, whoever has taken its place meanwhile."""

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, _stream: TextIO) -> None:
        """It has none of its own."""


def say_on_stderr(line: str) -> None:
    """Have what loggers let pass written to stderr, a line each, beside whatever a command prints."""
    # A reader of stderr that is gone ends no command.
    logging.raiseExceptions = False
    said = _Stderr()
    said.setFormatter(logging.Formatter(line))
    logging.getLogger().addHandler(said)


def log_to_stderr(level: int) -> None:
    """One line a record, time first; systemd's journal and a file both want it so. What floods it is held back."""
    # A log that can't be written, on a disk that is full say, is told nowhere: not in a traceback in that very log.
    logging.raiseExceptions = False
    logging.basicConfig(level=level, format=LINE, stream=sys.stderr)
    if level > logging.DEBUG:
        for handler in logging.getLogger().handlers:
            handler.addFilter(Bounded())


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
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as end:
        end.setblocking(False)
        end.connect("\0" + where[1:] if where.startswith("@") else where)
        end.send(state.encode())


def end_with(parent: int) -> None:
    """Get SIGTERM when process `parent`, which started this one, ends, however it ends."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        # It ended before we could ask to be told.
        os.kill(os.getpid(), signal.SIGTERM)
