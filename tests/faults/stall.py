"""How long the processes of a campaign were ready to run and got no processor: what a busy machine takes, measured.

A promise that is late is a fault of ours, unless the machine kept the processes from keeping it. The kernel counts for
each thread how long it waited for a processor (/proc/PID/task/TID/schedstat); that, and nothing else, is added to what
a promise may take. On a quiet machine it is nothing.
"""

import contextlib
import os
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil

T = TypeVar("T")

LOOK_S = 0.2
PARTIES = 3
"""Who one thing may have to wait for in turn: a shepherd, the network between, and a muster or its guardian."""
MOST = 0.8
"""Of the time: a promise may take five times as long as on a machine of our own, and is a fault then at last."""
KEPT_S = 900.0


class Stall(threading.Thread):
    """Looks at this process and all that came of it until the process ends."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._waited: dict[tuple[int, int], float] = {}
        self._lost: deque[tuple[float, int, int, float]] = deque()
        """When, by which process and thread, how long."""
        self._lock = threading.Lock()
        self._looking = threading.Lock()

    def run(self) -> None:
        while True:
            time.sleep(LOOK_S)  # fixed: how often it looks
            self.look()

    def look(self) -> None:
        """What was waited for since the last look; any thread may."""
        with self._looking:
            self._look()

    def _look(self) -> None:
        now = time.monotonic()
        waited = {}
        for pid in (os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))):
            for thread, seconds in _threads(pid):
                waited[pid, thread] = seconds
        with self._lock:
            for (pid, thread), seconds in waited.items():
                if (lost := seconds - self._waited.get((pid, thread), 0.0)) > 0:
                    self._lost.append((now, pid, thread, lost))
            self._waited = waited
            while self._lost and self._lost[0][0] < now - KEPT_S:
                self._lost.popleft()

    def seconds(self, since: float, until: float = float("inf")) -> float:
        """What the PARTIES that waited longest waited together, each as long as its worst thread; never more than MOST.

        What was counted at a look belongs to the time before it, so one look more is taken in.
        """
        threads: dict[tuple[int, int], float] = {}
        with self._lock:
            for at, pid, thread, lost in self._lost:
                if since < at <= until + LOOK_S:
                    threads[pid, thread] = threads.get((pid, thread), 0.0) + lost
        processes: dict[int, float] = {}
        for (pid, _), lost in threads.items():
            processes[pid] = max(processes.get(pid, 0.0), lost)
        span = min(until, time.monotonic()) - since
        return min(sum(sorted(processes.values())[-PARTIES:]), MOST * max(span, 0.0))


def _threads(pid: int) -> list[tuple[int, float]]:
    """Each thread of a process, and for how many seconds it has waited; none where it has ended."""
    found = []
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            text = (thread / "schedstat").read_text()
            found.append((int(thread.name), int(text.split()[1]) / 1e9))
    except (OSError, IndexError):
        pass
    return found


_machine = Stall()


def watch() -> None:
    """From now on."""
    if not _machine.is_alive():
        _machine.start()


def lost_s(since: float, until: float = float("inf")) -> float:
    """For how long processes of ours waited for a processor in that time."""
    return _machine.seconds(since, until)


def worst_s(since: float, span_s: float) -> float:
    """The same for the worst span of so many seconds since then."""
    now = time.monotonic()
    starts = [since + LOOK_S * n for n in range(int(max(now - since - span_s, 0) / LOOK_S) + 1)]
    return max(lost_s(start, start + span_s) for start in starts)


def wait(what: Callable[[], T | None], seconds: float) -> T | None:
    """The first value of `what` that is true; None: none within so many seconds of a machine of our own."""
    began = time.monotonic()
    patience = seconds
    while not (found := what()):
        if (took := time.monotonic() - began) > patience:
            patience = max(seconds + lost_s(began), took)
            if took >= patience:
                return None
        time.sleep(0.02)
    return found


def poll(process: "subprocess.Popen[bytes]") -> int | None:
    """Its exit code, None while it runs. What it waited for at last is counted before nobody can be asked any more."""
    if process.returncode is None:
        with contextlib.suppress(ChildProcessError):
            if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                _machine.look()
    return process.poll()


def ended(process: "subprocess.Popen[bytes]", seconds: float) -> int | None:
    """Its exit code; None where it still runs after so many seconds of a machine of our own."""
    wait(lambda: poll(process) is not None, seconds)
    return poll(process)
