"""What is believed of each node beyond the book, and whether it still holds: learning, forgetting and drift.

Every block gives how far power and latency were from what the book foretells at the load that there was, as
logarithms. Their running means by node and settings, weighted by age, correct the book. A block is held against them by
CUSUMs; when one signals, something has changed: what is believed begins anew from what was seen since.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from mustherd.keep.book import Correct
from mustherd.keep.options import Options
from mustherd.keep.residuals import Array, Residuals, SeenAt
from mustherd.keep.sequential import Cusum, run_length
from mustherd.learn.base import Settings
from mustherd.learn.windows import Key, key_of

SPREAD: Mapping[str, float] = {"power": 0.02, "latency": 0.03}
"""Standard deviations of a block, generously: what nodes, books and interpolation are off, for a while, is in them."""
ALLOWANCE = 2.0
THRESHOLD = 5.0
"""In these. By `run_length` (Siegmund) a steady node signals once in 6 x 10^9 blocks; 10 % of power or 15 % of latency,
five deviations, are found after two blocks."""
MOST = 6.0
"""One block counts as at most so many: a second one has to say the same."""
FIRST = 0.10
"""A node's first block may be so far off the book by its nature."""
RANK = "rank"
CAREFUL = 1.0
"""After a drift so many deviations above what is expected of a latency have to be within the limit."""
SAME_LOAD = 0.05
"""Loads that are nearer to each other, as a logarithm, are one where settings are compared."""
MOST_BLOCKS = 1000.0
"""Weight of what is believed: the mean never becomes too heavy to move."""


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """A node's means over a block at one setting."""

    node: str
    number: int
    """Blocks of all nodes with the same number were at the same time."""
    key: Key
    load: float
    power: float | None
    latency: float | None
    power_off: float | None
    """Logarithm of power over what the book foretold; None where it foretold nothing."""
    latency_off: float | None
    at_s: float


class Mean(msgspec.Struct):
    """A mean that forgets."""

    value: float
    blocks: float
    at_s: float


class Belief(msgspec.Struct, frozen=True, kw_only=True):
    """A mean as it is stored; without settings it says that a node has drifted."""

    node: str
    signal: str
    settings: Settings | None
    value: float
    blocks: float
    at_s: float
    until_s: float | None = None
    """Of a drift: for how long it makes other settings doubtful; None: for good."""


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """Something has changed on a node."""

    node: str
    signal: str
    shift: float
    """Logarithm of now over before."""
    blocks: int
    """How many blocks it took to be sure."""


