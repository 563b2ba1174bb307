"""What a load's program printed, as amounts by name and in the unit that the name says; pure.

A metric's name ends in its unit: `_us`, `_seconds`, `_joules`, `_watts`, `_qps`, `_ratio`, `_bytes`; without such an
end it is a count. What the program gives is brought into that unit from the one that it prints or that `unit` names.
"""

import csv
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from mustherd.load.command import words
from mustherd.load.error import LoadError
from mustherd.programs import last_words
from mustherd.reasons import Reason

Format: TypeAlias = Literal["json", "csv", "hdr", "regex"]

_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "msec": 1e-3, "usec": 1e-6, "s": 1.0, "sec": 1.0, "m": 60.0,
            "min": 60.0}  # fmt: skip
_PLAIN = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9}
UNITS: dict[str, dict[str, float]] = {
    "us": {unit: factor * 1e6 for unit, factor in _SECONDS.items()},
    "seconds": _SECONDS,
    "joules": {"J": 1.0, "mJ": 1e-3, "uJ": 1e-6, "kJ": 1e3, "Wh": 3600.0},
    "watts": {"W": 1.0, "mW": 1e-3, "uW": 1e-6, "kW": 1e3},
    "qps": {**_PLAIN, "qps": 1.0, "/s": 1.0},
    "ratio": {"": 1.0, "%": 0.01},
    "bytes": {
        "": 1.0,
        "B": 1.0,
        "kB": 1e3,
        "KB": 1024.0,
        "MB": 1024.0**2,
        "GB": 1024.0**3,
        "KiB": 1024.0,
        "MiB": 1024.0**2,
    },
}
"""The last part of a metric's name to the units that it can be given in, each with its factor."""
_OF_PLAIN_NUMBERS = {"us": "us", "seconds": "s", "joules": "J", "watts": "W"}

_AMOUNT = re.compile(r"\s*([-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)\s*([A-Za-zµ%/]*)\s*")
_HDR_ROW = re.compile(r"\s*(\d+(?:\.\d+)?)\s+([01]\.\d+)\s+(\d+)\s+(?:\d+(?:\.\d+)?|inf)\s*")
_HDR_TAIL = re.compile(r"#\[\s*(Mean|Max)\s*=\s*(\d+(?:\.\d+)?)")


