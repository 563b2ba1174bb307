"""The guard: a limit that is broken, a signal that is lost, and settings that are barred for it."""

import math
from collections import deque
from collections.abc import Iterable

import msgspec

from mustherd.keep.options import Options
from mustherd.learn.base import Settings
from mustherd.learn.windows import Key, key_of

BROKEN = 0.08
"""Excess times seconds after which a limit counts as broken: 8 % for a second, or 2 % for four."""
EARLIER = 0.025
"""Where a latency has drifted it is held against so much less, as a logarithm, than the limit: at the limit itself for
four seconds breaks it. It is half of the margin at most: what is chosen at the margin has to hold for good."""
SUSPECT = 0.03
"""The same for settings that come back after a limit was broken on their node, while they show whether they hold, and
one frame above the limit is enough: noise alone is not as wide as the margin. Half of the margin at most. With 0.04 a
node whose delay had lost its effect barred what would have held, 16 % above the optimum for hours; with 0.02 settings
half a per cent above the limit stayed for 16 s."""
MOST = 0.5
"""One frame counts as at most so much."""
UNLIKELY = 0.07
"""A latency so much above what is believed of the settings, as a logarithm, is no noise of a frame and no error of a
book: what lies between that and the limit is counted, too."""
MOST_EARLIER = 0.05
"""By how much at most, in frames above the limit: two seconds of them break it then."""


class LimitWatch:
    """Sums how far a latency is beyond its limit, in logarithms times seconds, and begins anew below nothing."""

    __slots__ = ("_earlier", "_frame_s", "_limit", "_suspect", "sum")

    def __init__(self, options: Options) -> None:
        self._limit = options.limit
        self._frame_s = options.frame_s
        self._earlier = min(EARLIER, options.margin / 2)
        self._suspect = min(SUSPECT, options.margin / 2)
        self.sum = 0.0

    def add(
        self, latency: float, *, doubtful: bool = False, believed: float | None = None, suspect: bool = False
    ) -> bool:
        """One more frame: whether the limit counts as broken; earlier where what is in force is doubtful or even
        `suspect`, or where what is `believed` of its latency lies far below the limit: there a little above it is a lot
        above that."""
        # What is below the limit is for the drift's test to find, and for canaries to make up for.
        above = latency > self._limit
        earlier = self._earlier if doubtful else self._of_belief(believed) if believed and above else 0.0
        if suspect:
            earlier = max(earlier, self._suspect)
        excess = min(MOST, math.log(max(latency, 1e-9) / self._limit) + earlier)
        self.sum = max(0.0, self.sum + excess * self._frame_s)
        return self.sum > BROKEN or (suspect and above)

    def _of_belief(self, believed: float) -> float:
        return min(MOST_EARLIER, max(0.0, math.log(self._limit / believed) - UNLIKELY))

    def clear(self) -> None:
        self.sum = 0.0


class Changes:
    """Nodes that were changed within the settle time: no more than a share of the herd."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._at: deque[float] = deque()

    def free(self, nodes: int, now: float) -> bool:
        """Whether one more may be changed."""
        while self._at and now - self._at[0] >= self._options.settle_s:
            self._at.popleft()
        return len(self._at) < max(1, int(self._options.changed * nodes))

    def add(self, now: float) -> None:
        """One was changed."""
        self._at.append(now)


class Bar(msgspec.Struct):
    """Settings that may not be used at a load."""

    until_s: float
    times: int


class Barred(msgspec.Struct, frozen=True, kw_only=True):
    """A bar as it is stored."""

    node: str
    settings: Settings
    cell: int
    until_s: float
    times: int


class Bars:
    """What is barred on which node; the time doubles with each bar."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._bars: dict[tuple[str, Key, int], Bar] = {}
        self._put_at: dict[Key, float] = {}

    def put(self, node: str, key: Key, cell: int, now: float) -> float:
        """Bar settings at a load of the book; gives for how many seconds."""
        options = self._options
        bar = self._bars.setdefault((node, key, cell), Bar(until_s=0.0, times=0))
        if now - bar.until_s > options.half_life_s:
            bar.times = 0
        seconds = min(options.longest_bar_s, options.bar_s * 2.0**bar.times)
        bar.until_s, bar.times = now + seconds, min(bar.times + 1, 60)
        self._put_at[key] = now
        return seconds

    def put_since(self, key: Key, when: float) -> bool:
        """Whether settings were barred on any node, at any load, since then."""
        return self._put_at.get(key, -math.inf) > when

    def times(self, node: str, key: Key, cell: int) -> int:
        """How often settings were barred at a load, as far as that isn't forgotten."""
        bar = self._bars.get((node, key, cell))
        return bar.times if bar is not None else 0

    def free(self, node: str, key: Key, cell: int, now: float) -> bool:
        """Whether nothing bars settings at a load."""
        bar = self._bars.get((node, key, cell))
        return bar is None or now >= bar.until_s

    def forget(self, now: float) -> None:
        """Let go of bars that ended a half-life ago: keeps what is kept bounded."""
        old = [place for place, bar in self._bars.items() if now - bar.until_s > self._options.half_life_s]
        for place in old:
            del self._bars[place]

    def state(self) -> list[Barred]:
        """What is barred, to be shown and stored."""
        return [
            Barred(node=node, settings=dict(key), cell=cell, until_s=bar.until_s, times=bar.times)
            for (node, key, cell), bar in self._bars.items()
        ]

    def restore(self, state: Iterable[Barred]) -> None:
        """Bar what was stored."""
        for one in state:
            self._bars[one.node, key_of(one.settings), one.cell] = Bar(until_s=one.until_s, times=one.times)
