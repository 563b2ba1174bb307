"""Folders that are damaged in some way, and what the commands that read them say."""

import io
import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path

import msgspec
from typer.main import get_command

from mustherd.cli.app import app
from mustherd.errors import UserError
from mustherd.experiment.verdict import decide
from mustherd.node.intlog import COLUMNS
from mustherd.rowlog.writer import LogWriter
from mustherd.store.store import DATABASE, LOGS, Store
from mustherd.terms import Facts
from mustherd.trial import label_of
from mustherd.wire import messages as m
from tests.experiment import physics
from tests.log_herd import render, rows

RESOLVED = physics.resolved(repeats=1)
LOGGED = (2, 3)
"""Trials with log rows."""
CORES = 2
ROWS = 400


def make(folder: Path) -> Path:
    """A finished experiment with log rows of two trials, every file of it small."""
    with Store.create(
        folder,
        name="toy",
        definition="name: toy\n",
        resolved=RESOLVED,
        digest="d" * 64,
        goal=physics.goal_of(RESOLVED),
        now=lambda: 1.7e9,
    ) as store:
        for muster in ("muster-0", "muster-1"):
            facts = Facts(kind="twin", cpu="E5-2650 v2", cores=16)
            store.set_muster(muster, state="alive", facts=facts, knobs=physics.KNOBS)
        store.set_status("running")
        store.set_plan({"baseline": 4, "search": 30, "confirm": 6})
        store.event("muster-joined", "muster-0 joined")
        physics.fill(store, physics.experiment(searches=6, repeats=1))
        verdict = decide(store.trials(), physics.goal_of(RESOLVED), physics.KNOBS)
        store.set_verdict(msgspec.to_builtins(verdict))
        store.set_status("done")
    log_rows(folder)
    return folder


def log_rows(folder: Path) -> None:
    """Rows of two cores for two trials of it."""
    with LogWriter(folder) as writer:
        seq = 0
        for number in LOGGED:
            for core in range(CORES):
                seq += 1
                block = m.Block(
                    muster_epoch=1,
                    shepherd_epoch=1,
                    spool=99,
                    seq=seq,
                    label=label_of(number, 1),
                    stream=f"ixgbe-log-core-{core}",
                    form="text",
                    columns=COLUMNS,
                )
                writer.put("muster-0", block, memoryview(render(rows(ROWS, core, seed=number))))
        assert writer.flush("muster-0", 99, seq, 30.0)


def copy(folder: Path, to: Path) -> Path:
    """The folder once more."""
    shutil.copytree(folder, to)
    return to


def change(folder: Path, sql: str, *values: object, file: str = DATABASE) -> None:
    """Change a folder's database as another program might, checks of the tables or none."""
    with sqlite3.connect(folder / file) as database:
        database.execute("PRAGMA ignore_check_constraints = ON")
        database.execute(sql, values)
    database.close()


def cut(file: Path, size: int) -> None:
    """Leave the first bytes of a file."""
    os.truncate(file, size)


def turn_bits(file: Path, r: random.Random, count: int) -> None:
    """Another byte at some places of a file."""
    with file.open("r+b") as opened:
        size = file.stat().st_size
        for _ in range(count):
            opened.seek(r.randrange(size))
            opened.write(bytes([r.getrandbits(8)]))


@cache
def _command() -> Callable[..., object]:
    return get_command(app).main


class Said:
    """How a command ended and what it said."""

    def __init__(self, code: int, out: str, err: str, error: str) -> None:
        self.code, self.out, self.err, self.error = code, out, err, error

    @property
    def lines(self) -> list[str]:
        """What it said that was wrong, a line each."""
        return [*self.err.splitlines(), *self.error.splitlines()]


def said(*words: object) -> Said:
    """Run a command in this process. Whatever is no UserError is raised: it would be a traceback."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    error = ""
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = _command()([str(word) for word in words], standalone_mode=False)
        except UserError as told:
            code, error = told.exit_code, str(told)
    return Said(code if isinstance(code, int) else 0, out.getvalue(), err.getvalue(), error)


def shown(folder: Path, *, wholly: bool = False) -> Said:
    """`experiment show`: as much as can be read, a line for the rest. `wholly`: as JSON too, and in `list`."""
    found = said("experiment", "show", folder)
    for line in found.lines:
        assert len(line) < 1500, line
    if wholly:
        assert said("experiment", "show", folder, "--json").code == found.code
        listed = said("experiment", "list", folder.parent)
        assert listed.code == 0, listed.lines
        assert "toy" in listed.out
    return found


@contextmanager
def written_meanwhile(folder: Path, write: Callable[[], object]) -> Iterator[None]:
    """`write` again and again in a thread, until the block ends."""
    import threading

    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            write()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def parts(folder: Path) -> list[Path]:
    """Its Parquet files."""
    return sorted((folder / LOGS).rglob("*.parquet"))
