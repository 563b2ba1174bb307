"""The experiment: everything that a definition says, with its defaults.

Values are what the file means, not how it wrote them: knobs in their canonical units, limits in their metrics' units.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from mustherd import metrics
from mustherd.definition import check
from mustherd.definition import knobs as knob_values
from mustherd.definition.built import marked
from mustherd.definition.digest import to_yaml
from mustherd.definition.errors import refusal
from mustherd.definition.fields import (
    EXPERIMENT_NAME,
    MAX_PATH,
    MAX_TRIALS,
    OBJECTIVES_FORM,
    POLICY_NAME,
    ApplicationMetrics,
    BaselineAlone,
    BaselineSettings,
    Knobs,
    Limits,
    Meters,
    Objective,
    Objectives,
    Options,
    SearchName,
    Settings,
    Until,
)
from mustherd.definition.herd import Herd
from mustherd.definition.limits import LIMIT_FORM
from mustherd.definition.section import Section, key
from mustherd.definition.structs import Keys
from mustherd.definition.within import CHANGE_FORM, Changes
from mustherd.definition.workload import Workload, declared_by, refused_options
from mustherd.definition.yaml import Source
from mustherd.goal import GUARD, LEAST_SAVING, MARGIN, PARALLEL, ROUNDS
from mustherd.load.curve import CurveError
from mustherd.load.saturation import SaturationLimits
from mustherd.terms import GUARD_LIMIT


def _closed_loop(workload: object) -> bool:
    """Whether a workload, as written, is a closed loop; one that is wrong is not, which its own checks say."""
    try:
        return bool(Workload.model_validate(workload).closed_loop)
    except ValidationError:
        return False


def _declared(raw: object) -> dict[str, Literal["less", "more"]]:
    """The metrics that a definition, as written, declares."""
    if not isinstance(raw, Mapping):
        return {}
    told = raw.get("metrics")
    own = told.items() if isinstance(told, Mapping) else ()
    better = {str(name): _better(metric) for name, metric in own}
    return {**declared_by(raw.get("workload")), **better, **_of_meters(raw.get("meters"))}


def _of_meters(meters: object) -> dict[str, Literal["less", "more"]]:
    """The metrics that meters give by themselves."""
    return {f"{name}_joules": "less" for name in meters} if isinstance(meters, Mapping) else {}


def _better(metric: object) -> Literal["less", "more"]:
    return "more" if isinstance(metric, Mapping) and metric.get("better") == "more" else "less"


def _policy(raw: object) -> object:
    return {"name": raw} if isinstance(raw, str) else raw


def _baseline(raw: object) -> object:
    """A baseline written as a word, or as its settings alone."""
    if isinstance(raw, str):
        return {"settings": raw}
    if not isinstance(raw, Mapping) or "settings" in raw or not any(map(knob_values.names_a_knob, raw)):
        return raw
    own = {name: given for name, given in raw.items() if name in Baseline.model_fields}
    return {**own, "settings": {name: given for name, given in raw.items() if name not in own}}


class SearchOptions(Section):
    """How the next trial is chosen."""

    method: SearchName = key(
        "gp",
        "Learned models (gp), chance (random), every combination in turn (grid), one given setting (one-shot), or a"
        " search that a package adds.",
    )
    options: Options | None = key(
        None, "The search's own options, where it has no key below for them.", allowed="what the search knows"
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
    order: Literal["as-written", "random", "blocked"] = key(
        "as-written", "In which order: the knobs' own, one after the other; at random, by the seed; or in blocks at"
        " random, each of which has every combination once. grid only.",
    )  # fmt: skip
    repetitions: int = key(1, "How often every combination is tried. grid only.", ge=1, le=1000)
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
        "The machine's own default: what was recorded before it was prepared, else what is found; or a value for any"
        " knobs of the node, as in {governor: performance, itr-delay: adaptive}.",
        allowed="default, or knobs with a value each",
        validate_default=True,
    )
    every: int = key(
        10, "The baseline runs before the search and again after every so many of its trials.", ge=1, le=MAX_TRIALS
    )


class ConfirmationOptions(Section):
    """How what the search found is measured again, before anything is announced."""

    candidates: int = key(PARALLEL, "Settings that are confirmed beside one another, the best first.", ge=1, le=20)
    rounds: int = key(
        ROUNDS,
        "Rounds at most before one is chosen: they go on from `repeats` while nothing is certain.",
        ge=1,
        le=1000,
    )
    margin: float = key(
        MARGIN,
        "Share of an upper limit that is kept free for drift between days: 0.06 makes 470 us of 500.",
        ge=0,
        le=0.5,
    )
    least_saving: float = key(
        LEAST_SAVING, "What a setting has to save to be announced, in % of the baseline's objective.", ge=0, le=100
    )


class Band(Section):
    """Watts between which a measured energy is believed."""

    low: float = key(5.0, "Less is taken for a broken counter.", "W", ge=0, le=1e6)
    high: float = key(2000.0, "More is taken for a broken counter.", "W", gt=0, le=1e6)


class Gates(Section):
    """When a measurement can't be trusted."""

    achieved_ratio: float = key(
        GUARD_LIMIT,
        "Least share of the offered load that must be answered: below it a setting is no solution. 0: no guard, which"
        " is the default where an objective is achieved_qps or achieved_ratio, or the load a closed loop.",
        ge=0,
        le=1,
    )
    miss_ratio: float = key(0.001, "Largest share of reads that may find no value.", ge=0, le=1)
    generator: Annotated[SaturationLimits, Keys()] = key(
        SaturationLimits, "What a load generator may show of being the bottleneck itself."
    )
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
    until: Until | None = key(
        None, "When the reservation ends. What doesn't fit is refused; what runs stops in order a minute before.",
        allowed="a date and time, as in 2026-11-29 18:00",
    )  # fmt: skip


