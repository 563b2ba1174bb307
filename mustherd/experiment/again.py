"""Another day: what an experiment announced, measured against the default once more, and the record of such days.

A day is an experiment of its own below the first one's folder, so that it can be looked at, resumed and reported like
any other. The record is read off those folders; nothing is kept twice.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from mustherd.definition import Experiment
from mustherd.definition.settings_table import TABLE
from mustherd.experiment.provenance import Provenance, between_days, kept_in
from mustherd.experiment.results import announced
from mustherd.experiment.verdict import AtLoad, Side, Verdict
from mustherd.goal import Goal
from mustherd.learn.judging import Word
from mustherd.store.catalog import new_folder
from mustherd.store.database import require_no_link
from mustherd.store.errors import StoreError
from mustherd.store.store import DATABASE, Store

DAYS = "again"
"""The folder of an experiment's other days."""

LEAST_REPEATS = 3
"""Rounds of a day at least, whatever the experiment asked for."""

SPREAD = 0.0266
"""Standard deviation of a limited metric's logarithm from day to day that is believed before any was measured: the
default margin of 0.06 leaves room for it (see `Record.margin`)."""

BELIEF_DAYS = 4
"""How many days that belief is worth."""

ONE_IN_TWENTY = 1.645
"""Of the normal distribution: exceeded on one day in twenty."""


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """What another day said of what was announced."""

    folder: str
    began_at: float
    """Seconds since 1970."""
    verdict: Word
    """Of several loads the worst of those at which something was announced."""
    reason: str
    saving_percent: float | None
    """None where it was not measured, or there are several loads."""
    drift: dict[str, float]
    """Limited metric to its mean on that day over the announced mean, at the load where that is largest."""
    differs: tuple[str, ...] = ()
    """What it was measured with that the first day wasn't, a sentence each."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What other days showed."""

    days: tuple[Day, ...] = ()
    """Oldest first."""

    @property
    def held(self) -> int:
        """On how many of them the announced setting certainly kept the limits and used less than the default."""
        return sum(day.verdict == "met" for day in self.days)

    @property
    def margin(self) -> float | None:
        """The share of an upper limit to keep free on this herd, learnt from its days; None before there is one.

        What is announced on one day holds on another in 19 of 20 cases when it is 1 - exp(-1.645 sqrt(2) s), s being
        the standard deviation from day to day of the logarithm of that limited metric which spreads most. It begins
        with the belief behind the default of `confirmation.margin`, which counts as much as four days.
        """
        metrics = {metric for day in self.days for metric in day.drift}
        if not metrics:
            return None
        spread = max(_spread([day.drift[m] for day in self.days if m in day.drift]) for m in metrics)
        return round(1 - math.exp(-ONE_IN_TWENTY * math.sqrt(2) * spread), 3)

    def text(self) -> str:
        """The record in a sentence; empty without a day."""
        if not self.days:
            return ""
        words = [day.verdict for day in self.days]
        parts = [f"held on {self.held} of {len(words)} {'day' if len(words) == 1 else 'days'}"]
        parts += [f"{word} on {words.count(word)}" for word in ("not met", "not certain") if word in words]
        if self.margin is not None:
            parts.append(f"a margin of {self.margin:g} suits this herd")
        return "; ".join(parts)


def for_today(folder: Path, verdict: Verdict | None, record: Record) -> str:
    """That what `verdict` announced is for its own day alone, until the `record` has one on which it held again.

    Empty where nothing was announced, and of a day that is itself such another one.
    """
    met = verdict is not None and (verdict.verdict == "met" or any(row.verdict == "met" for row in verdict.loads))
    if not met or record.held or folder.parent.name == DAYS:
        return ""
    others = "on another day it was not measured yet" if not record.days else "it has not held on another day"
    return f"this is for today, the day of its trials: {others} (mustherd experiment again {folder})"


def _spread(ratios: Sequence[float]) -> float:
    """Standard deviation of the logarithm from day to day, the day of the announcement being one of them."""
    levels = [0.0, *(math.log(ratio) for ratio in ratios)]
    mean = math.fsum(levels) / len(levels)
    squares = math.fsum((level - mean) ** 2 for level in levels)
    return math.sqrt((BELIEF_DAYS * SPREAD**2 + squares) / (BELIEF_DAYS + len(ratios)))


