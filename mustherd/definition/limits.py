"""What is measured in a trial: the metrics that an objective or a constraint may name."""

import math
import re
from typing import NamedTuple

from mustherd.definition.errors import nearest, shown
from mustherd.definition.units import QuantityError, kind_of, number_text, quantity
from mustherd.learn.base import Constraint

MAX_LIMIT = 1e15


class Metric(NamedTuple):
    """A measured outcome: its unit, what it means, and whether it can be what a user is after."""

    unit: str
    meaning: str
    is_aim: bool = True


def _latencies(verb: str) -> dict[str, Metric]:
    parts = {"avg": "mean", "p50": "median", "p90": "90th percentile", "p95": "95th percentile"}
    parts |= {"p99": "99th percentile", "p999": "99.9th percentile"}
    return {f"{verb}_{part}_us": Metric("us", f"{text} of the latency of {verb}s") for part, text in parts.items()}


METRICS: dict[str, Metric] = {
    "energy_joules": Metric("J", "energy of all packages over the window"),
    "power_watts": Metric("W", "mean power of all packages over the window"),
    "joules_per_request": Metric("J", "energy of all packages per answered request"),
    "server_cpu_seconds": Metric("s", "CPU time of the server over the window, where its node counts it"),
    "cpu_seconds_per_request": Metric("s", "CPU time of the server per answered request"),
    **_latencies("read"),
    **_latencies("update"),
    "offered_qps": Metric("qps", "load that was to be sent", is_aim=False),
    "achieved_qps": Metric("qps", "load that was answered"),
    "achieved_ratio": Metric("ratio", "answered of offered load"),
    "window_seconds": Metric("s", "length of the window", is_aim=False),
    "misses": Metric("", "reads that found no value", is_aim=False),
}

AIMS = tuple(name for name, metric in METRICS.items() if metric.is_aim)
"""The metrics that an objective may name."""

LIMIT = re.compile(r"\s*([^\s<>=!]*)\s*(<=|>=|<|>|==|=|!=|\u2264|\u2265)\s*(.*)", re.DOTALL)
LIMIT_FORM = "'METRIC <= AMOUNT' or 'METRIC >= AMOUNT', as in 'read_p99_us <= 500' or 'read_p99_us <= 0.5 ms'"


class MetricError(QuantityError):
    """A metric or a limit that can't be read."""


def check_metric(name: object, *, objective: bool = False) -> str:
    """`name` if it is a metric (and, with `objective`, one that can be that); else MetricError."""
    names = list(AIMS if objective else METRICS)
    if isinstance(name, str) and name in names:
        return name
    if isinstance(name, str) and name in METRICS:
        raise MetricError(f"'{name}' is no aim; it can be a constraint", ", ".join(names))
    if not isinstance(name, str):
        raise MetricError(f"should be the name of a metric, found {kind_of(name)}", ", ".join(names))
    raise MetricError(f"unknown metric '{shown(name)}'", ", ".join(names), nearest(name, names))


def limit(raw: object) -> Constraint:
    """The constraint that a text such as `read_p99_us <= 0.5 ms` states, its limit in the metric's own unit.

    Raises MetricError.
    """
    if isinstance(raw, Constraint):
        check_metric(raw.metric)
        _check_range(raw.limit)
        return raw
    match = LIMIT.fullmatch(raw) if isinstance(raw, str) else None
    if match is None:
        raise MetricError(f"{kind_of(raw)} is no limit", LIMIT_FORM)
    name, sign, amount = match[1], match[2], match[3].strip()
    check_metric(name)
    sign = {"\u2264": "<=", "\u2265": ">="}.get(sign, sign)
    if sign not in ("<=", ">="):
        better = {"<": "<=", "=": "<=", "==": "<="}.get(sign, ">=" if sign == ">" else "")
        raise MetricError(f"'{sign}' is no limit", LIMIT_FORM, shown(f"{name} {better} {amount}") if better else "")
    try:
        value = float(quantity(amount, METRICS[name].unit))
    except QuantityError as error:
        better = f"{name} {sign} {error.suggestion}" if error.suggestion else ""
        raise MetricError(str(error), error.allowed, better) from None
    _check_range(value)
    return Constraint(metric=name, limit=value, at_least=sign == ">=")


def limit_text(constraint: Constraint) -> str:
    """A constraint as the file states it."""
    return f"{constraint.metric} {'>=' if constraint.at_least else '<='} {number_text(constraint.limit)}"


def _check_range(value: float) -> None:
    if not (math.isfinite(value) and 0 <= value <= MAX_LIMIT):
        raise MetricError(
            f"the limit {number_text(value) if math.isfinite(value) else value} is out of range", "0..1e15"
        )
