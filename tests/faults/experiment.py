"""Attacks on a whole experiment: the command, its shepherd, four simulated nodes with load and row logs.

It is hit, looked at, and gone on with, again and again; at last it is left alone until it ends.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.faults import stall
from tests.faults.campaign import Campaign, Outcome
from tests.faults.disks import Disk
from tests.faults.harm import CAUGHT
from tests.faults.one_experiment import Experiment
from tests.faults.schedule import Event, Kind, schedule
from tests.typed import some

END_S = 60.0
"""How long a command may take to end."""
STOPPED, FAILED, INTERRUPTED = 4, 3, 130

TARGETS = ("command", "shepherd", "muster-1", "musters", "shepherd and muster-1")


def _all_gone(processes: list[psutil.Process], seconds: float) -> list[str]:
    stall.wait(lambda: not any(one.is_running() for one in processes), seconds)
    left = [one for one in processes if one.is_running()]
    return [f"process {p.pid} is left: {' '.join(p.cmdline())[-120:]}" for p in left]


def _hit(experiment: Experiment, target: str, number: int) -> tuple[list[str], int | None]:
    """A signal to one part or several; the command is then waited for, or stopped. Gives faults and its exit code."""
    parts = experiment.parts()
    names = {
        "musters": [name for name in parts if name.startswith("muster-")],
        "shepherd and muster-1": ["shepherd", "muster-1"],
    }.get(target, [target])
    processes = experiment.everything()
    began = time.monotonic()
    for name in names:
        if name in parts:
            with contextlib.suppress(ProcessLookupError):
                os.kill(parts[name], number)
    if target in ("muster-1", "musters"):
        # It is started again, and the experiment goes on.
        time.sleep(3.0)  # fixed: what starts it again waits 2 s
        if experiment.process is not None:
            began = time.monotonic()
            experiment.process.send_signal(signal.SIGINT)
    assert experiment.process is not None
    code = stall.ended(experiment.process, END_S)
    if code is None:
        return [f"the command has not ended {END_S:g} s after that"], None
    faults = _all_gone(processes, END_S)
    experiment.figures["ended_s"] = time.monotonic() - began
    return faults, code


def hit(experiment: Experiment, event: Event) -> list[str]:
    """A kill or a signal at some moment."""
    experiment.begin()
    time.sleep(event.seconds)
    if experiment.over:
        return ["it had ended before"]
    if (event.target, event.way) == ("shepherd", "SIGHUP"):
        # It reads its keys again, once it serves, and the experiment goes on.
        stall.wait(lambda: experiment.over or experiment.finished() > 0, END_S)
        os.kill(experiment.parts()["shepherd"], signal.SIGHUP)
        return _goes_on(experiment)
    faults, code = _hit(experiment, event.target, signal.Signals[event.way])
    stopped_in_order = event.target in ("muster-1", "musters") or (event.target == "command" and event.way == "SIGINT")
    said = {0: "that is what a verdict 'met' has", 1: "so a verdict 'not met' has", 2: "it says that nothing was done"}
    if code in said:
        faults.append(f"exit code {code}: {said[code]}")
    elif stopped_in_order and code not in (STOPPED, INTERRUPTED):
        faults.append(f"it was stopped in order and ended with {code}")
    elif event.target == "shepherd" and event.way == "SIGKILL" and code != FAILED:
        faults.append(f"its shepherd was killed and it ended with {code}")
    return faults


def second_owner(experiment: Experiment, event: Event) -> list[str]:
    """Another command goes on with it while it runs: refused, and the first goes on."""
    experiment.begin()
    time.sleep(event.seconds)
    second = experiment.spawn("experiment", "resume", experiment.folder)
    code = stall.ended(second, END_S)
    faults = [] if code == 2 else [f"a second owner ended with {code}, not 2"]
    if experiment.over:
        faults.append("the first one ended")
    more, _ = _hit(experiment, "command", signal.SIGINT)
    return faults + more


def output_gone(experiment: Experiment, event: Event) -> list[str]:
    """Whoever read its output goes away: the experiment goes on."""
    reading, writing = os.pipe()
    experiment.begin(out=writing)
    os.close(writing)
    time.sleep(event.seconds)
    os.close(reading)
    return [*_ended(experiment, "when its output was gone"), *_goes_on(experiment)]


def stopped_disk(experiment: Experiment, event: Event) -> list[str]:
    """Its disk stands still for a while, or is as slow as one that is about to break: it goes on."""
    assert experiment.disk is not None
    experiment.begin()
    stall.wait(experiment.finished, END_S)
    if event.way == "hangs":
        experiment.disk.hang(event.seconds)
    else:
        experiment.disk.crawl(event.seconds)
    return [*_ended(experiment, "when its disk stood still"), *_goes_on(experiment)]


def full_disk(experiment: Experiment, event: Event) -> list[str]:
    """Its disk is full for a while: it waits for room and goes on."""
    assert experiment.disk is not None
    experiment.begin()
    stall.wait(experiment.finished, END_S)
    experiment.disk.fill()
    time.sleep(event.seconds)
    faults = _ended(experiment, "when its disk was full")
    experiment.disk.empty()
    return [*faults, *_goes_on(experiment)]


def broken_disk(experiment: Experiment, event: Event) -> list[str]:
    """It gives errors: the command ends and says so. When it is there again, it goes on with all that had finished."""
    assert experiment.disk is not None
    experiment.begin()
    stall.wait(experiment.finished, END_S)
    time.sleep(event.seconds)
    if experiment.over:
        return ["it had ended before"]
    processes = experiment.everything()
    began = time.monotonic()
    experiment.disk.break_()
    code = stall.ended(some(experiment.process), END_S)
    faults = [] if code == FAILED else [f"it ended with {code}, not {FAILED}, when its disk broke"]
    faults += _all_gone(processes, END_S)
    broken_s = time.monotonic() - began
    said = experiment.log.read_text().splitlines()[-1]
    if not said.startswith(("mustherd: ", "logs: ", "folder: ")):
        faults.append(f"it doesn't say why: {said}")
    experiment.disk.mend()
    experiment.begin()
    faults += _goes_on(experiment)
    experiment.figures["ended_s"] = broken_s
    return faults


def _ended(experiment: Experiment, when: str) -> list[str]:
    """A sentence if it has."""
    code = stall.poll(experiment.process) if experiment.process else None
    return [] if code is None else [f"it ended with {code} {when}"]


def _goes_on(experiment: Experiment) -> list[str]:
    """A trial finishes, and it can be stopped in order."""
    if experiment.over:
        return []
    before, since = experiment.finished(), time.monotonic()
    faults = []
    if not stall.wait(lambda: experiment.over or experiment.finished() > before, END_S):
        faults.append("no trial finished after that")
    experiment.figures["next_s"] = time.monotonic() - since
    if gone := _ended(experiment, "after that"):
        return [*faults, *gone]
    more, _ = _hit(experiment, "command", signal.SIGINT)
    return faults + more


@dataclass(frozen=True)
class Attack:
    """One kind of attack on an experiment."""

    kind: Kind
    expected: str
    act: Callable[[Experiment, Event], list[str]]
    tests: tuple[str, ...]
    """Of the project's, which stand for it."""
    as_root: bool = False