def another_day(folder: Path, experiment: Experiment, verdict: Verdict | None, *, days: int) -> tuple[str, Path]:
    """The definition of the day after so many, and a new folder for it. StoreError as `definition_of_day`."""
    text = definition_of_day(experiment, verdict, folder, days + 1)
    require_no_link(folder / DAYS)
    return text, new_folder(folder / DAYS, experiment.name)


def definition_of_day(experiment: Experiment, verdict: Verdict | None, folder: Path, day: int) -> str:
    """The definition that measures what `verdict` announced, on the so-many-th day, as YAML.

    The limits are judged as they are: the margin was for such a day. Raises StoreError where nothing was announced.
    """
    if verdict is None or not (verdict.best or any(row.best for row in verdict.loads)):
        found = "it isn't over" if verdict is None else verdict.reason
        raise StoreError(f"{folder} announced no setting that could be measured again: {found}")
    keys: dict[str, Any] = experiment.model_dump(mode="json", exclude_none=True, exclude_unset=True)
    seed = experiment.search.seed + day
    if verdict.loads:
        search: dict[str, Any] = {"table": str((folder / TABLE).absolute())}
    else:
        search = {"settings": verdict.best.knobs if verdict.best else {}}
    for key in ("objectives", "budget"):
        keys.pop(key, None)
    keys |= {
        "objective": experiment.objective,
        "search": {"method": "one-shot", "seed": seed % 2**32, **search},
        "trials": max(1, len(experiment.workload.loads)),
        "repeats": max(LEAST_REPEATS, experiment.repeats),
        "confirmation": {**keys.get("confirmation", {}), "candidates": 1, "margin": 0.0},
    }
    if experiment.herd.simulated is not None:
        simulated = keys["herd"]["simulated"]
        keys["herd"] = {**keys["herd"], "simulated": {**simulated, "day": experiment.herd.simulated.day + day}}
    return Experiment(**keys).to_yaml()


def record_of(folder: Path, first: Verdict | None, goal: Goal) -> Record:
    """The other days of the experiment in `folder`, whose verdict was `first`; one that isn't over doesn't count."""
    days = []
    with_what: Provenance | None = None
    for below in sorted((folder / DAYS).glob(f"*/{DATABASE}")):
        try:
            with_what = with_what if with_what is not None else _provenance(folder)
            with Store.open(below.parent, read_only=True) as store:
                row = store.experiment()
                differing = between_days(with_what, kept_in(store))
        except StoreError:
            continue
        found = announced(row.verdict) if row.status == "done" else None
        if first is not None and found is not None:
            day = _day(str(below.parent), row.created_at, first, found, goal)
            days.append(msgspec.structs.replace(day, differs=tuple(one.text() for one in differing)))
    return Record(days=tuple(sorted(days, key=lambda day: (day.began_at, day.folder))))


def _provenance(folder: Path) -> Provenance:
    with Store.open(folder, read_only=True) as store:
        return kept_in(store)


def _day(folder: str, began_at: float, first: Verdict, found: Verdict, goal: Goal) -> Day:
    pairs = [(first.best, found.best or found.closest)]
    verdict, reason = found.verdict, found.reason
    if first.loads:
        then = {row.qps: row for row in first.loads if row.best is not None}
        now = [row for row in found.loads if row.qps in then]
        pairs = [(then[row.qps].best, row.best) for row in now]
        verdict = _worst(now)
        reason = "; ".join(row.reason for row in now if row.verdict == verdict) or found.reason
    drifts = [_drift(a, b, goal) for a, b in pairs if a is not None and b is not None]
    return Day(
        folder=folder,
        began_at=began_at,
        verdict=verdict,
        reason=reason,
        saving_percent=found.saving_percent,
        drift={m: max(d[m] for d in drifts if m in d) for m in dict.fromkeys(name for d in drifts for name in d)},
    )


def _worst(rows: Sequence[AtLoad]) -> Word:
    words: tuple[Word, ...] = ("not met", "not certain", "met")
    return next((word for word in words if any(row.verdict == word for row in rows)), "not certain")


def _drift(then: Side, now: Side, goal: Goal) -> dict[str, float]:
    """What keeps a margin: upper limits alone."""
    limited = [c.metric for c in goal.constraints if not c.at_least]
    return {m: now.metrics[m] / then.metrics[m] for m in limited if _is_above_0(then.metrics, m) and m in now.metrics}


def _is_above_0(metrics: Mapping[str, float], metric: str) -> bool:
    return metrics.get(metric, 0.0) > 0
