"""The highest load that a server carries within a limit; pure but for the measurements that it asks for."""

from collections.abc import Callable

import msgspec

from mustherd.load.saturation import why
from mustherd.terms import LoadReport

PRECISION = 0.05
"""The peak lies between a load that kept the limit and one this share above it that did not."""
LEAST_RATIO = 0.98
"""Share of the offered load that must be answered."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One load that was tried. `broken` says in words what was not kept; empty: all was."""

    qps: float
    achieved_qps: float
    value_us: float
    broken: str


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

    def keeps(qps: float) -> bool:
        report = measure(qps)
        latencies = report.read_us if kind == "read" else report.update_us
        value = latencies.get(percentile, float("nan"))
        broken, by_server = "", True
        if report.saturated:
            broken, by_server = f"the generator ({report.generator}) was itself the bottleneck: {why(report)}", False
        elif not value <= limit_us:
            broken = f"{kind} {percentile} {value:.0f} us > {limit_us:g} us"
        elif report.achieved_qps < LEAST_RATIO * report.offered_qps:
            broken = f"{report.achieved_qps / report.offered_qps:.1%} of the load was answered"
        steps.append(Step(qps=qps, achieved_qps=report.achieved_qps, value_us=value, broken=broken))
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
