"""An example of a metric in a package of its own; docs/extend/metric.md shows it."""

from mustherd.metrics import Metric, WindowMeasurement


def _ratio(window: WindowMeasurement) -> float | None:
    if window.load is None or not window.load.read_us.get("p50"):
        return None  # not measured, which is not 0
    return window.load.read_us["p99"] / window.load.read_us["p50"]


METRIC = Metric(
    name="tail_ratio",
    meaning="how many times its median the 99th percentile of reads is",
    verb="has",
    compute=_ratio,
)
