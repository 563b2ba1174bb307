"""The keeper on the reference's steps and on a day's sine: energy against the oracle's, time over the limit.

In the same run, under the same load: `nop` (the machine as it was found), the trial-by-trial `follow` (each window of
30 s at the settings for the load of the one before) and the reference's rule (frames of 1,024 rows of each core, a load
that three guesses in a row name). All choose from the same learnt book, with its noise. The oracle follows that book,
without noise, by the true load, at once; `over_least` is against the least power of any settings that keep the limit
less the margin, which is finer than any table of some loads. A frame is over the limit when p99 is above it, or when
less than 98 % of the load is answered.
"""

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Protocol

from mustherd.keep.book import Book
from mustherd.keep.keeper import Keeper
from mustherd.keep.options import Options
from mustherd.learn.load_estimate import C6220, LoadGuesser
from mustherd.node.twin.live import Frame, LiveTwin, Trace, day, steps
from tests.benchmarks._keep_world import DEFAULT, LIMIT, SAFE, Oracle, Tally, World, twin_book

LEVELS = (400e3, 800e3, 600e3, 200e3, 400e3, 100e3)
STEP_S = 30.0
CYCLES = 20
DAY_S = 86_400.0
FRAME_S = 0.5
ROWS, ROW_S = 1024, 1e-3
MARGIN = 0.06
AIM = LIMIT * (1 - MARGIN)
MOST_ENERGY, MOST_OVER = 0.03, 0.005


class Follower(Protocol):
    def step(self, now: float, frame: Frame) -> Mapping[str, int] | None:
        """What to set after a frame; None: as before."""
        ...


class Nop:
    def step(self, now: float, frame: Frame) -> Mapping[str, int] | None:
        return None


class TrialByTrial:
    def __init__(self, book: Book) -> None:
        self._book = book
        self._loads: list[float] = []
        self._next = STEP_S

    def step(self, now: float, frame: Frame) -> Mapping[str, int] | None:
        self._loads.append(frame.load)
        if now < self._next - 1e-9:
            return None
        load = sum(self._loads) / len(self._loads)
        self._loads, self._next = [], self._next + STEP_S
        return nearest(self._book, load)


class Reference:
    def __init__(self, book: Book) -> None:
        self._book = book
        self._guesser = LoadGuesser()
        self._settings: Mapping[str, int] = DEFAULT
        self._loads: list[float] = []
        self._left = self._frame_s()

    def step(self, now: float, frame: Frame) -> Mapping[str, int] | None:
        self._loads.append(frame.load)
        self._left -= FRAME_S
        if self._left > 0:
            return None
        self._left += self._frame_s()
        delay = self._settings["itr-delay"]
        load = sum(self._loads) / len(self._loads)
        self._loads = []
        believed = self._guesser.frame(delay, median(delay, load))
        if believed is None:
            return None
        self._settings = nearest(self._book, believed)
        return self._settings

    def _frame_s(self) -> float:
        """How long 1,024 rows of a core take: one on the first interrupt after each millisecond."""
        between = 1.024e-6 * self._settings["itr-delay"]
        return ROWS * math.ceil(ROW_S / between) * between


def median(delay: int, load: float) -> float:
    """The reference's own medians of received bytes, between two loads in proportion."""
    row = C6220[min(C6220, key=lambda one: abs(one - delay))]
    loads = sorted(row)
    if load <= loads[0]:
        return row[loads[0]] * load / loads[0]
    for low, high in pairwise(loads):
        if load <= high:
            return row[low] + (load - low) / (high - low) * (row[high] - row[low])
    return row[loads[-1]]


def nearest(book: Book, load: float) -> Mapping[str, int]:
    """The best settings of the nearest load in the book."""
    near = min(book.loads, key=lambda one: abs(one - load))
    return book.choices(near, AIM)[0].settings


def keeper(options: Options, trace: Callable[[int], Trace], seconds: float, since: Callable[[float], float]) -> World:
    world = World(
        Keeper(options, twin_book(1.0)),
        {f"n{i}": LiveTwin(trace(i), seed=i) for i in range(2)},
        frame_s=options.frame_s,
        oracle=Oracle(AIM),
        fine=Oracle(AIM, fine=True),
        since_step=since,
    )
    world.start()
    world.run(seconds)
    return world


def other(follower: Follower, trace: Trace, seconds: float, since: Callable[[float], float]) -> Tally:
    twin, tally, oracle, fine, now = LiveTwin(trace, seed=0), Tally(), Oracle(AIM), Oracle(AIM, fine=True), 0.0
    twin.set(DEFAULT, -10.0)
    while now < seconds - 1e-9:
        begin, now = now, now + FRAME_S
        frame = twin.frame(now, FRAME_S)
        tally.add(frame, oracle.power(frame.offered), fine.power(frame.offered), FRAME_S, since(begin) >= 2.0)
        settings = follower.step(now, frame)
        if settings is not None and settings != twin.settings:
            twin.set(settings, now)
            tally.changes += 1
    return tally


def row(tally: Tally) -> dict[str, float]:
    return {
        "energy_over_oracle": round(tally.joules / tally.oracle_joules - 1, 4),
        "over_least": round(tally.joules / tally.least_joules - 1, 4),
        "over_limit_share": round(tally.over_s / tally.seconds, 5),
        "longest_over_limit_s": tally.longest_over_s,
        "changes": tally.changes,
    }


def summed(world: World) -> Tally:
    found = Tally()
    for tally in world.tallies.values():
        for name in ("seconds", "joules", "oracle_joules", "least_joules", "over_s", "changes"):
            setattr(found, name, getattr(found, name) + getattr(tally, name))
        found.longest_over_s = max(found.longest_over_s, tally.longest_over_s)
    return found


def run() -> dict[str, object]:
    options = Options(
        limit=LIMIT, margin=MARGIN, frame_s=FRAME_S, settle_s=1.0, safe=SAFE, baseline=DEFAULT, controls=0.0
    )
    cases: dict[str, tuple[Callable[[int], Trace], float, Callable[[float], float]]] = {
        "steps": (lambda _: steps(LEVELS, STEP_S), CYCLES * STEP_S * len(LEVELS), lambda at: at % STEP_S),
        "day": (lambda node: day(100e3, 1.1e6, 0.02, node), DAY_S, lambda _: math.inf),
    }
    found: dict[str, object] = {}
    passed = True
    for name, (trace, seconds, since) in cases.items():
        kept = row(summed(keeper(options, trace, seconds, since)))
        book = twin_book(1.0)
        followers: dict[str, Follower] = {
            "follow, trial by trial": TrialByTrial(book),
            "the reference's rule": Reference(book),
            "nop": Nop(),
        }
        others = {who: row(other(one, trace(0), seconds, since)) for who, one in followers.items()}
        found[name] = {"keeper": kept, **others}
        passed &= kept["energy_over_oracle"] <= MOST_ENERGY and kept["over_limit_share"] <= MOST_OVER
    return {**found, "most_energy_over_oracle": MOST_ENERGY, "most_over_limit_share": MOST_OVER, "passed": passed}
