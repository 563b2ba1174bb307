"""A simulated herd in its own time, for benchmarks of the keeper: twins under a trace, signals that may fail."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mustherd.herd.timing import LEASE_S, MISSING_AFTER_S
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
LOADS = (50e3, *(100e3 * n for n in range(1, 15)))
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
    least_joules: float = 0.0
    over_s: float = 0.0
    longest_over_s: float = 0.0
    running_over_s: float = 0.0
    changes: int = 0

    def add(self, frame: Frame, oracle: float, least: float, seconds: float, counted: bool) -> None:
        self.seconds += seconds
        self.joules += frame.true_power * seconds
        self.oracle_joules += oracle * seconds
        self.least_joules += least * seconds
        if frame.over_s > 0:
            self.running_over_s += frame.over_s
            self.longest_over_s = max(self.longest_over_s, self.running_over_s)
        else:
            self.running_over_s = 0.0
        if counted:
            self.over_s += frame.over_s


class Oracle:
    """Follows a table without noise by the true load, at once and without doubt: what its best settings draw there.

    `fine`: the least power of any settings that keep the limit there, which no table of some loads has.
    """

    def __init__(self, limit: float, *, fine: bool = False) -> None:
        self._limit = limit
        self._book = None if fine else twin_book()
        self._cache: dict[int, float] = {}

    def power(self, qps: float) -> float:
        step = round(100 * math.log(qps))
        if step not in self._cache:
            load = Load(qps=math.exp(step / 100))
            if self._book is not None:
                best = self._book.choices(load.qps, self._limit)[0]
                self._cache[step] = predict_at(C6220, best.settings, load).power_watts
                return self._cache[step]
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
    fine: Oracle | None = None
    since_step: Callable[[float], float] = lambda _: math.inf
    mute: Callable[[str, float], Sequence[str]] = lambda _name, _at: ()
    """Signals of a node that are lost at a time."""
    cut: Callable[[str, float], bool] = lambda _name, _at: False
    """Whether nothing passes between the keeper and a node at a time: a partition, or its muster is gone."""
    gone: Callable[[float], bool] = lambda _: False
    """Whether the keeper is gone at a time; one that comes back is another, which knows what was stored."""
    unguarded_s: float = 0.0
    """The longest that a node was at learnt settings with no keeper, no link or no fresh latency."""
    _good: dict[str, float] = field(default_factory=dict)
    _contact: dict[str, float] = field(default_factory=dict)
    _left: set[str] = field(default_factory=set)
    _was_gone: bool = False
    _due: list[tuple[float, e.Decide]] = field(default_factory=list)

    def start(self) -> None:
        for name in self.twins:
            self.tallies[name] = Tally()
            self.act(self.keeper.handle(e.Joined(node=name), self.now))

    def _links(self) -> set[str]:
        """Nodes that the keeper has a link to; what its absence brings, on both sides."""
        gone = self.gone(self.now)
        if self._was_gone and not gone:
            before = self.keeper
            self.keeper = Keeper(before.options, before.book, before.ledger)
            self.keeper.beliefs.restore(before.beliefs.state())
            self.keeper.beliefs.restore_seen(before.beliefs.seen())
            self.keeper.bars.restore(before.bars.state())
            self._left = set(self.twins)
            self._due = []
        self._was_gone = gone
        linked = set()
        for name, twin in self.twins.items():
            if not gone and not self.cut(name, self.now):
                linked.add(name)
                self._contact[name] = self.now
                if name in self._left:
                    self._left.discard(name)
                    self.act(self.keeper.handle(e.Joined(node=name), self.now))
                continue
            silent = self.now - self._contact.get(name, 0.0)
            if silent >= LEASE_S and twin.settings:
                twin.set({}, self.now)
            if not gone and silent > MISSING_AFTER_S and name not in self._left:
                self._left.add(name)
                self.act(self.keeper.handle(e.Left(node=name), self.now))
        return linked

    def _guarded(self, name: str, linked: bool) -> None:
        twin = self.twins[name]
        if linked or twin.settings in ({}, SAFE, DEFAULT):
            self._good[name] = self.now
        self.unguarded_s = max(self.unguarded_s, self.now - self._good.get(name, self.now))

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
            linked = self._links()
            due, self._due = self._due, []
            for at, decision in due:
                if decision.node not in linked:
                    continue
                twin = self.twins[decision.node]
                twin.set(decision.settings, at)
                self.tallies[decision.node].changes += 1
                self.act(self.keeper.handle(e.Answered(node=decision.node, number=decision.number, held=True), at))
            counted = self.since_step(begin) >= 2.0
            for name, twin in self.twins.items():
                frame = twin.frame(self.now, frame_s)
                oracle = self.oracle.power(frame.offered) if self.oracle is not None else 0.0
                least = self.fine.power(frame.offered) if self.fine is not None else 0.0
                self.tallies[name].add(frame, oracle, least, frame_s, counted)
                lost = self.mute(name, self.now)
                self._guarded(name, name in linked and "latency" not in lost)
                if name not in linked:
                    continue
                reading = e.Reading(
                    node=name,
                    at_s=self.now,
                    load=None if "load" in lost else frame.load,
                    latency=None if "latency" in lost else frame.latency,
                    power=None if "power" in lost else frame.power,
                )
                self.act(self.keeper.handle(reading, self.now))
            if not self._was_gone:
                self.act(self.keeper.tick(self.now))
