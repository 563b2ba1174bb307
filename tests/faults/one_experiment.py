"""One experiment under attack: the command, its shepherd, four simulated nodes with load and rows; what must hold."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
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
from tests.faults.disks import Disk
from tests.faults.herd import ROOT, new_tracebacks

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
START_S = 70.0
SLOW = "did not listen within"


@dataclass
class Experiment:
    """One experiment and its processes, as far as they run."""

    home: Path
    disk: Disk | None = None
    process: "subprocess.Popen[bytes] | None" = None
    known: dict[int, tuple[int, str]] = field(default_factory=dict)
    """Trials that have finished: attempt and metrics."""
    figures: dict[str, float] = field(default_factory=dict)
    """Of the attack under way."""

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
