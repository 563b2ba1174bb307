"""Bayesian optimization with the limits modelled as constraints of their own.

One Gaussian process for the objective and one for each constrained metric; the next point maximizes the expected
improvement times the probability that every limit is kept (Gardner et al., Bayesian Optimization with Inequality
Constraints, ICML 2014). A penalty on the objective would make a cliff that no smooth model can follow. As long as
nothing tried keeps the limits, it looks for a point that does.
"""

import random
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mustherd.learn import exploring
from mustherd.learn.base import Observation, Problem, Settings
from mustherd.learn.history import History, feasible
from mustherd.learn.initial_design import corners, knees, spread
from mustherd.learn.models import Incumbent, Model
from mustherd.learn.noise import Noise
from mustherd.learn.process import Array
from mustherd.learn.space import Space
from mustherd.learn.stopping import LEAST_TRIALS, PATIENCE, Stopping
from mustherd.learn.subset import MOST, subset

INITIAL = 3
"""Points laid out when nobody asks for another number."""
CANDIDATES = 1000
"""Points that the acquisition is evaluated at; a larger space is sampled and climbed from there."""
CLIMBERS = 5
RANKED = 20
AGAIN = 0.25
"""Repeats at most, as a share of the points tried."""


class GaussianProcessSearch:
    """A `Search` that learns. The module's text says how it chooses."""

    def __init__(
        self,
        problem: Problem,
        *,
        seed: int = 0,
        initial: int | None = None,
        stop: bool = True,
        noise: Mapping[str, float] | None = None,
    ) -> None:
        """A search that knows nothing but the physics of the knobs it can name, and what the problem's prior tells.

        Args:
            problem: what is searched.
            seed: decides what is drawn at random: samples of a large space.
            initial: points laid out before the model chooses, at least 1; None: INITIAL.
            stop: end when the improvement that can still be expected is below the noise.
            noise: metric to the relative standard deviation of one trial, where it was measured before.

        Raises:
            ValueError: a bad space or prior.
        """
        space = Space.of(problem.space, knees(problem))
        self._history = History(problem, space)
        self._seed = seed
        self._initial = INITIAL if initial is None else initial
        self._stop = stop
        self._model = Model(problem, space.width, noise)
        self._seen: list[Observation] = []
        """What the model is made of."""
        self._points: list[int] = []
        """The number of the point of each of these."""
        self._taken = 0
        """How many observations had been told when that was chosen."""
        self._explored = 0
        self._coordinates: dict[int, tuple[float, ...]] = {}
        self._stopping = Stopping(space.width, max(LEAST_TRIALS, self._initial + PATIENCE))
        self._guess = self._believe(problem.space.prior)

    def tell(self, observations: Sequence[Observation]) -> None:
        self._history.tell(observations)

    def ask(self, pending: Sequence[Settings] = ()) -> Settings | None:
        under_way = sorted(self._history.pending(pending))
        return self._history.propose(pending, lambda blocked: self._choose(blocked, under_way))

    def calibrate(self, noise: Mapping[str, Noise]) -> None:
        self._model.calibrate(noise)

    def state(self) -> dict[str, object]:
        return {**self._history.state("gp", self._seed, self._stopping.reason), "ranking": self._ranking()}

    def _ranking(self) -> list[dict[str, object]]:
        """The points tried that are worth confirming, in the order to confirm them.

        The model has seen the neighbours too, so its mean is surer than one noisy trial. What is announced promises the
        next window, so each counts with its chance to be promised.
        """
        if not self._history.told:
            return []
        self._learn()
        told = self._known()
        x = self._encoded(told)
        objective = self._model.objective
        means, chances = objective.means(x), self._model.promise(x)
        return [
            {
                "point": self._history.space.point(told[place]),
                objective.metric: objective.value(float(means[place])),
                "feasible": float(chances[place]),
            }
            for place in self._model.order(x)[:RANKED]
        ]

    def _believe(self, prior: Sequence[Observation]) -> int | None:
        """Take the prior in; the number of the point that it holds for the best."""
        space, problem = self._history.space, self._history.problem
        if not prior:
            return None
        names = {a.name for a in space.axes}
        for observation in prior:
            if set(observation.point) != names:
                raise ValueError(f"prior: the point {observation.point} isn't over {', '.join(sorted(names))}")
        self._model.believe(np.array([space.encode(o.point) for o in prior], dtype=float), prior)
        needed = {problem.goal.objective, *(c.metric for c in problem.goal.aimed)}
        met = [o for o in prior if needed <= o.metrics.keys() and feasible(problem, o)]
        if not met:
            return None
        best = min(met, key=problem.cost)
        return space.index(space.nearest({k: float(v) for k, v in best.point.items()}))

    def _choose(self, blocked: set[int], under_way: list[int]) -> int | None:
        history = self._history
        if len(history.told.keys() | set(under_way)) < self._initial or not history.told:
            return self._lay_out(blocked)
        self._learn()
        return self._most_promising(blocked, under_way)

    def _lay_out(self, blocked: set[int]) -> int:
        space = self._history.space
        first = [space.index(p) for p in corners(self._history.problem, space)]
        if self._guess is not None:
            first.insert(1 if self._history.problem.space.default is not None else 0, self._guess)
        for index in first:
            if index not in blocked:
                return index
        return spread(space, sorted(blocked), self._candidates(blocked))

    def _learn(self) -> None:
        history = self._history
        count = len(history.observations)
        if count != self._taken:
            self._seen, self._taken = self._observed(), count
            self._points = [history.space.index(o.point) for o in self._seen]
        self._model.learn(self._encoded(self._points), self._seen, self._points, count)

    def _observed(self) -> list[Observation]:
        """What the model is made of: all that was told, in its order, or a subset of it."""
        history = self._history
        if len(history.observations) <= MOST:
            return history.observations
        return subset(history.problem.goal, history.told, self._encoded(list(history.told)))

    def _known(self) -> list[int]:
        """The points that the model has seen."""
        return sorted(set(self._points))

    def _most_promising(self, blocked: set[int], under_way: list[int]) -> int | None:
        history = self._history
        incumbent = self._model.incumbent(self._encoded(self._known()))
        if (doubted := self._doubted(incumbent, under_way)) is not None:
            return doubted
        worth = self._model.acquisition(incumbent, self._encoded(under_way))
        free = self._candidates(blocked)
        best, value = self._climbed(free, lambda i: worth(self._encoded(i)), blocked)
        tried = sorted({*history.told, *under_way})
        x, seen = self._encoded(free), self._encoded(tried)
        enough = self._stopping.enough(
            self._model, value, kept=incumbent is not None, tried=len(history.told),
            observations=len(history.observations), unseen=exploring.unseen(x, seen),
        )  # fmt: skip
        if self._stopping.quiet and (again := self._hope(under_way)) is not None:
            return again
        if self._stop and enough:
            return None
        if self._stopping.quiet or len(history.told) >= exploring.CAUTIOUS:
            # Where the optimum lies is known as well as it will be: now for what of it can be promised.
            self._model.be_cautious()
        explores = exploring.due(len(tried), quiet=self._stopping.quiet)
        if not explores and exploring.repeats(len(tried), quiet=self._stopping.quiet):
            leader = self._leader(under_way)
            if leader is not None:
                return leader
        explores = explores or (self._stopping.quiet and len(tried) >= exploring.FROM)
        if not explores:
            return best
        # By turns where the model has hope, and where it has none: it may be wrong.
        self._explored += 1
        hope = np.exp(self._model.log_chance(x) / 2) if self._explored % 2 else None
        return free[exploring.revealing(x, seen, hope)]

    def _hope(self, under_way: list[int]) -> int | None:
        """A point tried whose few windows leave open whether it can be promised, and that is worth one more."""
        told = self._known()
        hopes = self._model.hopes(self._encoded(told))
        few = [
            place
            for place, point in enumerate(told)
            if len(self._history.told[point]) < exploring.WINDOWS and point not in under_way
        ]
        hope = max(few, key=lambda place: float(hopes[place]), default=None)
        if hope is None or hopes[hope] < self._stopping.least(self._model) or not self._may_repeat():
            return None
        return told[hope]

    def _leader(self, under_way: list[int]) -> int | None:
        """The best point so far, if it needs more windows for its noise to be known."""
        told = self._known()
        x = self._encoded(told)
        means = np.where(self._model.kept(x), self._model.objective.means(x), np.inf)
        leader = told[int(np.argmin(means))]
        few = len(self._history.told[leader]) < exploring.WINDOWS
        return leader if np.isfinite(means).any() and few and leader not in under_way else None

    def _doubted(self, incumbent: Incumbent | None, under_way: list[int]) -> int | None:
        """A point to measure again, because its one window is impossible by the model or its two are by each other."""
        told = self._history.told
        for point in self._model.doubtful(self._seen, self._points, incumbent) if self._may_repeat() else ():
            if point not in under_way and len(told[point]) < 3:
                return point
        return None

    def _may_repeat(self) -> bool:
        """Whether few enough trials repeated others for one more to."""
        # The default's windows are repeats that the baseline makes anyway.
        told, default = self._history.told, self._history.problem.space.default
        usual = self._history.space.index(default) if default is not None else None
        return sum(len(of) - 1 for point, of in told.items() if point != usual) < AGAIN * len(told)

    def _climbed(
        self, candidates: list[int], score: Callable[[Sequence[int]], Array], blocked: set[int]
    ) -> tuple[int, float]:
        """The candidate with the highest score and the score; in a space that was sampled, climbing from the best."""
        space = self._history.space
        scores = dict(zip(candidates, score(candidates).tolist(), strict=True))
        reach = 1 << max(0, max(len(a.values) for a in space.axes).bit_length() - 3)
        while len(candidates) < space.size - len(blocked) and reach:
            top = sorted(scores, key=lambda i: -scores[i])[:CLIMBERS]
            near = {space.index(p) for i in top for p in space.steps(space.point(i), reach)}
            new = sorted(near - blocked - scores.keys())
            scores.update(zip(new, score(new).tolist(), strict=True) if new else ())
            if scores[top[0]] >= max(scores.values()):
                reach //= 2
        best = max(scores, key=lambda i: (scores[i], -i))
        return best, scores[best]

    def _candidates(self, blocked: set[int]) -> list[int]:
        space = self._history.space
        if space.size <= CANDIDATES:
            return [i for i in range(space.size) if i not in blocked]
        draw = random.Random(f"{self._seed}/{len(blocked)}")
        found = {draw.randrange(space.size) for _ in range(CANDIDATES)}
        return sorted(found - blocked) or [next(i for i in range(space.size) if i not in blocked)]

    def _encoded(self, indices: Sequence[int]) -> Array:
        space = self._history.space
        rows = []
        for index in indices:
            row = self._coordinates.get(index)
            if row is None:
                row = self._coordinates[index] = space.encode(space.point(index))
            rows.append(row)
        return np.array(rows, dtype=float).reshape(-1, space.width)
