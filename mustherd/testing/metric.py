"""What every metric does: the contract of mustherd.metrics, as a suite."""

import math
from dataclasses import replace

import pytest

from mustherd.metrics import NAME, Metric, Use, WindowMeasurement
from mustherd.terms import Energy, LoadReport

WINDOW = WindowMeasurement(
    seconds=30.0,
    energies=(
        Energy(zone="package-0", kind="package", joules=1200.0),
        Energy(zone="core-0", kind="core", joules=700.0),
        Energy(zone="dram-0", kind="dram", joules=150.0),
    ),
    load=LoadReport(
        generator="contract",
        t0_s=0.0,
        t1_s=30.0,
        offered_qps=10_000.0,
        achieved_qps=9_900.0,
        requests=297_000,
        misses=3,
        samples=60_000,
        read_us={"avg": 95.0, "p50": 90.0, "p90": 130.0, "p95": 150.0, "p99": 240.0, "p999": 410.0},
        update_us={"avg": 98.0, "p50": 92.0, "p90": 135.0, "p95": 155.0, "p99": 250.0, "p999": 420.0},
        counters={"server_cpu_seconds": 41.0, "cmd_get": 222_750.0, "cmd_set": 74_250.0},
    ),
)
"""A window in which everything was measured."""


class MetricContract:
    """One metric."""

    window = WINDOW
    """A window in which what it is computed from was measured; a suite may add counters to it."""

    @pytest.fixture
    def metric(self) -> Metric:
        """The metric."""
        raise NotImplementedError

    def test_says_what_it_is(self, metric: Metric) -> None:
        assert NAME.fullmatch(metric.name)
        assert metric.meaning.strip()
        assert not metric.meaning.endswith(".")
        assert metric.label

    def test_is_a_number_where_all_was_measured(self, metric: Metric) -> None:
        if metric.compute is None:
            assert metric.use is Use.REPORT or metric.name.endswith("_us"), "its value comes from nowhere"
            return
        value = metric.compute(self.window)
        assert value is not None
        assert math.isfinite(value)
        assert metric.compute(self.window) == value

    @pytest.mark.parametrize("absent", ["energies", "load", "both", "latencies", "counters", "requests"])
    def test_what_was_not_measured_is_none_and_no_error(self, metric: Metric, absent: str) -> None:
        if metric.compute is None:
            return
        value = metric.compute(without(self.window, absent))
        assert value is None or math.isfinite(value)
        if absent == "both":
            assert value is None or metric.compute(replace(self.window, energies=(), load=None)) == value

    def test_a_better_value_costs_less(self, metric: Metric) -> None:
        worse, better = (1.0, 2.0) if metric.maximized else (2.0, 1.0)
        assert metric.as_cost(better) < metric.as_cost(worse)
        assert metric.better_percent(better, worse) > 0


def without(window: WindowMeasurement, absent: str) -> WindowMeasurement:
    """A window in which a part was not measured."""
    load = window.load
    assert load is not None
    if absent in ("energies", "both"):
        window = replace(window, energies=())
    if absent in ("load", "both"):
        return replace(window, load=None)
    changes: dict[str, dict[str, object]] = {
        "latencies": {"read_us": {}, "update_us": {}},
        "counters": {"counters": {}},
        "requests": {"requests": 0, "achieved_qps": 0.0, "samples": 0},
    }
    fields = {name: getattr(load, name) for name in load.__struct_fields__}
    return replace(window, load=LoadReport(**{**fields, **changes.get(absent, {})}))
