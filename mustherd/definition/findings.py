"""What pydantic finds wrong with a definition, in our words."""

from typing import Any

from pydantic import ValidationError

from mustherd.definition.errors import FINDINGS, Finding, Path, dotted, listed, nearest
from mustherd.definition.schema import allowed, keys, keys_of, unit_of
from mustherd.definition.units import QuantityError, number_text, quantity
from mustherd.errors import kind_of, no_text, shown

NAMED_BY_KEY = {"literal_error", "enum"}
TOO_SMALL = {"greater_than", "greater_than_equal"}
TOO_LARGE = {"less_than", "less_than_equal"}
TOO_LONG = {"string_too_long", "too_long"}


def findings(error: ValidationError) -> list[Finding]:
    """What pydantic found, in our words and with places from the top of the definition."""
    found: list[Finding] = []
    for detail in error.errors(include_url=False):
        if detail["type"] == FINDINGS:
            found += [f._replace(path=(*detail["loc"], *f.path)) for f in detail["ctx"][FINDINGS]]
        else:
            found.append(_finding(detail["type"], detail["loc"], detail["input"], detail["msg"]))
    return found


def _finding(kind: str, path: Path, value: Any, message: str) -> Finding:
    """One error of pydantic's as a finding."""
    name = path[-1] if path else ""
    may_be = allowed(path)
    if kind == "extra_forbidden":
        return _unknown_key(path)
    if kind == "missing":
        return Finding(path, f"the key '{shown(name)}' is needed", may_be)
    if value is None:
        return Finding(path, "has no value: give it one, or leave the key out", may_be)
    if kind in NAMED_BY_KEY:
        return Finding(path, f"unknown {shown(name)} {kind_of(value)}", may_be, nearest(value, may_be.split(", ")))
    if kind in TOO_SMALL:
        return Finding(path, f"{shown(value)} is too small", may_be)
    if kind in TOO_LARGE:
        return Finding(path, f"{shown(value)} is too large", may_be)
    if kind == "finite_number":
        return Finding(path, "the number is out of range", may_be)
    if kind in TOO_LONG:
        return Finding(path, "is too long", may_be)
    if kind == "string_pattern_mismatch":
        return Finding(path, f"{kind_of(value)} is no {shown(name)}", may_be)
    wanted = {"model_type": "a mapping", "tuple_type": "a list", "int_type": "a whole number", "float_type": "a number"}
    wanted |= {"string_type": "text", "string_too_short": "text", "bool_type": "true or false"}
    if kind in wanted:
        better = f"[{shown(value)}]" if kind == "tuple_type" and isinstance(value, str) else ""
        if kind in ("float_type", "int_type") and isinstance(value, str):
            better = _plain(value, unit_of(path))
        found = no_text(value) if kind == "string_type" else kind_of(value)
        return Finding(path, f"should be {wanted[kind]}, found {found}", may_be, better)
    return Finding(path, shown(message, 200), may_be)


def _plain(written: str, unit: str) -> str:
    """The number that an amount with a unit is in a key's own: 0.5 of `500 ms`, 0.06 of `6 %`; '' of none."""
    try:
        plain = number_text(float(quantity(written, unit or "ratio")))
        return plain if plain != written.strip() else ""
    except QuantityError:
        return ""


def _unknown_key(path: Path) -> Finding:
    known = keys_of(path[:-1])
    name = path[-1]
    elsewhere = [k.name for k in keys() if k.name.rpartition(".")[2] == name]
    suggestion = nearest(name, known) or (elsewhere[0] if len(elsewhere) == 1 else "")
    where = f" in '{dotted(path[:-1])}'" if path[:-1] else ""
    return Finding(path, f"unknown key '{shown(name)}'{where}", listed(known), suggestion, at_key=True)
