"""What the two daemons have in common: logging to stderr, signals, and ending with their parent."""

import ctypes
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that a process gets when its parent ends."""


def log_to_stderr(verbose: bool) -> None:
    """One line a record, time first; systemd's journal and a file both want it so."""
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )


def on_stop_signal(stop: Callable[[], None]) -> None:
    """Call `stop` at SIGTERM and SIGINT; from the main thread."""

    def handle(_signal: int, _frame: object) -> None:
        stop()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)


def end_with(parent: int) -> None:
    """Get SIGTERM when process `parent`, which started this one, ends, however it ends."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        # It ended before we could ask to be told.
        os.kill(os.getpid(), signal.SIGTERM)


def stop_event() -> threading.Event:
    """An event that SIGTERM and SIGINT set."""
    event = threading.Event()
    on_stop_signal(event.set)
    return event
