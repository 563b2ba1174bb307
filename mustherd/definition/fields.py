"""The kinds of values that keys of a definition have: how each is read, written and described."""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec
from pydantic import (
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

from mustherd import metrics
from mustherd.definition import curves as curve_values
from mustherd.definition import knobs as knob_values
from mustherd.definition.errors import Finding, Path, listed, nearest, refusal
from mustherd.definition.limits import check_metric, limit, limit_text, objectives
from mustherd.definition.section import as_tuple
from mustherd.definition.units import QuantityError, number_text, quantity
from mustherd.errors import kind_of, shown
from mustherd.goal import Constraint
from mustherd.load import application
from mustherd.load.application import ApplicationMetric
from mustherd.load.curve import MAX_QPS
from mustherd.load.mutilate.command import MutilateOptions
from mustherd.meters import registry as meters
from mustherd.node.kinds import GOVERNORS
from mustherd.plugins import LOADS, SEARCHES, SERVERS, OptionError, PluginError, options_of, plugins, shared

MAX_TRIALS = 10_000
MAX_SECONDS = 86_400.0
MAX_LOADS = 32
RATE_FORM = "a number above 0, up to 1e9; 600k is 600000"
OBJECTIVES_FORM = "two metrics, as in [energy_joules, read_p99_us]"
METRIC_FORM = "small letters, digits and '_', the unit last, as in heap_bytes"
METER_FORM = "small letters, digits and '_', as in bmc; its energy is then bmc_joules"
OPTION_FORM = "text, numbers, true, false, lists and mappings"
FINITE = "numbers up to 1.7e308"
EXPERIMENT_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
PLUGIN_NAME = r"^[a-z][a-z0-9_.-]{0,63}$"
POLICY_NAME = PLUGIN_NAME + r"|^[^:\n]+\.py:[A-Za-z_][A-Za-z0-9_]{0,99}$"
"""An installed policy, or a class in a file. How long a path may be is said beside it: counted in the pattern, it takes
as long to build as all other checks together."""
MAX_PATH = 1000


def refused(check: Any) -> Any:
    """Let pydantic see our own errors, each with its place."""

    def checked(raw: object) -> Any:
        try:
            return check(raw)
        except knob_values.FindingsError as error:
            raise refusal(error.findings) from None
        except QuantityError as error:
            raise refusal([Finding((), str(error), error.allowed, error.suggestion)]) from None

    return checked


class Installed:
    """A name of a plug-in that is installed, of one group; `what` is how a message calls it."""

    def __init__(self, group: str, what: str) -> None:
        self._group = group
        self._what = what

    def check(self, raw: object) -> str:
        """The name. Raises QuantityError for any other."""
        names = list(plugins(self._group))
        if not isinstance(raw, str) or raw not in names:
            if isinstance(raw, str) and (why := shared(self._group, raw)):
                raise QuantityError(why, listed(names))
            raise QuantityError(f"unknown {self._what} {kind_of(raw)}", listed(names), nearest(raw, names))
        return raw

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(refused(self.check))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        # When it is asked for: which names there are depends on what is installed.
        return {"type": "string", "enum": list(plugins(self._group))}


class _ObjectiveNames:
    """Describes a metric that can be an objective, or a list of `most` of them."""

    def __init__(self, most: int = 1) -> None:
        self._most = most

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        # When it is asked for: which metrics there are depends on what is installed.
        one = {"type": "string", "enum": objectives()}
        none_or_all = [{"maxItems": 0}, {"minItems": self._most, "maxItems": self._most}]
        return one if self._most == 1 else {"type": "array", "items": one, "anyOf": none_or_all}


def _described(**schema: Any) -> Any:
    return WithJsonSchema(schema)


def _rates(raw: object) -> float | tuple[float, ...]:
    """One load, or several, in requests per second."""
    if not isinstance(raw, list | tuple):
        return _rate(raw)
    findings: list[Finding] = []
    found: list[float] = []
    for index, item in enumerate(raw):
        try:
            rate = _rate(item)
        except QuantityError as error:
            findings.append(Finding((index,), str(error), error.allowed, error.suggestion))
            continue
        if rate != int(rate):
            findings.append(Finding((index,), f"{shown(item)} is no whole number of qps", "whole numbers in a list"))
        if rate in found:
            findings.append(Finding((index,), f"{number_text(rate)} is there twice, first at [{found.index(rate)}]"))
        found.append(rate)
    if not 1 <= len(raw) <= MAX_LOADS:
        findings.append(Finding((), f"a list of {len(raw)} loads", f"1..{MAX_LOADS} loads"))
    if findings:
        raise knob_values.FindingsError(findings)
    return tuple(found)


def _rate(raw: object) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        raise QuantityError(f"should be a number, found {kind_of(raw)}", RATE_FORM)
    rate = float(quantity(raw, "qps") if isinstance(raw, str) else raw)
    if math.isnan(rate):
        raise QuantityError("nan is no number", RATE_FORM)
    if not 0 < rate <= MAX_QPS:
        raise QuantityError(f"{shown(raw)} is too {'small' if rate <= 0 else 'large'}", RATE_FORM)
    return rate


def _level(raw: object) -> object:
    return float(quantity(raw, "qps")) if isinstance(raw, str) else raw


def _objectives(raw: object) -> tuple[str, ...]:
    if not isinstance(raw, list | tuple):
        raise QuantityError(f"should be a list, found {kind_of(raw)}", OBJECTIVES_FORM, f"[{shown(raw)}, read_p99_us]")
    findings: list[Finding] = []
    for index, item in enumerate(raw):
        try:
            check_metric(item, objective=True)
        except QuantityError as error:
            findings.append(Finding((index,), str(error), error.allowed, error.suggestion))
    if not findings and (len(raw) not in (0, 2) or len(set(raw)) != len(raw)):
        findings.append(
            Finding((), "names one metric" if len(set(raw)) == 1 else f"names {len(set(raw))} metrics", OBJECTIVES_FORM)
        )
    if findings:
        raise knob_values.FindingsError(findings)
    return tuple(raw)


def _baseline_settings(raw: object) -> dict[str, int]:
    if raw in ("default", {}):
        return {}
    if isinstance(raw, str):
        word = nearest(raw, ["default", *GOVERNORS.values()])
        meant = f"{{governor: {word}}}" if word in GOVERNORS.values() else word
        raise QuantityError(f"unknown settings '{shown(raw)}'", "default, or a mapping of knobs to a value each", meant)
    return knob_values.settings(raw)


def _until(raw: object) -> datetime:
    try:
        found = raw if isinstance(raw, datetime) else datetime.fromisoformat(str(raw).strip())
    except ValueError:
        raise QuantityError(
            f"{shown(raw)} is no date and time", "as in 2026-11-29 18:00, or 2026-11-29T18:00Z"
        ) from None
    return found if found.tzinfo is not None else found.astimezone()


def _options(raw: object) -> dict[str, Any]:
    """Options of somebody else's: any JSON, finite and named by text."""
    if not isinstance(raw, Mapping):
        raise QuantityError(f"should be a mapping of options, found {kind_of(raw)}")
    wrong: list[Finding] = []
    found = {str(key): _json(value, (str(key),), wrong) for key, value in raw.items()}
    if wrong:
        raise knob_values.FindingsError(wrong)
    return found


def _mutilate(raw: object) -> MutilateOptions:
    if isinstance(raw, MutilateOptions):
        return raw
    try:
        return msgspec.convert(_options(raw), MutilateOptions)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        place = where.strip("`").removeprefix("$.")
        names = ", ".join(MutilateOptions.__struct_fields__)
        raise QuantityError(f"{place}: {what}" if place else what, "" if place else names) from None


def _application(raw: object) -> dict[str, ApplicationMetric]:
    """Metrics that applications tell, by name."""
    if not isinstance(raw, Mapping):
        raise QuantityError(f"should be a mapping of names, found {kind_of(raw)}")
    findings: list[Finding] = []
    found: dict[str, ApplicationMetric] = {}
    for name, given in raw.items():
        if not isinstance(name, str) or not metrics.NAME.fullmatch(name):
            findings.append(Finding((str(name),), f"'{shown(name)}' is no name of a metric", METRIC_FORM, at_key=True))
            continue
        # Backpressure is what an application tells, where nodes are not simulated.
        if name in metrics.OURS and name != metrics.BACKPRESSURE:
            findings.append(Finding((name,), f"'{name}' is measured already", "another name", at_key=True))
        try:
            metric = given if isinstance(given, ApplicationMetric) else options_of(application.Kind, _options(given))
            application.check(name, metric)
            found[name] = metric
        except knob_values.FindingsError as error:
            findings += [f._replace(path=(name, *f.path)) for f in error.findings]
        except OptionError as error:
            findings.append(Finding((name, *error.path), error.problem, error.allowed, error.suggestion, error.unknown))
        except QuantityError as error:
            findings.append(Finding((name,), str(error), error.allowed, error.suggestion))
        except ValueError as error:
            findings.append(Finding((name,), str(error)))
    if findings:
        raise knob_values.FindingsError(findings)
    return found


def _meters(raw: object) -> dict[str, dict[str, Any]]:
    """Meters of whole machines, by name, each as it is written: its kind looks at the rest."""
    if not isinstance(raw, Mapping):
        raise QuantityError(f"should be a mapping of names, found {kind_of(raw)}")
    findings: list[Finding] = []
    found: dict[str, dict[str, Any]] = {}
    for name, given in raw.items():
        if not isinstance(name, str) or not metrics.NAME.fullmatch(name) or f"{name}_joules" in metrics.OURS:
            findings.append(Finding((str(name),), f"'{shown(name)}' is no name of a meter", METER_FORM, at_key=True))
            continue
        try:
            found[name] = _options(given)
            meters.options(found[name])
        except knob_values.FindingsError as error:
            findings += [f._replace(path=(name, *f.path)) for f in error.findings]
        except QuantityError as error:
            findings.append(Finding((name,), str(error), error.allowed, error.suggestion))
        except OptionError as error:
            findings.append(Finding((name, *error.path), error.problem, error.allowed, error.suggestion))
        except (PluginError, ValueError) as error:
            findings.append(Finding((name,), str(error)))
    if findings:
        raise knob_values.FindingsError(findings)
    return found


def changed_fields(options: msgspec.Struct) -> dict[str, Any]:
    """Fields of a struct that are not what they are by default."""
    default = type(options)()
    return {
        name: msgspec.to_builtins(value)
        for name, value in msgspec.structs.asdict(options).items()
        if value != getattr(default, name)
    }


def changed_options(options: MutilateOptions) -> dict[str, Any]:
    """Options that are not what they are by default."""
    default = msgspec.structs.asdict(MutilateOptions())
    return {name: value for name, value in msgspec.structs.asdict(options).items() if value != default[name]}


def _json(raw: object, path: Path, wrong: list[Finding]) -> Any:
    """A value of JSON, or a finding more in `wrong`: with its place, which is `path` below the options."""
    if isinstance(raw, Mapping):
        return {str(key): _json(value, (*path, str(key)), wrong) for key, value in raw.items()}
    if isinstance(raw, list | tuple):
        return [_json(value, (*path, index), wrong) for index, value in enumerate(raw)]
    if isinstance(raw, float) and not math.isfinite(raw):
        wrong.append(Finding(path, f"{raw} is out of range", FINITE))
    elif isinstance(raw, int) and not isinstance(raw, bool):
        return int(raw)
    elif raw is not None and not isinstance(raw, str | float | bool):
        wrong.append(Finding(path, f"{kind_of(raw)} is no option's value", OPTION_FORM))
    return raw


VALUE_SCHEMA = {
    "anyOf": [
        {"type": "integer", "minimum": 0},
        {"type": "number", "minimum": 0},
        {"type": "string", "pattern": r"^\s*(0x[0-9a-fA-F]+|[0-9.]+.*|[A-Za-z]+)\s*$"},
    ]
}
RANGE_SCHEMA = {
    "type": "object",
    "properties": dict.fromkeys(("low", "high", "step"), VALUE_SCHEMA),
    "required": ["low", "high"],
    "additionalProperties": False,
}
SPACE_SCHEMA = {
    "anyOf": [
        {"type": "array", "minItems": 1, "items": {"anyOf": [*VALUE_SCHEMA["anyOf"], RANGE_SCHEMA]}},
        RANGE_SCHEMA,
    ]
}
SETTINGS_SCHEMA = {"type": "object", "minProperties": 1, "additionalProperties": VALUE_SCHEMA}

Knobs = Annotated[
    dict[str, knob_values.KnobValues],
    PlainValidator(refused(knob_values.spaces)),
    PlainSerializer(lambda knobs: {key: space.plain() for key, space in knobs.items()}),
    _described(type="object", minProperties=1, additionalProperties=SPACE_SCHEMA),
]
Settings = Annotated[dict[str, int], PlainValidator(refused(knob_values.settings)), _described(**SETTINGS_SCHEMA)]
BaselineSettings = Annotated[
    dict[str, int],
    PlainValidator(refused(_baseline_settings)),
    PlainSerializer(lambda settings: settings or "default"),
    _described(anyOf=[{"const": "default"}, SETTINGS_SCHEMA]),
]
Until = Annotated[
    datetime,
    PlainValidator(refused(_until)),
    PlainSerializer(lambda until: until.isoformat()),
    _described(type="string", pattern=r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}.*)?$", examples=["2026-11-29 18:00"]),
]
"""A moment; without a zone in this machine's."""
BaselineAlone = Annotated[
    object,
    _described(
        anyOf=[
            {"const": "default"},
            {**SETTINGS_SCHEMA, "properties": {"settings": False, "every": {"type": "integer", "minimum": 1}}},
        ]
    ),
]
"""A baseline that is written as its settings alone."""
Limit = Annotated[
    Constraint,
    PlainValidator(refused(limit)),
    PlainSerializer(limit_text),
    _described(
        type="string", pattern=r"^\s*[a-z0-9_]+\s*(<=|>=|\u2264|\u2265)\s*[0-9.].*$", examples=["read_p99_us <= 500"]
    ),
]
Limits = Annotated[tuple[Limit, ...], BeforeValidator(as_tuple)]
Objective = Annotated[
    str,
    PlainValidator(refused(lambda raw: check_metric(raw, objective=True))),
    _ObjectiveNames(),
]
RATE_TEXT = {"type": "string", "pattern": r"^\s*[0-9._]+\s*(k|M)?(qps)?\s*$"}
RATE_SCHEMA = {"anyOf": [{"type": "number", "exclusiveMinimum": 0, "maximum": MAX_QPS}, RATE_TEXT]}
Rates = Annotated[
    float | tuple[float, ...],
    BeforeValidator(refused(_rates)),
    _described(
        anyOf=[*RATE_SCHEMA["anyOf"], {"type": "array", "items": RATE_SCHEMA, "minItems": 1, "maxItems": MAX_LOADS}]
    ),
]
Level = Annotated[
    float,
    Field(ge=0, le=MAX_QPS),
    BeforeValidator(refused(_level)),
    _described(anyOf=[{"type": "number", "minimum": 0, "maximum": MAX_QPS}, RATE_TEXT]),
]
Mutilate = Annotated[
    MutilateOptions,
    PlainValidator(refused(_mutilate)),
    PlainSerializer(changed_options),
    _described(type="object"),
]
PAIRS_SCHEMA = {"type": "array", "minItems": 1, "items": {"type": "array", "minItems": 2, "maxItems": 2}}
ApplicationMetrics = Annotated[
    dict[str, ApplicationMetric],
    PlainValidator(refused(_application)),
    PlainSerializer(lambda found: {name: changed_fields(metric) for name, metric in found.items()}),
    _described(type="object", additionalProperties={"type": "object"}),
]
Meters = Annotated[
    dict[str, dict[str, Any]],
    PlainValidator(refused(_meters)),
    _described(type="object", additionalProperties={"type": "object", "required": ["kind"]}),
]
Steps = Annotated[
    curve_values.Pairs,
    PlainValidator(refused(curve_values.steps)),
    PlainSerializer(curve_values.plain),
    _described(**PAIRS_SCHEMA),
]
Trace = Annotated[
    curve_values.Pairs,
    PlainValidator(refused(curve_values.trace)),
    PlainSerializer(curve_values.plain),
    _described(anyOf=[{"type": "string"}, PAIRS_SCHEMA]),
]
Objectives = Annotated[
    tuple[str, ...],
    BeforeValidator(refused(_objectives)),
    _ObjectiveNames(most=2),
]
SearchName = Annotated[str, Installed(SEARCHES, "method")]
LoadName = Annotated[str, Installed(LOADS, "generator")]
ServerName = Annotated[str, Installed(SERVERS, "server")]
Options = Annotated[dict[str, Any], PlainValidator(refused(_options)), _described(type="object")]