class PolicyOptions(Section):
    """What the shepherd does with the herd."""

    name: str = key(
        "tune",
        "A policy's name: tune, follow, nop, collect, stats, latency-predictor, pipeline, or one that a package adds;"
        " or a class in a file, from the current folder, as in ./colder.py:Colder.",
        pattern=POLICY_NAME,
        max_length=MAX_PATH,
        allowed="the name of an installed policy, in small letters, or FILE.py:CLASS",
    )
    options: Options = key(dict, "The policy's own options.", allowed="what the policy knows")


class Experiment(Section):
    """A definition of an experiment, complete and sound: read from a file, or built from the file's keys as keywords.

    `name`, `herd`, `workload`'s `qps` or `curve` and, unless the policy sets none, `knobs` have no default.
    Values are written as in the file, with Python's dicts and lists for its mappings and lists. Raises DefinitionError,
    which names the key.
    """

    if TYPE_CHECKING:

        def __init__(self, **keys: Any) -> None:
            """Take the file's keys: their types are what a file may hold, not what the experiment keeps of it."""

    name: str = key(
        ..., "What the experiment is called; its folder is named after it.",
        allowed="up to 64 letters, digits, `-`, `_` and `.`, beginning with a letter or digit", pattern=EXPERIMENT_NAME,
    )  # fmt: skip
    herd: Herd = key(..., "The nodes.")
    workload: Workload = key(..., "The load that every trial offers.")
    knobs: Knobs = key(
        ..., "What may be set, and the values that may be tried; left out where the policy sets none: nop, collect,"
        " stats.",
        allowed="for each knob a list of values and ranges, or one range {low, high, step}",
    )  # fmt: skip
    metrics: ApplicationMetrics = key(
        dict, "What an application tells of itself, by name: it may be objective, limit or check.",
        allowed="for each name one of prometheus with query, endpoint with series, command, file",
    )  # fmt: skip
    meters: Meters = key(
        dict, "Meters of whole machines, by name: wall_joules is the first one's, which the others are held against.",
        allowed="for each name kind: dcmi, redfish, command, url or a package's, and what that takes",
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
        3,
        "Rounds, on each node, of the best settings and the baseline: so many at least before one is chosen, as many"
        " of that one afterwards. 0: none, and nothing is certain.",
        ge=0,
        le=100,
    )
    confirmation: ConfirmationOptions = key(ConfirmationOptions, "How that is done.")
    baseline: Annotated[
        Baseline,
        BeforeValidator(_baseline, json_schema_input_type=BaselineAlone | Baseline),
    ] = key(Baseline, "What every saving is measured against; or its settings alone.")
    gates: Gates = key(Gates, "When a measurement can't be trusted.")
    budget: Budget = key(Budget, "What may be spent.")
    changes: Changes = key(
        (), "Knobs that are set again within each window of the search, while its load goes on.",
        allowed=CHANGE_FORM, max_length=1000,
    )  # fmt: skip
    policy: Annotated[
        PolicyOptions,
        BeforeValidator(_policy, json_schema_input_type=Annotated[str, Field(pattern=POLICY_NAME)] | PolicyOptions),
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
    def _watched(cls, raw: Any) -> Any:
        # The key stays needed for every other policy, whose error then stands among the others of the file.
        if not isinstance(raw, Mapping) or raw.get("knobs", {}) != {}:
            return raw
        policy = _policy(raw.get("policy"))
        name = policy.get("name") if isinstance(policy, Mapping) else None
        return {**raw, "knobs": knob_values.NONE} if name in check.WATCHING else raw

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
        # Who wants the most load answered offers more than can be, and a closed loop offers what is answered.
        if not isinstance(raw, Mapping) or not isinstance(raw.get("gates", {}), Mapping):
            return raw
        two, gates = raw.get("objectives"), raw.get("gates", {})
        aims = [raw.get("objective"), *(two if isinstance(two, list | tuple) else ())]
        most = any(isinstance(aim, str) and metrics.of(aim).maximized for aim in aims)
        if GUARD in gates or not (most or _closed_loop(raw.get("workload"))):
            return raw
        return {**raw, "gates": {**gates, GUARD: 0.0}}

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if findings := check.broken(self):
            raise refusal(findings)
        return self

    @model_validator(mode="wrap")
    @classmethod
    def _placed(cls, raw: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        """Say where something is wrong: in the file that the context names, or else at the keyword."""
        from mustherd.definition.findings import findings  # noqa: PLC0415 (what is allowed is read off this class)

        source = info.context
        if not isinstance(source, Source):
            if not isinstance(raw, Mapping):
                return handler(raw)
            root = marked(raw)
            source, raw = Source("", root), root.plain()
        try:
            with metrics.declaring(_declared(raw)):
                made = handler(raw)
        except ValidationError as error:
            wrong = refused_options(raw.get("workload")) if isinstance(raw, Mapping) else []
            raise source.error(wrong + findings(error)) from None
        made._source = source
        return made

    @property
    def source(self) -> Source:
        """Where the definition was written: a file, or the keywords that it was built from."""
        return self._source

    @property
    def declared(self) -> dict[str, Literal["less", "more"]]:
        """Metrics of the definition's own, and which way each is better."""
        own = {name: metric.better for name, metric in self.metrics.items()}
        return {**self.workload.declared, **own, **_of_meters(self.meters)}

    def _repr_html_(self) -> str:
        from html import escape  # noqa: PLC0415 - few definitions are shown in a notebook

        return f"<pre>{escape(self.to_yaml())}</pre>"

    def to_yaml(self) -> str:
        """The definition as a file that reads back as the same experiment; defaults are left out."""
        return to_yaml(self.model_dump(mode="json", exclude_none=True, exclude_unset=True))
