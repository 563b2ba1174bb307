"""The model of a problem: an outcome each for the objective and the constraints, and what they say of points."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from skopt.acquisition import gaussian_ei

from mustherd.learn.base import Observation, Problem
from mustherd.learn.noise import Noise
from mustherd.learn.outcome import OutcomeModel
from mustherd.learn.pareto import hypervolume
from mustherd.learn.portfolio import portfolio
from mustherd.learn.process import Array
from mustherd.learn.surrogate import Surrogate

EVERY = 20
"""Up to so many observations the hyper-parameters are tuned at each; from there on when there are a tenth more."""
IMPOSSIBLE = 4.0
"""Standard deviations between a window and what the model makes of it from all others."""
LEAST_ODD = 0.1
"""Nearer than about 10 % a window is not called impossible: models are wrong by some per cent everywhere."""
LIKELY = 0.05
"""A point that can be promised with less probability isn't worth confirming."""
SAFE = 0.9
"""A point that can be promised with this probability is one to improve on; a doubtful one may fall."""
MARGIN = 0.05
"""How far beyond the worst pair, in each objective's logarithm, the hypervolume is measured from."""
PRIOR_POINTS = 150
"""Earlier observations that a prior is made of at most."""


class Model:
    """Learns from observations at coordinates; knows nothing of spaces or of what was proposed."""

    def __init__(self, problem: Problem, width: int, noise: Mapping[str, float] | None = None) -> None:
        """A model over `width` coordinates; `noise` by metric, the relative standard deviation of one trial."""
        noise = noise or {}
        goal = problem.goal
        self.objective, *others = [OutcomeModel(o, width, noise.get(o.metric)) for o in goal.objectives]
        self.second = others[0] if others else None
        self.limits = [OutcomeModel(c, width, noise.get(c.metric)) for c in goal.aimed]
        self._outcomes = [self.objective, *self.limits, *([self.second] if self.second else [])]
        self._fitted = 0
        self._tuned = 0
        self._cautious = False

    def believe(self, x: Array, prior: Sequence[Observation]) -> None:
        """Take earlier observations at `x` as a prior, for every outcome that all of them measured."""
        # Evenly, so that a prior recorded as a grid stays one.
        count = min(len(prior), PRIOR_POINTS)
        chosen = [i * len(prior) // count for i in range(count)]
        for outcome in self._outcomes:
            values = [prior[i].metrics[outcome.metric] for i in chosen if outcome.metric in prior[i].metrics]
            if len(values) == count:
                outcome.believe(x[chosen], values)

    def learn(self, x: Array, observations: Sequence[Observation], points: Sequence[int], told: int) -> None:
        """Fit to observations at `x`, one row each; equal numbers in `points` are repeats of a point.

        `told` is how many there are in all, of which these may be a subset. Costs nothing when that number has not
        changed since the last call.
        """
        if told == self._fitted:
            return
        tune = told <= EVERY or told >= 1.1 * self._tuned
        for outcome in self._outcomes:
            outcome.learn(x, [o.metrics[outcome.metric] for o in observations], points, tune)
        self._fitted = told
        self._tuned = told if tune else self._tuned

    def calibrate(self, noise: Mapping[str, Noise]) -> None:
        """Take in how much equal trials differ, by metric."""
        for outcome in self._outcomes:
            if outcome.metric in noise:
                outcome.calibrate(noise[outcome.metric])
        self._fitted = 0

    def be_cautious(self) -> None:
        """From now on keep limits with room for the noise of the next window, which is what can be announced."""
        self._cautious = True
        for outcome in self.limits:
            outcome.cautious = True

    def noise(self) -> float:
        """The largest relative noise of one trial among the outcomes on logarithms, as the model sees it."""
        return max((o.surrogate.noise() for o in self._outcomes if o.log), default=0.0)

    def log_chance(self, x: Array) -> Array:
        """Logarithm of the probability that every limit is kept, at each of `x`."""
        total: Array = np.zeros(len(x))
        for outcome in self.limits:
            total = total + outcome.log_chance(x, outcome.surrogate)
        return total

    def promise(self, x: Array) -> Array:
        """The probability that what is at each of `x` can be promised: that every limit is kept with room for the next
        window."""
        total: Array = np.ones(len(x))
        for outcome in self.limits:
            total = total * outcome.promise(x)
        return total

    def hopes(self, x: Array) -> Array:
        """What measuring each of `x` again may bring: by how much its mean is better than the best that is safe, a
        difference of logarithms where they exist, times the probability that it can be promised."""
        promise, means = self.promise(x), self.objective.surrogate.predict(x)
        kept = self.kept(x)
        best = np.min(means[kept]) if kept.any() else np.max(means)
        return np.asarray(promise * np.maximum(0.0, best - means), dtype=np.float64)

    def order(self, x: Array) -> list[int]:
        """The places in `x` of what is worth confirming, in the order of a portfolio; see mustherd.learn.portfolio."""
        promise, means = self.promise(x), self.objective.surrogate.predict(x)
        worth = np.flatnonzero(promise >= LIKELY)
        if not len(worth):
            return []
        # Nothing is saved by what is no cheaper than the dearest that is known.
        savings = float(np.max(means)) - means[worth]
        return [int(worth[place]) for place in portfolio(savings.tolist(), promise[worth].tolist())]

    def kept(self, x: Array) -> NDArray[np.bool_]:
        """Whether the means keep every limit at each of `x`; once it is cautious, whether they surely leave the next
        window its room, where any do."""
        kept = [outcome.kept(x) for outcome in self.limits]
        by_mean = np.all(kept, axis=0) if kept else np.ones(len(x), dtype=np.bool_)
        if not self._cautious:
            return by_mean
        safe = self.promise(x) >= SAFE
        return safe if safe.any() else by_mean

    def incumbent(self, x: Array) -> "Incumbent | None":
        """The best among those of `x` whose means keep every limit, as the model sees it; None where none does."""
        kept = self.kept(x)
        if not kept.any():
            return None
        first = self.objective.surrogate.predict(x)[kept]
        if self.second is None:
            return Incumbent(float(np.min(first)))
        second = self.second.surrogate.predict(x)[kept]
        corner = (float(np.max(first)) + MARGIN, float(np.max(second)) + MARGIN)
        front: list[tuple[float, float]] = []
        for pair in sorted(zip(first.tolist(), second.tolist(), strict=True)):
            if not front or pair[1] < front[-1][1]:
                front.append(pair)
        return Incumbent(float(np.min(first)), tuple(front), corner)

    def acquisition(self, incumbent: "Incumbent | None", pending: Array) -> Callable[[Array], Array]:
        """What a trial is worth: log of expected improvement on `incumbent` times the probability of feasibility.

        Without an incumbent the probability alone. With a second objective the improvement is that of the hypervolume,
        as a share of it. Points under way, at `pending`, count as if the means came true.
        """
        objective = self.objective.surrogate.imagine(pending)
        limits = [(o, o.surrogate.imagine(pending)) for o in self.limits]
        second = self.second.surrogate.imagine(pending) if self.second is not None else None

        def score(x: Array) -> Array:
            total: Array = np.zeros(len(x))
            for outcome, surrogate in limits:
                total = total + outcome.log_chance(x, surrogate)
            if incumbent is not None:
                if second is None:
                    gain = gaussian_ei(x, objective, y_opt=incumbent.least, xi=0.0)
                else:
                    gain = hypervolume_gain(x, objective, second, incumbent)
                total = total + np.log(np.maximum(gain, 1e-300))
            return total

        return score

    def doubtful(
        self, observations: Sequence[Observation], points: Sequence[int], incumbent: "Incumbent | None"
    ) -> list[int]:
        """Points with a window that the rest of the model holds for impossible and that matters, the oddest first.

        It matters where the point would be the best one known if its limits were kept, by the window or by the model;
        of the objective itself, where the window makes it the best. `observations` and `points` are what it learnt.
        """
        found: dict[int, float] = {}
        expected, _ = self.objective.surrogate.left_out()
        for outcome in (self.objective, *self.limits):
            if not outcome.log:
                continue
            means, deviations = outcome.surrogate.left_out()
            for place, observation in enumerate(observations):
                value = math.log(outcome.value(observation.metrics[outcome.metric]))
                off = abs(value - means[place])
                odd = off / deviations[place]
                if odd < IMPOSSIBLE or off < LEAST_ODD:
                    continue
                if outcome.constraint is None:
                    matters = incumbent is None or value <= incumbent.least
                else:
                    # Whether the limit is kept differs between what was measured and what was expected.
                    differs = outcome.keeps(value) != outcome.keeps(means[place])
                    matters = differs and (incumbent is None or expected[place] <= incumbent.least)
                if matters:
                    found[points[place]] = max(found.get(points[place], 0.0), float(odd))
        return sorted(found, key=lambda point: -found[point])


class Incumbent(NamedTuple):
    """What a trial has to improve on, in the objectives' transforms."""

    least: float
    """The least mean of the objective."""
    front: tuple[tuple[float, float], ...] = ()
    """With a second objective, the pairs that no other beats, by the first one ascending."""
    corner: tuple[float, float] = (0.0, 0.0)
    """Where the hypervolume is measured from."""


def hypervolume_gain(x: Array, first: Surrogate, second: Surrogate, incumbent: Incumbent) -> Array:
    """The expected gain of hypervolume at each of `x`, as a share of what the front covers.

    What a new pair y adds is the area of the points z above it that the front leaves uncovered; its expectation is the
    integral of P(y1 <= z1) P(y2 <= z2) over them. Between two neighbours of the front the uncovered points lie below
    one ceiling c, so the integral is a sum over strips a..b of (EI1(b) - EI1(a)) EI2(c), with EI(t) the expected
    improvement on t (after Emmerich, Deutz and Klinkenberg, CEC 2011).
    """
    bounds = [pair[0] for pair in incumbent.front] + [incumbent.corner[0]]
    ceilings = [incumbent.corner[1]] + [pair[1] for pair in incumbent.front]
    gain: Array = np.zeros(len(x))
    below: Array = np.zeros(len(x))
    for bound, ceiling in zip(bounds, ceilings, strict=True):
        up_to = gaussian_ei(x, first, y_opt=bound, xi=0.0)
        gain = gain + (up_to - below) * gaussian_ei(x, second, y_opt=ceiling, xi=0.0)
        below = up_to
    covered = hypervolume(incumbent.front, incumbent.corner)
    return np.asarray(gain / max(covered, MARGIN**2), dtype=np.float64)
