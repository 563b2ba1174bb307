"""kill -9 at any moment: what the store said was on disk is there, and nothing is there in halves."""

import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mustherd.goal import Goal
from mustherd.store.store import DATABASE, Store, StoreError
from mustherd.trial import Trial, TrialKind, TrialState

KILLS = 20

WRITER = """
import sys
from mustherd.store.store import Store
from mustherd.trial import TrialKind, TrialState, Trial

with Store.open(sys.argv[1]) as store, store.own():
    store.set_status("running")
    for trial in store.requeue_running():
        print("requeued", trial.number, trial.attempt, flush=True)
    while True:
        queued = store.trials(state=TrialState.QUEUED)
        number = 1 + max((t.number for t in store.trials()), default=0)
        new = Trial(number=number, kind=TrialKind.SEARCH, settings={})
        trial = queued[0] if queued else store.add(new)
        trial = store.start(trial, "m0")
        print("running", trial.number, trial.attempt, flush=True)
        trial.state = TrialState.INVALID if trial.number % 3 == 0 and trial.attempt < 3 else TrialState.FINISHED
        trial.metrics = {"energy_joules": float(trial.number)}
        store.finish(trial, retry=trial.state is TrialState.INVALID)
        print(trial.state.value, trial.number, trial.attempt, flush=True)
        store.event("note", "x" * 2000)
"""


@pytest.mark.process
def test_killed_at_random_moments(tmp_path: Path) -> None:
    folder = tmp_path / "exp"
    Store.create(folder, name="exp", definition="", resolved={}, digest="", goal=Goal()).close()
    moments = random.Random(7)
    said: dict[tuple[int, int], str] = {}
    for _ in range(KILLS):
        child = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True)
        assert child.stdout
        first = child.stdout.readline()
        time.sleep(moments.uniform(0, 0.08))
        child.send_signal(signal.SIGKILL)
        child.wait()
        with child.stdout:
            for line in [first, *child.stdout]:
                if line.endswith("\n"):
                    state, number, attempt = line.split()
                    said[int(number), int(attempt)] = "queued" if state == "requeued" else state
        with sqlite3.connect(folder / "store.sqlite") as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        database.close()
        check(folder, said)
    assert sum(state == "finished" for state in said.values()) > KILLS


def check(folder: Path, said: dict[tuple[int, int], str]) -> None:
    with Store.open(folder, read_only=True) as store:
        trials = store.trials()
        assert store.owner() is None
    found = {(trial.number, trial.attempt): trial for trial in trials}
    order = ["queued", "running", "invalid", "finished"]
    for key, state in said.items():
        # What was said is there, or the store is a step further on.
        assert order.index(found[key].state) >= order.index(state), (key, state, found[key])
        if state in ("finished", "invalid") and found[key].reason != "shepherd-died":
            assert found[key].metrics == {"energy_joules": float(key[0])}
    numbers = {trial.number for trial in trials}
    assert numbers == set(range(1, len(numbers) + 1))
    for number in numbers:
        attempts = [trial for trial in trials if trial.number == number]
        assert [trial.attempt for trial in attempts] == list(range(1, len(attempts) + 1))
        assert all(trial.state is TrialState.INVALID for trial in attempts[:-1])
        assert attempts[-1].state is not TrialState.INVALID
    assert sum(trial.state is TrialState.RUNNING for trial in trials) <= 1
    assert sum(trial.state is TrialState.QUEUED for trial in trials) <= 1


@pytest.mark.parametrize("what", ["removed", "replaced", "moved"])
def test_what_nobody_would_find_is_not_written(what: str, tmp_path: Path) -> None:
    """SQLite itself goes on in a file that has lost its name: hours of trials would be gone when it is closed."""
    with Store.create(tmp_path / "exp", name="exp", definition="", resolved={}, digest="", goal=Goal()) as store:
        store.add(Trial(number=1, kind=TrialKind.SEARCH, settings={}))
        database = store.folder / DATABASE
        if what == "removed":
            database.unlink()
        elif what == "replaced":
            copy = tmp_path / "copy"
            copy.write_bytes(database.read_bytes())
            copy.replace(database)
        else:
            store.folder.rename(tmp_path / "elsewhere")
        with pytest.raises(StoreError, match="was moved, removed or replaced while it was written"):
            store.add(Trial(number=2, kind=TrialKind.SEARCH, settings={}))
        if what == "moved":
            (tmp_path / "elsewhere").rename(store.folder)
            store.add(Trial(number=2, kind=TrialKind.SEARCH, settings={}))
            assert len(store.trials()) == 2
