"""Load by what each node's network card receives or sends: no server has to tell it."""

import math
import time
from bisect import bisect_left
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from mustherd.keep.source import Counted, Musters, Sample, SourceError, gathered
from mustherd.plugins import OptionError
from mustherd.wire.messages import Measured

Amount = Annotated[float, Meta(gt=0)]
CURVE_FORM = "pairs of requests a second and what is counted a second there, both rising: [[400000, 41.2e6], ...]"


class NicOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is counted, and what it comes to at known loads."""

    count: Literal["nic_rx_bytes", "nic_rx_packets", "nic_tx_bytes", "nic_tx_packets"] = "nic_rx_bytes"
    curve: tuple[tuple[Amount, Amount], ...] = ()
    """Requests a second, and the count a second there; without it what trials counted at the loads of the experiment or
    the table. One pair says that each is so many of the other."""


class NicSource:
    """`nic`: from windows of the musters themselves, which have the counts of the node's interface.

    Between two loads the logarithms are interpolated, beyond them the counts stay what they are for each request.
    """

    Options = NicOptions

    def __init__(self, options: NicOptions, musters: Musters) -> None:
        """ValueError for a curve that doesn't rise."""
        self._options = options
        self._musters = musters
        self._curve: list[tuple[float, float]] = []
        self._newest: dict[str, tuple[float, float | None]] = {}
        """When each node's window ended, and its load; None: it doesn't count. Replaced as a whole by one thread, taken
        by the other."""
        if options.curve:
            self._curve = _rising(options.curve)

    def learn(self, counted: Counted) -> None:
        if self._curve:
            return
        if not counted.get(self._options.count):
            what = f"no trial or row of a table has counted {self._options.count}: which loads are how much of it?"
            raise OptionError(what, ("curve",), allowed=CURVE_FORM)
        self._curve = _rising(counted[self._options.count])

    def seen(self, node: str, measured: Measured) -> None:
        count, seconds = measured.counts.get(self._options.count), measured.t1_s - measured.t0_s
        load = None if count is None or seconds <= 0 else self._load(count / seconds)
        self._newest[node] = time.monotonic(), load

    def read(self) -> Sequence[Sample]:
        return gathered([partial(self._taken, name) for name in self._musters()])

    def close(self) -> None:
        self._newest.clear()

    def _taken(self, node: str) -> Sample | None:
        """What a node's newest window told; None where that was told already."""
        found = self._newest.pop(node, None)
        if found is None:
            return None
        at, load = found
        if load is None:
            raise SourceError(f"{node}: its windows have no {self._options.count}: is there an interface in its facts?")
        return Sample(node, "load", load, max(0.0, time.monotonic() - at))

    def _load(self, rate: float) -> float:
        """What load a count a second is."""
        rates = [one for _, one in self._curve]
        place = bisect_left(rates, rate)
        if place in (0, len(rates)):
            qps, at = self._curve[max(0, place - 1)]
            return qps * rate / at
        (low, low_rate), (high, high_rate) = self._curve[place - 1], self._curve[place]
        share = math.log(rate / low_rate) / math.log(high_rate / low_rate)
        return low * math.exp(share * math.log(high / low))


def _rising(pairs: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Pairs by load. OptionError where two loads are not told apart by what is counted."""
    found = sorted(pairs)
    for (low, low_rate), (high, high_rate) in pairwise(found):
        if not (high > low and high_rate > low_rate):
            what = f"{high_rate:g} a second at {high:g} requests a second is no more than {low_rate:g} at {low:g}"
            raise OptionError(what, ("curve",), allowed=CURVE_FORM)
    return found
