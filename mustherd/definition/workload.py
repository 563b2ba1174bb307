"""The keys of `workload`: the load that every trial offers."""

import contextlib
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from mustherd.definition import curves as curve_values
from mustherd.definition.errors import Finding, listed, nearest, refusal
from mustherd.definition.fields import (
    MAX_SECONDS,
    RATE_FORM,
    Level,
    Limits,
    LoadName,
    Mutilate,
    Options,
    Rates,
    ServerName,
    Steps,
    Trace,
    changed_options,
)
from mustherd.definition.limits import LIMIT_FORM
from mustherd.definition.section import Section, key
from mustherd.errors import kind_of
from mustherd.load import curve as curves
from mustherd.load import registry
from mustherd.load.curve import Curve, CurveError
from mustherd.load.mutilate.command import MutilateOptions
from mustherd.load.server import MEMCACHED, Preset
from mustherd.plugins import LOADS, SERVERS, OptionError, PluginError, plugin, plugins
from mustherd.terms import Load

MUTILATE = "mutilate"
"""The load whose options have a key of their own."""
COMMAND = "command"
"""The server and the load that any program can be; their options are written in the place of a name."""


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


class Generator(Section):
    """What offers the load."""

    name: LoadName = key(MUTILATE, "A load's name.")
    options: Options = key(dict, "The load's own options.", allowed="what the load knows")


class Server(Section):
    """What is loaded."""

    name: ServerName = key(MEMCACHED, "A server's name.")
    options: Options = key(
        dict, "How it is run, where the definition's herd is local.", allowed="what the server knows"
    )


def _named(raw: object) -> object:
    if isinstance(raw, Mapping) and COMMAND in raw and "name" not in raw:
        return {"name": COMMAND, "options": raw}
    return {"name": raw} if isinstance(raw, str) else raw


COMMAND_SCHEMA = {
    "type": "object",
    "properties": {COMMAND: {"type": "array", "items": {"type": "string"}, "minItems": 1}},
    "required": [COMMAND],
}
ByCommand = Annotated[dict[str, Any], WithJsonSchema(COMMAND_SCHEMA)]


def _installed(group: str, raw: object, usual: str) -> tuple[str, Mapping[str, object]]:
    """The server or load that is chosen, as written, and its options; "" and none where that names no installed one."""
    chosen = _named(raw)
    name = chosen.get("name", usual) if isinstance(chosen, Mapping) else None
    if not isinstance(chosen, Mapping) or not isinstance(name, str) or name not in plugins(group):
        return "", {}
    options = chosen.get("options")
    return name, options if isinstance(options, Mapping) else {}


def _short(chosen: Generator | Server) -> Any:
    """A choice as people write it: a name alone where there are no options, a command's options alone."""
    if chosen.name == COMMAND:
        return chosen.options
    return {"name": chosen.name, "options": chosen.options} if chosen.options else chosen.name


def presets_of(server: str) -> Mapping[str, Preset]:
    """The mixes of requests that are known for a server; none for one that isn't installed. Raises PluginError."""
    if server not in plugins(SERVERS):
        return {}
    presets: Mapping[str, Preset] = registry.server_kind(plugin(SERVERS, server)).presets
    return presets


def declared_by(raw: object) -> dict[str, Literal["less", "more"]]:
    """The metrics that the load of a workload, as written, declares; nothing where it is wrong."""
    if not isinstance(raw, Mapping):
        return {}
    load = raw.get("load", raw.get("generator"))
    if load is None:
        server, _ = _installed(SERVERS, raw.get("server"), MEMCACHED)
        with contextlib.suppress(PluginError):
            load = registry.server_kind(plugin(SERVERS, server)).load if server else None
    name, options = _installed(LOADS, load, MUTILATE)
    return registry.declares(name, options) if name else {}


def refused_options(raw: object) -> list[Finding]:
    """What a load by command, as written, is refused for: what it declares is unknown then, and would be told alone."""
    if not isinstance(raw, Mapping):
        return []
    at = "load" if "load" in raw else "generator"
    name, options = _installed(LOADS, raw.get(at), MUTILATE)
    if name != COMMAND:
        return []
    try:
        registry.check(plugin(LOADS, name), options)
    except OptionError as error:
        path = ("workload", at, "options", *error.path)
        return [Finding(path, error.problem, error.allowed, error.suggestion, at_key=error.unknown)]
    except (ValueError, PluginError):
        return []  # that is said of a definition whose parts can be read
    return []


class PresetName:
    """The name of a mix of requests, of those that the server's kind knows."""

    @staticmethod
    def check(raw: object, info: ValidationInfo) -> str:
        """The name."""
        if "server" not in info.data:
            return str(raw)  # that the server is wrong is told, and nothing is known of its presets
        server = info.data["server"]
        known = list(presets_of(server.name if server is not None else MEMCACHED))
        if not isinstance(raw, str) or (raw not in known and (known or raw)):
            found = f"unknown preset {kind_of(raw)}"
            raise refusal([Finding((), found, listed(known) or "none", nearest(raw, known))])
        return raw

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        known: list[str] = []
        for server in plugins(SERVERS):
            try:
                known += presets_of(server)
            except PluginError:
                continue  # who names it is told
        return {"type": "string", "enum": list(dict.fromkeys(known))}


