"""Values of knobs as a definition writes them, turned into the knob's canonical unit."""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from mustherd.definition.errors import Finding, Path, listed, nearest
from mustherd.definition.units import QuantityError, quantity
from mustherd.definition.yaml import Hex
from mustherd.errors import kind_of, shown
from mustherd.node.catalog import knob_kind, knob_names
from mustherd.node.kinds import DVFS, GOVERNOR, GOVERNORS
from mustherd.plugins import PluginError
from mustherd.terms import MAX_VALUE, KnobInfo, KnobKind

MAX_VALUES = 10_000
"""Values of one knob that a search may be given."""

KEY = re.compile(r"[a-z][a-z0-9-]{0,62}(@[a-z][a-z0-9-]{0,62})?")
KEY_FORM = "a knob's name such as 'itr-delay', for one sheep 'dvfs@core-3'"
RANGE_KEYS = ("low", "high", "step")

NONE: Mapping[str, object] = MappingProxyType({})
"""The knobs of a definition whose policy sets none; an empty mapping of any other policy is refused."""


@dataclass(frozen=True)
class KnobValues:
    """The values of one knob that a search may use: `values`, or else every `low + k * step` up to `high`."""

    values: tuple[int, ...] = ()
    low: int = 0
    high: int = -1
    step: int = 1
    items: tuple[int, ...] = field(default=(), compare=False)
    """For each of `values`, the place in the file's list that it came from."""

    def __iter__(self) -> Iterator[int]:
        return iter(self.values or range(self.low, self.high + 1, self.step))

    def __len__(self) -> int:
        return len(self.values or range(self.low, self.high + 1, self.step))

    def __contains__(self, value: object) -> bool:
        return value in (self.values or range(self.low, self.high + 1, self.step))

    def plain(self) -> list[int] | dict[str, int]:
        """The space as a definition writes it."""
        return list(self.values) if self.values else {"low": self.low, "high": self.high, "step": self.step}