ATTACKS = (
    Attack(
        Kind("kill parts of an experiment", TARGETS, (0.2, 5.0), ("SIGKILL",)),
        "nodes as found, no process left, finished trials once and unchanged, an exit code that says it did not end",
        hit,
        (
            "tests/store/test_store_kill.py::test_killed_at_random_moments",
            "tests/experiment/test_experiment.py::test_kills_of_the_shepherd_lose_no_finished_trial",
            "tests/attacks/test_left_behind.py::test_where_all_were_killed_whoever_looks_is_told_and_resume_puts_it_back",
        ),
    ),
    Attack(
        Kind("signal an experiment", ("command", "shepherd"), (0.2, 5.0), CAUGHT),
        "it ends in order: nodes as found, no process left, finished trials unchanged, an exit code that says so",
        hit,
        (
            "tests/cli/test_ending.py::test_a_signal_ends_it_as_ctrl_c_does_and_somebody_is_told",
            "tests/experiment/test_experiment.py::test_ctrl_c_stops_in_good_order_and_resume_goes_on",
        ),
    ),
    Attack(
        Kind("go on with an experiment twice", seconds=(0.2, 3.0)),
        "the second ends with exit code 2; the first goes on",
        second_owner,
        (
            "tests/store/test_store.py::test_one_owner_at_a_time",
            "tests/attacks/test_odd_ends.py::test_of_four_starts_in_one_folder_one_runs_and_the_others_are_told",
        ),
    ),
    Attack(
        Kind("take an experiment's output away", seconds=(0.5, 3.0)),
        "it goes on without",
        output_gone,
        ("tests/attacks/test_exit_codes.py::test_an_experiment_goes_on_when_nobody_reads_it_any_more",),
    ),
    Attack(
        Kind("fill the disk of an experiment", seconds=(1.0, 6.0)),
        "it waits for room and goes on",
        full_disk,
        ("tests/attacks/test_exit_codes.py::test_a_store_waits_for_room_and_then_writes_once",),
        as_root=True,
    ),
    Attack(
        Kind("break the disk of an experiment", seconds=(0.0, 3.0)),
        "it ends with exit code 3 and says why; what had finished is there when the disk is, and it goes on",
        broken_disk,
        ("tests/attacks/test_broken_disks.py::test_the_disk_of_an_experiment",),
        as_root=True,
    ),
    Attack(
        Kind("stop the disk of an experiment", seconds=(2.0, 8.0), ways=("hangs", "crawls")),
        "it goes on when its disk does",
        stopped_disk,
        ("tests/attacks/test_broken_disks.py::test_an_experiment_waits_for_a_disk_that_stands_still",),
        as_root=True,
    ),
)


