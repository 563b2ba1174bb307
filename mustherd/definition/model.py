"""The experiment: everything that a definition says, with its defaults.

Values are what the file means, not how it wrote them: knobs in their canonical units, limits in their metrics' units.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import msgspec
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    PrivateAttr,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from mustherd.definition import check
from mustherd.definition import curves as curve_values
from mustherd.definition import knobs as knob_values
from mustherd.definition.errors import Finding, refusal, shown
from mustherd.definition.limits import AIMS, LIMIT_FORM, check_metric, limit, limit_text
from mustherd.definition.units import QuantityError, kind_of, number_text, quantity
from mustherd.definition.yaml import Source
from mustherd.learn.base import Constraint
from mustherd.load import curve as curves
from mustherd.load.curve import Curve, CurveError
from mustherd.load.mutilate.command import MutilateOptions
from mustherd.load.presets import PRESETS, load
from mustherd.load.saturation import DEFAULT as USUAL
from mustherd.load.saturation import SaturationLimits
from mustherd.metrics import MAXIMIZED
from mustherd.terms import Load

MAX_TRIALS = 10_000
MAX_SECONDS = 86_400.0
MAX_QPS = 1e9
MAX_LOADS = 32
RATE_FORM = "a number above 0, up to 1e9; 600k is 600000"
OBJECTIVES_FORM = "two metrics, as in [energy_joules, read_p99_us]"
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
PLUGIN_PATTERN = r"^[a-z][a-z0-9_.-]{0,63}$"


def _refused(check: Any) -> Any:
    """Let pydantic see our own errors, each with its place."""

    def checked(raw: object) -> Any:
        try:
            return check(raw)
        except knob_values.FindingsError as error:
            raise refusal(error.findings) from None
        except QuantityError as error:
            raise refusal([Finding((), str(error), error.allowed, error.suggestion)]) from None

    return checked


def _described(**schema: Any) -> Any:
    return WithJsonSchema(schema)


def _as_tuple(raw: object) -> object:
    return tuple(raw) if isinstance(raw, list) else raw


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
        findings.append(Finding((), f"{len(set(raw))} different metrics", OBJECTIVES_FORM))
    if findings:
        raise knob_values.FindingsError(findings)
    return tuple(raw)


def _baseline_settings(raw: object) -> dict[str, int]:
    if raw in ("default", {}):
        return {}
    if isinstance(raw, str):
        raise QuantityError(
            f"unknown settings '{shown(raw)}'", "default, or a mapping of knobs to a value each", "default"
        )
    return knob_values.settings(raw)


def _policy(raw: object) -> object:
    return {"name": raw} if isinstance(raw, str) else raw


def _options(raw: object) -> dict[str, Any]:
    """Options of somebody else's: any JSON, finite and named by text."""
    if not isinstance(raw, Mapping):
        raise QuantityError(f"should be a mapping of options, found {kind_of(raw)}")
    return {str(key): _json(value) for key, value in raw.items()}


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


def _changed(options: MutilateOptions) -> dict[str, Any]:
    """Options that are not what they are by default."""
    default = msgspec.structs.asdict(MutilateOptions())
    return {name: value for name, value in msgspec.structs.asdict(options).items() if value != default[name]}


