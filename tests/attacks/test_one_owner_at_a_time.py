"""Several commands begin or go on with one experiment at one moment: one runs it, the others touch nothing of it."""

import json
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from mustherd.experiment.left_behind import left_in
from mustherd.store.store import Store
from mustherd.trial import TrialState
from tests.attacks.test_left_behind import ORIGINALS, START_S, kill_all
from tests.running import PYTHONPATH, Run, begun, definition, start
from tests.waiting import until

pytestmark = pytest.mark.process

TRIALS = 10
HELD = definition(musters=2, trials=TRIALS, repeats=1, speed=100)

AT_ONCE = """
import sys, time
from mustherd import api
from mustherd.cli.app import main
from mustherd.experiment import left_behind, local_herd, origin, ready
from mustherd.store import store
print("ready", flush=True)
sys.stdin.read()
time.sleep(float(sys.argv.pop(1)))
main()
"""
"""A command that has imported all it needs and waits until its standard input ends, and then so many seconds more."""


class Crowd:
    """Commands that are ready and begin at one moment, `go`, each so many seconds after it."""

    def __init__(self, folder: Path, commands: list[list[str]], after_s: list[float]) -> None:
        reading, self._writing = os.pipe()
        self.runs = []
        for words, seconds in zip(commands, after_s, strict=True):
            process = subprocess.Popen(
                [sys.executable, "-c", AT_ONCE, f"{seconds:.4f}", *words],
                stdin=reading,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": PYTHONPATH},
            )
            self.runs.append(Run(process, folder))
        begun.extend(self.runs)
        os.close(reading)
        for run in self.runs:
            assert run.process.stdout is not None
            assert run.process.stdout.readline() == "ready\n"

    def go(self) -> list[Run]:
        os.close(self._writing)
        return self.runs


def resumes(folder: Path, after_s: list[float]) -> Crowd:
    words = ["experiment", "resume", str(folder), "--no-report", "--json"]
    return Crowd(folder, [words for _ in after_s], after_s)


def starts(tmp_path: Path, text: str, after_s: list[float]) -> Crowd:
    (tmp_path / "x.yml").write_text(text)
    words = ["experiment", "start", str(tmp_path / "x.yml"), "--into", str(tmp_path / "x"), "--no-report", "--json"]
    return Crowd(tmp_path / "x", [words for _ in after_s], after_s)


def owned(folder: Path) -> bool:
    with Store.open(folder, read_only=True) as store:
        return store.owner() is not None


def finished(folder: Path) -> dict[int, dict[str, float]]:
    """What was measured, by number of trial; each has finished once at most."""
    with Store.open(folder, read_only=True) as store:
        trials = [trial for trial in store.trials() if trial.state is TrialState.FINISHED]
    assert len({trial.number for trial in trials}) == len(trials)
    return {trial.number: trial.metrics for trial in trials}


def killed(tmp_path: Path, *, guardians: bool = True) -> Path:
    """The folder of an experiment of which everybody was killed in its middle; or not the guardians of its musters."""
    run = start(tmp_path, HELD)
    until(lambda: (run.folder / "store.sqlite").exists() and len(finished(run.folder)) > 1, START_S)
    everybody = [psutil.Process(run.process.pid), *run.children]
    if not guardians:
        everybody = [one for one in everybody if run.process.pid in (one.pid, one.ppid())]
    kill_all(everybody)
    run.process.communicate()
    return run.folder


def one_ran(folder: Path, runs: list[Run], before: dict[int, dict[str, float]]) -> None:
    """One of them went on to the verdict; each other one said in a line who has it, and changed nothing of it."""
    ended = [(run.process.pid, *run.finish()) for run in runs]
    told = "\n".join(f"{pid}: {code} {err}" for pid, code, _, err in ended)
    logs = "\n".join(f"{path.name}:\n{path.read_text()}" for path in sorted(folder.glob("*.log")))
    with Store.open(folder, read_only=True) as store:
        row = store.experiment()
        kinds = [event.kind for event in store.events()]
        states = {trial.state for trial in store.trials()}
    assert row.status == "done", f"{row.status_detail}\n{told}\n{logs}"
    [(winner, _, out, _)] = [one for one in ended if one[1] in (0, 1)]
    assert json.loads(out)["status"] == "done"
    for _, code, out, err in ended:
        if code in (0, 1):
            continue
        assert (code, out) == (2, ""), told
        [line] = err.splitlines()
        assert re.search(rf"{re.escape(str(folder))} is being run by process {winner}: stop that one first", line), told
    assert logs.count("is being run by") == 0, logs
    assert logs.count("accepted keys have changed") == 0, logs
    assert "muster-lost" not in kinds
    after = finished(folder)
    assert after.items() >= before.items()
    assert len(after) > TRIALS
    assert not states & {TrialState.QUEUED, TrialState.RUNNING}
    assert left_in(folder) == []
    for muster in ("muster-1", "muster-2"):
        assert json.loads((folder / "herd" / muster / "state/registers.json").read_text()) == ORIGINALS
    assert not (folder / "herd/keys").exists()


