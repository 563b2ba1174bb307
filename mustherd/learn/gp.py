"""Bayesian optimization with the limits modelled as constraints of their own.

One Gaussian process for the objective and one for each constrained metric, on logarithms where the metric allows it;
the next point maximizes the expected improvement times the probability that every limit is kept (Gardner et al.,
Bayesian Optimization with Inequality Constraints, ICML 2014). A penalty on the objective would make a cliff that no
smooth model can follow.
"""

import math
import random
from collections.abc import Sequence

import numpy as np
from skopt.acquisition import gaussian_ei, gaussian_pi

from mustherd.learn.design import corners, spread
from mustherd.learn.history import History
from mustherd.learn.search import Constraint, Observation, Point, Problem
from mustherd.learn.surrogate import Array, Surrogate

INITIAL = 3
"""Points laid out when nobody asks for another number."""
CANDIDATES = 2000
"""Points that the acquisition is evaluated at; larger spaces are sampled and then climbed."""
NOISE = 0.01
"""Relative noise expected of a metric before it was measured: the recorded repeats vary by 0.1..1.4 %."""


class Outcome:
    """One modelled metric: its transform, its surrogate and its limit, if it has one."""

    def __init__(self, metric: str, constraint: Constraint | None, width: int, noise: float) -> None:
        self.metric = metric
        self.constraint = constraint
        self.log = True
        self.surrogate = Surrogate(width, noise)

    def learn(self, x: Array, values: Sequence[float]) -> None:
        """Fit to the metric's values at `x`."""
        positive = min(values) > 0 and (self.constraint is None or self.constraint.limit > 0)
        self.log = positive
        y = np.log(values) if positive else np.asarray(values, dtype=float)
        self.surrogate.fit(x, y)

    def limit(self) -> float:
        """The constraint's limit in the transform."""
        assert self.constraint is not None  # noqa: S101
        return math.log(self.constraint.limit) if self.log else self.constraint.limit


class GaussianProcessSearch:
    """A `Search` that learns. See the module's text for how it chooses."""

    def __init__(self, problem: Problem, *, seed: int = 0, initial: int | None = None) -> None:
        """ValueError for a bad space or a number of initial points below 1."""
        if initial is not None and initial < 1:
            raise ValueError(f"initial: {initial} is less than 1")
        self._history = History(problem)
        self._seed = seed
        self._initial = INITIAL if initial is None else initial
        width = self._history.space.width
        self._objective = Outcome(problem.objective, None, width, NOISE)
        self._limits = [Outcome(c.metric, c, width, NOISE) for c in problem.constraints]
        self._stale = True

    def tell(self, observations: Sequence[Observation]) -> None:
        self._history.tell(observations)
        self._stale = self._stale or bool(observations)

    def ask(self, pending: Sequence[Point] = ()) -> Point | None:
        under_way = sorted(self._history.pending(pending))
        return self._history.propose(pending, lambda blocked: self._choose(blocked, under_way))

    def state(self) -> dict[str, object]:
        return self._history.state("gp", self._seed)

    def _choose(self, blocked: set[int], under_way: list[int]) -> int | None:
        history = self._history
        seen = len(history.told.keys() | set(under_way))
        if seen < self._initial or not history.told:
            return self._lay_out(blocked)
        self._learn()
        return self._most_promising(blocked, under_way)

    def _lay_out(self, blocked: set[int]) -> int:
        space = self._history.space
        for point in corners(self._history.problem, space):
            index = space.index(point)
            if index not in blocked:
                return index
        return spread(space, sorted(blocked), self._candidates(blocked))

    def _learn(self) -> None:
        if not self._stale:
            return
        observations = self._history.observations
        x = self._encoded([self._history.space.index(o.point) for o in observations])
        for outcome in (self._objective, *self._limits):
            outcome.learn(x, [o.metrics[outcome.metric] for o in observations])
        self._stale = False

    def _most_promising(self, blocked: set[int], under_way: list[int]) -> int:
        pending = self._encoded(under_way)
        objective = self._objective.surrogate.imagine(pending)
        limits = [(o, o.surrogate.imagine(pending)) for o in self._limits]
        incumbent = self._incumbent()
        candidates = self._candidates(blocked)

        def score(indices: list[int]) -> Array:
            x = self._encoded(indices)
            chance: Array = np.zeros(len(x))
            for outcome, model in limits:
                kept = gaussian_pi(x, model, y_opt=outcome.limit(), xi=0.0)
                if outcome.constraint is not None and outcome.constraint.at_least:
                    kept = 1.0 - kept
                chance = chance + np.log(np.maximum(kept, 1e-12))
            if incumbent is None:
                return chance
            gain = gaussian_ei(x, objective, y_opt=incumbent, xi=0.0)
            return np.asarray(chance + np.log(np.maximum(gain, 1e-300)), dtype=np.float64)

        scores = score(candidates)
        return candidates[int(np.argmax(scores))]

    def _incumbent(self) -> float | None:
        """The least objective, as the model sees it, among points tried that more likely than not keep every limit."""
        told = sorted(self._history.told)
        x = self._encoded(told)
        kept = np.ones(len(told), dtype=bool)
        for outcome in self._limits:
            mean = outcome.surrogate.predict(x)
            assert outcome.constraint is not None  # noqa: S101
            kept &= mean >= outcome.limit() if outcome.constraint.at_least else mean <= outcome.limit()
        if not kept.any():
            return None
        return float(np.min(self._objective.surrogate.predict(x)[kept]))

    def _candidates(self, blocked: set[int]) -> list[int]:
        space = self._history.space
        if space.size <= CANDIDATES:
            return [i for i in range(space.size) if i not in blocked]
        draw = random.Random(f"{self._seed}/{len(blocked)}")
        found = {draw.randrange(space.size) for _ in range(CANDIDATES)} - blocked
        return sorted(found)

    def _encoded(self, indices: Sequence[int]) -> Array:
        space = self._history.space
        return np.array([space.encode(space.point(i)) for i in indices], dtype=float).reshape(-1, space.width)
