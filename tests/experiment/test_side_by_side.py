"""Two experiments on memcacheds of one machine at the same time, by root and by somebody who may do little."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from mustherd import guard
from mustherd.locks import FileLock
from mustherd.muster.claims import FOLDER
from mustherd.node.server.group import MOUNTS, OWN_GROUPS, _places
from mustherd.store.store import Store
from mustherd.trial import TrialState
from tests import running

pytestmark = [pytest.mark.process, pytest.mark.memcached]

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
AS_NOBODY = (
    *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
    *("--bounding-set=-all,+dac_read_search", "--inh-caps=-all,+dac_read_search", "--ambient-caps=+dac_read_search"),
)
"""A user who may read what is needed of Python and this checkout, wherever they lie, and no more than any other."""
DEFINITION = """
name: {name}
herd: {{local: {{server_threads: 2, server_cores: [{core}], generator_cores: [{core}]}}}}
workload: {{preset: etc, qps: 1000, settle_seconds: 0.1, ramp_seconds: 0.3, window_seconds: 1}}
knobs: {{{knobs}}}
objective: server_cpu_seconds
search: {{method: grid}}
trials: {trials}
repeats: 1
confirmation: {{candidates: 1, rounds: 2}}
gates:
  {{achieved_ratio: 0.5, window_tolerance: 0.9, attempts: 20, same_failure: 20,
    generator: {{busy: 1, waiting: 1, unsent: 1, late: 1}}}}
"""
"""So little load, and gates so wide, that this machine may be as busy as it likes."""
KNOBS = {0: ("memcached-threads: [1, 2], cpu-quota: [50, 100]", 4), NOBODY: ("memcached-threads: [1, 2, 3]", 3)}


def begin(place: Path, name: str, core: int, user: int) -> running.Run:
    knobs, trials = KNOBS[user]
    home = place / name
    home.mkdir()
    (home / "x.yml").write_text(DEFINITION.format(name=name, core=core, knobs=knobs, trials=trials))
    os.chown(home, user, user)
    words = [sys.executable, "-m", "mustherd", "experiment", "start", "x.yml", "--into", "out", "--json", "--no-report"]
    process = subprocess.Popen(
        words if user == 0 else [*AS_NOBODY, *words],
        cwd=home, env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(home), "TMPDIR": str(home)},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    run = running.Run(process, home / "out")
    running.begun.append(run)
    return run


def left(place: Path) -> list[str]:
    """Processes of the experiments in `place`, control groups without a muster, and settings that all servers share."""
    found = [f"{n}: {Path('/proc/sys/net/core', n).read_text()}" for n in ("busy_poll", "busy_read")]
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("TMPDIR", "").startswith(str(place)):
                found.append(" ".join(process.cmdline()))
    for parent, _ in _places(MOUNTS, OWN_GROUPS):
        named = ((group, group.name.split("-")[1]) for group in parent.glob("mustherd-*"))
        found += (str(group) for group, number in named if number.isdecimal() and not psutil.pid_exists(int(number)))
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has experiments run by somebody else")
def test_each_has_its_own_server_and_leaves_nothing(place: Path) -> None:
    before, users = left(place), (0, NOBODY)
    cores = sorted(os.sched_getaffinity(0))
    pair = [
        begin(place, name, cores[k % len(cores)], user) for k, (name, user) in enumerate(zip("ab", users, strict=True))
    ]
    for run, user in zip(pair, users, strict=True):
        code, out, err = run.finish(240)
        assert code in (0, 1), err
        shown = json.loads(out)
        assert (shown["status"], shown["experiment"]) == ("done", run.folder.parent.name), err
        with Store.open(run.folder, read_only=True) as store:
            finished = store.trials(state=TrialState.FINISHED)
        assert {trial.kind for trial in finished} == {"baseline", "search", "confirm"}
        # What was asked for was there in every window, whatever the other one asked for meanwhile.
        assert all(reading.held for trial in finished for reading in trial.readings)
        settings = {tuple(sorted(t.settings.items())) for t in finished if t.kind == "search"}
        assert len(settings) == KNOBS[user][1]
    assert set(left(place)) <= set(before)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may set what all servers share")
def test_the_second_is_told_whose_a_setting_of_the_whole_machine_is(place: Path) -> None:
    """Nothing is written: the experiment that has it is this process, and the other one may not begin."""
    lock = FileLock(guard_folder() / "busy-poll.lock")
    try:
        definition = DEFINITION.format(name="second", core=0, knobs="busy-poll: [0, 50]", trials=2)
        run = running.start(place, definition, name="second")
        code, _, err = run.finish()
    finally:
        lock.close()
    assert code == 3, err
    assert f"busy-poll on node-0 of this machine is held by process {os.getpid()}" in err
    assert "stop that one, or leave busy-poll out of" in err


def guard_folder() -> Path:
    folder = Path("/") / FOLDER
    guard.own_folder(folder)
    return folder
