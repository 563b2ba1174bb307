"""What a window's percentiles can't say better than: the error that each has by itself.

A percentile of n requests is an order statistic (David and Nagaraja, Order Statistics, 2003, chapter 7): the share of
requests above it varies by its binomial standard error, and the latency by as much as the tail is long there. What the
load's own histogram rounds comes on top.
"""

import itertools
import math
from collections.abc import Mapping

from mustherd.load.mutilate.output import BIN_WIDTH
from mustherd.terms import PERCENTILES, LoadReport

BIN_WIDTHS = {"mutilate": BIN_WIDTH}
"""Load generator to the relative width of its histogram's bins, where they are wide enough to matter."""


def errors(report: LoadReport | None) -> dict[str, float]:
    """Metric to its window's own relative standard error, of the percentiles that a load reports."""
    if report is None or report.samples < 1:
        return {}
    width = BIN_WIDTHS.get(report.generator, 0.0)
    found: dict[str, float] = {}
    for verb, latencies in (("read", report.read_us), ("update", report.update_us)):
        found |= {f"{verb}_{name}_us": e for name, e in _errors(latencies, report.samples, width).items()}
    return found


def _errors(latencies: Mapping[str, float], samples: int, width: float) -> dict[str, float]:
    known = [name for name in PERCENTILES if latencies.get(name, 0.0) > 0]
    found = {}
    for below, name in itertools.pairwise(known):
        share, lower = PERCENTILES[name], PERCENTILES[below]
        # How fast the latency rises as its tail gets thinner: d ln q / d ln (1 - p).
        slope = max(0.0, math.log(latencies[name] / latencies[below])) / math.log((1 - lower) / (1 - share))
        sampling = slope * math.sqrt(share / (samples * (1 - share)))
        # A value that may lie anywhere in its bin.
        found[name] = math.hypot(sampling, width / math.sqrt(12))
    return found
