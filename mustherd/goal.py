"""The goal: what an experiment is after. Made from its definition once, stored as it is, and read by everything that
searches, judges or reports."""

from collections.abc import Mapping, Sequence

import msgspec

from mustherd import metrics
from mustherd.metrics import Direction
from mustherd.terms import GUARD_LIMIT

GUARD = metrics.ACHIEVED_RATIO
"""Achieved over offered load. Without a limit on it the best setting is one that leaves part of the load unsent."""

PARALLEL = 3
"""How many settings are confirmed beside one another, unless a definition says otherwise."""

ROUNDS = 8
"""Rounds of a confirmation at most, unless a definition says otherwise; where they leave it open, the limit lies within
the noise and more of them would rarely settle it."""


MARGIN = 0.06
"""Share of an upper limit that is kept free, unless a definition says otherwise: between recorded campaigns p99 drifts
by 6 %."""

LEAST_SAVING = 1.0
"""Per cent that a setting has to save to be announced, unless a definition says otherwise: less is not worth one that
nobody else runs."""


class Constraint(msgspec.Struct, frozen=True):
    """A limit on a measured outcome: `metric <= limit` or, with `at_least`, `metric >= limit`."""

    metric: str
    limit: float
    at_least: bool = False

    def met_by(self, value: float) -> bool:
        """Whether a measured value keeps the limit."""
        return value >= self.limit if self.at_least else value <= self.limit

    def excess(self, value: float) -> float:
        """How far beyond the limit a value is, as a share of the limit; 0 or less: it keeps the limit."""
        over = self.limit - value if self.at_least else value - self.limit
        return over / abs(self.limit) if self.limit else over


class Objective(msgspec.Struct, frozen=True):
    """A metric to be made as good as possible, and which way that is.

    Both are stored, so that a folder can be read where the metric's package isn't installed.
    """

    metric: str
    direction: Direction

    @classmethod
    def of(cls, metric: str) -> "Objective":
        """A metric in the direction that the catalogue says."""
        return cls(metric, metrics.of(metric).direction)

    def cost(self, measured: Mapping[str, float]) -> float:
        """What is made small, for a trial's metrics."""
        return self.direction.as_cost(measured[self.metric])


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """The best objective within the limits and the guard, at each of the loads.

    The guard is a part of every goal; only one that says 0 is without.
    """

    objectives: tuple[Objective, ...] = (Objective.of(metrics.ENERGY),)
    """One, or two whose trade-off is sought."""
    limits: tuple[Constraint, ...] = ()
    """What the definition limits."""
    guard: float = GUARD_LIMIT
    """Least share of the offered load that must be answered; 0: no guard."""
    margin: float = 0.0
    """Share of an upper limit that is kept free for drift."""
    loads: tuple[float, ...] = ()
    """Offered requests per second, ascending; empty where there is a curve."""
    repeats: int = 0
    """Rounds of repeats before the winner is announced; 0: it's announced as it was found."""
    rounds: int = ROUNDS
    """Rounds at most, as long as the verdict isn't certain."""
    parallel: int = PARALLEL
    """How many settings are confirmed beside one another."""
    least_saving: float = LEAST_SAVING
    """The least improvement of the objective that is announced, in per cent of the baseline's."""
    seed: int = 0

    def __post_init__(self) -> None:
        """ValueError for no objective, more than two, or a share that is none."""
        if not 1 <= len(self.objectives) <= 2:
            raise ValueError(f"a goal has one objective or two, not {len(self.objectives)}")
        if not (0 <= self.guard <= 1 and 0 <= self.margin < 1):
            raise ValueError(f"guard {self.guard} and margin {self.margin} are shares from 0 to 1")
        if self.least_saving < 0:
            raise ValueError(f"least_saving is {self.least_saving} %; allowed is 0 or more")

    @property
    def objective(self) -> str:
        """The metric of the first objective."""
        return self.objectives[0].metric

    @property
    def second(self) -> str:
        """The metric of the second objective; '' where there is only one."""
        return self.objectives[1].metric if len(self.objectives) > 1 else ""

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        """The limits that a solution keeps, the guard the last of them."""
        return (*self.limits, Constraint(GUARD, self.guard, at_least=True)) if self.guard > 0 else self.limits

    @property
    def aimed(self) -> tuple[Constraint, ...]:
        """The constraints as they are searched and confirmed with: upper limits less the margin.

        Nothing is kept free of a lower one: a ratio of achieved to offered load can't leave room above 1.
        """
        free = 1 - self.margin
        return tuple(c if c.at_least else Constraint(c.metric, c.limit * free) for c in self.constraints)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that the goal needs measured, each once."""
        named = (*(o.metric for o in self.objectives), *(c.metric for c in self.constraints))
        return tuple(dict.fromkeys(named))

    def at(self, qps: float) -> "Goal":
        """The goal at one of its loads."""
        return msgspec.structs.replace(self, loads=(qps,))

    def cost(self, measured: Mapping[str, float]) -> float:
        """What is made small, for a trial's metrics: the first objective's cost."""
        return self.objectives[0].cost(measured)

    def direction(self, metric: str) -> Direction:
        """Which way a metric is better: as the goal says, or of one that it doesn't name, as the catalogue does."""
        named = {o.metric: o.direction for o in self.objectives}
        return named.get(metric) or metrics.of(metric).direction


def keeps(measured: Mapping[str, float], constraints: Sequence[Constraint]) -> bool:
    """Whether measured values keep every limit; a value that is missing or not a number keeps none."""
    return all(c.metric in measured and c.met_by(measured[c.metric]) for c in constraints)
