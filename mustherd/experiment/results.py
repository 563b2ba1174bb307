"""What an experiment found, as files and picks that others use: the table of settings by load, a pick off the front."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from mustherd.definition.settings_table import Row, write
from mustherd.experiment.repeats import by_settings, finished, means
from mustherd.experiment.verdict import Verdict
from mustherd.goal import Constraint, Goal, Objective
from mustherd.learn.base import Observation
from mustherd.learn.pareto import front, hypervolumes, pick
from mustherd.metrics import NIC_COUNTS, USUAL, Direction
from mustherd.trial import Trial, TrialKind, TrialState

PER_SECOND = ("power_watts", "window_seconds", *NIC_COUNTS)
"""Rates, and what makes them of sums over a window: a keeper holds its own measurements against them."""


def announced(stored: Mapping[str, Any] | None) -> Verdict | None:
    """The verdict as it was stored; None where there is none, or one of a shape that only its policy knows."""
    try:
        return None if stored is None else msgspec.convert(stored, Verdict)
    except msgspec.ValidationError:
        return None


def table_rows(verdict: Verdict) -> list[Row]:
    """The settings for each load that has some, with what was said of them."""
    limited = [text.split(" ", 1)[0] for text in verdict.constraints]
    names = dict.fromkeys((verdict.objective, *limited, *USUAL, *PER_SECOND))
    return [
        Row(
            qps=row.qps,
            settings=row.best.knobs,
            verdict=row.verdict,
            saving_percent=row.saving_percent,
            metrics={name: row.best.metrics[name] for name in names if name in row.best.metrics},
        )
        for row in verdict.loads
        if row.best is not None
    ]


def write_table(path: Path, verdict: Verdict, experiment: str) -> Path:
    """Write the table of a verdict over several loads. Raises OSError."""
    return write(
        path,
        table_rows(verdict),
        experiment=experiment,
        constraints=verdict.constraints,
        objective=verdict.objective,
    )


def measured(trials: Sequence[Trial], names: Sequence[str]) -> list[Observation]:
    """Every setting that was tried, once, in the order of first trials: means over all of its finished trials."""
    found = []
    for group in by_settings(finished((t for t in trials if t.settings), *names)).values():
        if any(t.kind is not TrialKind.BASELINE for t in group):
            found.append(Observation(point=dict(group[0].settings), metrics=means(group)))
    return found


def guards(goal: Goal, *free: str) -> list[Constraint]:
    """The limits on metrics other than the `free` ones."""
    return [c for c in goal.constraints if c.metric not in free]


def front_of(trials: Sequence[Trial], goal: Goal) -> list[Observation]:
    """The settings that no other beats in both objectives, whatever the limits on these two.

    The other limits hold: a setting that leaves load unsent is no bargain.
    """
    return front(measured(trials, goal.metrics), goal.objectives, guards(goal, goal.objective, goal.second))


def volumes(trials: Sequence[Trial], goal: Goal) -> tuple[list[tuple[int, float]], tuple[float, float]]:
    """The hypervolume after each search trial, by its number, in the product of both units; and where it is counted
    from: the metric's limit, or else the worst that was measured. Of a maximized metric its reciprocal counts."""
    searched = [t for t in finished(trials, *goal.metrics) if t.kind is TrialKind.SEARCH]
    if not searched:
        return [], (0.0, 0.0)
    observations = [Observation(point=t.settings, metrics=t.metrics) for t in searched]
    first, second = goal.objectives
    reference = (_worst(observations, goal, first), _worst(observations, goal, second))
    corner = (first.direction.as_cost(reference[0]), second.direction.as_cost(reference[1]))
    grown = hypervolumes(observations, goal.objectives, corner, guards(goal, first.metric, second.metric))
    return [(t.number, volume) for t, volume in zip(searched, grown, strict=True)], reference


def _worst(observations: Sequence[Observation], goal: Goal, objective: Objective) -> float:
    metric, way = objective.metric, objective.direction
    limits = [c.limit for c in goal.constraints if c.metric == metric and c.at_least == (way is Direction.MORE)]
    # Of several limits the strictest counts.
    return min(limits, key=way.as_cost) if limits else max((o.metrics[metric] for o in observations), key=way.as_cost)


class Pick(msgspec.Struct, frozen=True, kw_only=True):
    """The setting that was picked at a load."""

    qps: float | None
    """Of several loads the one that it is for; None where there is one."""
    settings: dict[str, int] | None
    """None where nothing that was measured keeps the limits."""
    metrics: dict[str, float] | None
    """Means over all its trials, units in the names."""
    repeats: int
    """How often it was measured again to confirm it."""


def picks(trials: Sequence[Trial], goal: Goal, limits: Sequence[Constraint]) -> list[Pick]:
    """For each load what `picked` gives."""
    found = []
    for qps in goal.loads if len(goal.loads) > 1 else (None,):
        there = [t for t in trials if qps is None or t.qps == qps]
        one = picked(there, goal, limits)
        if one is None:
            found.append(Pick(qps=qps, settings=None, metrics=None, repeats=0))
            continue
        again = [t for t in there if t.settings == one.point and t.kind is TrialKind.CONFIRM]
        repeats = sum(t.state is TrialState.FINISHED for t in again)
        found.append(Pick(qps=qps, settings=dict(one.point), metrics=dict(one.metrics), repeats=repeats))
    return found


def picked(trials: Sequence[Trial], goal: Goal, limits: Sequence[Constraint]) -> Observation | None:
    """The setting with the best objective within `limits`, which take the place of the experiment's own on their
    metrics; no new trial is needed."""
    kept = [*guards(goal, *(c.metric for c in limits)), *limits]
    needed = [goal.objective, *(c.metric for c in kept)]
    return pick(measured(trials, needed), goal.objectives[0], kept)