def _json(raw: object) -> Any:
    if isinstance(raw, Mapping):
        return {str(key): _json(value) for key, value in raw.items()}
    if isinstance(raw, list | tuple):
        return [_json(value) for value in raw]
    if isinstance(raw, float) and not math.isfinite(raw):
        raise QuantityError("a number is out of range", "finite numbers")
    if isinstance(raw, int) and not isinstance(raw, bool):
        return int(raw)
    if raw is None or isinstance(raw, str | float | bool):
        return raw
    raise QuantityError(f"{kind_of(raw)} is no option's value", "text, numbers, true, false, lists and mappings")


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
    PlainValidator(_refused(knob_values.spaces)),
    PlainSerializer(lambda knobs: {key: space.plain() for key, space in knobs.items()}),
    _described(type="object", minProperties=1, additionalProperties=SPACE_SCHEMA),
]
Settings = Annotated[dict[str, int], PlainValidator(_refused(knob_values.settings)), _described(**SETTINGS_SCHEMA)]
BaselineSettings = Annotated[
    dict[str, int],
    PlainValidator(_refused(_baseline_settings)),
    PlainSerializer(lambda settings: settings or "default"),
    _described(anyOf=[{"const": "default"}, SETTINGS_SCHEMA]),
]
Limit = Annotated[
    Constraint,
    PlainValidator(_refused(limit)),
    PlainSerializer(limit_text),
    _described(
        type="string", pattern=r"^\s*[a-z0-9_]+\s*(<=|>=|\u2264|\u2265)\s*[0-9.].*$", examples=["read_p99_us <= 500"]
    ),
]
Limits = Annotated[tuple[Limit, ...], BeforeValidator(_as_tuple)]
Names = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
KNOB_NAMES = "a list of knobs that the profile has"
Delays = dict[str, Annotated[float, Field(ge=0, le=MAX_SECONDS)]]
Objective = Annotated[
    str,
    PlainValidator(_refused(lambda raw: check_metric(raw, objective=True))),
    _described(type="string", enum=list(AIMS)),
]
RATE_TEXT = {"type": "string", "pattern": r"^\s*[0-9._]+\s*(k|M)?(qps)?\s*$"}
RATE_SCHEMA = {"anyOf": [{"type": "number", "exclusiveMinimum": 0, "maximum": MAX_QPS}, RATE_TEXT]}
Rates = Annotated[
    float | tuple[float, ...],
    BeforeValidator(_refused(_rates)),
    _described(
        anyOf=[*RATE_SCHEMA["anyOf"], {"type": "array", "items": RATE_SCHEMA, "minItems": 1, "maxItems": MAX_LOADS}]
    ),
]
Level = Annotated[
    float,
    Field(ge=0, le=curves.MAX_QPS),
    BeforeValidator(_refused(_level)),
    _described(anyOf=[{"type": "number", "minimum": 0, "maximum": curves.MAX_QPS}, RATE_TEXT]),
]
Mutilate = Annotated[
    MutilateOptions,
    PlainValidator(_refused(_mutilate)),
    PlainSerializer(_changed),
    _described(type="object"),
]
PAIRS_SCHEMA = {"type": "array", "minItems": 1, "items": {"type": "array", "minItems": 2, "maxItems": 2}}
Steps = Annotated[
    curve_values.Pairs,
    PlainValidator(_refused(curve_values.steps)),
    PlainSerializer(curve_values.plain),
    _described(**PAIRS_SCHEMA),
]
Trace = Annotated[
    curve_values.Pairs,
    PlainValidator(_refused(curve_values.trace)),
    PlainSerializer(curve_values.plain),
    _described(anyOf=[{"type": "string"}, PAIRS_SCHEMA]),
]
Objectives = Annotated[
    tuple[str, ...],
    BeforeValidator(_refused(_objectives)),
    _described(
        type="array",
        items={"type": "string", "enum": list(AIMS)},
        maxItems=2,
    ),
]
Options = Annotated[dict[str, Any], PlainValidator(_refused(_options)), _described(type="object")]


