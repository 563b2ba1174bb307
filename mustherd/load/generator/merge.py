"""What all workers counted, as one report, and whether the generator was the bottleneck; pure."""

from collections.abc import Sequence
from typing import Any

import msgspec
from hdrh.histogram import HdrHistogram

from mustherd.load import saturation
from mustherd.load.generator.options import DIGITS, MAX_UNITS, UNITS_PER_SECOND, Counted
from mustherd.terms import PERCENTILES, LoadReport


def merge(parts: Sequence[Counted], t0_s: float, t1_s: float) -> LoadReport:
    """The report of a window on CLOCK_MONOTONIC, `saturated` by the usual limits. ValueError without a worker."""
    if not parts:
        raise ValueError("no worker counted anything")
    seconds = t1_s - t0_s
    reads, updates = _added(p.reads for p in parts), _added(p.updates for p in parts)
    lags = [HdrHistogram.decode(p.lags) for p in parts]
    due, answered = sum(p.due for p in parts), sum(p.answered for p in parts)
    unsent = sum(p.unsent for p in parts)
    busy = max(1 - p.idle_s / seconds for p in parts)
    waited = max(p.wait_s for p in parts) / seconds
    latency_sum = sum(p.read_sum_us + p.update_sum_us for p in parts)
    lag_sum = sum(p.lag_sum_us for p in parts)
    report = LoadReport(
        generator="builtin",
        t0_s=t0_s,
        t1_s=t1_s,
        offered_qps=due / seconds,
        achieved_qps=answered / seconds,
        requests=answered,
        misses=sum(p.misses for p in parts),
        samples=answered,
        read_us=_latencies(reads, sum(p.read_sum_us for p in parts)),
        update_us=_latencies(updates, sum(p.update_sum_us for p in parts)),
        counters={
            saturation.BUSY: busy,
            "generator_lag_avg_us": max(
                p.lag_sum_us / max(1, h.get_total_count()) for p, h in zip(parts, lags, strict=True)
            ),
            "generator_lag_p99_us": max(_us(h, 99.0) for h in lags),
            saturation.WAITING: waited,
            saturation.UNSENT: unsent / due if due else 0.0,
            # A window in which nothing was answered has no mean latency: what was sent late is then all there is.
            saturation.LATE: lag_sum / latency_sum if latency_sum else float(lag_sum > 0),
            "generator_takes_precedence": float(all(p.takes_precedence for p in parts)),
            "generator_cpu_seconds": sum(p.cpu_s for p in parts),
            "unsent": unsent,
            "held_back": sum(p.held_back for p in parts),
            "unanswered": sum(p.unanswered for p in parts),
            "errors": sum(p.errors for p in parts),
        },
    )
    return msgspec.structs.replace(report, saturated=bool(saturation.why(report)))


def _added(encoded: Any) -> HdrHistogram:
    total = HdrHistogram(1, MAX_UNITS, DIGITS)
    for one in encoded:
        total.decode_and_add(one)
    return total


def _us(histogram: HdrHistogram, percentile: float) -> float:
    return float(histogram.get_value_at_percentile(percentile)) * 1e6 / UNITS_PER_SECOND


def _latencies(histogram: HdrHistogram, sum_us: float) -> dict[str, float]:
    """Nothing where nothing was measured, which is not 0."""
    count = histogram.get_total_count()
    if not count:
        return {}
    return {"avg": sum_us / count, **{name: _us(histogram, 100 * share) for name, share in PERCENTILES.items()}}
