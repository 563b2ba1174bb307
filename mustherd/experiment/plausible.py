"""What a muster says it measured, held against what was asked of it and what can be; pure.

A muster is another machine's program: its numbers decide what is set on others. One that nobody can have measured makes
the whole window worthless, and is never stored as a measurement. Whether a window that can be is good enough is for the
gates to say.
"""

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise

from mustherd.terms import PERCENTILES, Load, LoadReport
from mustherd.wire.messages import Measured

MOST = 1e15
"""Of any number: more bytes than a network carries in a day."""

OFFERED_TOLERANCE = 0.1
"""By which a load that was sent may differ from the one that was asked for, beyond chance; a generator that is the
bottleneck says so itself."""

CHANCE = 6.0
"""Standard deviations of a number of random arrivals (its root)."""

COUNT_TOLERANCE = 0.25
"""By which requests may differ from their rate times the window: the two are counted over slightly other times."""

ORDER_TOLERANCE = 0.02
"""By which a percentile may lie below a smaller one: histograms round."""

LATENCY_MOST_US = 1e9
"""A thousand seconds: beyond any time-out."""


def objection(measured: Measured, load: Load | None) -> str:
    """Why a window can't be what it says; empty where it can. `load` is the one that was asked for, from anybody."""
    for name, value in _numbers(measured):
        if not math.isfinite(value) or abs(value) > MOST:
            return f"{name} is {value:g}, which is no measurement"
    seconds = measured.t1_s - measured.t0_s
    if seconds <= 0:
        return f"the window lasted {seconds:g} s"
    for energy in measured.energies:
        if energy.joules < 0:
            return f"zone {energy.zone} used {energy.joules:g} J"
    return "" if measured.load is None else _load(measured.load, load)


def _load(report: LoadReport, asked: Load | None) -> str:
    seconds = report.t1_s - report.t0_s
    if seconds <= 0:
        return f"the load lasted {seconds:g} s"
    if not 0 <= report.misses <= report.requests:
        return f"{report.misses} of {report.requests} requests were misses"
    if not 0 <= report.samples <= report.requests + 1:
        return f"the latency of {report.samples} of {report.requests} requests was measured"
    for counter, value in report.counters.items():
        if value < 0:
            return f"counter {counter} is {value:g}"
    if asked is not None and asked.qps > 0:
        wrong = _apart(report.offered_qps * seconds, asked.qps * seconds, OFFERED_TOLERANCE)
        if wrong and not (report.saturated and report.offered_qps < asked.qps):
            return f"{report.offered_qps:g} requests/s were offered where {asked.qps:g} were asked for"
        if report.achieved_qps > asked.qps and _apart(
            report.achieved_qps * seconds, asked.qps * seconds, COUNT_TOLERANCE
        ):
            return f"{report.achieved_qps:g} requests/s were answered where {asked.qps:g} were asked for"
    if report.achieved_qps < 0 or _apart(report.requests, report.achieved_qps * seconds, COUNT_TOLERANCE):
        return f"{report.requests} requests in {seconds:g} s are said to be {report.achieved_qps:g} a second"
    return _latencies("read", report.read_us) or _latencies("update", report.update_us)


def _latencies(kind: str, found: Mapping[str, float]) -> str:
    for name, value in found.items():
        if not 0 < value <= LATENCY_MOST_US:
            return f"{name} of {kind} latency is {value:g} us"
    ranks = [(name, found[name]) for name in PERCENTILES if name in found]
    for (lower, low), (higher, high) in pairwise(ranks):
        if high < low * (1 - ORDER_TOLERANCE):
            return f"{higher} of {kind} latency is {high:g} us, below its {lower} of {low:g} us"
    return ""


def _apart(count: float, expected: float, tolerance: float) -> bool:
    """Whether a count differs from the one expected by more than a share of that and what chance does to arrivals."""
    return abs(count - expected) > 1 + tolerance * expected + CHANCE * math.sqrt(max(expected, 0.0))


def _numbers(measured: Measured) -> Iterator[tuple[str, float]]:
    yield "the window's start", measured.t0_s
    yield "the window's end", measured.t1_s
    for energy in measured.energies:
        yield f"the energy of zone {energy.zone}", energy.joules
    load = measured.load
    if load is None:
        return
    for name in ("t0_s", "t1_s", "offered_qps", "achieved_qps", "requests", "misses", "samples"):
        yield f"{name} of the load", float(getattr(load, name))
    for kind, latencies in (("read", load.read_us), ("update", load.update_us)):
        for name, value in latencies.items():
            yield f"{name} of {kind} latency", value
    for name, value in load.counters.items():
        yield f"counter {name}", value
