"""Settings, limits and numbers as a person would say them."""

import math
from collections.abc import Iterable, Mapping, Sequence

from mustherd import metrics
from mustherd.goal import Constraint, Objective
from mustherd.metrics import Direction
from mustherd.terms import KnobInfo

AS_FOUND = "as found"
"""How a trial with no settings is called: the node as it was."""


def number(value: float | None, digits: int = 4) -> str:
    """`value` with so many digits that matter, never fewer than stand before the point; no exponent up to 1e15."""
    if value is None or not math.isfinite(value):
        return "?"
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size >= 15 or size < -6:
        return f"{value:.{digits - 1}e}"
    text = f"{value:.{max(0, digits - 1 - size)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def limit(constraint: Constraint) -> str:
    """A constraint as it's written in an experiment file."""
    return f"{constraint.metric} {'>=' if constraint.at_least else '<='} {number(constraint.limit, 6)}"


def comparison(objective: Objective, better_percent: float, digits: int = 3) -> str:
    """How much better or worse than another an objective is, in a phrase: `20 % less energy`."""
    more = (better_percent >= 0) == (objective.direction is Direction.MORE)
    return f"{number(abs(better_percent), digits)} % {'more' if more else 'less'} {metrics.of(objective.metric).label}"


def value(key: str, setting: int, knobs: Iterable[KnobInfo] = ()) -> str:
    """A knob's value with its name or unit, where `knobs` know them."""
    for knob in knobs:
        if knob.name == key.partition("@")[0]:
            return knob.names.get(setting) or f"{setting} {knob.unit}".rstrip()
    return str(setting)


def settings(asked: Mapping[str, int], knobs: Sequence[KnobInfo] = ()) -> str:
    """A trial's settings in a phrase: `itr-delay 300 us, dvfs 1800 MHz`."""
    return ", ".join(f"{key} {value(key, setting, knobs)}" for key, setting in asked.items()) or AS_FOUND


def together(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