def rounds(count: int) -> list[Any]:
    """The first by day, all others by night."""
    return [pytest.param(number, marks=pytest.mark.night if number else pytest.mark.long) for number in range(count)]


def test_of_three_that_go_on_at_once_with_what_was_killed_one_does(tmp_path: Path) -> None:
    folder = killed(tmp_path)
    one_ran(folder, resumes(folder, [0.0, 0.0, 0.0]).go(), finished(folder))


@pytest.mark.parametrize("round_", rounds(6))
def test_of_four_that_go_on_at_any_moments_one_does(tmp_path: Path, round_: int) -> None:
    """The others come while the first one begins, its herd comes together, or its trials run."""
    moments = random.Random(round_)
    folder = killed(tmp_path, guardians=round_ % 2 == 0)
    after_s = [0.0, *(moments.uniform(0, (0.05, 1.0, 3.0)[round_ % 3]) for _ in range(3))]
    one_ran(folder, resumes(folder, after_s).go(), finished(folder))


@pytest.mark.parametrize("round_", rounds(3))
def test_of_starts_into_one_new_folder_one_runs(tmp_path: Path, round_: int) -> None:
    crowd = starts(tmp_path, definition(musters=2, trials=4, repeats=1), [0.0, 0.0, 0.02 * round_, 0.1 * round_])
    if round_ == 2:
        (tmp_path / "x").mkdir()
    ended = [run.finish() for run in crowd.go()]
    [won] = [one for one in ended if one[0] in (0, 1)]
    assert json.loads(won[1])["status"] == "done"
    for code, out, err in ended:
        if code not in (0, 1):
            assert (code, out) == (2, "")
            assert len(err.splitlines()) == 1
            assert str(tmp_path / "x") in err
    assert finished(tmp_path / "x")
    assert left_in(tmp_path / "x") == []


@pytest.mark.parametrize("round_", rounds(4))
def test_of_a_start_and_those_that_go_on_with_it_one_runs(tmp_path: Path, round_: int) -> None:
    """They come as soon as there is a folder, and some moments after that."""
    folder = tmp_path / "x"
    first = starts(tmp_path, HELD, [0.0])
    others = resumes(folder, [0.0, 0.3 * round_])
    first.go()
    until((folder / "store.sqlite").exists, START_S)
    one_ran(folder, first.runs + others.go(), {})


@pytest.mark.parametrize("round_", rounds(4))
def test_those_that_go_on_while_one_is_just_ending_wait_for_its_end(tmp_path: Path, round_: int) -> None:
    """Its shepherd has let go, and its command still has musters to end: one of those that come then goes on."""
    run = start(tmp_path, HELD)
    until(lambda: (run.folder / "store.sqlite").exists() and len(finished(run.folder)) > 1, START_S)
    others = resumes(run.folder, [0.0, 0.0, 0.1 * round_])
    if round_ % 2 == 0:
        run.process.send_signal(signal.SIGINT)
    else:
        run.kill_shepherd(0.0)
    until(lambda: not owned(run.folder))
    before = finished(run.folder)
    runs = others.go()
    assert run.finish()[0] == (4 if round_ % 2 == 0 else 3)
    one_ran(run.folder, runs, before)


@pytest.mark.long
def test_those_that_go_on_while_one_comes_to_its_verdict_are_told_that_it_is_done(tmp_path: Path) -> None:
    run = start(tmp_path, HELD)
    until(lambda: (run.folder / "store.sqlite").exists() and len(finished(run.folder)) > 1, START_S)
    others = resumes(run.folder, [0.0, 0.0, 0.2])
    until(lambda: not owned(run.folder), START_S)
    before = finished(run.folder)
    for one in others.go():
        code, out, err = one.finish()
        assert (code, out) == (2, "")
        assert len(err.splitlines()) == 1
        assert f"{run.folder} is done" in err
    assert run.finish()[0] in (0, 1)
    assert finished(run.folder) == before
    assert left_in(run.folder) == []
