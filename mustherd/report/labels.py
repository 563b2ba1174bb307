"""Values, times and text as people read them."""

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime

from mustherd import metrics
from mustherd.experiment import wording

MANY = 10
"""A mean's half-width that is so many times the mean says nothing of it."""


def amount(name: str, value: float | None, digits: int = 4) -> str:
    """A metric's value without its unit; a ratio as a percentage."""
    if value is None or not math.isfinite(value):
        return ""
    if metrics.of(name).shown_unit != "%":
        return wording.number(value, digits)
    # 97.96 % must not read as 98 % beside a limit of 98 %.
    return wording.number(math.floor(value * 1000 + 1e-6) / 10)


def plus_minus(interval: tuple[float, float] | None) -> str:
    """The half-width of a mean's interval, to follow the mean; of one that says nothing of a mean just that."""
    if not interval or interval[0] == interval[1]:
        return ""
    mean, half = (interval[0] + interval[1]) / 2, (interval[1] - interval[0]) / 2
    return " ± many times that" if half > MANY * abs(mean) > 0 else f" ± {wording.number(half, 2)}"


def decimals(name: str, values: Iterable[float]) -> int:
    """How many decimals a column of a metric's values needs for four digits of the middle one."""
    finite = sorted(abs(value) for value in values if math.isfinite(value) and value)
    if metrics.of(name).shown_unit == "%":
        return 1
    return max(0, min(6, 3 - math.floor(math.log10(finite[len(finite) // 2])))) if finite else 0


def aligned(name: str, value: float | None, places: int) -> str:
    """A metric's value without its unit, with so many decimals: for columns, where points stand below points."""
    if value is None or not math.isfinite(value):
        return ""
    if metrics.of(name).shown_unit == "%":
        value = math.floor(value * 10 ** (places + 2) + 1e-6) / 10**places
    return f"{value:.{places}f}"


def quantity(name: str, value: float | None, digits: int = 4) -> str:
    """A metric's value with its unit."""
    text, unit = amount(name, value, digits), metrics.of(name).shown_unit
    return f"{text} {unit}".rstrip() if text else "not measured"


def percent(value: float, digits: int = 1) -> str:
    """A percentage with one decimal."""
    return f"{value:.{digits}f} %"


def clock(at: float, *, seconds: bool = True) -> str:
    """A moment in UTC, to the second or the minute; nothing where it hasn't come."""
    return datetime.fromtimestamp(at, UTC).strftime(f"%Y-%m-%d %H:%M{':%S' if seconds else ''} UTC") if at else ""


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def clean(text: str) -> str:
    """`text` from a file or from the wire, without what would steer a terminal or break a page."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
