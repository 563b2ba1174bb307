"""A herd whose shepherd's or muster's disk is full for a while, in a mount namespace of its own: see test_full_disk.py.

Run with a folder, a scenario and as root of a namespace that may mount; prints one JSON object.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.log_herd import Feeder, LogHerd, render, rows
from tests.typed import some

CORES = 3
ROWS = 25_000
FIRST = 5_000
"""Rows of each core that come while there is room."""
LEFT_BYTES = 400_000
"""Room for a third of the others."""


def mount(folder: Path, mib: int) -> None:
    """A disk of that size."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(folder)], check=True)


def free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def standing_still(value: Callable[[], int], seconds: float = 1.5) -> int:
    """The value once it has not changed for so long."""
    last, since = value(), time.monotonic()
    while time.monotonic() - since < seconds:
        time.sleep(0.1)
        if (now := value()) != last:
            last, since = now, time.monotonic()
    return last


def fill(herd: LogHerd, feeder: Feeder) -> tuple[Path, dict[str, int]]:
    """Leave the shepherd less room than what comes now takes: what takes the room, and what became of the rows."""
    ballast = herd.experiment / "ballast"
    ballast.write_bytes(bytes(free(herd.experiment) - LEFT_BYTES))
    feeder.start()
    # The muster takes rows all the while.
    feeder.join(60)
    taken = not feeder.is_alive()
    return ballast, {"written_when_full": standing_still(herd.written), "all_taken_meanwhile": taken}


def shepherds_disk(herd: LogHerd, feeder: Feeder) -> dict[str, int]:
    """It is full when rows come; they wait at the muster until there is room."""
    ballast, found = fill(herd, feeder)
    ballast.unlink()
    return found


def musters_disk(herd: LogHerd, feeder: Feeder) -> dict[str, int]:
    """It is full while the shepherd stands still; rows wait in their sources until it goes on."""
    os.kill(some(herd.shepherd).pid, signal.SIGSTOP)
    feeder.start()
    sent = standing_still(lambda: feeder.sent)
    left = free(some(herd.spool))
    alive = feeder.is_alive()
    os.kill(some(herd.shepherd).pid, signal.SIGCONT)
    return {"taken_when_full": sent, "all_taken_meanwhile": not alive, "free_when_full": left}


def both_lives(herd: LogHerd, feeder: Feeder) -> dict[str, int]:
    """The shepherd's disk is full, and both sides are killed and start anew before there is room."""
    ballast, found = fill(herd, feeder)
    herd.kill_muster()
    herd.kill_shepherd()
    herd.start_shepherd()
    herd.start_muster()
    herd.wait_started()
    ballast.unlink()
    return found


SCENARIOS = {"shepherd": shepherds_disk, "muster": musters_disk, "both": both_lives}


def main() -> None:
    home, scenario = Path(sys.argv[1]), sys.argv[2]
    if scenario == "muster":
        mount(home / "spool", 6)
        herd = LogHerd(home, CORES, spool=home / "spool")
    else:
        mount(home / "experiment", 8)
        herd = LogHerd(home, CORES)
    texts = [render(rows(ROWS, core)) for core in range(CORES)]
    cut = FIRST * len(texts[0]) // ROWS
    feeders = [Feeder(herd, [memoryview(t)[part] for t in texts]) for part in (slice(cut), slice(cut, None))]
    try:
        herd.start_shepherd()
        herd.start_muster()
        herd.wait_started()
        feeders[0].start()
        herd.wait_for(FIRST * CORES)
        found = SCENARIOS[scenario](herd, feeders[1])
        herd.wait_for(ROWS * CORES)
        herd.check(ROWS, texts)
    finally:
        for feeder in feeders:
            feeder.end()
        herd.end()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
