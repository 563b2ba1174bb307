"""The highest load that a server carries within a limit, or that a generator can offer; pure but for the measurements
that it asks for."""

import math
from collections.abc import Callable

import msgspec

from mustherd.load.saturation import BUSY, why
from mustherd.terms import GUARD_LIMIT, LoadReport

PRECISION = 0.05
"""The peak lies between a load that kept the limit and one this share above it that did not."""

ATTEMPTS = 2
"""How often a load is tried that breaks something: somebody else may have had a core for once."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One load that was tried. `broken` says in words what was not kept; empty: all was."""

    qps: float
    achieved_qps: float
    value_us: float | None
    """The percentile; None where none was measured."""
    broken: str
    generator_busy: float | None = None
    """Share of the window in which the generator's busiest process had something to do, where it tells."""


class Peak(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. `qps` is 0 where even the least load broke the limit."""

    qps: float
    limited_by: str
    """What the next higher load broke, or that no higher one was to be tried."""
    by_server: bool
    """Whether the server was what limited it, rather than the generator or the highest load asked for."""
    steps: tuple[Step, ...]


def find(
    measure: Callable[[float], LoadReport],
    *,
    kind: str,
    percentile: str,
    limit_us: float,
    low_qps: float,
    high_qps: float,
    tell: Callable[[Step], None] = lambda _step: None,
) -> Peak:
    """Double the load from `low_qps` until something breaks, then halve what is left between.

    Args:
        measure: offers a load for a while and reports it.
        kind: `read` or `update`, whose `percentile` (p50, p99, ...) is held against `limit_us`.
        percentile: as reports name it.
        limit_us: the most that it may be.
        low_qps: where to begin, above 0.
        high_qps: no load above it is tried.
        tell: gets every step as it ends.
    """
    steps: list[Step] = []
    limits: dict[float, tuple[str, bool]] = {}

    def judged(report: LoadReport) -> tuple[float, str, bool]:
        latencies = report.read_us if kind == "read" else report.update_us
        value = latencies.get(percentile, math.nan)
        if report.saturated:
            return value, f"the generator ({report.generator}) was itself the bottleneck: {why(report)}", False
        if not value <= limit_us:
            return value, f"{kind} {percentile} {value:.0f} us > {limit_us:g} us", True
        if report.achieved_qps < GUARD_LIMIT * report.offered_qps:
            return value, f"{report.achieved_qps / report.offered_qps:.1%} of the load was answered", True
        return value, "", True

    def keeps(qps: float) -> bool:
        for _ in range(ATTEMPTS):
            report = measure(qps)
            value, broken, by_server = judged(report)
            if not broken:
                break
        steps.append(
            Step(
                qps=qps,
                achieved_qps=report.achieved_qps,
                value_us=value if math.isfinite(value) else None,
                broken=broken,
                generator_busy=report.counters.get(BUSY),
            )
        )
        tell(steps[-1])
        limits[qps] = (broken, by_server)
        return not broken

    good, bad, qps = 0.0, 0.0, low_qps
    while not bad:
        if keeps(qps):
            good = qps
            if qps >= high_qps:
                return Peak(qps=good, limited_by="no higher load was asked for", by_server=False, steps=tuple(steps))
            qps = min(2 * qps, high_qps)
        else:
            bad = qps
    while good and bad / good > 1 + PRECISION:
        middle = (good * bad) ** 0.5
        if keeps(middle):
            good = middle
        else:
            bad = middle
    broken, by_server = limits[bad]
    return Peak(qps=good, limited_by=broken, by_server=by_server, steps=tuple(steps))


def generator_limit(
    measure: Callable[[float], LoadReport],
    *,
    low_qps: float,
    high_qps: float,
    tell: Callable[[Step], None] = lambda _step: None,
) -> Peak:
    """The highest load at which the generator isn't the bottleneck, whatever the latency; arguments as of `find`.

    With `by_server` it's only a lower bound: the server gave out first.
    """
    return find(
        measure,
        kind="read",
        percentile="p99",
        limit_us=math.inf,
        low_qps=low_qps,
        high_qps=high_qps,
        tell=tell,
    )
