"""A daemon as a process: its log, its signals, and ending with its parent. Shared with the shepherd."""

import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that a process gets when its parent ends."""


def log_to_stderr(level: int) -> None:
    """One line a record, time first; systemd's journal and a file both want it so."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)


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