class FindingsError(Exception):
    """What is wrong with a part of a definition, each with its place in that part."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__("; ".join(f.problem for f in findings))
        self.findings = list(findings)


def kind_of_knob(key: str) -> KnobKind:
    """What the knob that `key` names is, as the package says that adds it. Raises PluginError where it can't be had.

    Values of a knob that no installed package describes are whole numbers in the knob's own unit.
    """
    name = key.partition("@")[0]
    return knob_kind(name) or KnobKind(name=name, unit="")


def value_text(key: str, value: int) -> str:
    """A value with its unit, or the word for it: '2600 MHz', 'adaptive'."""
    kind = kind_of_knob(key)
    return kind.names.get(value) or f"{value} {kind.unit}".rstrip()


def value(key: str, raw: object, kind: KnobKind | None = None) -> int:
    """The value that `raw` means for a knob, in the knob's unit. Raises QuantityError.

    Numbers and amounts with units are taken by what they say; hex is the register's word where the knob has one. A
    node's own `kind` knows more words than what is known of the knob everywhere.
    """
    kind = kind or kind_of_knob(key)
    words = {word: number for number, word in kind.names.items()}
    if isinstance(raw, str) and raw.strip().lower() in words:
        return words[raw.strip().lower()]
    if isinstance(raw, str) and re.fullmatch(r"0x[0-9a-fA-F]{1,16}", raw.strip()):
        raw = Hex(raw.strip(), 16)
    if isinstance(raw, Hex) and kind.hex_scale:
        return _of_word(raw, kind)
    if not kind.unit and not isinstance(raw, int) and not (isinstance(raw, str) and raw.strip().isdecimal()):
        raise QuantityError(f"{kind_of(raw)} is no value of '{shown(key)}'", "a whole number in the knob's own unit")
    try:
        amount = quantity(raw, kind.unit)
    except QuantityError as error:
        better = error.suggestion or nearest(raw, list(words))
        allowed = ", ".join((*words, error.allowed)) if error.allowed else ", ".join(words)
        raise QuantityError(str(error), allowed, better) from None
    if amount.denominator != 1:
        better = f"{raw} GHz" if kind.unit == "MHz" and isinstance(raw, float) and amount < 10 else ""
        raise QuantityError(f"{shown(raw)} is no whole number of {kind.unit}", f"whole {kind.unit}", better)
    if not 0 <= amount <= MAX_VALUE:
        raise QuantityError(f"{shown(raw)} is out of range", f"0..{MAX_VALUE}")
    return int(amount)


def _of_word(word: Hex, kind: KnobKind) -> int:
    try:
        return kind.value_of_word(word)
    except ValueError as error:
        least = 1 << kind.hex_shift
        raise QuantityError(
            str(error),
            f"hex is a multiple of {least:#x}, as in {26 * least:#x} for {26 * kind.hex_scale} {kind.unit}",
        ) from None


def space(key: str, raw: object) -> KnobValues:
    """The values that a definition gives to a knob: a list of values and ranges, or one range. Raises FindingsError."""
    try:
        return _space(key, raw)
    except PluginError as error:
        raise FindingsError([Finding((), str(error))]) from None
    except FindingsError:
        name = key.partition("@")[0]
        known = list(knob_names())
        if name in known or not (meant := nearest(name, known)):
            raise
        # Values in a unit that only the right name would have explained.
        raise FindingsError([Finding((), f"unknown knob '{shown(key)}'", listed(known), meant, True)]) from None


def _space(key: str, raw: object) -> KnobValues:
    if isinstance(raw, KnobValues):
        return raw
    if isinstance(raw, Mapping):
        return _range(key, raw)
    if isinstance(raw, range):
        # Python's own, which is a list here unless it is longer than a definition may be.
        raise FindingsError([Finding((), f"a range of {len(raw)} values", f"{MAX_VALUES} values")])
    if not isinstance(raw, list | tuple):
        suggestion = _as_values(key, raw) if isinstance(raw, int | float | str) and not isinstance(raw, bool) else ""
        raise FindingsError(
            [Finding((), f"should be values, found {kind_of(raw)}", "a list, or {low, high, step}", suggestion)]
        )
    if not raw:
        raise FindingsError([Finding((), "an empty list leaves nothing to try", "one value or more")])
    places = _values(key, raw)
    return KnobValues(values=tuple(places), items=tuple(places.values()))


SPAN = re.compile(r"\s*([^-.\s][^-]*?)\s*(?:-|\.\.+|to)\s*([^-.\s][^-]*?)\s*")
"""A range as people write it beside a definition: 20-50, 20..50, 20 to 50."""


def _as_values(key: str, raw: float | str) -> str:
    """What is no list and no range, written as one, where it then is of the knob; else ''."""
    span = SPAN.fullmatch(raw) if isinstance(raw, str) else None
    with contextlib.suppress(QuantityError):
        if span is not None:
            value(key, span[1])
            value(key, span[2])
            return f"{{low: {shown(span[1])}, high: {shown(span[2])}}}"
        value(key, raw)
        return f"[{shown(raw)}]"
    return ""


def _values(key: str, raw: Sequence[object]) -> dict[int, int]:
    """The values of a list, each with the place of the item that it came from."""
    findings: list[Finding] = []
    places: dict[int, int] = {}
    for index, item in enumerate(raw):
        try:
            found = list(_range(key, item)) if isinstance(item, Mapping) else [value(key, item)]
        except QuantityError as error:
            findings.append(Finding((index,), str(error), error.allowed, error.suggestion))
            continue
        except FindingsError as error:
            findings += [f._replace(path=(index, *f.path)) for f in error.findings]
            continue
        twice = next((v for v in found if v in places), None)
        if twice is not None:
            at = places[twice]
            findings.append(Finding((index,), f"{value_text(key, twice)} is there twice, first at [{at}]"))
        places |= {v: index for v in found if v not in places}
        if len(places) > MAX_VALUES:
            findings.append(Finding((index,), "too many values", f"{MAX_VALUES} values"))
            break
    if findings:
        raise FindingsError(findings)
    return places


def _range(key: str, raw: Mapping[str, object]) -> KnobValues:
    findings = [
        Finding(
            (name,), f"unknown key '{shown(name)}'", listed(list(RANGE_KEYS)), nearest(name, list(RANGE_KEYS)), True
        )
        for name in raw
        if name not in RANGE_KEYS
    ]
    kind = kind_of_knob(key)
    parts: dict[str, int] = {"step": kind.range_step}
    for name in RANGE_KEYS:
        if name in raw:
            try:
                parts[name] = value(key, raw[name])
            except QuantityError as error:
                findings.append(Finding((name,), str(error), error.allowed, error.suggestion))
        elif name != "step":
            findings.append(Finding((), f"a range needs '{name}'", "{low, high} and, if you like, step"))
    if findings:
        raise FindingsError(findings)
    low, high, step = parts["low"], parts["high"], parts["step"]
    modes = [m for m in kind.modes if m >= low]
    if step < 1:
        raise FindingsError([Finding(("step",), "a step is at least 1", "1 or more")])
    if low >= high:
        raise FindingsError([Finding(("low",), f"{low} is not below high, {high}", "low below high")])
    if modes:
        problem = f"{value_text(key, low)} is a mode, where no range can begin"
        example = f"[{value_text(key, low)}, {{low: {max(kind.modes) + 1}, high: {high}}}]"
        raise FindingsError([Finding(("low",), problem, f"a list of modes and ranges, as in {example}")])
    if (high - low) // step + 1 > MAX_VALUES:
        raise FindingsError([Finding((), f"a range of {(high - low) // step + 1} values", f"{MAX_VALUES} values")])
    return KnobValues(low=low, high=high, step=step)


def names_a_knob(key: object) -> bool:
    """Whether a key is a knob's that is known here, or `governor`."""
    return isinstance(key, str) and key.partition("@")[0] in (GOVERNOR, *knob_names())