def on_an_experiment(
    home: Path,
    seed: int,
    *,
    until_s: float,
    as_root: bool,
    only: list[str] | None = None,
    tell: Callable[[str], object] = print,
) -> Campaign:
    """Attack one experiment again and again, for so many seconds or, with `only`, with one event of each of these."""
    attacks = {a.kind.name: a for a in ATTACKS if (as_root or not a.as_root) and (only is None or a.kind.name in only)}
    in_memory = seed % 2 == 1 and only is None
    if in_memory:
        for name in ("stop the disk of an experiment", "break the disk of an experiment"):
            attacks.pop(name, None)
    came = Campaign(seed, chosen=only is not None)
    if not attacks:
        return came
    began = time.monotonic()
    home.mkdir(parents=True, exist_ok=True)
    disk = Disk(home, "disk", 192, in_memory=in_memory) if as_root else None
    experiment = Experiment(home / "x", disk)
    try:
        for event in schedule(seed, [attack.kind for attack in attacks.values()]):
            if time.monotonic() - began > until_s or (only is not None and len(came.outcomes) == len(attacks)):
                break
            tell(str(event))
            attacked = time.monotonic()
            experiment.figures.clear()
            faults = attacks[event.attack].act(experiment, event)
            stall.wait(lambda: not experiment._nodes(), 10)
            faults += experiment.check()
            kept = {"kept": float(len(experiment.known)), "starved_s": stall.lost_s(attacked)}
            came.outcomes.append(Outcome(event, faults, {**experiment.figures, **kept}))
            for fault in came.outcomes[-1].faults:
                tell(f"    {fault}")
        came.figures = {"finished_trials": float(len(experiment.known))}
    finally:
        experiment.close()
        if disk is not None:
            disk.close()
        came.seconds = time.monotonic() - began
    return came
