"""Amounts with units: `2.6 GHz`, `50 us`, `0.5 ms`, or a plain number in the unit that is meant anyway."""

import re
from fractions import Fraction

from mustherd.definition.errors import nearest
from mustherd.errors import kind_of, shown

SCALES: tuple[dict[str, Fraction], ...] = (
    {"s": Fraction(1), "ms": Fraction(1, 10**3), "us": Fraction(1, 10**6), "ns": Fraction(1, 10**9)},
    {"GHz": Fraction(1000), "MHz": Fraction(1), "kHz": Fraction(1, 1000), "Hz": Fraction(1, 10**6)},
    {"J": Fraction(1), "kJ": Fraction(1000), "MJ": Fraction(10**6), "mJ": Fraction(1, 1000), "uJ": Fraction(1, 10**6)},
    {"W": Fraction(1), "kW": Fraction(1000), "mW": Fraction(1, 1000)},
    {"qps": Fraction(1), "k": Fraction(1000), "M": Fraction(10**6), "kqps": Fraction(1000), "Mqps": Fraction(10**6)},
    {"ratio": Fraction(1), "%": Fraction(1, 100)},
)
"""Units that can be turned into one another, each with what it stands for in its family's own measure."""

ALIASES = {"\u00b5s": "us", "\u03bcs": "us", "\u00b5J": "uJ", "\u03bcJ": "uJ"}
"""Both letters that Unicode has for micro."""

AMOUNT = re.compile(
    r"([-+]?(?:[0-9]{1,20}(?:_[0-9]{3}){0,4}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(?:[eE](?:\+?[0-9]{1,2}|-[0-9]{1,3}))?)"
    r"\s*((?:[^\s0-9]\S{0,20})?)"
)
"""A number of bounded size, so that no exponent makes the arithmetic long, and a unit."""

BEYOND = re.compile(r"[-+]?[0-9._]{1,40}[eE](?:\+?[0-9]{3}|-[0-9]{4})")
"""How a number begins whose exponent is beyond those of AMOUNT."""


class QuantityError(Exception):
    """An amount that can't be read: the message says why, `allowed` and `suggestion` how to fix it."""

    def __init__(self, problem: str, allowed: str = "", suggestion: str = "") -> None:
        super().__init__(problem)
        self.allowed = allowed
        self.suggestion = suggestion


def scale_of(unit: str) -> dict[str, Fraction]:
    """Every unit that can be written for an amount in `unit`, with how many `unit` it is."""
    for family in SCALES:
        if unit in family:
            return {name: factor / family[unit] for name, factor in family.items()}
    return {unit: Fraction(1)} if unit else {}


def quantity(raw: object, unit: str) -> Fraction:
    """The amount that `raw` (a number, or text with or without a unit) means in `unit`, exactly.

    Raises QuantityError.
    """
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        raise QuantityError(f"should be an amount in {unit or 'plain numbers'}, found {kind_of(raw)}", _form(unit))
    if isinstance(raw, int):
        return Fraction(raw)
    text = repr(raw) if isinstance(raw, float) else raw.strip()
    match = AMOUNT.fullmatch(text)
    if BEYOND.match(text):
        raise QuantityError(f"{shown(text)} is out of range", "numbers below 1e100")
    if match is None:
        raise QuantityError(f"'{shown(text)}' is no amount", _form(unit))
    written = ALIASES.get(match[2], match[2])
    number = Fraction(match[1].replace("_", ""))
    if not written:
        return number
    factors = scale_of(unit)
    if written not in factors:
        better = nearest(written, list(factors))
        raise QuantityError(
            f"'{shown(written)}' is no unit here",
            ", ".join(factors) or "a plain number",
            f"{match[1]} {better}" if better else "",
        )
    return number * factors[written]


def _form(unit: str) -> str:
    units = ", ".join(scale_of(unit))
    return f"a number, with a unit if you like ({units})" if units else "a number"


def number_text(value: float) -> str:
    """A number as short as it can be read back exactly: 500, 0.98."""
    whole = int(value)
    return str(whole) if whole == value and abs(whole) < 10**15 else repr(value)


def duration(seconds: float) -> str:
    """Seconds as a person says them: `0.35 s`, `45 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.2g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
