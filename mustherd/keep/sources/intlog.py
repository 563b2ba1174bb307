"""Load by the medians of received bytes per row of intlog, which the reference system knows a load by.

Rows come as they are logged and touch no disk: what belongs to a window of the keeper's is looked at when it has ended.
"""

import math
import random
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Annotated

import msgspec
from msgspec import Meta

from mustherd.keep.source import PER_DELAY, Counted, Musters, Sample, SourceError, gathered
from mustherd.learn.load_estimate import C6220
from mustherd.node.kinds import ADAPTIVE, ITR_DELAY
from mustherd.shepherd.sink import LogSink
from mustherd.terms import MAX_VALUE, Reading
from mustherd.wire import messages as m

Amount = Annotated[float, Meta(gt=0)]
Medians = Mapping[int, Sequence[tuple[float, float]]]
"""Interrupt delay to loads and their medians, both rising as far as the medians tell loads apart."""

ALIKE = 0.03
"""Loads whose medians are no further apart, as a share, aren't told apart."""
MOST_BLOCKS, MOST_BYTES = 64, 32_768
"""Of a node are kept, and of each block: thousands of rows, whose median is as good as that of all."""
BLOCK_WAIT_S = 5.0
"""A window whose rows haven't come by then is given up."""


class IntlogOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a median says."""

    medians: dict[int, tuple[tuple[Amount, Amount], ...]] = {}
    """For each interrupt delay (us; 1: adaptive) pairs of requests a second and the median of received bytes per row
    there. Without them what the experiment's trials had, or else what the reference measured on c6220 nodes."""


class Rows(LogSink):
    """The newest rows of each node, in memory: they are safe as soon as they are here."""

    def __init__(self) -> None:
        self._log = random.SystemRandom().randrange(1, MAX_VALUE)
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, int], deque[tuple[m.Block, bytes]]] = {}
        self._got: dict[tuple[str, int], int] = {}
        self._durable: Callable[[str, int, int], None] = lambda _muster, _spool, _number: None

    @property
    def log(self) -> int:
        return self._log

    def attach(self, durable: Callable[[str, int, int], None]) -> None:
        self._durable = durable

    def met(self, hello: m.Hello) -> None:
        """Nothing of its node or units is needed."""

    def watermark(self, muster: str, spool: int) -> int:
        with self._lock:
            # Of a spool that it has left nothing comes any more.
            for place in [place for place in self._got if place[0] == muster and place[1] != spool]:
                del self._got[place]
                self._kept.pop(place, None)
            return self._got.get((muster, spool), 0)

    def put(self, muster: str, block: m.Block, rows: memoryview) -> None:
        place = (muster, block.spool)
        with self._lock:
            self._got[place] = block.seq
            if block.form == "text" and "rx_bytes" in block.columns:
                kept = self._kept.setdefault(place, deque(maxlen=MOST_BLOCKS))
                kept.append((block, bytes(rows[:MOST_BYTES])))
        self._durable(muster, block.spool, block.seq)

    def upto(self, muster: str, spool: int, number: int) -> list[tuple[m.Block, bytes]] | None:
        """Takes the blocks up to that one; None while it hasn't come."""
        place = (muster, spool)
        with self._lock:
            if self._got.get(place, 0) < number:
                return None
            kept, found = self._kept.get(place, deque()), []
            while kept and kept[0][0].seq <= number:
                found.append(kept.popleft())
            return found


class _Window(msgspec.Struct):
    """One that has ended, and waits for its rows."""

    spool: int
    last_block: int
    delay_us: int | None
    """None: it changed meanwhile."""
    ended: float


