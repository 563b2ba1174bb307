"""Both sides killed, stopped and cut off at any moment: what comes out is what went in, once each, in order."""

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.log_herd import Feeder, LogHerd, render, rows
from tests.typed import some

pytestmark = pytest.mark.process

CORES = 3
ROWS = 60_000


@pytest.fixture
def herd(tmp_path: Path) -> Iterator[LogHerd]:
    made = LogHerd(tmp_path, CORES)
    try:
        yield made
    finally:
        made.end()


def chaos(herd: LogHerd, kills: int, seed: int, count: int) -> None:
    texts = [render(rows(count, core)) for core in range(CORES)]
    r = random.Random(seed)
    seconds = 0.8 * kills
    feeder = Feeder(herd, [memoryview(t) for t in texts], sum(map(len, texts)) / seconds)
    try:
        herd.start_shepherd()
        herd.start_muster()
        feeder.start()
        for _ in range(kills):
            time.sleep(r.uniform(0.05, 1.5))
            match r.choice(["muster", "shepherd", "both", "pause", "cut"]):
                case "cut":
                    herd.wire.cut(r.uniform(0.5, 2.0))
                case "muster":
                    herd.kill_muster()
                    herd.start_muster()
                case "shepherd":
                    herd.kill_shepherd()
                    herd.start_shepherd()
                case "both":
                    herd.kill_muster()
                    herd.kill_shepherd()
                    herd.start_shepherd()
                    herd.start_muster()
                case "pause":
                    os.kill(some(herd.shepherd).pid, signal.SIGSTOP)
                    time.sleep(r.uniform(0.5, 2.0))
                    os.kill(some(herd.shepherd).pid, signal.SIGCONT)
        herd.wait_for(count * CORES, 90)
    finally:
        feeder.end()
    herd.check(count, texts)


@pytest.mark.parametrize("kills", [3, pytest.param(10, marks=pytest.mark.long)])
def test_kills_and_pauses_lose_repeat_and_reorder_nothing(herd: LogHerd, kills: int) -> None:
    chaos(herd, kills, seed=random.randrange(10**6), count=ROWS)


@pytest.mark.long
@pytest.mark.parametrize("what", ["a paused shepherd", "a network that is cut"])
def test_rows_that_come_while_the_other_side_is_away_are_kept(herd: LogHerd, what: str) -> None:
    away(herd, what, seconds=4.0, count=ROWS)


def away(herd: LogHerd, what: str, *, seconds: float, count: int) -> None:
    """Most rows are made while nothing gets through, beyond the time after which the muster is held for dead."""
    texts = [render(rows(count, core)) for core in range(CORES)]
    feeder = Feeder(herd, [memoryview(t) for t in texts], sum(map(len, texts)) / (1.2 * seconds))
    try:
        herd.start_shepherd()
        herd.start_muster()
        herd.wait_started()
        feeder.start()
        herd.wait_for(1)
        if what == "a paused shepherd":
            os.kill(some(herd.shepherd).pid, signal.SIGSTOP)
            time.sleep(seconds)
            os.kill(some(herd.shepherd).pid, signal.SIGCONT)
        else:
            herd.wire.cut(seconds)
        herd.wait_for(count * CORES, 90)
    finally:
        feeder.end()
    herd.check(count, texts)
