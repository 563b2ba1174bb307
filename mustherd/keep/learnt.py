"""The book of a table or of an experiment: what a file or a folder says of settings by load."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from mustherd.definition import loads as read_definition
from mustherd.definition import settings_table
from mustherd.definition.limits import limits_of
from mustherd.definition.model import Experiment
from mustherd.errors import UserError
from mustherd.goal import keeps
from mustherd.keep.book import Book, Candidate
from mustherd.keep.source import PER_DELAY, Counted
from mustherd.learn.base import Settings
from mustherd.learn.inference import average
from mustherd.learn.windows import Key, key_of
from mustherd.metrics import NIC_COUNTS, RX_BYTES_PER_ROW
from mustherd.node.kinds import ADAPTIVE, ITR_DELAY
from mustherd.store.store import DEFINITION, Store
from mustherd.trial import Trial, TrialKind, TrialState

RATE = "power_watts"
MACHINE_CPU, SERVER_CPU = "machine_cpu_seconds", "server_cpu_seconds"
POWER = (RATE, MACHINE_CPU, SERVER_CPU)
"""Metrics that say what is spent: a rate, or sums that the window's seconds turn into one."""
LATENCIES = ("read_p99_us", "read_p95_us", "read_p999_us", "read_avg_us")
NOT_MET = "not met"


class LearntError(UserError):
    """Nothing can be kept by what is there; the message says what is missing and where."""

    exit_code = 3


class Learnt(msgspec.Struct, frozen=True, kw_only=True):
    """What a keeper begins with."""

    book: Book
    limit: float | None
    """Of the latency; None: the source doesn't say."""
    latency: str
    """The metric that is limited."""
    power: str
    """The metric that is saved; '': the source doesn't say."""
    counted: Counted = {}
    """What nodes counted of their traffic at each load."""
    experiment: Experiment | None = None
    """The definition that it was learnt by."""
    unfinished: str = ""
    """Why what was learnt may be less than was wanted; '' where nothing says so."""


def read(source: Path) -> Learnt:
    """The book of a table (a file) or an experiment (a folder). Raises LearntError, DefinitionError, StoreError."""
    return _of_folder(source) if source.is_dir() else _of_table(source)


def _of_table(file: Path) -> Learnt:
    table = settings_table.read_whole(file)
    # Others may be on metrics of a package that isn't installed here.
    rows, limits = table.rows, limits_of(text for text in table.constraints if text.startswith(LATENCIES))
    found: dict[float, list[Candidate]] = {}
    limit = next((c for c in limits if c.metric in LATENCIES and not c.at_least), None)
    measured = next((name for name in LATENCIES if any(name in row.metrics for row in rows)), LATENCIES[0])
    latency = limit.metric if limit is not None else measured
    power = next((name for name in POWER if any(name in row.metrics for row in rows)), "")
    for row in rows:
        found.setdefault(row.qps, []).append(
            Candidate(
                settings=row.settings,
                power=_rate(row.metrics, power),
                latency=row.metrics.get(latency),
                holds=row.verdict != NOT_MET,
            )
        )
    return Learnt(
        book=Book(found),
        limit=limit.limit if limit is not None else None,
        latency=latency,
        power=power,
        counted=_counted((row.qps, row.settings, row.metrics) for row in rows),
    )


def _of_folder(folder: Path) -> Learnt:
    with Store.open(folder, read_only=True) as store:
        record = store.experiment()
        trials = [t for kind in TrialKind for t in store.trials(kind, TrialState.FINISHED)]
    experiment = read_definition(record.definition, str(folder / DEFINITION))
    goal = record.goal
    limit = next((c for c in goal.limits if c.metric in LATENCIES and not c.at_least), None)
    if limit is None:
        raise LearntError(f"{folder} has no limit on {', '.join(LATENCIES)}: a keeper would have nothing to guard")
    power = next((name for name in POWER if any(name in t.metrics for t in trials)), "")
    if not power:
        raise LearntError(f"{folder} has no finished trial with {' or '.join(POWER)}")
    seen: dict[float, dict[Key, list[Trial]]] = {}
    for trial in trials:
        qps = trial.qps or (goal.loads[0] if len(goal.loads) == 1 else 0.0)
        if trial.settings and qps:
            seen.setdefault(qps, {}).setdefault(key_of(trial.settings), []).append(trial)
    if not seen:
        raise LearntError(f"{folder} has no finished trial at a load of its own: nothing was learnt by load")
    others = [c for c in goal.constraints if c.metric != limit.metric]
    rows = {
        qps: [_candidate(dict(key), of, power, limit.metric, lambda m: keeps(m, others)) for key, of in by.items()]
        for qps, by in seen.items()
    }
    return Learnt(
        book=Book(rows),
        limit=limit.limit,
        latency=limit.metric,
        power=power,
        counted=_counted((qps, t.settings, t.metrics) for qps, by in seen.items() for of in by.values() for t in of),
        experiment=experiment,
        unfinished=""
        if record.status == "done"
        else f"{folder} is {record.status}, with {len(trials)} finished trials",
    )


def _candidate(
    settings: Settings, of: Sequence[Trial], power: str, latency: str, holds: Callable[[Mapping[str, float]], bool]
) -> Candidate:
    watts = [r for t in of if (r := _rate(t.metrics, power)) is not None]
    late = [t.metrics[latency] for t in of if t.metrics.get(latency, 0.0) > 0]
    return Candidate(
        settings=settings,
        power=math.exp(average([math.log(w) for w in watts])) if watts else None,
        latency=math.exp(average([math.log(x) for x in late])) if late else None,
        holds=all(holds(t.metrics) for t in of),
    )


def _counted(seen: Iterable[tuple[float, Settings, Mapping[str, float]]]) -> Counted:
    """Means of what was counted a second, by metric and load, and of received bytes per row by delay and load."""
    rates: dict[str, dict[float, list[float]]] = {}
    for qps, settings, metrics in seen:
        found = {name: rate for name in NIC_COUNTS if (rate := _rate(metrics, name)) is not None}
        if (received := metrics.get(RX_BYTES_PER_ROW, 0.0)) > 0:
            found[f"{PER_DELAY}{settings.get(ITR_DELAY.name, ADAPTIVE)}"] = received
        for name, rate in found.items():
            rates.setdefault(name, {}).setdefault(qps, []).append(rate)
    return {name: [(qps, average(of)) for qps, of in sorted(by.items())] for name, by in rates.items()}


def _rate(metrics: Mapping[str, float], name: str) -> float | None:
    """What is spent a second; None where that wasn't measured."""
    value = metrics.get(name, 0.0)
    seconds = 1.0 if name == RATE else metrics.get("window_seconds", 0.0)
    return value / seconds if value > 0 and seconds > 0 else None
