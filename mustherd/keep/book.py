"""The book: what was learnt of settings by load, as far as a keeper needs it.

At each load it has candidates, what each is foretold to draw and to answer in. Between two loads a setting's figures
are interpolated, over the logarithm of the load, and it is safe there when it is safe at both: what lies between two
that keep a limit keeps it too, where latency has one valley over the load. Where no setting is safe at both, the ones
of the higher load are taken, of which the table says that they hold with more to do.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import msgspec

from mustherd.learn.base import Settings
from mustherd.learn.windows import Key, key_of


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """Settings at a load, and what they are foretold to do there."""

    settings: Settings
    power: float | None = None
    """None: nobody measured it; a keeper learns it while it is in force."""
    latency: float | None = None
    holds: bool = True
    """Whether it was found, or is foretold, to keep the limits here."""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What to set, and what to expect of it."""

    settings: Settings
    key: Key
    cell: int
    """The number of the load in the book that it was looked up at, for bars."""
    power: float | None = None
    latency: float | None = None


SAME = 1.02
"""A load that is so little above one of the book's is that one."""

MOST = 12
"""Choices at a load; what is dearer than so many others is not worth a thought."""

Correct: TypeAlias = Callable[[Key], tuple[float, float]]


def as_written(_: Key) -> tuple[float, float]:
    """What the book says as it is."""
    return 0.0, 0.0


class Book:
    """Candidates by load, loads ascending."""

    def __init__(self, rows: Mapping[float, Sequence[Candidate]]) -> None:
        """ValueError for no rows, a load without candidates or one that isn't above 0."""
        self.loads = tuple(sorted(rows))
        if not self.loads or self.loads[0] <= 0:
            raise ValueError("a book needs loads above 0")
        self._rows = [{key_of(c.settings): c for c in rows[load]} for load in self.loads]
        if not all(self._rows):
            raise ValueError("a book needs candidates at each of its loads")
        self._alone = [_pairs(row, row, i) for i, row in enumerate(self._rows)]
        self._between = [_pairs(self._rows[max(0, i - 1)], row, i) for i, row in enumerate(self._rows)]
        self._logs = [math.log(load) for load in self.loads]
        self.keys: tuple[Key, ...] = tuple(dict.fromkeys(key for row in self._rows for key in row))
        """Of all settings in it."""

    def cell(self, load: float) -> int:
        """The number of the lowest load that is at least `load`; the number of loads, when it is beyond them all."""
        return bisect_left(self.loads, load / SAME)

    def values(self) -> dict[str, list[int]]:
        """What it has of each knob."""
        found: dict[str, set[int]] = {}
        for key in self.keys:
            for knob, value in key:
                found.setdefault(knob, set()).add(value)
        return {knob: sorted(values) for knob, values in sorted(found.items())}

    def place(self, load: float) -> tuple[int, int, float]:
        """Two neighbours and how far from the first to the second a load lies; beyond the ends the end."""
        high = self.cell(load)
        if high == 0:
            return 0, 0, 0.0
        if high == len(self.loads):
            return high - 1, high - 1, 0.0
        low = high - 1
        return low, high, min(1.0, (math.log(load) - self._logs[low]) / (self._logs[high] - self._logs[low]))

    def foretell(self, key: Key, load: float) -> tuple[float | None, float | None]:
        """Power and latency of settings at a load; None of what the book can't say."""
        low, high, share = self.place(load)
        a, b = self._rows[low].get(key), self._rows[high].get(key)
        if a is None or b is None:
            return None, None
        return _between(a.power, b.power, share), _between(a.latency, b.latency, share)

    def highest(self, key: Key, limit: float) -> float:
        """The highest load at which settings are known to hold; 0: none."""
        rows = zip(self.loads, self._rows, strict=True)
        return max((load for load, row in rows if key in row and _safe(row[key], limit)), default=0.0)

    def choices(
        self,
        load: float,
        limit: float,
        correct: Correct = as_written,
        also: Key | None = None,
        most: int | None = MOST,
    ) -> list[Choice]:
        """The cheapest settings that are safe at a load with a latency of at most `limit`, the least power first.

        `correct` gives the logarithms by which power and latency of settings are off what the book says. `also` is
        among them wherever it is safe, however many are cheaper. `most` are those that are looked for, in the order
        of the book; None: all, which a correction of power asks for. Nothing is safe beyond the highest load: nothing
        was learnt there.
        """
        cell = self.cell(load)
        if cell == len(self.loads):
            return []
        low, high, share = self.place(load)
        found: list[Choice] = []
        if low != high:
            found = self._safe_of(self._between[high], share, limit, correct, also=also, most=most)
        return found or self._safe_of(self._alone[high], 1.0, limit, correct, also=also, most=most)

    def _safe_of(
        self,
        pairs: Sequence["_Pair"],
        share: float,
        limit: float,
        correct: Correct,
        *,
        also: Key | None,
        most: int | None,
    ) -> list[Choice]:
        found: list[Choice] = []
        for one in pairs:
            if most is not None and len(found) >= most and one.key != also:
                continue
            off, late = correct(one.key)
            allowed = limit * math.exp(-late)
            if one.high_latency <= allowed and one.low_latency <= allowed:
                found.append(one.choice(share, off, late))
        return sorted(found, key=lambda c: math.inf if c.power is None else c.power)


class _Pair:
    """A setting that holds at two neighbouring loads."""

    __slots__ = ("cell", "high", "high_latency", "key", "low", "low_latency", "order")

    def __init__(self, key: Key, low: Candidate, high: Candidate, cell: int) -> None:
        self.key, self.low, self.high, self.cell = key, low, high, cell
        self.low_latency = 0.0 if low.latency is None else low.latency
        self.high_latency = 0.0 if high.latency is None else high.latency
        power = _between(low.power, high.power, 0.5)
        self.order = math.inf if power is None else power

    def choice(self, share: float, off: float, late: float) -> Choice:
        """It at a load so far from the first to the second."""
        power = _between(self.low.power, self.high.power, share)
        latency = _between(self.low.latency, self.high.latency, share)
        return Choice(
            settings=self.high.settings,
            key=self.key,
            cell=self.cell,
            power=None if power is None else power * math.exp(off),
            latency=None if latency is None else latency * math.exp(late),
        )


def _pairs(low: Mapping[Key, Candidate], high: Mapping[Key, Candidate], cell: int) -> list[_Pair]:
    """What holds at both, the least power first."""
    found = [_Pair(key, low[key], c, cell) for key, c in high.items() if key in low and c.holds and low[key].holds]
    return sorted(found, key=lambda pair: pair.order)


def _between(a: float | None, b: float | None, share: float) -> float | None:
    if a is None or b is None:
        return a if b is None else b
    return a + share * (b - a)


def _safe(candidate: Candidate, limit: float) -> bool:
    return candidate.holds and (candidate.latency is None or candidate.latency <= limit)
