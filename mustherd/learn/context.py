"""Load as a context: several loads learnt together, and a table of settings per load.

Power, latency and throughput change smoothly with the load, so what was measured at one load says much about the next
one: the load is one more coordinate of the model, but not one that the search may choose.
"""

import math
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from mustherd.learn.design import corners, knees
from mustherd.learn.history import History
from mustherd.learn.model import Model
from mustherd.learn.search import Observation, Point, Problem
from mustherd.learn.space import Space
from mustherd.learn.surrogate import Array

CONTEXT_WEIGHT = 1.0
"""How far apart the least and the greatest load lie, in the unit of a knob's whole range."""
LARGEST_SPACE = 20_000
"""Every point is looked at for every load: meant for grids that a person would write down."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table: what to set at a load."""

    qps: float
    point: Point
    measured: bool
    """Whether the point was tried at this load, or only predicted from others."""
    predicted: dict[str, float]
    """The model's mean of the objective and the constrained metrics there."""
    chance: float
    """The model's probability that every limit is kept."""


class ContextSearch:
    """One model for several loads. Asked and told like a `Search`, with the load named each time."""

    def __init__(self, problem: Problem, loads: Sequence[float], *, noise: Mapping[str, float] | None = None) -> None:
        """A search over the problem's space at each of `loads` (requests per second, positive, without repeats).

        ValueError for loads that aren't, or a space of more than LARGEST_SPACE points.
        """
        if not loads or min(loads) <= 0 or len(set(loads)) != len(loads):
            raise ValueError("loads: at least one, each positive and once")
        self._space = Space(problem.dimensions, knees(problem))
        if self._space.size > LARGEST_SPACE:
            raise ValueError(f"the space has {self._space.size} points; allowed are {LARGEST_SPACE}")
        self._problem = problem
        self._loads = tuple(loads)
        self._histories = {load: History(problem, self._space) for load in loads}
        self._model = Model(problem, self._space.width + (len(loads) > 1), noise)
        self._coordinates = np.array([self._space.encode(p) for p in self._space], dtype=float)

    def ask(self, load: float, pending: Sequence[Point] = ()) -> Point | None:
        """The next point to try at `load`; `pending` are points under way at that load. KeyError for another load."""
        history = self._histories[load]
        under_way = sorted(history.pending(pending))
        return history.propose(pending, lambda blocked: self._choose(load, blocked, under_way))

    def tell(self, load: float, observations: Sequence[Observation]) -> None:
        """Learn what was measured at `load`. ValueError as `Search.tell`."""
        self._histories[load].tell(observations)

    def table(self) -> list[Policy]:
        """The settings to use at each load, loads ascending: the least objective that is likely to keep the limits.

        Empty before anything was told. A load where nothing is likely to gets the likeliest point.
        """
        if not self._learn():
            return []
        return [self._policy(load) for load in sorted(self._loads)]

    def _policy(self, load: float) -> Policy:
        x = self._at(load, range(self._space.size))
        chance = np.exp(self._model.log_chance(x))
        means = self._model.objective.means(x)
        told = self._histories[load].told
        # A point that was measured to keep the limits beats one of which it is only predicted, unless that is sure.
        trusted = np.array([i in told and all(map(self._met, told[i])) for i in range(self._space.size)])
        likely = trusted | (chance >= 0.9)
        best = int(np.argmin(np.where(likely, means, math.inf))) if likely.any() else int(np.argmax(chance))
        return Policy(
            qps=load,
            point=self._space.point(best),
            measured=best in told,
            predicted={
                o.metric: float(o.means(x[best : best + 1])[0]) for o in (self._model.objective, *self._model.limits)
            },
            chance=float(chance[best]),
        )

    def _met(self, observation: Observation) -> bool:
        return all(c.met_by(observation.metrics[c.metric]) for c in self._problem.constraints)

    def _choose(self, load: float, blocked: set[int], under_way: list[int]) -> int | None:
        if not self._learn():
            first = [self._space.index(p) for p in corners(self._problem, self._space)]
            return next((i for i in (*first, *range(self._space.size)) if i not in blocked), None)
        told = sorted(self._histories[load].told)
        incumbent = self._model.incumbent(self._at(load, told)) if told else None
        free = [i for i in range(self._space.size) if i not in blocked]
        score = self._model.acquisition(incumbent, self._at(load, under_way))
        x = self._at(load, free)
        if told and incumbent is not None:
            return free[int(np.argmax(score(x)))]
        # Nothing known to hold at this load: the cheapest of what other loads make likely to.
        chance = self._model.log_chance(x)
        likely = chance >= math.log(0.5)
        if likely.any():
            return free[int(np.argmin(np.where(likely, self._model.objective.means(x), math.inf)))]
        return free[int(np.argmax(score(x)))]

    def _learn(self) -> bool:
        """Fit to everything told so far; False while that is less than one load's first points."""
        rows: list[Observation] = []
        points: list[int] = []
        parts: list[Array] = []
        for position, (load, history) in enumerate(self._histories.items()):
            if history.observations:
                indices = [self._space.index(o.point) for o in history.observations]
                rows += history.observations
                points += [i + position * self._space.size for i in indices]
                parts.append(self._at(load, indices))
        if len(rows) < min(3, self._space.size):
            return False
        self._model.learn(np.vstack(parts), rows, points)
        return True

    def _at(self, load: float, indices: Sequence[int]) -> Array:
        x: Array = self._coordinates[list(indices)]
        if len(self._loads) == 1:
            return x
        low, high = math.log(min(self._loads)), math.log(max(self._loads))
        place = CONTEXT_WEIGHT * (math.log(load) - low) / (high - low)
        return np.hstack([x, np.full((len(x), 1), place)])
