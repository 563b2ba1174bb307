"""A keeper's file, keep.yml: its times and shares, and where its signals come from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mustherd.definition import knobs
from mustherd.definition.errors import DefinitionError, Finding, nearest
from mustherd.definition.model import Experiment
from mustherd.definition.units import QuantityError, quantity
from mustherd.definition.yaml import MAX_BYTES, Source, decode, parse
from mustherd.errors import kind_of, shown
from mustherd.keep.options import Options
from mustherd.plugins import OptionError, options_of

LEVEL_S = 30.0
SETTINGS = ("safe", "baseline")
"""Options that are values of knobs, written as a definition writes them."""
KEYS = ("keeper", "sources", "traffic")
TRAFFIC_FORM = "a list of [seconds, requests a second], as in [[30, 400k], [30, 800k]]"


@dataclass(frozen=True)
class KeepConfig:
    """What the file holds."""

    keeper: Mapping[str, Any] = field(default_factory=dict)
    """Options (mustherd.keep.options) by name; the limit may come from the experiment."""
    sources: tuple[Mapping[str, Any], ...] = ()
    """Each with its `kind` and what that kind takes."""
    traffic: tuple[tuple[float, float], ...] = ()
    """A simulated herd's: seconds and requests a second, over and over."""
    source: Source = field(default_factory=lambda: Source("keep.yml"))
    """The file itself, for what is found wrong with it later."""


class OptionKeys:
    """A keeper's options, as a plug-in's are: what is wrong with them is said in the same words."""

    Options = Options


def read(file: Path | None) -> KeepConfig:
    """The file's meaning; none is an empty one. DefinitionError names what is wrong, and its line."""
    if file is None:
        return KeepConfig()
    name = shown(file, 1024)
    try:
        with file.open("rb") as stream:
            text = decode(stream.read(MAX_BYTES + 1), name)
    except (OSError, ValueError) as error:
        raise DefinitionError(f"can't be used: {getattr(error, 'strerror', None) or error}", file=name) from None
    root = parse(text, name)
    source = Source(name, root, text)
    plain: Any = root.plain()
    whole = {} if plain is None else plain
    if not isinstance(whole, Mapping):
        raise source.error([Finding((), f"should be a mapping, found {kind_of(whole)}", ", ".join(KEYS))])
    findings = [
        Finding((key,), f"unknown key '{shown(key)}'", ", ".join(KEYS), nearest(key, list(KEYS)), at_key=True)
        for key in whole
        if key not in KEYS
    ]
    keeper = {} if whole.get("keeper") is None else whole["keeper"]
    if not isinstance(keeper, Mapping):
        findings.append(Finding(("keeper",), f"should be a mapping, found {kind_of(keeper)}"))
    sources = whole.get("sources") or ()
    if not isinstance(sources, list | tuple) or not all(isinstance(one, Mapping) for one in sources):
        findings.append(Finding(("sources",), "should be a list of mappings", "as in [{kind: memcached}]"))
    try:
        traffic = _traffic(whole.get("traffic") or ())
    except QuantityError as error:
        findings.append(Finding(("traffic",), str(error), error.allowed, error.suggestion))
    if findings:
        raise source.error(findings)
    return KeepConfig(keeper=keeper, sources=tuple(sources), traffic=traffic, source=source)


def options(config: KeepConfig, limit: float | None) -> Options:
    """The keeper's options, the limit by what was learnt unless the file has one. DefinitionError."""
    given = dict(config.keeper)
    if limit is not None:
        given.setdefault("limit", limit)
    if "limit" not in given:
        raise DefinitionError(
            "keeper.limit is missing: the table says nothing of the latency's limit; allowed: a number in its unit",
            file=config.source.file,
        )
    findings: list[Finding] = []
    for name in SETTINGS:
        # No settings at all are the node as it was found.
        if given.get(name):
            try:
                given[name] = knobs.settings(given[name])
            except knobs.FindingsError as error:
                findings += [f._replace(path=("keeper", name, *f.path)) for f in error.findings]
    if findings:
        raise config.source.error(findings)
    try:
        found: Options = options_of(OptionKeys, given)
    except OptionError as error:
        place = ("keeper", *error.path)
        raise config.source.error(
            [Finding(place, error.problem, error.allowed, error.suggestion, at_key=error.unknown)]
        ) from None
    if found.age_s < found.frame_s:
        what = f"{found.age_s:g} s is less than a frame of {found.frame_s:g} s: every signal would be lost at once"
        raise config.source.error([Finding(("keeper", "age_s"), what, "frame_s or more, less than the lease of 3 s")])
    return found


def _traffic(raw: object) -> tuple[tuple[float, float], ...]:
    if not isinstance(raw, list | tuple):
        raise QuantityError(f"should be a list, found {kind_of(raw)}", TRAFFIC_FORM)
    found = []
    for pair in raw:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise QuantityError(f"{kind_of(pair)} is no pair", TRAFFIC_FORM)
        seconds, qps = (float(quantity(value, unit)) for value, unit in zip(pair, ("s", "qps"), strict=True))
        if not (seconds > 0 and qps > 0):
            raise QuantityError(f"{shown(list(pair))} has what isn't above 0", TRAFFIC_FORM)
        found.append((seconds, qps))
    return tuple(found)


def trace(config: KeepConfig, experiment: Experiment | None) -> Callable[[float], float]:
    """What a simulated herd is under at a time: the file's traffic, or the loads that were learnt, 30 s each."""
    loads = experiment.workload.loads if experiment is not None else ()
    pieces = config.traffic or tuple((LEVEL_S, qps) for qps in loads) or ((LEVEL_S, 100_000.0),)
    whole = sum(seconds for seconds, _ in pieces)

    def qps(at: float) -> float:
        left = at % whole
        for seconds, level in pieces:
            if left < seconds:
                return level
            left -= seconds
        return pieces[-1][1]

    return qps