class Section(BaseModel):
    """What all parts of a definition have in common: they don't change, and know no key that isn't theirs."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


def key(default: Any, description: str, unit: str = "", allowed: str = "", **limits: Any) -> Any:
    """A key of the file: what it says, its unit and what it may be, for people and for editors."""
    extra: dict[str, Any] = {name: text for name, text in (("x-unit", unit), ("x-allowed", allowed)) if text}
    if default is dict:
        extra["default"] = {}
    kind = "default_factory" if isinstance(default, type) else "default"
    return Field(**{kind: default}, description=description, json_schema_extra=extra or None, **limits)


class Faults(Section):
    """What is wrong with the simulated nodes; by default nothing. Knobs are named by their names."""

    dvfs_without_effect: bool = key(False, "The clock's register takes every value, and the clock stays as it was.")
    knob_ignored: Names = key((), "Knobs that take a write and forget it.", allowed=KNOB_NAMES)
    knob_reverts_after_s: Delays = key(
        dict, "Knobs that get their original value back so long after a write.", "s", "knobs with seconds"
    )
    write_error: Names = key((), "Knobs that refuse every write.", allowed=KNOB_NAMES)
    lost_rows: int = key(0, "Every so many-th row of the logs is missing; 0: none.", ge=0, le=10**9)
    energy_stuck: bool = key(False, "The energy counters stand still.")
    energy_error: bool = key(False, "The energy counters can't be read.")
    energy_factor: float = key(1.0, "What the energy counters show, as a multiple of the energy used.", ge=0, le=1e6)
    misses: float = key(0.0, "Share of the requests that find no value.", ge=0, le=1)
    generator_saturated: bool = key(False, "The load generator sends nine tenths of what it was asked for.")


class Simulated(Section):
    """Nodes that need no hardware."""

    profile: Literal["c6220"] = key("c6220", "The kind of node that is simulated.")
    musters: int = key(1, "How many identical nodes, each with a muster of its own.", ge=1, le=128)
    speed: float = key(200.0, "How many times faster than real time the nodes' clock runs.", gt=0, le=10_000)
    seed: int = key(1, "Decides the noise: equal seeds give equal measurements.", ge=0, le=2**32 - 1)
    noise: float = key(1.0, "Spread between repeats, 1 being what was measured on real nodes.", ge=0, le=100)
    drift: float = key(0.0, "Shift of its latencies against other campaigns, 1 being what was measured.", ge=0, le=100)
    intlog_cores: int = key(0, "How many of its 16 cores log their interrupts as the intlog driver does.", ge=0, le=16)
    faults: Faults = key(Faults, "What is wrong with every one of them.")


Cores = Annotated[tuple[Annotated[int, Field(ge=0, le=4095)], ...], BeforeValidator(_as_tuple)]


class Local(Section):
    """A real memcached on this machine under the built-in generator, with the muster that runs both."""

    server_cores: Cores = key(
        (), "Cores that the server may be given; none: all.", allowed="a list of numbers of cores"
    )
    server_threads: int = key(4, "Worker threads that it is started with.", ge=1, le=1024)
    generator_cores: Cores = key(
        (), "Cores of the generator's processes; none: any.", allowed="a list of numbers of cores"
    )
    generator_processes: int = key(1, "Processes of the generator.", ge=1, le=64)
    connections: int = key(16, "Connections of each of them.", ge=1, le=4096)
    blocking: bool = key(True, "The generator sleeps between requests instead of taking a whole core.")


class Herd(Section):
    """The nodes: `simulated`, `local` or `inventory`."""

    simulated: Simulated | None = key(None, "Simulated nodes.")
    local: Local | None = key(None, "One real server process on this machine.")
    inventory: str | None = key(
        None, "Inventory of real nodes, a folder or file, from the current folder.", min_length=1, max_length=1024
    )


class Sine(Section):
    """A load that swings, from its mean up."""

    low: Level = key(..., "The least load.", "qps")
    high: Level = key(..., "The highest load.", "qps")
    period_seconds: float = key(..., "How long a swing takes.", "s", gt=0, le=MAX_SECONDS)
    seconds: float = key(..., "How long it goes on.", "s", gt=0, le=MAX_SECONDS)


class StepLoad(Section):
    """A load that jumps once."""

    low: Level = key(..., "The load before.", "qps")
    high: Level = key(..., "The load after.", "qps")
    at_seconds: float = key(..., "When it jumps.", "s", gt=0, le=MAX_SECONDS)
    seconds: float = key(..., "How long it goes on in all.", "s", gt=0, le=MAX_SECONDS)


class LoadCurve(Section):
    """A load that changes: `steps`, `sine`, `step` or `trace`."""

    steps: Steps | None = key(None, "Levels, one after the other.", "qps, s", curve_values.STEPS_FORM)
    sine: Sine | None = key(None, "A load that swings.")
    step: StepLoad | None = key(None, "A load that jumps once.")
    trace: Trace | None = key(None, "A recorded load.", "s, qps", curve_values.TRACE_FORM)
    spans: Literal["window", "experiment"] = key(
        "window", "Every window sees the whole curve, or each one the part that comes next."
    )

    def made(self) -> Curve:
        """The curve. Raises CurveError."""
        if self.steps is not None:
            return curves.steps(self.steps)
        if self.sine is not None:
            return curves.sine(self.sine.low, self.sine.high, self.sine.period_seconds, self.sine.seconds)
        if self.step is not None:
            return curves.step(self.step.low, self.step.high, self.step.at_seconds, self.step.seconds)
        if self.trace is not None:
            return curve_values.of_trace(self.trace)
        raise CurveError("a curve needs 'steps', 'sine', 'step' or 'trace'")


class Workload(Section):
    """The load that every trial offers."""

    preset: Literal["etc", "usr"] = key("etc", "Mix of requests: sizes of keys and values, arrivals.")
    qps: Rates | None = key(
        None,
        "Requests offered a second; of a list every load, learnt together: settings for each come out. Needed where "
        "there is no curve.",
        "qps",
        f"{RATE_FORM}, or a list of such",
    )
    curve: LoadCurve | None = key(None, "A load that changes, in the place of `qps`.")
    generator: Literal["mutilate", "builtin"] | None = key(
        None,
        "What offers the load from outside the nodes; without it mutilate where the inventory has a leader, and else "
        "each node loads itself.",
    )
    mutilate: Mutilate = key(
        MutilateOptions,
        "How mutilate is run, where it is.",
        allowed="options of mutilate such as measure_qps, connections, agent_threads, depth",
        validate_default=True,
    )
    update_ratio: float = key(
        None, "Share of requests that write; without it the preset's: 0.25 for etc, 0.01 for usr.", ge=0, le=1
    )
    outstanding: int = key(256, "Requests in flight at most; beyond it the load is closed-loop.", ge=1, le=10**6)
    settle_seconds: float = key(
        0.0, "Wait after the knobs hold; a knob that needs longer to settle is given longer.", "s", ge=0, le=MAX_SECONDS
    )
    ramp_seconds: float = key(5.0, "Load before the window, not counted.", "s", ge=0, le=MAX_SECONDS)
    window_seconds: float = key(
        30.0,
        "The window over which energy, latency and load are measured; a curve that spans it gives its length.",
        "s",
        ge=0.1,
        le=MAX_SECONDS,
    )

    @model_validator(mode="before")
    @classmethod
    def _mix(cls, raw: Any) -> Any:
        # A preset that doesn't exist is left for its own check to name.
        preset = raw.get("preset", "etc") if isinstance(raw, Mapping) else None
        if isinstance(preset, str) and preset in PRESETS and "update_ratio" not in raw:
            return {**raw, "update_ratio": PRESETS[preset].update_ratio}
        return raw

    @model_validator(mode="before")
    @classmethod
    def _length(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or "window_seconds" in raw or raw.get("curve") is None:
            return raw
        try:
            curve = LoadCurve.model_validate(raw["curve"])
            return {**raw, "window_seconds": curve.made().seconds} if curve.spans == "window" else raw
        except (ValidationError, CurveError):
            return raw  # its own checks name what is wrong

    @property
    def parts(self) -> int:
        """How many windows a curve that spans the experiment lasts; 0 for a load that is the same in all of them."""
        if self.curve is None or self.curve.spans == "window":
            return 0
        return math.ceil(self.curve.made().seconds / self.window_seconds - 1e-9)

    @property
    def loads(self) -> tuple[float, ...]:
        """The loads that trials choose among, in requests per second; none where there is a curve."""
        return self.qps if isinstance(self.qps, tuple) else () if self.qps is None else (self.qps,)

    def load(self, part: int = 0, qps: float | None = None) -> Load:
        """The load to offer in a window: `qps` of several, or the only one.

        `part` counts, from 0, the windows of a curve that spans the experiment.

        Raises CurveError.
        """
        offered = load(self.preset, qps or next(iter(self.loads), 0.0), self.update_ratio, self.outstanding)
        if self.curve is None:
            return offered
        at_s = part * self.window_seconds if self.curve.spans == "experiment" else 0.0
        return curves.under(offered, self.curve.made().cut(at_s, self.window_seconds))


class SearchOptions(Section):
    """How the next trial is chosen."""

    method: Literal["gp", "random", "grid", "one-shot"] = key(
        "gp", "Learned models (gp), chance, every combination in turn, or one given setting."
    )
    seed: int = key(1, "Decides everything that is random in the search.", ge=0, le=2**32 - 1)
    initial: int | None = key(
        None,
        "Points laid out before the models choose; without it as many as the method wants. gp only.",
        ge=1,
        le=MAX_TRIALS,
    )
    stop: bool = key(
        True, "End before `trials` once the improvement that can still be expected is lost in the noise. gp only."
    )
    settings: Settings | None = key(
        None,
        "The setting to try. one-shot only: it or `table`.",
        allowed="a value of `knobs` for each knob",
    )
    table: str | None = key(
        None, "A table of settings by load, as an experiment over several loads leaves it in policy.yml: of each load"
        " the settings of the nearest one are tried. one-shot only.",
        allowed="a file", min_length=1, max_length=1024,
    )  # fmt: skip
    prior: str | None = key(
        None, "What is believed beforehand: an earlier experiment's folder, from the current folder, or twin, the"
        " simulated node's answers. What turns out wrong is dropped. gp only.",
        allowed="twin, or a folder", min_length=1, max_length=1024,
    )  # fmt: skip


class Baseline(Section):
    """What every saving is measured against."""

    settings: BaselineSettings = key(
        "default",
        "The node as it is found, or a value for some of the knobs.",
        allowed="default, or knobs with a value each",
        validate_default=True,
    )
    every: int = key(
        10, "The baseline runs before the search and again after every so many of its trials.", ge=1, le=MAX_TRIALS
    )


class ConfirmationOptions(Section):
    """How what the search found is measured again, before anything is announced."""

    candidates: int = key(3, "Settings that are confirmed beside one another, the best first.", ge=1, le=20)
    rounds: int = key(8, "Rounds at most: they go on from `repeats` while the verdict isn't certain.", ge=1, le=1000)
    margin: float = key(
        0.0, "Share of an upper limit that is kept free for drift between days: 0.06 makes 470 us of 500.", ge=0, le=0.5
    )


class Band(Section):
    """Watts between which a measured energy is believed."""

    low: float = key(5.0, "Less is taken for a broken counter.", "W", ge=0, le=1e6)
    high: float = key(2000.0, "More is taken for a broken counter.", "W", gt=0, le=1e6)


class GeneratorGates(Section):
    """The most that the load generator may show of being the bottleneck itself."""

    busy: float = key(
        USUAL.busy, "Share of the window in which the busiest process of builtin may have something to do.", ge=0, le=1
    )
    waiting: float = key(
        USUAL.waiting, "Share of the window in which a process of builtin may be ready and have no core.", ge=0, le=1
    )
    unsent: float = key(
        USUAL.unsent, "Share of what was due that builtin may leave unsent, though nothing held it back.", ge=0, le=1
    )
    late: float = key(USUAL.late, "Share of the mean latency that may come of builtin's sending late.", ge=0, le=1)
    leader_shortfall: float = key(
        USUAL.leader_shortfall,
        "Share of its own load that mutilate's leader may fail to send, beyond what chance explains.",
        ge=0,
        le=1,
    )
    leader_in_use: float = key(
        USUAL.leader_in_use,
        "Share of the leader's places in flight: where more are in use, its shortfall is taken for the server's.",
        ge=0,
        le=1,
    )

    def limits(self) -> SaturationLimits:
        """As the load's own parts know them."""
        return SaturationLimits(**self.model_dump())