def _with_load(schema: dict[str, Any]) -> None:
    """Let editors know `load`, which is `generator` by another name."""
    schema["properties"]["load"] = schema["properties"]["generator"]


class Workload(Section):
    """The load that every trial offers."""

    model_config = ConfigDict(json_schema_extra=_with_load)

    server: Annotated[
        Server,
        BeforeValidator(_named, json_schema_input_type=ServerName | Server | ByCommand),
        PlainSerializer(_short),
    ] | None = key(
        None, "What is loaded: a name, {name, options}, or {command: [...]} for any program; without it memcached."
        " Nodes of an inventory run it already."
    )  # fmt: skip
    preset: Annotated[str, PresetName()] = key(
        "etc", "Mix of requests, of those that are known for the server: sizes of keys and values, arrivals."
    )
    qps: Rates | None = key(
        None,
        "Requests offered a second; of a list every load, learnt together: settings for each come out. Needed where "
        "there is no curve.",
        "qps",
        f"{RATE_FORM}, or a list of such",
    )
    curve: LoadCurve | None = key(None, "A load that changes, in the place of `qps`.")
    generator: Annotated[
        Generator,
        BeforeValidator(_named, json_schema_input_type=LoadName | Generator | ByCommand),
        PlainSerializer(_short),
    ] | None = key(
        None,
        "What offers the load from outside the nodes: a name, {name, options}, or {command: [...]} for any program,"
        " also written as `load`. Without it the server's own, else mutilate where the inventory has a leader, and"
        " else each node loads itself.",
    )  # fmt: skip
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
    checks: Limits = key(
        (), "What every window must keep to count, as in `errors <= 0`: one that doesn't is measured again.",
        allowed=LIMIT_FORM, max_length=32,
    )  # fmt: skip
    settle_seconds: float = key(
        0.0, "Wait after the knobs hold; a knob that needs longer to settle is given longer.", "s", ge=0, le=MAX_SECONDS
    )
    cool_down_seconds: float = key(
        0.0, "Rest of a node between two trials, without load and before the next one's knobs are set, so that the next"
        " one doesn't begin on a warm machine.", "s", ge=0, le=MAX_SECONDS
    )  # fmt: skip
    ramp_seconds: float = key(5.0, "Load before the window, not counted.", "s", ge=0, le=MAX_SECONDS)
    window_seconds: float = key(
        30.0,
        "The window over which energy, latency and load are measured; a curve that spans it gives its length.",
        "s",
        ge=0.1,
        le=MAX_SECONDS,
    )

    # Of these the last one is asked first.
    @model_validator(mode="before")
    @classmethod
    def _mix(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping):
            return raw
        server, _ = _installed(SERVERS, raw.get("server", MEMCACHED), MEMCACHED)
        presets = presets_of(server)
        # A preset that doesn't exist is left for its own check to name.
        preset = raw.get("preset", next(iter(presets), ""))
        usual = presets[preset].update_ratio if isinstance(preset, str) and preset in presets else 0.0
        filled = {"preset": preset} if server else {}
        return {"update_ratio": usual, **filled, **raw}

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

    @model_validator(mode="before")
    @classmethod
    def _load(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or "load" not in raw or "generator" in raw:
            return raw
        return {**{key: value for key, value in raw.items() if key != "load"}, "generator": raw["load"]}

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

    @property
    def server_name(self) -> str:
        """What is loaded."""
        return MEMCACHED if self.server is None else self.server.name

    @property
    def closed_loop(self) -> bool | None:
        """Whether what offers the load waits for answers, and so offers what is answered; None: can't be told."""
        try:
            return self.offered_by is not None and not registry.traits_of(*self.offered_by).open_loop
        except (ValueError, PluginError):
            return None  # its own check says what is wrong with it

    @property
    def declared(self) -> dict[str, Literal["less", "more"]]:
        """Metrics that its load adds, and which way each is better."""
        return registry.declares(*self.offered_by) if self.offered_by is not None else {}

    @property
    def offered_by(self) -> tuple[str, dict[str, Any]] | None:
        """The load from outside the nodes that the definition or else its server names, with its options, if any."""
        if self.generator is not None:
            name = self.generator.name
            on_node = registry.load_kind(plugin(LOADS, name)).traits.on_node
            return None if on_node else (name, self.options_of(name))
        usual = registry.server_kind(plugin(SERVERS, self.server_name)).load
        return (usual, {}) if usual else None

    def options_of(self, load: str) -> dict[str, Any]:
        """What the definition says of how a load is run."""
        own = self.generator.options if self.generator is not None and self.generator.name == load else {}
        return {**(changed_options(self.mutilate) if load == MUTILATE else {}), **own}

    def load(self, part: int = 0, qps: float | None = None) -> Load:
        """The load to offer in a window: `qps` of several, or the only one.

        `part` counts, from 0, the windows of a curve that spans the experiment.

        Raises CurveError.
        """
        offered = Load(
            qps=qps or next(iter(self.loads), 0.0),
            preset=self.preset,
            update_ratio=self.update_ratio,
            outstanding=self.outstanding,
        )
        if self.curve is None:
            return offered
        at_s = part * self.window_seconds if self.curve.spans == "experiment" else 0.0
        return curves.under(offered, self.curve.made().cut(at_s, self.window_seconds))
