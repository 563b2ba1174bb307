"""Attacks on a whole experiment: the command, its shepherd, four simulated nodes with load and row logs.

It is hit, looked at, and gone on with, again and again; at last it is left alone until it ends.
"""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pyarrow.parquet as pq

from mustherd.errors import UserError
from mustherd.rowlog.ledger import Ledger
from mustherd.rowlog.reader import ROW
from mustherd.store.store import DATABASE, LOGS, Store
from mustherd.trial import TrialState, label_of
from tests.faults import stall
from tests.faults.campaign import Campaign, Outcome
from tests.faults.disks import Disk
from tests.faults.harm import CAUGHT
from tests.faults.herd import ROOT, new_tracebacks
from tests.faults.schedule import Event, Kind, schedule
from tests.typed import some

MUSTERS = 4
ORIGINALS = {"itr-delay": 1, "dvfs": 2800}
DEFINITION = f"""\
name: faults
herd:
  simulated: {{profile: c6220, musters: {MUSTERS}, speed: 10, seed: 1, intlog_cores: 1}}
workload: {{preset: etc, qps: 400k, ramp_seconds: 0, settle_seconds: 0, window_seconds: 4}}
knobs:
  itr-delay: {{low: 2, high: 400, step: 2}}
  dvfs: [1200 MHz, 1600 MHz, 2000 MHz, 2600 MHz]
constraints: [read_p99_us <= 500]
search: {{method: random, seed: 1}}
trials: 5000
repeats: 2
baseline: {{settings: default, every: 10}}
"""
END_S = 60.0
"""How long a command may take to end."""
START_S = 70.0
SLOW = "did not listen within"
STOPPED, FAILED, INTERRUPTED = 4, 3, 130

TARGETS = ("command", "shepherd", "muster-1", "musters", "shepherd and muster-1")


