"""What a trial costs the process that runs the experiment: in the beginning, after 300 trials, and after 3,000.

One experiment of a grid of 3,000 settings on a simulated node whose clock runs as fast as it can, with its log and its
baselines. CPU time is that of the shepherd's process, all threads; beside it that of the search's and the wall time,
with all processes on this machine.
"""

import sqlite3
import tempfile
import time
from pathlib import Path

import psutil

from mustherd.definition import content, digest, goal, loads
from mustherd.experiment.local_herd import LocalHerd, Operator
from mustherd.store.store import DATABASE, Store

WINDOWS = {30: (10, 70), 300: (250, 350), 3000: (2900, 3000)}
"""Finished trials: what is reported at them, and between which the cost of one is measured."""

LIMIT_RATIO = 1.2
"""How much dearer the 3,000th trial may be than the 30th, less than what one run differs from the next."""

POLL_S = 0.02

DEFINITION = """\
name: trial-cost
herd:
  simulated: {profile: c6220, musters: 1, speed: 10000}
workload: {preset: etc, qps: 600000, ramp_seconds: 5, window_seconds: 30}
knobs:
  itr-delay: {low: 2, high: 400, step: 2}
  dvfs: {low: 1200 MHz, high: 2600 MHz, step: 100 MHz}
constraints: [read_p99_us <= 500]
search: {method: grid}
trials: 3000
repeats: 0
"""


def run() -> dict[str, object]:
    experiment = loads(DEFINITION, "trial_cost.yml")
    marks = sorted({mark for window in WINDOWS.values() for mark in window})
    seen: dict[int, tuple[float, float, float]] = {}
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent, "x")
        Store.create(
            folder,
            name=experiment.name,
            definition=DEFINITION,
            resolved=content(experiment),
            goal=goal(experiment),
            digest=digest(experiment),
        ).close()
        with LocalHerd(folder, experiment, Operator()) as herd:
            herd.start(1)
            shepherd = _child("shepherd")
            database = sqlite3.connect(f"{(folder / DATABASE).as_uri()}?mode=ro", uri=True)
            while herd.tend() and len(seen) < len(marks):
                [finished] = database.execute("SELECT count(*) FROM trial WHERE state = 'finished'").fetchone()
                if finished >= marks[len(seen)]:
                    search = [_cpu_seconds(child.pid) for child in shepherd.children()]
                    seen[finished] = (_cpu_seconds(shepherd.pid), sum(search), time.monotonic())
                time.sleep(POLL_S)
            database.close()
            herd.interrupt()
            herd.result()
    # Polled, so a little later than at the marks themselves.
    at = dict(zip(marks, seen.items(), strict=True))
    rows = {}
    for trials, (first, last) in WINDOWS.items():
        (n1, begin), (n2, end) = at[first], at[last]
        shepherd_s, search_s, wall_s = ((b - a) / (n2 - n1) for a, b in zip(begin, end, strict=True))
        rows[trials] = {
            "shepherd_cpu_ms": round(1000 * shepherd_s, 3),
            "search_cpu_ms": round(1000 * search_s, 3),
            "wall_ms": round(1000 * wall_s, 2),
        }
    ratio = rows[3000]["shepherd_cpu_ms"] / rows[30]["shepherd_cpu_ms"]
    return {
        "per_trial_after": rows,
        "shepherd_cpu_3000_to_30": round(ratio, 3),
        "limit_ratio": LIMIT_RATIO,
        "within_limit": ratio <= LIMIT_RATIO,
    }


def _child(word: str) -> psutil.Process:
    """The child of this process whose command line holds `word`."""
    return next(child for child in psutil.Process().children() if word in child.cmdline())


def _cpu_seconds(pid: int) -> float:
    """Of all of a process's threads, those that have ended included; in hundredths, so of many trials."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system
