"""The catalogue of metrics: what is measured in a window, how it is called, and which way it is better.

A package adds a metric by an entry point of `mustherd.metrics` that names a `Metric` of its own:

    [project.entry-points."mustherd.metrics"]
    joules_per_megabyte = "megabytes:METRIC"

A definition may then name it as objective or limit, and reports show it like any other. Everything that chooses makes a
*cost* small: of a metric of which more is better that is the reciprocal, so that a gain of 10 % is as far in its
logarithm as for any other metric, and models, noise and hypervolumes in logarithms need no sign.
"""

import functools
import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

from mustherd import plugins
from mustherd.plugins import Plugin, PluginError
from mustherd.terms import MOST_MEASURED, MUSTER_CPU, Energy, LoadReport

log = logging.getLogger(__name__)

LEAST_VALUE = 1e-12
"""Of a metric of which more is better: nothing at all costs 1e12."""

NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


class Direction(StrEnum):
    """Which way a metric is better."""

    LESS = "less"
    MORE = "more"

    @property
    def sense(self) -> Literal["least", "most"]:
        """What is wanted of an objective."""
        return "most" if self is Direction.MORE else "least"

    @property
    def improvement(self) -> str:
        """What a better value is called."""
        return "gain" if self is Direction.MORE else "saving"

    def as_cost(self, value: float) -> float:
        """What is made small for `value` to become better; its own inverse: the cost's cost is the value."""
        return 1 / max(value, LEAST_VALUE) if self is Direction.MORE else value

    def better_percent(self, value: float, than: float) -> float:
        """By how many per cent of `than`, which isn't 0, `value` is better."""
        return 100 * (value / than - 1) * (1 if self is Direction.MORE else -1)


class Use(StrEnum):
    """How a definition may use a metric."""

    OBJECTIVE = "objective"
    """As objective or limit."""
    LIMIT = "limit"
    REPORT = "report"
    """Not at all: it is shown."""


@dataclass(frozen=True, kw_only=True)
class WindowMeasurement:
    """What was measured over one window, which metrics are computed from."""

    seconds: float
    energies: Sequence[Energy] = ()
    load: LoadReport | None = None
    counts: Mapping[str, float] = field(default_factory=dict)
    """What the node counted by itself."""

    @property
    def joules(self) -> float | None:
        """Energy of all packages; None without a meter. Core and DRAM zones are parts of them, or of another meter."""
        return self.joules_of("package")

    def joules_of(self, kind: str) -> float | None:
        """Energy of all zones of a kind; None where nothing counts it."""
        found = [e.joules for e in self.energies if e.kind == kind]
        return math.fsum(found) if found and self.seconds > 0 else None

    def counter(self, name: str) -> float | None:
        """A counter of the load's report (mustherd.terms.LoadReport), else of the node; None where nobody counted."""
        counted = None if self.load is None else self.load.counters.get(name)
        return self.counts.get(name) if counted is None else counted

    def per_request(self, amount: float | None) -> float | None:
        """An amount's share of each answered request; None where it is None or nothing was answered."""
        if amount is None or self.load is None or self.load.requests <= 0:
            return None
        return amount / self.load.requests


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A measured outcome. Nothing but its name and meaning is needed."""

    name: str
    """Small letters, digits and `_`; its unit is the last part where it has one."""
    meaning: str
    """What it is, without a full stop."""
    unit: str = ""
    """Made from the name where it is not given: us of `_us`; else a count. `ratio` is shown in per cent, if given."""
    direction: Direction = Direction.LESS
    use: Use = Use.OBJECTIVE
    over_windows: Literal["sum", "mean"] = "mean"
    """What several windows come to."""
    verb: Literal["uses", "has"] = "uses"
    """What a setting does with it: energy is used, a latency or a load is had."""
    requests: Literal["", "read", "update"] = ""
    """The requests that it can't be measured without; a workload that has none of them has no value of it."""
    label: str = ""
    """How a person calls it, without its unit; made from the name where it is not given."""
    compute: Callable[[WindowMeasurement], float | None] | None = None
    """Its value in a window; None, and what is not finite, means that it was not measured. Without it the value comes
    from elsewhere: a latency from the load's report, one of a log from the log."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", self.label or _label(self.name))
        object.__setattr__(self, "unit", self.unit or _unit(self.name.removesuffix("_ratio")))

    @property
    def maximized(self) -> bool:
        """Whether more is better."""
        return self.direction is Direction.MORE

    def as_cost(self, value: float) -> float:
        """What is made small for `value` to become better; its own inverse: the cost's cost is the value."""
        return self.direction.as_cost(value)

    def better_percent(self, value: float, than: float) -> float:
        """By how many per cent of `than`, which isn't 0, `value` is better."""
        return self.direction.better_percent(value, than)

    @property
    def shown_unit(self) -> str:
        """The unit in which people read it."""
        return "%" if self.unit == "ratio" else self.unit

    @property
    def title(self) -> str:
        """Label and unit: `read p99 (us)`."""
        return f"{self.label} ({self.shown_unit})" if self.shown_unit else self.label

    @property
    def used(self) -> str:
        """The verb's past."""
        return "had" if self.verb == "has" else "used"


