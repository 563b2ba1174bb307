"""A simulated herd in its own time, for benchmarks of the keeper: twins under a trace, signals that may fail."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mustherd.keep import events as e
from mustherd.keep.book import Book, Candidate
from mustherd.keep.keeper import Keeper
from mustherd.node.twin.live import Frame, LiveTwin
from mustherd.node.twin.model import predict_at
from mustherd.node.twin.profiles import C6220
from mustherd.terms import Load

LIMIT = 500.0
GRID = {
    "itr-delay": (20, 50, 100, 150, 200, 250, 300, 350, 400),
    "dvfs": (1200, 1300, 1400, 1500, 1700, 1900, 2200, 2600, 2800),
}
LOADS = (50e3, 100e3, 200e3, 400e3, 600e3, 800e3, 1e6, 1.2e6, 1.4e6)
SAFE = {"itr-delay": 100, "dvfs": 2800}
DEFAULT = {"itr-delay": 20, "dvfs": 2800}
"""What adaptive moderation behaves like, without the reset that going back to it costs."""


def twin_book(noise: float = 0.0, seed: int = 0, loads: Sequence[float] = LOADS) -> Book:
    """What an experiment would have learnt of the twin: every setting of a grid at each load, with noise."""
    draw = random.Random(seed)
    rows: dict[float, list[Candidate]] = {}
    for qps in loads:
        rows[qps] = []
        for itr in GRID["itr-delay"]:
            for mhz in GRID["dvfs"]:
                settings = {"itr-delay": itr, "dvfs": mhz}
                p = predict_at(C6220, settings, Load(qps=qps))
                p99 = p.read_us["p99"] * math.exp(noise * draw.gauss(0, 0.01))
                watts = p.power_watts * math.exp(noise * draw.gauss(0, 0.003))
                holds = p.achieved_qps >= 0.98 * qps
                rows[qps].append(Candidate(settings=settings, power=watts, latency=p99, holds=holds))
    return Book(rows)


@dataclass
class Tally:
    """What came of a node's or a herd's time."""

    seconds: float = 0.0
    joules: float = 0.0
    oracle_joules: float = 0.0
    over_s: float = 0.0
    longest_over_s: float = 0.0
    running_over_s: float = 0.0
    changes: int = 0

    def add(self, frame: Frame, oracle: float, seconds: float, counted: bool) -> None:
        self.seconds += seconds
        self.joules += frame.true_power * seconds
        self.oracle_joules += oracle * seconds
        if frame.over_s > 0:
            self.running_over_s += frame.over_s
            self.longest_over_s = max(self.longest_over_s, self.running_over_s)
        else:
            self.running_over_s = 0.0
        if counted:
            self.over_s += frame.over_s


class Oracle:
    """The least power that keeps the limit less the keeper's margin at the true load: no delay, no doubt."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._cache: dict[int, float] = {}

    def power(self, qps: float) -> float:
        step = round(100 * math.log(qps))
        if step not in self._cache:
            load = Load(qps=math.exp(step / 100))
            found = []
            for itr in GRID["itr-delay"]:
                for mhz in GRID["dvfs"]:
                    p = predict_at(C6220, {"itr-delay": itr, "dvfs": mhz}, load)
                    if p.read_us["p99"] <= self._limit and p.achieved_qps >= 0.98 * load.qps:
                        found.append(p.power_watts)
            self._cache[step] = min(found)
        return self._cache[step]


@dataclass
class World:
    """Nodes, a keeper and the time between them."""

    keeper: Keeper
    twins: dict[str, LiveTwin]
    frame_s: float = 1.0
    delay_s: float = 0.1
    """From a decision to the knobs."""
    now: float = 0.0
    stories: list[e.Story] = field(default_factory=list)
    decisions: list[tuple[float, e.Decide]] = field(default_factory=list)
    tallies: dict[str, Tally] = field(default_factory=dict)
    oracle: Oracle | None = None
    since_step: Callable[[float], float] = lambda _: math.inf
    mute: Callable[[str, float], Sequence[str]] = lambda _name, _at: ()
    """Signals of a node that are lost at a time."""
    _due: list[tuple[float, e.Decide]] = field(default_factory=list)

    def start(self) -> None:
        for name in self.twins:
            self.tallies[name] = Tally()
            self.act(self.keeper.handle(e.Joined(node=name), self.now))

    def act(self, actions: Sequence[e.Action]) -> None:
        for action in actions:
            if isinstance(action, e.Decide):
                self.decisions.append((self.now, action))
                self._due.append((self.now + self.delay_s, action))
            elif isinstance(action, e.Story):
                self.stories.append(action)

    def run(self, until: float) -> None:
        frame_s = self.frame_s
        while self.now < until - 1e-9:
            begin, self.now = self.now, self.now + frame_s
            due, self._due = self._due, []
            for at, decision in due:
                twin = self.twins[decision.node]
                twin.set(decision.settings, at)
                self.tallies[decision.node].changes += 1
                self.act(self.keeper.handle(e.Answered(node=decision.node, number=decision.number, held=True), at))
            counted = self.since_step(begin) >= 2.0
            for name, twin in self.twins.items():
                frame = twin.frame(self.now, frame_s)
                oracle = self.oracle.power(frame.offered) if self.oracle is not None else 0.0
                self.tallies[name].add(frame, oracle, frame_s, counted)
                lost = self.mute(name, self.now)
                reading = e.Reading(
                    node=name,
                    at_s=self.now,
                    load=None if "load" in lost else frame.load,
                    latency=None if "latency" in lost else frame.latency,
                    power=None if "power" in lost else frame.power,
                )
                self.act(self.keeper.handle(reading, self.now))
            self.act(self.keeper.tick(self.now))