class IntlogSource:
    """`intlog`: from rows of musters that log it.

    Above some load a long delay makes medians of all loads alike. What was believed before is kept then; where that
    isn't one of them, it may be the highest.
    """

    Options = IntlogOptions

    def __init__(self, options: IntlogOptions, musters: Musters) -> None:
        """ValueError for medians that tell no loads apart."""
        self.sink = Rows()
        self._musters = musters
        self._medians: Medians = {}
        self._given = bool(options.medians)
        self._windows: dict[str, _Window] = {}
        self._spools: dict[str, int] = {}
        """Each node's, once its rows from before this keeper are out of the way."""
        self._believed: dict[str, float] = {}
        if self._given:
            self._medians = {delay: sorted(row) for delay, row in options.medians.items()}
            if not all(self._medians.values()):
                raise ValueError("medians: each delay needs a pair of requests a second and bytes at least")

    def learn(self, counted: Counted) -> None:
        if self._given:
            return
        found = {
            int(name.removeprefix(PER_DELAY)): sorted(row)
            for name, row in counted.items()
            if name.startswith(PER_DELAY) and len(row) > 1
        }
        self._medians = found or {delay: sorted(row.items()) for delay, row in C6220.items()}

    def seen(self, node: str, measured: m.Measured) -> None:
        if measured.spool and measured.last_block:
            both = [_delay(readings) for readings in (measured.before, measured.after)]
            delay = both[0] if both[0] == both[1] else None
            self._windows[node] = _Window(measured.spool, measured.last_block, delay, time.monotonic())

    def read(self) -> Sequence[Sample]:
        return gathered([partial(self._of, name) for name in self._musters()])

    def close(self) -> None:
        self._windows.clear()

    def _of(self, node: str) -> Sample | None:
        window = self._windows.get(node)
        if window is None:
            return None
        blocks = self.sink.upto(node, window.spool, window.last_block)
        late = time.monotonic() - window.ended
        if blocks is None and late < BLOCK_WAIT_S:
            return None
        if self._windows.get(node) is window:
            del self._windows[node]
        if blocks is None:
            raise SourceError(f"{node}: rows of a window that ended {late:.0f} s ago haven't come")
        if self._spools.get(node) != window.spool:
            # What lay there may be of any time before.
            self._spools[node] = window.spool
            return None
        if window.delay_us is None:
            return None
        received = median_of(blocks)
        if received is None:
            raise SourceError(f"{node}: a window had no rows with rx_bytes: no traffic, or its muster logs no intlog")
        load = self._load(node, window.delay_us, received)
        self._believed[node] = load
        return Sample(node, "load", load, late)

    def _load(self, node: str, delay_us: int, received: float) -> float:
        delay = min(self._medians, key=lambda one: (abs(one - delay_us), one))
        return load_of(self._medians[delay], received, self._believed.get(node))


def load_of(row: Sequence[tuple[float, float]], received: float, believed: float | None) -> float:
    """The load of a median, by a delay's row: between two loads by logarithms, below them by bytes for each request."""
    telling = [row[0]]
    for (_, before), one in pairwise(row):
        if one[1] <= before * (1 + ALIKE):
            break
        telling.append(one)
    top_load, top = telling[-1]
    if len(telling) < len(row) and received >= top * (1 - ALIKE):
        return min(max(believed, top_load), row[-1][0]) if believed and believed >= top_load else row[-1][0]
    place = bisect_left([median for _, median in telling], received)
    if place in (0, len(telling)):
        load, at = telling[max(0, place - 1)]
        return load * received / at
    (low, low_median), (high, high_median) = telling[place - 1], telling[place]
    return low * math.exp(math.log(high / low) * math.log(received / low_median) / math.log(high_median / low_median))


def median_of(blocks: Sequence[tuple[m.Block, bytes]]) -> float | None:
    """Of received bytes per row; None where there are no rows.

    Older drivers log every interrupt and fill in counters once in a millisecond: where there are such rows, the others
    don't count (mustherd.rowlog.medians).
    """
    # Imported late: a keeper without rows needs no arrow.
    import numpy as np  # noqa: PLC0415

    from mustherd.rowlog import parse  # noqa: PLC0415

    found = []
    for block, text in blocks:
        begin = text.find(b"\n") + 1 if block.continues else 0
        table = parse.read(text[begin : text.rfind(b"\n") + 1], tuple(block.columns)).table
        if not len(table):
            continue
        received = parse.column(table, "rx_bytes")
        found.append(received[parse.column(table, "joules") > 0] if "joules" in block.columns else received)
    every = np.concatenate(found) if found else np.empty(0)
    return float(np.median(every)) if len(every) else None


def _delay(readings: Sequence[Reading]) -> int | None:
    """What the queues have; adaptive where nobody reads it back."""
    found = {one.applied for one in readings if one.knob == ITR_DELAY.name}
    if not found:
        return ADAPTIVE
    return found.pop() if len(found) == 1 else None