_UNITS = {"joules": "J", "watts": "W", "us": "us", "qps": "qps", "seconds": "s", "ratio": "ratio", "bytes": "B"}
"""A name's last part, and the unit that it stands for."""
_PARTS = {"p999": "p99.9", "avg": "mean"}
_PERCENTILES = {
    "avg": "mean", "p50": "median", "p90": "90th percentile", "p95": "95th percentile", "p99": "99th percentile",
    "p999": "99.9th percentile",
}  # fmt: skip


def _label(name: str) -> str:
    """A name without its unit, in words."""
    stem, _, last = name.rpartition("_")
    words = stem if stem and last in _UNITS else name
    return " ".join(_PARTS.get(part, part) for part in words.split("_"))


def _unit(name: str) -> str:
    stem, _, last = name.rpartition("_")
    return _UNITS.get(last, "") if stem else ""


def _watts(window: WindowMeasurement) -> float | None:
    return None if window.joules is None else window.joules / window.seconds


def _with_memory(window: WindowMeasurement) -> float | None:
    memory = window.joules_of("dram")
    return None if window.joules is None or memory is None else window.joules + memory


def _wall_watts(window: WindowMeasurement) -> float | None:
    joules = window.counter(WALL)
    return None if joules is None or window.seconds <= 0 else joules / window.seconds


def _offered(window: WindowMeasurement) -> float | None:
    return None if window.load is None else window.load.offered_qps


def _achieved(window: WindowMeasurement) -> float | None:
    return None if window.load is None else window.load.achieved_qps


def _answered_share(window: WindowMeasurement) -> float | None:
    load = window.load
    return None if load is None or load.offered_qps <= 0 else load.achieved_qps / load.offered_qps


def _misses(window: WindowMeasurement) -> float | None:
    return None if window.load is None else float(window.load.misses)


def _latency(kind: Literal["read", "update"], part: str, text: str) -> Metric:
    def compute(window: WindowMeasurement) -> float | None:
        return None if window.load is None else _latencies(window.load)[kind].get(part)

    meaning = f"{text} of the latency of {kind}s"
    return Metric(name=f"{kind}_{part}_us", unit="us", verb="has", meaning=meaning, requests=kind, compute=compute)


def _latencies(load: LoadReport) -> dict[str, dict[str, float]]:
    return {"read": load.read_us, "update": load.update_us}


def _counted(name: str, meaning: str, unit: str = "s", use: Use = Use.OBJECTIVE, label: str = "") -> Metric:
    """What the node counts, or the load, or a meter, by that name."""
    return Metric(
        name=name, unit=unit, over_windows="sum", use=use, label=label, meaning=meaning,
        compute=lambda window: window.counter(name),
    )  # fmt: skip


ENERGY = "energy_joules"
READ_P99 = "read_p99_us"
OF_ENERGY = (
    ENERGY, "power_watts", "joules_per_request", "memory_joules", "processor_and_memory_joules", "board_joules",
)  # fmt: skip
"""What takes an energy meter."""
WALL = "wall_joules"
WALL_UNCERTAINTY = "wall_uncertainty_joules"
OF_WALL = (WALL, "wall_watts", "wall_joules_per_request")
"""What takes a meter of the whole machine, which a definition names."""
ACHIEVED_RATIO = "achieved_ratio"
ACHIEVED_QPS = "achieved_qps"
BACKPRESSURE = "backpressure_ratio"
RX_BYTES_PER_ROW = "rx_bytes_per_row"
NIC_COUNTS = ("nic_rx_packets", "nic_rx_bytes", "nic_tx_packets", "nic_tx_bytes")  # whosever it is