class Beliefs:
    """Of all nodes."""

    def __init__(self, options: Options, values: Mapping[str, Sequence[int]] | None = None) -> None:
        """`values` are those that the book has of each knob."""
        self._options = options
        self._values = values or {}
        self._residuals: dict[tuple[str, str], Residuals] = {}
        self._guessed: dict[tuple[str, str, int], dict[Key, float]] = {}
        """What residuals say, by node, signal and load, until more is seen."""
        self._means: dict[tuple[str, str, Key], Mean] = {}
        self._drifted: dict[tuple[str, str], float] = {}
        """Nodes and signals: what was seen of some settings before says little of them since, so residuals say it until
        then. Of a latency it ends: where no setting is believed to hold any more, nothing new would ever be seen."""
        self.changes = 0
        """How often something of it has changed: it is saved then."""
        self._now = 0.0
        self._ranks: dict[tuple[str, Key], float] = {}
        """Of settings that were promoted: the logarithm by which they are better than the book says."""
        self._tests: dict[tuple[str, str], tuple[Cusum, Cusum]] = {}

    def correct(self, node: str, load: float, keys: Sequence[Key], now: float) -> Correct:
        """By which logarithms power and latency of settings are off the book at a load, where a choice is made.

        Of power nothing before other settings were promoted there: a node that draws more than was foretold may draw
        more at any settings. Then what the residuals say, and a deviation more, so that what is known well is
        preferred. Of latency what was seen; after a drift what the residuals say, and some of their deviation more.
        """
        if self._residuals_of(node, "latency").forget(now):
            self._forget_guesses(node)
            self.changes += 1
        if self._drifted.get((node, "latency"), math.inf) <= now:
            del self._drifted[node, "latency"]
            self.changes += 1
        power = self._pessimistic(node, "power", load, keys, 1.0) if self.promoted(node) else {}
        if self.drifted(node, "latency"):
            late = self._pessimistic(node, "latency", load, keys, CAREFUL)
            return lambda key: (power.get(key, 0.0), late.get(key, 0.0))
        return lambda key: (power.get(key, 0.0), self._late(node, key, now))

    def _pessimistic(
        self, node: str, signal: str, load: float, keys: Sequence[Key], deviations: float
    ) -> dict[Key, float]:
        place = node, signal, round(math.log(load) / SAME_LOAD)
        guessed = self._guessed.get(place)
        if guessed is None:
            means, sure = self.guess(node, signal, keys, load)
            guessed = self._guessed[place] = dict(zip(keys, (means + deviations * sure).tolist(), strict=True))
        return guessed

    def latency(self, node: str, key: Key, foretold: float | None) -> float | None:
        """What is believed of the latency of settings, of which the book foretells this much."""
        return foretold * math.exp(self._mean(node, "latency", key)) if foretold else None

    def drifted(self, node: str, signal: str) -> bool:
        """Whether a signal of a node has been off what was believed, and how long ago that was isn't long enough."""
        return (node, signal) in self._drifted

    def promoted(self, node: str) -> bool:
        """Whether other settings than the book's best were proved there."""
        return any(name == node for name, _ in self._ranks)

    def guess(
        self, node: str, signal: str, keys: Sequence[Key], load: float, also: Sequence[tuple[Key, float]] = ()
    ) -> tuple[Array, Array]:
        """What settings are off the book at a load, and how sure that is; `also` is taken as seen."""
        return self._residuals_of(node, signal).of(keys, load, also)

    def add(self, block: Block, *, testing: bool = True) -> list[Drift]:
        """One more block: what has drifted by it; of a canary's, which isn't for testing, nothing."""
        found = []
        self._now = block.at_s
        self.changes += 1
        for signal, seen in (("power", block.power_off), ("latency", block.latency_off)):
            if seen is None:
                continue
            residuals = self._residuals_of(block.node, signal)
            if not testing:
                place = (block.node, signal, block.key)
                self._learn(self._means.setdefault(place, Mean(seen, 0.0, block.at_s)), seen, block.at_s)
            else:
                drift = self._add(block, signal, seen)
                if drift is not None:
                    found.append(drift)
                    residuals.drifted(drift.shift)
            if block.load > 0:
                residuals.add(block.key, block.load, seen)
        self._forget_guesses(block.node)
        return found

    def broke(
        self, node: str, key: Key, load: float, latency_off: float, until_s: float, *, again: bool = False
    ) -> None:
        """A limit was broken with a latency so far off the book: a drift, which is believed until then.

        `again`: as it was there before, too. That isn't chance, and what was seen is as good as a block.
        """
        self._means.pop((node, "latency", key), None)
        residuals = self._residuals_of(node, "latency")
        if not again:
            residuals.doubt(latency_off, until_s)
            residuals.add_for_a_time(key, load, latency_off, until_s)
        else:
            residuals.drifted(latency_off)
            residuals.add(key, load, latency_off)
        self._doubt(node, "latency", until_s)
        self.changes += 1
        self._forget_guesses(node)

    def doubt_until(self, node: str, until_s: float) -> None:
        """Make other settings doubtful no longer than until then, whatever was said before."""
        self._drifted[node, "latency"] = min(until_s, self._drifted.get((node, "latency"), until_s))
        self.changes += 1

    def promote(self, node: str, key: Key, better: float) -> None:
        """Settings were proved to draw less than the book says, by this logarithm."""
        self._ranks[node, key] = better
        self.changes += 1

    def adopt(self, source: str, node: str, key: Key) -> None:
        """Believe of one node what another has shown of settings."""
        for signal in SPREAD:
            mean = self._means.get((source, signal, key))
            if mean is not None:
                self._means[node, signal, key] = Mean(mean.value, min(mean.blocks, 1.0), mean.at_s)
            if source != node:
                self._residuals_of(node, signal).adopt(self._residuals_of(source, signal))
        self._guessed.clear()
        self.changes += 1

    def seen(self) -> list[SeenAt]:
        """What residuals rest on, to be stored."""
        return [one for (node, signal), of in self._residuals.items() for one in of.state(node, signal)]

    def restore_seen(self, state: Iterable[SeenAt]) -> None:
        """Know what was stored."""
        for one in state:
            self._residuals_of(one.node, one.signal).restore(key_of(one.settings), one)

    def state(self) -> list[Belief]:
        """What is believed, to be stored."""
        means = [
            Belief(node=node, signal=signal, settings=dict(key), value=mean.value, blocks=mean.blocks, at_s=mean.at_s)
            for (node, signal, key), mean in self._means.items()
        ]
        drifted = [
            Belief(
                node=node,
                signal=signal,
                settings=None,
                value=0.0,
                blocks=0.0,
                at_s=self._now,
                until_s=None if math.isinf(until_s) else until_s,
            )
            for (node, signal), until_s in sorted(self._drifted.items())
        ]
        ranks = [
            Belief(node=node, signal=RANK, settings=dict(key), value=value, blocks=0.0, at_s=self._now)
            for (node, key), value in self._ranks.items()
        ]
        return means + drifted + ranks

    def restore(self, state: Iterable[Belief]) -> None:
        """Believe what was stored."""
        for one in state:
            if one.signal == RANK and one.settings is not None:
                self._ranks[one.node, key_of(one.settings)] = one.value
            elif one.settings is None:
                self._doubt(one.node, one.signal, one.until_s or self._doubted_until(one.signal, one.at_s))
            else:
                self._means[one.node, one.signal, key_of(one.settings)] = Mean(one.value, one.blocks, one.at_s)

    def _doubt(self, node: str, signal: str, until_s: float) -> None:
        self._drifted[node, signal] = max(until_s, self._drifted.get((node, signal), until_s))

    def _doubted_until(self, signal: str, now: float) -> float:
        """How long a drift that was measured makes other settings doubtful."""
        return now + self._options.half_life_s if signal == "latency" else math.inf

    def _residuals_of(self, node: str, signal: str) -> Residuals:
        return self._residuals.setdefault((node, signal), Residuals(self._values))

    def _mean(self, node: str, signal: str, key: Key) -> float:
        mean = self._means.get((node, signal, key))
        return mean.value if mean is not None else 0.0

    def _late(self, node: str, key: Key, now: float) -> float:
        """What settings are off in latency; nothing once that wasn't seen for a half-life: they may be tried again."""
        mean = self._means.get((node, "latency", key))
        return mean.value if mean is not None and now - mean.at_s <= self._options.half_life_s else 0.0

    def _forget_guesses(self, node: str) -> None:
        self._guessed = {place: guessed for place, guessed in self._guessed.items() if place[0] != node}

    def _add(self, block: Block, signal: str, seen: float) -> Drift | None:
        place = (block.node, signal, block.key)
        mean = self._means.get(place)
        expected, deviation = self._mean(*place), SPREAD[signal]
        if self.drifted(block.node, signal) and block.load > 0:
            means, deviations = self.guess(block.node, signal, [block.key], block.load)
            expected, deviation = float(means[0]), math.hypot(deviation, float(deviations[0]))
        elif mean is None and abs(seen - expected) <= FIRST:
            self._means[place] = Mean(seen, 1.0, block.at_s)
            return None
        up, down = self._tests.setdefault(
            (block.node, signal), (Cusum(THRESHOLD, ALLOWANCE, MOST), Cusum(THRESHOLD, ALLOWANCE, MOST))
        )
        off = (seen - expected) / deviation
        signals = [test for test, value in ((up, off), (down, -off)) if test.add(value)]
        if not signals:
            # What may be the beginning of a drift isn't learnt from.
            if not up.count and not down.count:
                self._learn(self._means.setdefault(place, Mean(seen, 0.0, block.at_s)), seen, block.at_s)
            return None
        test = signals[0]
        blocks = test.count
        # The mean excess since the change: what the sum says, with what the allowance took away.
        size = (test.since / blocks + ALLOWANCE) * deviation if blocks else 0.0
        shift = size if test is up else -size
        up.clear()
        down.clear()
        self._doubt(block.node, signal, self._doubted_until(signal, block.at_s))
        self._means[place] = Mean(seen, 1.0, block.at_s)
        return Drift(node=block.node, signal=signal, shift=shift, blocks=blocks)

    def _learn(self, mean: Mean, seen: float, at_s: float) -> None:
        mean.blocks *= math.exp2(-max(0.0, at_s - mean.at_s) / self._options.half_life_s)
        mean.blocks = min(mean.blocks + 1, MOST_BLOCKS)
        mean.value += (seen - mean.value) / mean.blocks
        mean.at_s = at_s


