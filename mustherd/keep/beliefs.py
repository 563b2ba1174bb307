"""What is believed of each node beyond the book, and whether it still holds: learning, forgetting and drift.

Every block gives how far power and latency were from what the book foretells at the load that there was, as
logarithms. Their running means by node and settings, weighted by age, correct the book. A block is held against them by
CUSUMs; when one signals, something has changed: what is believed begins anew from what was seen since.
"""

import math
from collections.abc import Iterable, Mapping

import msgspec

from mustherd.keep.options import Options
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
FIRST_AFTER = 0.25
"""The first block of other settings after a drift, of what the drift lets expect: nobody knows what it did to them."""
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
    """A mean as it is stored; without settings it is a node's shift."""

    node: str
    signal: str
    settings: Settings | None
    value: float
    blocks: float
    at_s: float


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

    def __init__(self, options: Options) -> None:
        self._options = options
        self._means: dict[tuple[str, str, Key], Mean] = {}
        self._shifts: dict[tuple[str, str], tuple[float, float]] = {}
        """What a node as a whole is off by, and since when: it holds for settings that weren't seen since."""
        self._now = 0.0
        self._ranks: dict[tuple[str, Key], float] = {}
        """Of settings that were promoted: the logarithm by which they are better than the book says."""
        self._tests: dict[tuple[str, str], tuple[Cusum, Cusum]] = {}

    def off(self, node: str, key: Key) -> tuple[float, float]:
        """Logarithms by which power and latency of settings are off the book, where a choice is made.

        Of power only what a promotion has proved: a node that draws more than was foretold may draw more at any
        settings. Of latency whatever was seen.
        """
        return self._ranks.get((node, key), 0.0), self._off(node, "latency", key)

    def add(self, block: Block, *, testing: bool = True) -> list[Drift]:
        """One more block: what has drifted by it; of a canary's, which isn't for testing, nothing."""
        found = []
        self._now = block.at_s
        for signal, seen in (("power", block.power_off), ("latency", block.latency_off)):
            if seen is None:
                continue
            if not testing:
                place = (block.node, signal, block.key)
                self._learn(self._means.setdefault(place, Mean(seen, 0.0, block.at_s)), seen, block.at_s)
            else:
                drift = self._add(block, signal, seen)
                if drift is not None:
                    found.append(drift)
        return found

    def broke(self, node: str, key: Key, latency_off: float, now: float) -> None:
        """A limit was broken with a latency so far off the book: expect no better of any settings of this node.

        That is forgotten at the half-life, or at once of settings that show better.
        """
        self._means.pop((node, "latency", key), None)
        shift = max(latency_off, self._shift(node, "latency", now))
        self._shifts[node, "latency"] = shift, now
        for (name, signal, _), mean in self._means.items():
            if (name, signal) == (node, "latency"):
                mean.value, mean.blocks = max(mean.value, shift), 1.0

    def promote(self, node: str, key: Key, better: float) -> None:
        """Settings were proved to draw less than the book says, by this logarithm."""
        self._ranks[node, key] = better

    def adopt(self, source: str, node: str, key: Key) -> None:
        """Believe of one node what another has shown of settings."""
        for signal in SPREAD:
            mean = self._means.get((source, signal, key))
            if mean is not None:
                self._means[node, signal, key] = Mean(mean.value, min(mean.blocks, 1.0), mean.at_s)

    def state(self) -> list[Belief]:
        """What is believed, to be stored."""
        means = [
            Belief(node=node, signal=signal, settings=dict(key), value=mean.value, blocks=mean.blocks, at_s=mean.at_s)
            for (node, signal, key), mean in self._means.items()
        ]
        shifts = [
            Belief(node=node, signal=signal, settings=None, value=value, blocks=0.0, at_s=since)
            for (node, signal), (value, since) in self._shifts.items()
        ]
        ranks = [
            Belief(node=node, signal=RANK, settings=dict(key), value=value, blocks=0.0, at_s=self._now)
            for (node, key), value in self._ranks.items()
        ]
        return means + shifts + ranks

    def restore(self, state: Iterable[Belief]) -> None:
        """Believe what was stored."""
        for one in state:
            if one.signal == RANK and one.settings is not None:
                self._ranks[one.node, key_of(one.settings)] = one.value
            elif one.settings is None:
                self._shifts[one.node, one.signal] = one.value, one.at_s
            else:
                self._means[one.node, one.signal, key_of(one.settings)] = Mean(one.value, one.blocks, one.at_s)

    def _off(self, node: str, signal: str, key: Key) -> float:
        mean = self._means.get((node, signal, key))
        return mean.value if mean is not None else self._shift(node, signal, self._now)

    def _shift(self, node: str, signal: str, now: float) -> float:
        found = self._shifts.get((node, signal))
        if found is None:
            return 0.0
        shift, since = found
        return shift * math.exp2(-max(0.0, now - since) / self._options.half_life_s)

    def _add(self, block: Block, signal: str, seen: float) -> Drift | None:
        place = (block.node, signal, block.key)
        mean = self._means.get(place)
        expected = self._off(*place)
        if (mean is None and abs(seen - expected) <= FIRST) or (
            mean is not None and not mean.blocks and abs(seen - expected) <= FIRST_AFTER
        ):
            self._means[place] = Mean(seen, 1.0, block.at_s)
            return None
        up, down = self._tests.setdefault(
            (block.node, signal), (Cusum(THRESHOLD, ALLOWANCE, MOST), Cusum(THRESHOLD, ALLOWANCE, MOST))
        )
        deviation = (seen - expected) / SPREAD[signal]
        signals = [test for test, value in ((up, deviation), (down, -deviation)) if test.add(value)]
        if not signals:
            # What may be the beginning of a drift isn't learnt from.
            if mean is not None and not up.count and not down.count:
                self._learn(mean, seen, block.at_s)
            return None
        test = signals[0]
        blocks = test.count
        # The mean excess since the change: what the sum says, with what the allowance took away.
        size = (test.since / blocks + ALLOWANCE) * SPREAD[signal] if blocks else 0.0
        shift = size if test is up else -size
        up.clear()
        down.clear()
        self._shifts[block.node, signal] = self._shift(block.node, signal, block.at_s) + shift, block.at_s
        for (node, what, key), other in self._means.items():
            if (node, what) == (block.node, signal) and key != block.key:
                # What drift did to other settings is to be seen.
                other.value, other.blocks = other.value + shift, 0.0
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
