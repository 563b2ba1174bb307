"""What is seen of some settings says of others: the residuals of the book, knob by knob, with their uncertainty.

After a drift nobody knows what it did to settings that weren't in force. A residual (the logarithm of what is seen over
what the book foretells) is taken for a sum: one part that all settings share, one for the value of each knob, which
values near to each other share, and a small one of their own. The parts of knobs hold less at another load. Each part
is a Gaussian process (Rasmussen and Williams, 2006), so that settings which nobody has seen have a mean and a deviation
from them. A knob that stopped having effect, values of it that became dearer and a node that became dearer as a whole
look alike at one setting, and are told apart after a few.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
import numpy as np

from mustherd.learn.base import Settings
from mustherd.learn.windows import Key

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

SHARED, KNOB, OWN = 0.08, 0.08, 0.02
"""Standard deviations of the parts beforehand: what a drift may do."""
NEAR = 0.3
"""Values of a knob that are this share of its range apart, by their order, share most of their part."""
NEAR_LOAD = 0.4
"""Loads that are so far apart, as a logarithm, share little more than the lasting part."""
LASTING = 0.5
"""Share of a knob's part that holds at any load."""
NOISE = 0.015
"""Standard deviation of a block."""
LOAD_STEP = 0.1
MOST_SEEN = 80
"""Settings and loads that are remembered of a node; the oldest go."""


class Seen(msgspec.Struct):
    """Blocks of one setting at about one load."""

    key: Key
    load: float
    """Its logarithm."""
    value: float
    blocks: float
    variance: float = 0.0
    """What drifts since have made of it: how much it may be off by now."""
    until_s: float = math.inf
    """When it is forgotten."""
    doubt: float = 0.0
    """More of the variance, for a time: what may have been by chance."""
    doubt_until_s: float = 0.0

    @property
    def unsure(self) -> float:
        """The whole variance that drifts and doubts have made."""
        return self.variance + self.doubt


class SeenAt(msgspec.Struct, frozen=True, kw_only=True):
    """The same as it is stored."""

    node: str
    signal: str
    settings: Settings
    load: float
    value: float
    blocks: float
    variance: float
    until_s: float | None = None
    doubt: float = 0.0
    doubt_until_s: float = 0.0