class Gates(Section):
    """When a measurement can't be trusted."""

    achieved_ratio: float = key(
        0.98,
        "Least share of the offered load that must be answered: below it a setting is no solution. 0: no guard, which"
        " is the default where an objective is achieved_qps or achieved_ratio.",
        ge=0,
        le=1,
    )
    miss_ratio: float = key(0.001, "Largest share of reads that may find no value.", ge=0, le=1)
    generator: GeneratorGates = key(GeneratorGates, "What a load generator may show of being the bottleneck itself.")
    times_late: int = key(0, "How often a muster's heartbeats may be late during a trial.", ge=0, le=10**6)
    log_rows_lost: int = key(0, "Rows of native logs that may be lost.", ge=0, le=10**9)
    energy_watts: Band = key(Band, "Plausible power of a node's packages.")
    window_tolerance: float = key(
        0.02,
        "Share of its length by which a window may be longer or shorter than asked, or lie apart from the load's own.",
        gt=0,
        le=1,
    )
    attempts: int = key(3, "How often a trial is attempted before it counts as failed.", ge=1, le=100)
    same_failure: int = key(3, "The same reason so many times in a row stops the experiment.", ge=1, le=1000)


class Budget(Section):
    """What may be spent; the experiment ends when it is."""

    minutes: float | None = key(
        None, "Time on the nodes' clock; a simulated herd spends it `speed` times faster.", "min", gt=0, le=1e6
    )
    joules: float | None = key(None, "Energy of all windows of all nodes.", "J", gt=0, le=1e12)


