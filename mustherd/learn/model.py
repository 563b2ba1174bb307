"""The model of a problem: an outcome each for the objective and the constraints, and what they say of points."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from skopt.acquisition import gaussian_ei

from mustherd.learn.outcome import Outcome
from mustherd.learn.search import Observation, Problem
from mustherd.learn.surrogate import Array

EVERY = 20
"""Up to so many observations the hyper-parameters are tuned at each; from there on when there are a tenth more."""
PRIOR_POINTS = 150
"""Earlier observations that a prior is made of at most."""


class Model:
    """Learns from observations at coordinates; knows nothing of spaces or of what was proposed."""

    def __init__(self, problem: Problem, width: int, noise: Mapping[str, float] | None = None) -> None:
        """A model over `width` coordinates; `noise` by metric, the relative standard deviation of one trial."""
        noise = noise or {}
        self.objective = Outcome(problem.objective, None, width, noise.get(problem.objective))
        self.limits = [Outcome(c.metric, c, width, noise.get(c.metric)) for c in problem.constraints]
        self._fitted = 0
        self._tuned = 0

    def believe(self, x: Array, prior: Sequence[Observation]) -> None:
        """Take earlier observations at `x` as a prior, for every outcome that all of them measured."""
        # Evenly, so that a prior recorded as a grid stays one.
        count = min(len(prior), PRIOR_POINTS)
        chosen = [i * len(prior) // count for i in range(count)]
        for outcome in (self.objective, *self.limits):
            values = [prior[i].metrics[outcome.metric] for i in chosen if outcome.metric in prior[i].metrics]
            if len(values) == count:
                outcome.believe(x[chosen], values)

    def learn(self, x: Array, observations: Sequence[Observation], points: Sequence[int]) -> None:
        """Fit to observations at `x`, one row each; equal numbers in `points` are repeats of a point.

        Costs nothing when their number has not changed since the last call.
        """
        count = len(observations)
        if count == self._fitted:
            return
        tune = count <= EVERY or count >= 1.1 * self._tuned
        for outcome in (self.objective, *self.limits):
            outcome.learn(x, [o.metrics[outcome.metric] for o in observations], points, tune)
        self._fitted = count
        self._tuned = count if tune else self._tuned

    def noise(self) -> float:
        """The largest relative noise of one trial among the outcomes on logarithms, as the model sees it."""
        return max((o.surrogate.noise() for o in (self.objective, *self.limits) if o.log), default=0.0)

    def log_chance(self, x: Array) -> Array:
        """Logarithm of the probability that every limit is kept, at each of `x`."""
        total: Array = np.zeros(len(x))
        for outcome in self.limits:
            total = total + outcome.log_chance(x, outcome.surrogate)
        return total

    def incumbent(self, x: Array) -> float | None:
        """The least mean of the objective, in its transform, among those of `x` whose means keep every limit."""
        kept = np.ones(len(x), dtype=bool)
        for outcome in self.limits:
            kept &= outcome.kept(x)
        return float(np.min(self.objective.surrogate.predict(x)[kept])) if kept.any() else None

    def acquisition(self, incumbent: float | None, pending: Array) -> Callable[[Array], Array]:
        """What a trial is worth: log of expected improvement on `incumbent` times the probability of feasibility.

        Without an incumbent the probability alone. Points under way, at `pending`, count as if the means came true.
        """
        objective = self.objective.surrogate.imagine(pending)
        limits = [(o, o.surrogate.imagine(pending)) for o in self.limits]

        def score(x: Array) -> Array:
            total: Array = np.zeros(len(x))
            for outcome, surrogate in limits:
                total = total + outcome.log_chance(x, surrogate)
            if incumbent is not None:
                gain = gaussian_ei(x, objective, y_opt=incumbent, xi=0.0)
                total = total + np.log(np.maximum(gain, 1e-300))
            return total

        return score