class Residuals:
    """Of one signal of one node."""

    def __init__(self, values: Mapping[str, Sequence[int]]) -> None:
        """`values` are those that the book has of each knob."""
        self._values = {
            knob: {value: i / max(1, len(set(of)) - 1) for i, value in enumerate(sorted(set(of)))}
            for knob, of in values.items()
        }
        self._seen: dict[tuple[Key, int], Seen] = {}
        self._passing: dict[Key, Seen] = {}
        """What is forgotten after a time."""

    def add(self, key: Key, load: float, off: float) -> None:
        """One more block at a load."""
        place = (key, round(math.log(load) / LOAD_STEP))
        seen = self._seen.pop(place, None) or Seen(key, math.log(load), 0.0, 0.0)
        if seen.unsure:
            # What it was before a drift counts by how sure it still is.
            kept = NOISE**2 / (seen.unsure + NOISE**2 / max(1.0, seen.blocks))
            seen.blocks, seen.variance, seen.doubt = min(seen.blocks, kept), 0.0, 0.0
        seen.blocks = min(seen.blocks + 1, 20.0)
        seen.value += (off - seen.value) / seen.blocks
        self._seen[place] = seen
        while len(self._seen) > MOST_SEEN:
            del self._seen[next(iter(self._seen))]

    def add_for_a_time(self, key: Key, load: float, off: float, until_s: float) -> None:
        """Something of a moment, which may have been by chance."""
        self._passing[key] = Seen(key, math.log(load), off, 1.0, until_s=until_s)

    def forget(self, now: float) -> bool:
        """Let go of what was only for a time: whether there was something."""
        over = [key for key, seen in self._passing.items() if seen.until_s <= now]
        for key in over:
            del self._passing[key]
        sure = [seen for seen in self._seen.values() if seen.doubt and seen.doubt_until_s <= now]
        for seen in sure:
            seen.doubt = 0.0
        return bool(over or sure)

    def drifted(self, shift: float) -> None:
        """Something has changed by so much: what was seen before may be off by it."""
        for seen in self._seen.values():
            seen.variance += shift**2

    def doubt(self, shift: float, until_s: float) -> None:
        """Something may have changed by so much: until then what was seen before may be off by it."""
        for seen in self._seen.values():
            seen.doubt, seen.doubt_until_s = seen.doubt + shift**2, max(seen.doubt_until_s, until_s)

    def of(self, keys: Sequence[Key], load: float, also: Sequence[tuple[Key, float]] = ()) -> tuple[Array, Array]:
        """Means and standard deviations of settings at a load; `also` is taken as seen once there."""
        at = math.log(load)
        seen = [*self._seen.values(), *self._passing.values(), *(Seen(key, at, value, 1.0) for key, value in also)]
        places = np.array([self._place(key, at) for key in keys], dtype=float).reshape(len(keys), -1)
        prior = np.full(len(keys), SHARED**2 + len(self._values) * KNOB**2 + OWN**2)
        if not seen:
            return np.zeros(len(keys)), np.sqrt(prior)
        known = np.array([self._place(one.key, one.load) for one in seen], dtype=float)
        noise = [NOISE**2 / max(one.blocks, 1e-3) + one.unsure for one in seen]
        factor = np.linalg.cholesky(_together(known, known) + np.diag(noise))
        across = np.linalg.solve(factor, _together(known, places))
        means = across.T @ np.linalg.solve(factor, np.array([one.value for one in seen]))
        return means, np.sqrt(np.maximum(prior - np.sum(across**2, axis=0), 1e-12))

    def state(self, node: str, signal: str) -> list[SeenAt]:
        """What was seen, to be stored."""
        return [
            SeenAt(
                node=node,
                signal=signal,
                settings=dict(one.key),
                load=one.load,
                value=one.value,
                blocks=one.blocks,
                variance=one.variance,
                until_s=None if math.isinf(one.until_s) else one.until_s,
                doubt=one.doubt,
                doubt_until_s=one.doubt_until_s,
            )
            for one in (*self._seen.values(), *self._passing.values())
        ]

    def restore(self, key: Key, one: SeenAt) -> None:
        """Know what was stored."""
        if one.until_s is not None:
            self._passing[key] = Seen(key, one.load, one.value, one.blocks, one.variance, one.until_s)
        else:
            seen = Seen(key, one.load, one.value, one.blocks, one.variance)
            seen.doubt, seen.doubt_until_s = one.doubt, one.doubt_until_s
            self._seen[key, round(one.load / LOAD_STEP)] = seen

    def adopt(self, other: "Residuals") -> None:
        """Take over what another node has seen, as one block each, where nothing was seen since the last drift."""
        for place, seen in other._seen.items():
            mine = self._seen.get(place)
            if not seen.unsure and (mine is None or mine.unsure):
                self._seen[place] = Seen(seen.key, seen.load, seen.value, 1.0)

    def _place(self, key: Key, load: float) -> list[float]:
        """Its knobs, from 0 to 1 each, and the load; what the book doesn't have of a knob is halfway."""
        given = dict(key)
        return [*(of.get(given[knob], 0.5) if knob in given else 0.5 for knob, of in self._values.items()), load]


def _together(a: Array, b: Array) -> Array:
    """Covariances of the residuals at each place of `a` with each of `b`."""
    load = LASTING + (1 - LASTING) * _alike(a[:, -1], b[:, -1], NEAR_LOAD)
    found = np.full((len(a), len(b)), SHARED**2) * load
    own = np.full((len(a), len(b)), OWN**2) * load
    for column in range(a.shape[1] - 1):
        same = _alike(a[:, column], b[:, column], NEAR)
        found += KNOB**2 * load * same
        own *= same
    return found + own


def _alike(a: Array, b: Array, scale: float) -> Array:
    apart: Array = (a[:, None] - b[None, :]) / scale
    return np.exp(-0.5 * apart**2)