USUAL = (ENERGY, READ_P99, ACHIEVED_RATIO)
"""What tables tell wherever it was measured, besides what the goal names."""

OURS = {
    metric.name: metric
    for metric in (
        Metric(
            name=ENERGY, unit="J", over_windows="sum", meaning="energy of all packages over the window",
            compute=lambda window: window.joules,
        ),
        Metric(
            name="memory_joules", unit="J", over_windows="sum", label="energy of memory",
            meaning="energy of memory (DRAM), where it has a counter",
            compute=lambda window: window.joules_of("dram"),
        ),
        Metric(
            name="processor_and_memory_joules", unit="J", over_windows="sum", label="energy with memory",
            meaning="energy of all packages and of memory, where it has a counter", compute=_with_memory,
        ),
        Metric(
            name="board_joules", unit="J", over_windows="sum", label="energy of the board",
            meaning="energy of the whole board, packages included, where it has a counter (psys)",
            compute=lambda window: window.joules_of("psys"),
        ),
        Metric(name="power_watts", unit="W", meaning="mean power of all packages over the window", compute=_watts),
        Metric(
            name="joules_per_request", unit="J", label="energy per request",
            meaning="energy of all packages per answered request",
            compute=lambda window: window.per_request(window.joules),
        ),
        _counted(
            WALL, "energy of the whole machine over the window, by the first of the definition's meters", "J",
            label="energy of the machine",
        ),
        Metric(
            name="wall_watts", unit="W", label="power of the machine",
            meaning="mean power of the whole machine over the window", compute=_wall_watts,
        ),
        Metric(
            name="wall_joules_per_request", unit="J", label="machine's energy per request",
            meaning="energy of the whole machine per answered request",
            compute=lambda window: window.per_request(window.counter(WALL)),
        ),
        _counted(
            WALL_UNCERTAINTY, "by how much the energy of the whole machine may be off for how coarse its meter is", "J",
            use=Use.REPORT, label="uncertainty of that energy",
        ),
        _counted("server_cpu_seconds", "CPU time of the server over the window, where its node counts it"),
        _counted("machine_cpu_seconds", "CPU time of the whole machine over the window, interrupts included"),
        _counted(MUSTER_CPU, "CPU time of MustHerd's own processes on the node over the window", use=Use.REPORT),
        *(_counted(name, "traffic of the network card over the window", "", Use.REPORT) for name in NIC_COUNTS),
        _counted("machine_cycles", "clock cycles of all CPUs over the window in which they were not idle", ""),
        Metric(
            name="cycles_per_request", meaning="clock cycles of the whole machine per answered request",
            compute=lambda window: window.per_request(window.counter("machine_cycles")),
        ),
        Metric(
            name="cpu_seconds_per_request", unit="s", label="cpu per request",
            meaning="CPU time of the server per answered request",
            compute=lambda window: window.per_request(window.counter("server_cpu_seconds")),
        ),
        *(_latency("read", part, text) for part, text in _PERCENTILES.items()),
        *(_latency("update", part, text) for part, text in _PERCENTILES.items()),
        Metric(name="offered_qps", unit="qps", use=Use.LIMIT, meaning="load that was to be sent", compute=_offered),
        Metric(
            name=ACHIEVED_QPS, unit="qps", direction=Direction.MORE, verb="has", label="answered load",
            meaning="load that was answered", compute=_achieved,
        ),
        Metric(
            name=ACHIEVED_RATIO, unit="ratio", direction=Direction.MORE, verb="has",
            meaning="answered of offered load", compute=_answered_share,
        ),
        Metric(
            name=BACKPRESSURE, unit="ratio", verb="has", label="backpressure",
            meaning="share of what the source of a pipeline has to send that its workers hold back",
        ),
        Metric(
            name="window_seconds", unit="s", use=Use.LIMIT, meaning="length of the window", compute=lambda w: w.seconds,
        ),
        Metric(name="misses", use=Use.LIMIT, verb="has", meaning="reads that found no value", compute=_misses),
        Metric(
            name=RX_BYTES_PER_ROW, label="received per log row", unit="B", use=Use.REPORT,
            meaning="median of the bytes that the network card received between two rows of its log",
        ),
    )
}  # fmt: skip
"""The metrics of this project by name."""


_declared: ContextVar[Mapping[str, Metric]] = ContextVar("declared", default=MappingProxyType({}))


