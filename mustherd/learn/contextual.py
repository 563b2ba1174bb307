"""Load as a context: several loads learnt together, and a table of settings per load.

Power, latency and throughput change smoothly with the load, so what was measured at one load says much about the next
one: the load is one more coordinate of the model, but not one that the search may choose the best value of. Each trial
goes to the load where it promises most, but for a share that goes where nothing was tried at any load
(mustherd.learn.exploring).
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np

from mustherd.learn import exploring
from mustherd.learn.base import LARGEST_SPACE, Observation, Problem, Settings
from mustherd.learn.gp import CANDIDATES, RANKED
from mustherd.learn.history import History, feasible
from mustherd.learn.initial_design import corners, knees
from mustherd.learn.models import Model
from mustherd.learn.noise import Noise
from mustherd.learn.process import Array
from mustherd.learn.space import Space
from mustherd.learn.stopping import LEAST_TRIALS, Stopping
from mustherd.learn.subset import MOST, subset

CONTEXT_WEIGHT = 1.0
"""How far apart the least and the greatest load lie, in the unit of a knob's whole range."""
FIRST = 2
"""Trials at one load before the model is asked about any."""
TRUST = 0.9
"""A point that wasn't measured at a load is chosen for it when it keeps the limits with this probability."""
CARRY = 0.2
"""The best point of the next load is a load's first when it keeps the limits there with this probability."""
TRIES = 2
"""Trials at a load where nothing has kept the limits, before the other loads have their turn again."""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table: what to set at a load."""

    load: int
    point: Settings
    """Without the load."""
    measured: bool
    """Whether the point was tried at this load, or only predicted from others."""
    predicted: dict[str, float]
    """The model's mean of the objective and the constrained metrics there."""
    chance: float
    """The model's probability that every limit is kept."""