@dataclass
class Experiment:
    """One experiment and its processes, as far as they run."""

    home: Path
    disk: Disk | None = None
    process: "subprocess.Popen[bytes] | None" = None
    known: dict[int, tuple[int, str]] = field(default_factory=dict)
    """Trials that have finished: attempt and metrics."""

    def __post_init__(self) -> None:
        self.folder = (self.disk.folder if self.disk else self.home) / "experiment"
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / "x.yml").write_text(DEFINITION)

    @property
    def log(self) -> Path:
        return self.home / "command.log"

    def spawn(self, *arguments: str | Path, out: int | None = None) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "mustherd", *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=log if out is None else out,
                stderr=log if out is None else out,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )

    def begin(self, out: int | None = None) -> None:
        """Start it, or go on with it, until it runs; a machine that is too busy to do so in time is given two more."""
        for _ in range(3):
            self._begin(out)
            if not self.over or SLOW not in self.log.read_text()[-500:]:
                return

    def _begin(self, out: int | None) -> None:
        address = self.folder / "shepherd.json"
        address.unlink(missing_ok=True)
        words = ["resume", str(self.folder)]
        if not (self.folder / DATABASE).exists():
            words = ["start", str(self.home / "x.yml"), "--into", str(self.folder)]
        self.process = self.spawn("experiment", *words, "--no-report", out=out)
        stall.wait(lambda: address.exists() or self.over, START_S)

    @property
    def over(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def finished(self) -> int:
        """How many trials have finished."""
        try:
            with Store.open(self.folder, read_only=True) as store:
                return store.counts()["finished"]
        except UserError:
            return 0

    def parts(self) -> dict[str, int]:
        """Its processes by what they are, guardians left out."""
        found: dict[str, int] = {}
        if self.process is None or self.over:
            return found
        found["command"] = self.process.pid
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children():
                with contextlib.suppress(psutil.NoSuchProcess):
                    line = " ".join(child.cmdline())
                    name = "shepherd" if "shepherd run" in line else Path(line.split()[-1]).name
                    for number in range(1, MUSTERS + 1):
                        if f"/muster-{number}/muster.toml" in line:
                            name = f"muster-{number}"
                    found[name] = child.pid
        return found

    def everything(self) -> list[psutil.Process]:
        """Every process of it."""
        if self.process is None or self.over:
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            whole = psutil.Process(self.process.pid)
            return [whole, *whole.children(recursive=True)]
        return []

    # --- what has to hold when nothing of it runs ---

    def check(self) -> list[str]:
        """Nodes are as they were found, trials and rows as they were."""
        return [*self._nodes(), *self._trials(), *self._rows(), *self._logs()]

    def _nodes(self) -> list[str]:
        faults = []
        for number in range(1, MUSTERS + 1):
            state = self.folder / "herd" / f"muster-{number}" / "state"
            with contextlib.suppress(FileNotFoundError):
                if (found := json.loads((state / "registers.json").read_text())) != ORIGINALS:
                    faults.append(f"muster-{number} is left at {found}")
                if left := json.loads((state / "originals.json").read_text())["originals"]:
                    faults.append(f"muster-{number} has {left} to put back")
        return faults

    def _trials(self) -> list[str]:
        try:
            with Store.open(self.folder, read_only=True) as store:
                rows = store.trials(state=TrialState.FINISHED)
        except UserError as error:
            return [str(error)] if (self.folder / DATABASE).exists() else []
        faults = []
        now = {trial.number: (trial.attempt, repr(sorted(trial.metrics.items()))) for trial in rows}
        if len(now) != len(rows):
            faults.append("a number has two finished trials")
        for number, what in self.known.items():
            if number not in now:
                faults.append(f"trial {number} had finished and has not")
            elif now[number] != what:
                faults.append(f"trial {number} had finished otherwise")
        self.known = now
        database = sqlite3.connect(f"{(self.folder / DATABASE).as_uri()}?mode=ro", uri=True)
        with contextlib.closing(database):
            if database.execute("PRAGMA integrity_check").fetchone() != ("ok",):
                faults.append("the store is damaged")
        return faults

    def _rows(self) -> list[str]:
        if not (self.folder / LOGS / "ledger.sqlite").exists():
            return []
        faults = []
        labels = {label_of(number, attempt) for number, (attempt, _) in self.known.items()}
        with Ledger(self.folder / LOGS) as ledger:
            written: dict[tuple[str, str, str], int] = {}
            for part in ledger.parts():
                if not part.rows:
                    continue
                numbers = pq.read_table(ledger.file(part), columns=[ROW]).column(ROW).to_pylist()
                if len(numbers) != part.rows or numbers != sorted(set(numbers)):
                    faults.append(f"{part.path}: {len(numbers)} rows of {part.rows}, or not in order")
                key = (part.label, part.muster, part.stream)
                written[key] = written.get(key, 0) + len(numbers)
            booked = {(b.label, b.muster, b.stream): b.account for b in ledger.accounts()}
        for key, account in booked.items():
            malformed = sum(account.malformed.values())
            if account.written != written.get(key, 0):
                faults.append(f"{key}: {written.get(key, 0)} rows on disk, {account.written} in the books")
            if key[0] in labels and account.produced != account.written + malformed + account.rows_lost:
                faults.append(f"{key}: {account} doesn't add up")
        missing = labels - {label for label, _, _ in booked}
        if missing:
            faults.append(f"finished trials without rows: {sorted(missing)[:5]}")
        return faults

    def _logs(self) -> list[str]:
        logs = [self.log, *self.folder.glob("*.log")]
        return [f"{log.name}: {line}" for log in logs if log.exists() for line in new_tracebacks(log)]

    def close(self) -> None:
        for process in self.everything():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)
                process.kill()
        if self.process is not None:
            self.process.wait()


def _all_gone(processes: list[psutil.Process], seconds: float) -> list[str]:
    stall.wait(lambda: not any(process.is_running() for process in processes), seconds)
    left = [process for process in processes if process.is_running()]
    return [f"process {p.pid} is left: {' '.join(p.cmdline())[-120:]}" for p in left]