@contextmanager
def declaring(better: Mapping[str, Literal["less", "more"]]) -> Iterator[None]:
    """Know metrics that one definition declares, and which way each is better, while its block lasts in this thread.

    Elsewhere such a metric is what its name says: the unit is its last part.
    """
    found = {name: _by_name(name, Direction(way), Use.OBJECTIVE) for name, way in better.items() if name not in OURS}
    token = _declared.set(found)
    try:
        yield
    finally:
        _declared.reset(token)


def catalogue() -> dict[str, Metric]:
    """Every metric by name: ours, then those that a definition declares and those of installed packages.

    One that can't be loaded is left out, and said.
    """
    found = {**OURS, **_declared.get()}
    for name, plugin in plugins.plugins(plugins.METRICS).items():
        try:
            if name not in found:
                found[name] = loaded(plugin)
        except PluginError as error:
            _complain(str(error))
    return found


def of(name: str) -> Metric:
    """The metric called `name`; one that nobody here knows, such as one of a package that is gone, as its name says."""
    if (known := OURS.get(name, _declared.get().get(name))) is not None:
        return known
    if (plugin := plugins.plugins(plugins.METRICS).get(name)) is not None:
        try:
            return loaded(plugin)
        except PluginError as error:
            _complain(str(error))
    return _by_name(name, Direction.LESS, Use.REPORT)


def _by_name(name: str, direction: Direction, use: Use) -> Metric:
    verb: Literal["uses", "has"] = "has" if _unit(name) == "us" else "uses"
    return Metric(name=name, unit=_unit(name), direction=direction, use=use, verb=verb, meaning="not known here")


def unusable(name: str) -> str | None:
    """What is wrong with an installed package's metric of that name; None where nothing is, or there is none."""
    if name not in OURS and name in {plugin.name for plugin in plugins.installed(plugins.METRICS)}:
        try:
            loaded(plugins.plugin(plugins.METRICS, name))
        except PluginError as error:
            return str(error)
    return None


def measured(window: WindowMeasurement, untold: dict[str, str] | None = None) -> dict[str, float]:
    """Every metric that one window gives, without what wasn't measured; `untold` gets why one is not there."""
    found: dict[str, float] = {}
    untold = {} if untold is None else untold

    def take(name: str, value: float | None) -> None:
        if value is not None and abs(value) <= MOST_MEASURED:  # which NaN is not
            found.setdefault(name, value)
        elif value is not None:
            number = "not a number (NaN)" if math.isnan(value) else f"{value:g}"
            untold[name] = f"it is {number}; allowed: {-MOST_MEASURED:g} to {MOST_MEASURED:g}"

    for name, metric in catalogue().items():
        take(name, _computed(metric, window, untold))
    if window.load is not None:
        # A generator may tell of more percentiles than have a place in the catalogue.
        for kind, latencies in _latencies(window.load).items():
            for part, value in latencies.items():
                take(f"{kind}_{part}_us", value)
        for name, value in window.load.metrics.items():
            take(name, value)
    return found


def _computed(metric: Metric, window: WindowMeasurement, untold: dict[str, str]) -> float | None:
    if metric.compute is None or metric.name in OURS:
        return None if metric.compute is None else metric.compute(window)
    try:
        value = metric.compute(window)
        return None if value is None else plugins.number(value)
    except (Exception, SystemExit) as error:  # another package's code must not cost us the window
        untold[metric.name] = f"it can't be computed: {plugins.said(error)}"
        _complain(f"the metric {metric.name} can't be computed: {plugins.said(error)}")
        return None


def loaded(plugin: Plugin) -> Metric:
    """The metric that a plug-in names. Raises PluginError where it can't be loaded, or is none."""
    metric: Metric = plugin.load()
    if odd := plugins.odd_field(metric, Metric) if isinstance(metric, Metric) else "is no mustherd.metrics.Metric":
        raise PluginError(f"{plugin.title} ({plugin.target}) {odd}")
    if not NAME.fullmatch(metric.name):
        raise PluginError(f"{plugin.title}: {metric.name!r} is not made of small letters, digits and '_'")
    if not metric.unit.isprintable() or not metric.label.isprintable():
        raise PluginError(f"{plugin.title} ({plugin.target}): its unit or label can't be printed")
    if metric.name != plugin.name:
        raise PluginError(f"{plugin.title} ({plugin.target}) calls itself {metric.name!r}: both names must be the same")
    return metric


@functools.cache
def _complain(text: str) -> None:
    """Say once what is wrong with another package's metric."""
    log.warning("%s", text)
