"""Metrics and limits on them, as a definition spells them."""

import math
import re
from collections.abc import Iterable, Mapping

from mustherd import metrics
from mustherd.definition.errors import DefinitionError, nearest
from mustherd.definition.units import QuantityError, number_text, quantity
from mustherd.errors import kind_of, shown
from mustherd.goal import Constraint
from mustherd.metrics import Use

MAX_LIMIT = 1e15


LIMIT = re.compile(r"\s*([^\s<>=!]*)\s*(<=|>=|<|>|==|=|!=|\u2264|\u2265)\s*(.*)", re.DOTALL)
LIMIT_FORM = "'METRIC <= AMOUNT' or 'METRIC >= AMOUNT', as in 'read_p99_us <= 500' or 'read_p99_us <= 0.5 ms'"


TURNED = re.compile(r"\s*([0-9.]+(?:\s*[^\s<>=0-9]+)?)\s*(<=?|>=?|\u2264|\u2265)\s*([a-z]\w*)\s*(.*)", re.DOTALL)
"""A limit that begins with its amount: `100 <= read_p99_us`, and as it may go on."""


class MetricError(QuantityError):
    """A metric or a limit that can't be read."""


def objectives() -> list[str]:
    """The metrics that an objective may name, those of installed packages among them."""
    return [name for name, metric in metrics.catalogue().items() if metric.use is Use.OBJECTIVE]


def check_metric(name: object, *, objective: bool = False) -> str:
    """`name` if it is a metric that a limit may be on or, with `objective`, one that can be that; else MetricError."""
    if isinstance(name, str):
        # Of the packages' metrics this one alone is imported: what another one is broken at is not said here.
        use = metrics.of(name).use
        if use is Use.OBJECTIVE or (use is Use.LIMIT and not objective):
            return name
    limited = [name for name, metric in metrics.catalogue().items() if metric.use is not Use.REPORT]
    names = objectives() if objective else limited
    if isinstance(name, str) and name in limited:
        raise MetricError(f"'{name}' is no objective; it can be a constraint", ", ".join(names))
    if not isinstance(name, str):
        raise MetricError(f"should be the name of a metric, found {kind_of(name)}", ", ".join(names))
    if (why := metrics.unusable(name)) is not None:
        raise MetricError(why, ", ".join(names))
    raise MetricError(
        f"unknown metric '{shown(name)}'", ", ".join(names), nearest(name, names) or _of_part(name, names)
    )


def limit(raw: object) -> Constraint:
    """The constraint that a text such as `read_p99_us <= 0.5 ms` states, its limit in the metric's own unit.

    Raises MetricError.
    """
    if isinstance(raw, Constraint):
        check_metric(raw.metric)
        _check_range(raw.limit)
        return raw
    match = LIMIT.fullmatch(raw) if isinstance(raw, str) else None
    if turned := TURNED.fullmatch(raw) if isinstance(raw, str) else None:
        better = f"{turned[3]} {'>=' if turned[2].startswith(('<', chr(0x2264))) else '<='} {turned[1]}"
        problem = "a limit begins with its metric" + (", and has one side" if turned[4] else "")
        raise MetricError(problem, LIMIT_FORM, shown(better))
    if match is None:
        raise MetricError(f"{kind_of(raw)} is no limit", LIMIT_FORM, _of_mapping(raw))
    name, sign, amount = match[1], match[2], match[3].strip()
    check_metric(name)
    sign = {"\u2264": "<=", "\u2265": ">="}.get(sign, sign)
    if sign not in ("<=", ">="):
        better = {"<": "<=", "=": "<=", "==": "<="}.get(sign, ">=" if sign == ">" else "")
        raise MetricError(f"'{sign}' is no limit", LIMIT_FORM, shown(f"{name} {better} {amount}") if better else "")
    try:
        value = float(quantity(amount, metrics.of(name).unit))
    except QuantityError as error:
        better = f"{name} {sign} {error.suggestion}" if error.suggestion else ""
        raise MetricError(str(error), error.allowed, better) from None
    _check_range(value)
    return Constraint(metric=name, limit=value, at_least=sign == ">=")


def limits_of(texts: Iterable[str]) -> list[Constraint]:
    """The constraints that a user gave outside any file. Raises DefinitionError, which repeats the text."""
    found = []
    for text in texts:
        try:
            found.append(limit(text))
        except QuantityError as error:
            raise DefinitionError(
                str(error),
                key=f"'{shown(text)}'",
                value=shown(text),
                allowed=error.allowed,
                suggestion=error.suggestion,
            ) from None
    return found


def limit_text(constraint: Constraint) -> str:
    """A constraint as the file states it."""
    return f"{constraint.metric} {'>=' if constraint.at_least else '<='} {number_text(constraint.limit)}"


def _check_range(value: float) -> None:
    if not (math.isfinite(value) and 0 <= value <= MAX_LIMIT):
        raise MetricError(
            f"the limit {number_text(value) if math.isfinite(value) else value} is out of range", "0..1e15"
        )


def _of_mapping(raw: object) -> str:
    """A limit that is written as a key with its value, as a limit; '' where it is none."""
    if isinstance(raw, Mapping) and len(raw) == 1:
        [(name, amount)] = raw.items()
        if isinstance(amount, int | float | str) and isinstance(name, str):
            return shown(f"{name} <= {amount}")
    return ""


def _of_part(word: str, names: list[str]) -> str:
    """The first metric that has the word as a part, as p99 of read_p99_us: the usual one; "" where none has."""
    return next((name for name in names if word.lower() in name.split("_")), "")