class Gathering:
    """Frames of one node on their way to a block."""

    __slots__ = ("_late", "_latency", "_load", "_off", "_power", "key", "number")

    def __init__(self, number: int, key: Key) -> None:
        self.number = number
        self.key = key
        self._load = [0.0, 0.0]
        self._power = [0.0, 0.0]
        self._latency = [0.0, 0.0]
        self._off = [0.0, 0.0]
        self._late = [0.0, 0.0]

    def add(
        self, load: float, power: float | None, latency: float | None, foretold: tuple[float | None, float | None]
    ) -> None:
        """One more frame."""
        _sum(self._load, load)
        if power is not None:
            _sum(self._power, power)
            if foretold[0] and power > 0:
                _sum(self._off, math.log(power / foretold[0]))
        if latency is not None:
            _sum(self._latency, latency)
            if foretold[1] and latency > 0:
                _sum(self._late, math.log(latency / foretold[1]))

    def block(self, node: str, at_s: float, least: float) -> Block | None:
        """What it came to; None where it holds fewer than `least` frames."""
        if self._load[0] < least:
            return None
        return Block(
            node=node,
            number=self.number,
            key=self.key,
            load=_mean(self._load) or 0.0,
            power=_mean(self._power),
            latency=_mean(self._latency),
            power_off=_mean(self._off),
            latency_off=_mean(self._late),
            at_s=at_s,
        )


def _sum(into: list[float], value: float) -> None:
    into[0] += 1
    into[1] += value


def _mean(of: list[float]) -> float | None:
    return of[1] / of[0] if of[0] else None


def promises() -> dict[str, float]:
    """Blocks between false alarms of one test, and until a shift of five deviations is found."""
    return {
        "false_alarm": run_length(0, THRESHOLD, ALLOWANCE),
        "found": run_length(5, THRESHOLD, ALLOWANCE),
    }