def spaces(raw: object) -> dict[str, KnobValues]:
    """All knobs of a definition with their values. Raises FindingsError."""
    if not isinstance(raw, Mapping):
        raise FindingsError([Finding((), f"should be a mapping of knobs to values, found {kind_of(raw)}", KEY_FORM)])
    if raw is NONE:
        return {}
    if not raw:
        raise FindingsError([Finding((), "no knob leaves nothing to try", "one knob or more")])
    findings: list[Finding] = []
    found: dict[str, KnobValues] = {}
    for key, values in raw.items():
        if bad := _bad_key(key, raw):
            findings.append(bad)
            continue
        try:
            found[key] = space(key, values)
        except FindingsError as error:
            findings += [f._replace(path=(key, *f.path)) for f in error.findings]
    if findings:
        raise FindingsError(findings)
    return found


def settings(raw: object) -> dict[str, int]:
    """One value for each of some knobs. Raises FindingsError."""
    if not isinstance(raw, Mapping) or not raw:
        what = "an empty mapping" if isinstance(raw, Mapping) else kind_of(raw)
        raise FindingsError([Finding((), f"should be a mapping of knobs to a value each, found {what}", KEY_FORM)])
    findings: list[Finding] = []
    found: dict[str, int] = {}
    for written, setting in raw.items():
        if bad := _bad_key(written, raw):
            findings.append(bad)
            continue
        key, governed = _governed(written)
        if key in found:
            problem = f"'{written}' and '{DVFS.name}' are one knob"
            findings.append(Finding((written,), problem, "one of them", at_key=True))
            continue
        try:
            found[key] = _governor(setting) if governed else value(key, setting)
        except QuantityError as error:
            findings.append(Finding((written,), str(error), error.allowed, error.suggestion))
    if findings:
        raise FindingsError(findings)
    return found


def _governed(key: str) -> tuple[str, bool]:
    """The knob that a key means, and whether it calls it `governor`."""
    name, at, sheep = key.partition("@")
    return (f"{DVFS.name}{at}{sheep}", True) if name == GOVERNOR else (key, False)


def _governor(raw: object) -> int:
    """The value of `dvfs` that hands the clock to a governor of the kernel. Raises QuantityError."""
    words = {word: code for code, word in GOVERNORS.items()}
    word = raw.strip().lower() if isinstance(raw, str) else ""
    if word not in words:
        raise QuantityError(f"{shown(raw)} is no governor", ", ".join(words), nearest(raw, list(words)))
    return words[word]


def _bad_key(key: object, among: Mapping[str, object]) -> Finding | None:
    if not isinstance(key, str) or not KEY.fullmatch(key):
        better = nearest(key, knob_names())
        return Finding((str(key),), f"'{shown(key)}' is no name of a knob", KEY_FORM, better, at_key=True)
    name, _, sheep = key.partition("@")
    if sheep and name in among:
        return Finding(
            (key,), f"'{name}' already stands for every sheep", "the knob of all sheep or of each one", "", True
        )
    return None


def disallowed(
    path: Path,
    key: str,
    asked: Iterator[tuple[Path, int]],
    infos: Sequence[KnobInfo],
    missing: Mapping[str, str] = {},
) -> Iterator[Finding]:
    """What is wrong with values asked of a knob, given what nodes offer; `path` is where the knob is named, `missing`
    says why nodes lack knobs."""
    name, _, sheep = key.partition("@")
    offered = [info for info in infos if info.name == name and info.is_meant(sheep)]
    if not offered:
        names = sorted({info.name for info in infos})
        if name in names:
            names = sorted(f"{info.name}@{info.sheep}" for info in infos if info.name == name)
        elif name in missing:
            problem = f"the node doesn't offer '{key}': {missing[name]}"
            yield Finding(path, problem, listed(names) or "none: it offers no knob", at_key=True)
            return
        yield Finding(
            path, f"unknown knob '{key}'", listed(names) or "none: no node offers a knob", nearest(key, names), True
        )
        return
    unit = kind_of_knob(key).unit
    other = next((info for info in offered if unit and info.unit != unit), None)
    if other is not None:
        problem = f"{other.sheep} counts '{key}' in {other.unit}, and what is installed here counts it in {unit}"
        yield Finding(path, problem, "the same version of its package here and on the node", at_key=True)
        return
    for place, asked_value in asked:
        refusing = next((info for info in offered if not info.allows(asked_value)), None)
        if refusing is not None:
            problem = f"{refusing.sheep} does not allow {value_text(key, asked_value)}"
            yield Finding(place, problem, _offer_text(key, refusing))
            return


def _offer_text(key: str, info: KnobInfo) -> str:
    """What a knob allows, in words that a definition may use."""
    parts = []
    for allowed in info.values:
        name = info.names.get(allowed, "")
        written = value_text(key, allowed)
        parts.append(f"{written} ({name})" if name and name != written else written)
    if info.low <= info.high:
        step = f" step {info.step}" if info.step != 1 else ""
        parts.append(f"{info.low}..{info.high}{step} {info.unit}")
    return listed(parts)