class ContextSearch:
    """A `Search` with one model for several loads; its points hold the load under the problem's `context`."""

    def __init__(
        self,
        problem: Problem,
        *,
        seed: int = 0,
        initial: int | None = None,
        stop: bool = True,
        noise: Mapping[str, float] | None = None,
    ) -> None:
        """A search over the problem's space at each value of its context.

        Args:
            problem: with a `context` among its dimensions, of positive values.
            seed: kept for its state; nothing here is random.
            initial: trials at the first load before the model is asked; None: FIRST.
            stop: end when the improvement that can still be expected at any load is below the noise.
            noise: metric to the relative standard deviation of one trial, where it was measured before.

        Raises:
            ValueError: no context, a load that isn't positive, or more than LARGEST_SPACE settings.
        """
        self._whole = History(problem)
        self._context = problem.space.context
        given = next((d for d in problem.space.dimensions if d.name == self._context), None)
        if given is None:
            raise ValueError("a search in a context needs one among the problem's dimensions")
        self._loads = tuple(v for a in self._whole.space.axes if a.name == self._context for v in a.values)
        if self._loads[0] <= 0:
            raise ValueError(f"{self._context}: {self._loads[0]} is not above 0")
        rest = tuple(d for d in problem.space.dimensions if d.name != self._context)
        self._problem = problem.over(dimensions=rest, context="", prior=())
        self._space = Space(rest, knees(self._problem))
        if self._space.size > LARGEST_SPACE:
            raise ValueError(f"the space has {self._space.size} settings at each load; allowed are {LARGEST_SPACE}")
        self._seed = seed
        self._first = FIRST if initial is None else initial
        self._stop = stop
        self._model = Model(problem, self._space.width + (len(self._loads) > 1), noise)
        self._taken = 0  # Observations told when the model learnt.
        self._coordinates = np.array([self._space.encode(p) for p in self._space], dtype=float)
        self._every = 1 + self._space.size // CANDIDATES
        """Of a large space every so many points one is looked at for where to explore."""
        self._stopping = Stopping(self._space.width + 1, LEAST_TRIALS + 2 * len(self._loads))
        if problem.space.prior:
            self._believe(problem.space.prior)

    def ask(self, pending: Sequence[Settings] = ()) -> Settings | None:
        return self._whole.propose(pending, lambda blocked: self._choose(blocked, pending))

    def tell(self, observations: Sequence[Observation]) -> None:
        self._whole.tell(observations)

    def calibrate(self, noise: Mapping[str, Noise]) -> None:
        self._model.calibrate(noise)
        self._taken = 0

    def state(self) -> dict[str, object]:
        table = self.table()
        return {
            **self._whole.state("gp", self._seed, self._stopping.reason),
            "ranking": [row for choice in table for row in self._ranking(choice)],
            "table": [msgspec.to_builtins(choice) for choice in table],
        }

    def table(self) -> list[Choice]:
        """The settings to use at each load, loads ascending: the best objective that is likely to keep the limits.

        Empty before anything was told. A load where nothing is likely to gets the likeliest point.
        """
        return [self._pick(load) for load in self._loads] if self._learn() else []

    def _pick(self, load: int) -> Choice:
        x = self._at(load, range(self._space.size))
        chance = np.exp(self._model.log_chance(x))
        means = self._model.objective.means(x)
        told = self._told(load)
        # A point that was measured to keep the limits beats one of which it is only predicted, unless that is sure.
        trusted = np.array([i in told and all(feasible(self._problem, o) for o in told[i]) for i in range(len(x))])
        likely = trusted | (chance >= TRUST)
        best = int(np.argmin(np.where(likely, means, math.inf))) if likely.any() else int(np.argmax(chance))
        return Choice(
            load=load,
            point=self._space.point(best),
            measured=best in told,
            predicted={
                o.metric: o.value(float(o.means(x[best : best + 1])[0]))
                for o in (self._model.objective, *self._model.limits)
            },
            chance=float(chance[best]),
        )

    def _ranking(self, choice: Choice) -> list[dict[str, object]]:
        """What is worth confirming at a load, the best first: its row of the table, and what else was tried there."""
        indices = sorted({*self._told(choice.load), self._space.index(choice.point)})
        x = self._at(choice.load, indices)
        means, chances = self._model.objective.means(x), self._model.promise(x)
        return [
            {
                "point": {self._context: choice.load, **self._space.point(indices[place])},
                self._model.objective.metric: self._model.objective.value(float(means[place])),
                "feasible": float(chances[place]),
            }
            for place in self._model.order(x)[:RANKED]
        ]

    def _choose(self, blocked: set[int], pending: Sequence[Settings]) -> int | None:
        """A number of the whole space: a load and a point for it."""
        taken: dict[int, set[int]] = {load: set() for load in self._loads}
        for index in blocked:
            load, here = self._split(self._whole.space.point(index))
            taken[load].add(here)
        under_way: dict[int, list[int]] = {load: [] for load in self._loads}
        for point in pending:
            load, here = self._split(point)
            under_way[load].append(here)
        open_ = [load for load in self._loads if len(taken[load]) < self._space.size]
        tried = {load: len(self._told(load)) + len(under_way[load]) for load in open_}
        middle = self._loads[len(self._loads) // 2]
        if sum(tried.values()) < self._first or not self._learn():
            return self._join(*self._lay_out(middle if middle in open_ else open_[0], taken))
        kept = {
            load: any(feasible(self._problem, o) for rows in self._told(load).values() for o in rows) for load in open_
        }
        lacking = [load for load in open_ if not kept[load] and tried[load] < TRIES]
        if lacking:
            # From the middle outwards: what is next to a load that is known is foretold best.
            load = min(lacking, key=lambda one: (tried[one], abs(math.log(one / middle))))
            carried = self._carried(load, taken[load]) if not tried[load] else None
            return self._join(load, self._best(load, taken[load], under_way[load])[0] if carried is None else carried)
        seen = self._seen(under_way)
        found = {load: self._best(load, taken[load], under_way[load]) for load in open_}
        # Where nothing keeps the limits yet, the score is a probability; elsewhere an improvement, which is less.
        load = max(open_, key=lambda one: (found[one][1], one))
        if self._stop and self._stopping.enough(
            self._model,
            found[load][1],
            kept=kept[load],
            tried=len(self._whole.told),
            observations=len(self._whole.observations),
            unseen=exploring.unseen(self._coordinates[:: self._every], seen),
        ):
            return None
        # The first look at each load is not counted: it says of all the others how to begin.
        if exploring.due(sum(tried.values()) - FIRST * (len(self._loads) - 1), quiet=self._stopping.quiet):
            load = min(open_, key=lambda one: (tried[one], one))
            free = [i for i in range(0, self._space.size, self._every) if i not in taken[load]]
            if free:
                return self._join(load, free[exploring.revealing(self._coordinates[free], seen)])
        return self._join(load, found[load][0])

    def _seen(self, under_way: Mapping[int, Sequence[int]]) -> Array:
        """Where anything was tried, at whatever load: a valley that is there at one is likely there at the next."""
        tried = {index for load in self._loads for index in (*self._told(load), *under_way[load])}
        return np.asarray(self._coordinates[sorted(tried)], dtype=np.float64)

    def _carried(self, load: int, taken: set[int]) -> int | None:
        """The best point of the nearest load that has one, where it isn't unlikely to hold at `load` too."""
        for near in sorted(self._loads, key=lambda one: abs(math.log(one / load))):
            told = sorted(self._told(near))
            x = self._at(near, told)
            rows = zip(self._model.objective.means(x).tolist(), self._model.log_chance(x).tolist(), told, strict=True)
            kept = [(mean, index) for mean, chance, index in rows if chance >= math.log(CARRY)] if told else []
            if kept:
                _, best = min(kept)
                hopeful = float(self._model.log_chance(self._at(load, [best]))[0]) >= math.log(CARRY)
                return best if hopeful and best not in taken else None
        return None

    def _lay_out(self, load: int, taken: Mapping[int, set[int]]) -> tuple[int, int]:
        # The default is measured at every load anyway, as the baseline.
        without = self._problem.over(default=None)
        first = [self._space.index(p) for p in corners(without, self._space)]
        return load, next(i for i in (*first, *range(self._space.size)) if i not in taken[load])

    def _best(self, load: int, taken: set[int], under_way: Sequence[int]) -> tuple[int, float]:
        """The point of a load that promises most, and the logarithm of what it does."""
        told = sorted(self._told(load))
        incumbent = self._model.incumbent(self._at(load, told)) if told else None
        free = [i for i in range(self._space.size) if i not in taken]
        x = self._at(load, free)
        score = self._model.acquisition(incumbent, self._at(load, under_way))(x)
        if incumbent is None:
            # Nothing known to hold at this load: the cheapest of what other loads make likely to.
            likely = self._model.log_chance(x) >= math.log(0.5)
            if likely.any():
                best = int(np.argmin(np.where(likely, self._model.objective.means(x), math.inf)))
                return free[best], float(score[best])
        best = int(np.argmax(score))
        return free[best], float(score[best])

    def _told(self, load: int) -> dict[int, list[Observation]]:
        """What was told of a load, by the point's number among its settings."""
        found: dict[int, list[Observation]] = {}
        for observation in self._whole.observations:
            at, here = self._split(observation.point)
            if at == load:
                found.setdefault(here, []).append(observation)
        return found

    def _split(self, point: Settings) -> tuple[int, int]:
        rest = {name: value for name, value in point.items() if name != self._context}
        return point[self._context], self._space.index(rest)

    def _join(self, load: int, index: int) -> int:
        return self._whole.space.index({self._context: load, **self._space.point(index)})

    def _learn(self) -> bool:
        """Fit to everything told so far; False while that is nothing."""
        count = len(self._whole.observations)
        if count != self._taken:
            rows = self._whole.observations if count <= MOST else [o for load in self._loads for o in self._some(load)]
            points = [self._whole.space.index(o.point) for o in rows]
            self._model.learn(self._encoded(rows), rows, points, count)
            self._taken = count
        return count > 0

    def _some(self, load: int) -> list[Observation]:
        """A load's share of the subset that the model is made of."""
        told = self._told(load)
        return subset(self._problem.goal, told, self._at(load, list(told)), MOST // len(self._loads))

    def _encoded(self, rows: Iterable[Observation]) -> Array:
        """Coordinates of observations, whose points need not lie in the space."""
        found = []
        for row in rows:
            rest = {name: value for name, value in row.point.items() if name != self._context}
            found.append([*self._space.encode(rest), *self._place(row.point[self._context])])
        return np.array(found, dtype=float)

    def _believe(self, prior: Sequence[Observation]) -> None:
        names = {self._context, *(a.name for a in self._space.axes)}
        for observation in prior:
            if set(observation.point) != names:
                raise ValueError(f"prior: the point {observation.point} isn't over {', '.join(sorted(names))}")
        self._model.believe(self._encoded(prior), prior)

    def _at(self, load: int, indices: Sequence[int]) -> Array:
        x: Array = self._coordinates[list(indices)]
        return np.hstack([x, np.tile(self._place(load), (len(x), 1))])

    def _place(self, load: float) -> list[float]:
        """The load's coordinate; none where there is only one."""
        if len(self._loads) == 1:
            return []
        low, high = math.log(self._loads[0]), math.log(self._loads[-1])
        return [CONTEXT_WEIGHT * (math.log(load) - low) / (high - low)]
