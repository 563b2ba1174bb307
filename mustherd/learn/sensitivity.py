"""Which knobs have a measurable effect: a knob that something overwrites is found out instead of being tuned.

A metric's logarithm is fitted by the other knobs, each value of theirs with a level of its own where there are enough
observations and a parabola where there aren't, and by a parabola in the knob in question. The partial F-test says
whether the knob explains more than chance would; the interval of what it changes over its whole range says whether an
effect that was missed could still be worth anything.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from mustherd.learn.base import Dimension, Observation, Problem
from mustherd.learn.space import Axis
from mustherd.node.kinds import ITR_DELAY

Word = Literal["effect", "no measurable effect", "not certain"]

SIGNIFICANCE = 0.01
"""Chance of calling a knob without effect effective."""
CONFIDENCE = 0.95
WORTH = 0.05
"""A change over the knob's whole range below 5 % is not worth tuning: p99 alone varies by as much between
campaigns."""
LEAST_FREEDOM = 4
LONG_US = 150
"""A delay that adds its own length to every percentile: with it p99 is at least 1.9 times as long as without."""


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """What one knob does to one metric."""

    knob: str
    metric: str
    word: Word
    p_value: float
    """Of the partial F-test; 1 where there are too few observations for one."""
    change: float
    """The largest relative change along the knob's range that the fit shows: 0.4 is 40 %."""
    at_most: float
    """The upper end of that change's 95 % interval; infinite where there is none."""


def effects(problem: Problem, observations: Sequence[Observation]) -> list[Effect]:
    """Every knob's effect on the objective and on each constrained metric, knobs in the problem's order.

    An observation that doesn't name every knob says nothing of them: a policy may leave some as they were found.
    """
    named = {d.name for d in problem.space.dimensions}
    observations = [o for o in observations if named <= o.point.keys()]
    metrics = list(dict.fromkeys((problem.goal.objective, *(c.metric for c in problem.goal.aimed))))
    return [_effect(problem, observations, d.name, metric) for d in problem.space.dimensions for metric in metrics]


def idle_knobs(problem: Problem, observations: Sequence[Observation]) -> list[str]:
    """The knobs without a measurable effect on any metric that matters."""
    found = effects(problem, observations)
    return [
        d.name
        for d in problem.space.dimensions
        if all(e.word == "no measurable effect" for e in found if e.knob == d.name)
    ]


def must_matter(dimension: Dimension) -> bool:
    """Whether the knob changes energy or latency by more than WORTH over its range, by what it does.

    So does the clock of a whole node that becomes half as fast again, or its interrupts' delay that becomes several
    times as long, and longer than the wire's own time. A delay of another kind may be switched off by something else.
    """
    values = sorted({*(dimension.values or (dimension.low, dimension.high))} - {*dimension.categories})
    if len(values) < 2 or not values[0] > 0:
        return False
    ratio = values[-1] / values[0]
    return (dimension.role == "clock" and "@" not in dimension.name and ratio >= 1.5) or (
        dimension.name == ITR_DELAY.name and ratio >= 4.0 and values[-1] >= LONG_US
    )


def _effect(problem: Problem, observations: Sequence[Observation], knob: str, metric: str) -> Effect:
    # Imported late: everything else in this package that doesn't fit a model does without them.
    import numpy as np  # noqa: PLC0415
    from scipy.special import fdtrc, stdtrit  # noqa: PLC0415

    unknown = Effect(knob=knob, metric=metric, word="not certain", p_value=1.0, change=0.0, at_most=math.inf)
    values = [o.metrics[metric] for o in observations]
    if not values or min(values) <= 0 or len({o.point[knob] for o in observations}) < 2:
        return unknown
    y = np.log(values)
    axis = next(Axis(d) for d in problem.space.dimensions if d.name == knob)
    mine = np.array([_curve(axis, o.point[knob]) for o in observations])
    if len({o.point[knob] for o in observations}) < 3:
        mine = mine[:, :1]
    others = _others(problem, observations, knob)
    full = np.hstack([others, mine])
    rank_full, rank_others = int(np.linalg.matrix_rank(full)), int(np.linalg.matrix_rank(others))
    freedom, added = len(y) - rank_full, rank_full - rank_others
    if freedom < LEAST_FREEDOM or added < 1:
        return unknown
    weights = np.linalg.lstsq(full, y, rcond=None)[0]
    rest = float(np.sum((y - full @ weights) ** 2))
    rest_without = float(np.sum((y - others @ np.linalg.lstsq(others, y, rcond=None)[0]) ** 2))
    variance = max(rest / freedom, 1e-12)
    p_value = float(fdtrc(added, freedom, max(0.0, rest_without - rest) / added / variance))
    covariance = np.linalg.pinv(full.T @ full) * variance
    width = float(stdtrit(freedom, 0.5 + CONFIDENCE / 2))
    changes, bounds = [], []
    for value in sorted({o.point[knob] for o in observations}):
        step = np.zeros(full.shape[1])
        step[others.shape[1] :] = np.array(_curve(axis, value)[: mine.shape[1]]) - mine.min(axis=0)
        changes.append(abs(float(step @ weights)))
        bounds.append(changes[-1] + width * math.sqrt(max(0.0, float(step @ covariance @ step))))
    change, at_most = math.expm1(max(changes)), math.expm1(min(max(bounds), 700.0))
    word: Word = "not certain"
    if p_value < SIGNIFICANCE and change >= WORTH / 2:
        word = "effect"
    elif at_most < WORTH:
        word = "no measurable effect"
    return Effect(knob=knob, metric=metric, word=word, p_value=p_value, change=change, at_most=at_most)


def _curve(axis: Axis, value: int) -> tuple[float, ...]:
    """Along, along squared, and the categories."""
    coordinates = axis.encode(value)
    if len(axis.ordered) < 2:
        return coordinates
    return (coordinates[0], coordinates[0] ** 2, *coordinates[1:])


def _others(problem: Problem, observations: Sequence[Observation], knob: str) -> Any:
    """A constant and the other knobs' part of the design matrix."""
    import numpy as np  # noqa: PLC0415

    columns = [[1.0] * len(observations)]
    for dimension in problem.space.dimensions:
        if dimension.name == knob:
            continue
        here = [o.point[dimension.name] for o in observations]
        levels = sorted(set(here))
        if len(levels) * (len(problem.space.dimensions) - 1) <= len(observations) / 2:
            columns += [[float(v == level) for v in here] for level in levels[1:]]
        else:
            axis = Axis(dimension)
            columns += [list(c) for c in zip(*(_curve(axis, v) for v in here), strict=True)]
    return np.array(columns).T