class Result(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a metric's value stands in what the program gives."""

    at: str | int | float | tuple[str | int, ...] = ""
    """`json`: the keys on the way to it, as a list or with dots between them. `csv`: its column. `hdr`: a percentile,
    or mean, max or count. `regex`: the pattern; its group is the value, and a second one its unit."""
    row: dict[str, str] = {}
    """`csv`: columns of its row and what they hold; none: the only row."""
    unit: str = ""
    """The unit that the program gives it in, where it prints none."""
    otherwise: float | None = None
    """What it is where the results don't tell; without it that is an error."""
    better: Literal["less", "more"] = "less"
    """Which way a metric of its own is better."""


Results = dict[Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9]*(_[a-z0-9]+)*$", max_length=64)], Result]


def units_of(name: str) -> Mapping[str, float]:
    """The units that a metric of that name can be given in."""
    return UNITS.get(_last(name), _PLAIN)


def check(form: Format, name: str, result: Result) -> None:
    """Raise ValueError for what no output of that form can hold."""
    known = units_of(name)
    if result.unit and result.unit not in known:
        raise ValueError(f"{name}: unit {result.unit!r} is none of {', '.join(filter(None, known))}")
    if result.row and form != "csv":
        raise ValueError(f"{name}: only csv has rows")
    if result.at in ("", ()):
        raise ValueError(f"{name}: 'at' says where in the {form} it stands")
    if form == "regex":
        groups = words.pattern(str(result.at)).groups
        if groups not in (1, 2):
            raise ValueError(f"{name}: the pattern {result.at!r} has {groups} groups; it needs one for the value")
    if form == "hdr" and result.at not in ("mean", "max", "count") and not 0 < _percentile(result.at) <= 100:
        raise ValueError(f"{name}: {result.at!r} is neither a percentile nor mean, max or count")
    if form == "csv" and not isinstance(result.at, str):
        raise ValueError(f"{name}: {result.at!r} is no column")


def read(form: Format, text: str, results: Mapping[str, Result]) -> dict[str, float]:
    """Every metric's value, in its own unit. LoadError where one can't be found, or is no amount."""
    found = {}
    content = _content(form, text)
    for name, result in results.items():
        try:
            value, unit = _VALUES[form](content, result)
            found[name] = amount(name, value, unit or result.unit)
        except LookupError as error:
            if result.otherwise is not None:
                found[name] = result.otherwise
                continue
            raise LoadError(Reason.OUTPUT_UNREADABLE, f"no {name} in the load's output: {_said(error)}") from None
        except ValueError as error:
            raise LoadError(Reason.OUTPUT_UNREADABLE, f"{name} in the load's output: {error}") from None
    return found


def _content(form: Format, text: str) -> Any:
    try:
        if form == "json":
            start = re.search(r"^\s*[\[{]", text, re.M)
            return json.JSONDecoder().raw_decode(text, start.end() - 1)[0] if start else json.loads(text)
        if form == "csv":
            lines = [line for line in text.splitlines() if "," in line]
            if not lines:
                raise ValueError("it holds no headings")
            return list(csv.DictReader(lines))
    except (ValueError, csv.Error, RecursionError) as error:
        raise LoadError(
            Reason.OUTPUT_UNREADABLE, f"the load's output is no {form}: {error}: {last_words(text)}"
        ) from None
    return text


def _json(document: Any, result: Result) -> tuple[object, str]:
    way: Sequence[str | int] = result.at.split(".") if isinstance(result.at, str) else _as_way(result.at)
    for step in way:
        if isinstance(document, list) and _is_in(document, str(step)):
            document = document[int(step)]
        elif isinstance(document, dict) and str(step) in document:
            document = document[str(step)]
        else:
            there = (
                list(document)[:8]
                if isinstance(document, dict)
                else f"{len(document)} of a list"
                if isinstance(document, list)
                else _as_json(document)
            )
            raise LookupError(f"{step!r} is not there, but {there}")
    return document, ""


def _is_in(items: list[object], step: str) -> bool:
    return bool(re.fullmatch(r"-?\d{1,9}", step)) and -len(items) <= int(step) < len(items)


def _as_json(value: object) -> str:
    return json.dumps(value, default=str)[:60]


def _as_way(at: object) -> Sequence[str | int]:
    return at if isinstance(at, tuple) else (str(at),)


def _csv(rows: list[dict[str, str]], result: Result) -> tuple[object, str]:
    wanted = [row for row in rows if all(row.get(column) == text for column, text in result.row.items())]
    if not rows:
        raise LookupError("there is no row below its headings")
    if len(wanted) != 1:
        raise LookupError(f"{len(wanted)} of {len(rows)} rows fit {result.row}")
    if (value := wanted[0].get(str(result.at))) is None:
        raise LookupError(f"there is no column {result.at!r}, but {', '.join(filter(None, wanted[0]))[:200]}")
    return value, ""


def _hdr(text: str, result: Result) -> tuple[object, str]:
    if result.at in ("mean", "max"):
        for what, value in _HDR_TAIL.findall(text):
            if what.lower() == result.at:
                return value, ""
    rows = list(_hdr_rows(text))
    if not rows:
        raise LookupError("it holds no percentile spectrum")
    if result.at == "count":
        return rows[-1][2], ""
    if result.at in ("mean", "max"):
        raise LookupError(f"the spectrum names no {result.at}")
    share = _percentile(result.at) / 100
    return next((value for value, percentile, _ in rows if percentile >= share - 1e-9), rows[-1][0]), ""


def _hdr_rows(text: str) -> Iterator[tuple[float, float, int]]:
    for line in text.splitlines():
        if found := _HDR_ROW.fullmatch(line):
            yield float(found[1]), float(found[2]), int(found[3])


def _regex(text: str, result: Result) -> tuple[object, str]:
    found = list(words.pattern(str(result.at)).finditer(text))
    if not found:
        raise LookupError(f"nothing fits {result.at!r}: {last_words(text)}")
    if len({each.groups() for each in found}) > 1:
        raise LookupError(f"{len(found)} places fit {result.at!r}")
    groups = found[0].groups()
    return groups[0] or "", (groups[1] or "") if len(groups) > 1 else ""


_VALUES: dict[Format, Any] = {"json": _json, "csv": _csv, "hdr": _hdr, "regex": _regex}


def amount(name: str, value: object, unit: str) -> float:
    """A value in the metric's own unit. ValueError for what is no amount, or in no unit that is known."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{_as_json(value)} is no number")  # noqa: TRY004 (of the output, not of an argument)
    number, printed = value, ""
    if isinstance(value, str):
        found = _AMOUNT.fullmatch(value)
        if found is None:
            raise ValueError(f"{value[:60]!r} is no number")
        number, printed = found[1], found[2]
    known = units_of(name)
    used = printed or unit or _OF_PLAIN_NUMBERS.get(_last(name), "")
    if used not in known:
        raise ValueError(f"{used!r} is none of its units: {', '.join(filter(None, known)) or 'none'}")
    try:
        found_amount = float(number) * known[used]
    except OverflowError:  # a whole number of hundreds of digits
        found_amount = math.inf
    if not math.isfinite(found_amount) or found_amount < 0:
        raise ValueError(f"{str(value)[:60]!r} is no amount, which is a number from 0 on")
    return found_amount


def _percentile(at: object) -> float:
    try:
        return float(str(at).removeprefix("p"))
    except ValueError:
        return math.nan


def _last(name: str) -> str:
    return name.rpartition("_")[2] if "_" in name else ""


def _said(error: LookupError) -> str:
    return str(error.args[0]) if error.args else ""