def _hit(experiment: Experiment, target: str, number: int) -> tuple[list[str], int | None]:
    """A signal to one part or several; the command is then waited for, or stopped. Gives faults and its exit code."""
    parts = experiment.parts()
    names = {
        "musters": [name for name in parts if name.startswith("muster-")],
        "shepherd and muster-1": ["shepherd", "muster-1"],
    }.get(target, [target])
    processes = experiment.everything()
    for name in names:
        if name in parts:
            with contextlib.suppress(ProcessLookupError):
                os.kill(parts[name], number)
    if target in ("muster-1", "musters"):
        # It is started again, and the experiment goes on.
        time.sleep(3.0)  # fixed: what starts it again waits 2 s
        if experiment.process is not None:
            experiment.process.send_signal(signal.SIGINT)
    assert experiment.process is not None
    code = stall.ended(experiment.process, END_S)
    if code is None:
        return [f"the command has not ended {END_S:g} s after that"], None
    return _all_gone(processes, END_S), code


def hit(experiment: Experiment, event: Event) -> list[str]:
    """A kill or a signal at some moment."""
    experiment.begin()
    time.sleep(event.seconds)
    if experiment.over:
        return ["it had ended before"]
    number = signal.Signals[event.way]
    faults, code = _hit(experiment, event.target, number)
    stopped_in_order = event.target in ("muster-1", "musters") or (event.target == "command" and event.way == "SIGINT")
    if code == 0:
        faults.append("exit code 0: that is what a verdict 'met' has")
    elif code == 1:
        faults.append("exit code 1: that is what a verdict 'not met' has")
    elif code == 2:
        faults.append("exit code 2: that says that nothing was done")
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
    experiment.disk.break_()
    code = stall.ended(some(experiment.process), END_S)
    faults = [] if code == FAILED else [f"it ended with {code}, not {FAILED}, when its disk broke"]
    faults += _all_gone(processes, END_S)
    said = experiment.log.read_text().splitlines()[-1]
    if not said.startswith(("mustherd: ", "logs: ", "folder: ")):
        faults.append(f"it doesn't say why: {said}")
    experiment.disk.mend()
    experiment.begin()
    return [*faults, *_goes_on(experiment)]


def _ended(experiment: Experiment, when: str) -> list[str]:
    """A sentence if it has."""
    code = stall.poll(experiment.process) if experiment.process else None
    return [] if code is None else [f"it ended with {code} {when}"]


def _goes_on(experiment: Experiment) -> list[str]:
    """A trial finishes, and it can be stopped in order."""
    if experiment.over:
        return []
    before = experiment.finished()
    faults = []
    if not stall.wait(lambda: experiment.over or experiment.finished() > before, END_S):
        faults.append("no trial finished after that")
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
    as_root: bool = False


ATTACKS = (
    Attack(
        Kind("kill parts of an experiment", TARGETS, (0.2, 5.0), ("SIGKILL",)),
        "nodes as found, no process left, finished trials once and unchanged, an exit code that says it did not end",
        hit,
    ),
    Attack(
        Kind("signal an experiment", ("command", "shepherd"), (0.2, 5.0), CAUGHT),
        "it ends in order: nodes as found, no process left, finished trials unchanged, an exit code that says so",
        hit,
    ),
    Attack(
        Kind("go on with an experiment twice", seconds=(0.2, 3.0)),
        "the second ends with exit code 2; the first goes on",
        second_owner,
    ),
    Attack(Kind("take an experiment's output away", seconds=(0.5, 3.0)), "it goes on without", output_gone),
    Attack(
        Kind("fill the disk of an experiment", seconds=(1.0, 6.0)),
        "it waits for room and goes on",
        full_disk,
        as_root=True,
    ),
    Attack(
        Kind("break the disk of an experiment", seconds=(0.0, 3.0)),
        "it ends with exit code 3 and says why; what had finished is there when the disk is, and it goes on",
        broken_disk,
        as_root=True,
    ),
    Attack(
        Kind("stop the disk of an experiment", seconds=(2.0, 8.0), ways=("hangs", "crawls")),
        "it goes on when its disk does",
        stopped_disk,
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
            faults = attacks[event.attack].act(experiment, event)
            stall.wait(lambda: not experiment._nodes(), 10)
            figures = {"starved_s": stall.lost_s(attacked)}
            came.outcomes.append(Outcome(event, faults + experiment.check(), figures))
            for fault in came.outcomes[-1].faults:
                tell(f"    {fault}")
        came.figures = {"finished_trials": float(len(experiment.known))}
    finally:
        experiment.close()
        if disk is not None:
            disk.close()
        came.seconds = time.monotonic() - began
    return came