class PolicyOptions(Section):
    """What the shepherd does with the herd."""

    name: str = key(
        "tune",
        "A policy's name: tune, follow, nop, or one that a package adds.",
        pattern=PLUGIN_PATTERN,
        allowed="the name of an installed policy, in small letters",
    )
    options: Options = key(dict, "The policy's own options.", allowed="what the policy knows")


class Experiment(Section):
    """A definition of an experiment, complete and sound.

    `name`, `herd`, `knobs` and `workload`'s `qps` or `curve` have no default.
    """

    name: str = key(
        ..., "What the experiment is called; its folder is named after it.",
        allowed="up to 64 letters, digits, `-`, `_` and `.`, beginning with a letter or digit", pattern=NAME_PATTERN,
    )  # fmt: skip
    herd: Herd = key(..., "The nodes.")
    workload: Workload = key(..., "The load that every trial offers.")
    knobs: Knobs = key(
        ..., "What may be set, and the values that may be tried.",
        allowed="for each knob a list of values and ranges, or one range {low, high, step}",
    )  # fmt: skip
    objective: Objective = key(
        "energy_joules",
        "The metric to make as small as possible; achieved_qps and achieved_ratio are made as large as possible.",
        allowed="a metric",
    )
    objectives: Objectives = key(
        (), "Two objectives at once: the search spreads over their trade-off. The first is the objective.",
        allowed=OBJECTIVES_FORM,
    )  # fmt: skip
    constraints: Limits = key((), "Limits that a solution keeps.", allowed=LIMIT_FORM, max_length=32)
    search: SearchOptions = key(SearchOptions, "How the next trial is chosen.")
    trials: int = key(
        30, "Trials of the search; one for each window of a curve that spans the experiment.", ge=1, le=MAX_TRIALS
    )
    repeats: int = key(
        3, "Rounds of the best settings and the baseline, at least, that confirm the verdict; 0: none.", ge=0, le=100
    )
    confirmation: ConfirmationOptions = key(ConfirmationOptions, "How that is done.")
    baseline: Baseline = key(Baseline, "What every saving is measured against.")
    gates: Gates = key(Gates, "When a measurement can't be trusted.")
    budget: Budget = key(Budget, "What may be spent.")
    policy: Annotated[
        PolicyOptions,
        BeforeValidator(_policy, json_schema_input_type=Annotated[str, Field(pattern=PLUGIN_PATTERN)] | PolicyOptions),
    ] = key(PolicyOptions, "What the shepherd does with the herd: a name, or {name, options}.")

    _source: Source = PrivateAttr(default_factory=Source)

    @model_validator(mode="before")
    @classmethod
    def _length(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or "trials" in raw:
            return raw
        try:
            parts = Workload.model_validate(raw.get("workload")).parts
        except (ValidationError, CurveError):
            return raw  # its own checks name what is wrong
        return {**raw, "trials": parts} if parts else raw

    @model_validator(mode="before")
    @classmethod
    def _first(cls, raw: Any) -> Any:
        two = raw.get("objectives") if isinstance(raw, Mapping) else None
        if isinstance(two, list | tuple) and two and isinstance(two[0], str) and "objective" not in raw:
            return {**raw, "objective": two[0]}
        return raw

    @model_validator(mode="before")
    @classmethod
    def _guard(cls, raw: Any) -> Any:
        # Who wants the most load answered offers more than can be.
        if not isinstance(raw, Mapping) or not isinstance(raw.get("gates", {}), Mapping):
            return raw
        two, gates = raw.get("objectives"), raw.get("gates", {})
        aims = [raw.get("objective"), *(two if isinstance(two, list | tuple) else ())]
        if "achieved_ratio" in gates or not any(isinstance(aim, str) and aim in MAXIMIZED for aim in aims):
            return raw
        return {**raw, "gates": {**gates, "achieved_ratio": 0.0}}

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if findings := check.broken(self):
            raise refusal(findings)
        return self

    @property
    def source(self) -> Source:
        """The file that the definition came from; of no file for one that was made in code."""
        return self._source

    def from_source(self, source: Source) -> Self:
        """The same definition, knowing where it was written."""
        copy = self.model_copy()
        copy._source = source
        return copy
