"""The search port: what every search can be asked and told."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec

from mustherd.goal import Goal
from mustherd.learn.noise import Noise
from mustherd.terms import KnobKind

LARGEST_SPACE = 20_000
"""Settings that several loads may be learnt over together: every one is looked at for every load, which is meant for
grids that a person would write down."""

Settings = dict[str, int]
"""One candidate: a knob's key (`itr-delay`, `dvfs`, `dvfs@core-3`) to its value in the knob's canonical unit."""


class Dimension(msgspec.Struct, frozen=True, kw_only=True):
    """One knob of the space, as values or as a range.

    `values` non-empty: the search may use just these. Otherwise every `low + k * step` up to `high`.
    `categories` are values without an order towards the others (adaptive interrupt moderation, 1, beside delays in us).
    """

    name: str
    values: tuple[int, ...] = ()
    low: int = 0
    high: int = -1
    step: int = 1
    categories: tuple[int, ...] = ()
    scale: str = "linear"
    """`linear` or `log`: how the physics suggests that equal steps look."""
    role: str = ""
    """What the knob does to performance, where that is known; see mustherd.terms.KnobKind."""

    @classmethod
    def of(cls, key: str, kind: KnobKind, among: Collection[int], **given: Any) -> "Dimension":
        """The dimension of a knob; a search chooses `among` values, which `given` says as fields of this struct."""
        modes = tuple(mode for mode in kind.modes if mode in among)
        return cls(name=key, categories=modes, scale=kind.scale, role=kind.role, **given)


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """A valid, finished trial: where it was and every metric that was measured there.

    `metrics` holds at least those that the goal needs (`Goal.metrics`); all are finite numbers.
    """

    point: Settings
    metrics: Mapping[str, float]


class SearchSpace(msgspec.Struct, frozen=True, kw_only=True):
    """Where a search may look, and what is known of it beforehand."""

    dimensions: tuple[Dimension, ...]
    default: Settings | None = None
    """The baseline's settings where they lie in the space; a search may start from them."""
    prior: tuple[Observation, ...] = ()
    """Observations from another day, machine, load or model; outside the space they are allowed. What of them
    contradicts the measurements is dropped, metric by metric."""
    in_flight_us: float | None = None
    """How long a request may be under way on average before the load's places in flight are all taken: their number
    over the load (Little's law). Longer, and load is left unsent. None where it isn't known."""
    points: tuple[Settings, ...] = ()
    """The points that there are, where they aren't every combination of the dimensions' values; none: every one."""
    context: str = ""
    """The dimension that isn't free but given, such as the load: the best point is sought for each of its values. The
    default has no value of it."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What a search is given: where to look, and the goal.

    With a second objective it spreads over the front of the two. Limits are those that `goal.aimed` says.
    """

    space: SearchSpace
    goal: Goal

    def cost(self, observation: Observation) -> float:
        """What the objective's cost is there."""
        return self.goal.cost(observation.metrics)

    def over(self, **changes: Any) -> "Problem":
        """The same goal over a space with other values of some of its fields."""
        return msgspec.structs.replace(self, space=msgspec.structs.replace(self.space, **changes))


class Search(Protocol):
    """Proposes points and learns from what was measured there.

    Guarantees: a point proposed lies in the space; no point of a discrete space is proposed again while others are
    left, but for the few that a search wants to measure again (the contract's `repeats` bounds them); the same
    seed, tells and asks give the same proposals. Does not guarantee that a point it proposed is ever told: an invalid
    trial is simply forgotten.
    """

    def ask(self, pending: Sequence[Settings] = ()) -> Settings | None:
        """The next point to try, given points under way elsewhere; None when nothing is left worth trying."""
        ...

    def tell(self, observations: Sequence[Observation]) -> None:
        """Learn from observations; one call with many is much faster than many calls with one.

        Raises ValueError, and learns nothing, for a point outside the space or a metric that is missing or not finite.
        """
        ...

    def state(self) -> dict[str, object]:
        """What the search would say of itself now (JSON types only): method, seed, observations, its best guess."""
        ...


class SearchKind(Protocol):
    """Makes a search: what the name of a search stands for, an entry point of `mustherd.searches`.

    A class whose instances are searches, or a function. It may have more:

    `Options`: a dataclass or msgspec struct with the options that a definition may give it under `search.options`, of
    which `options` is one; without it there are none, and `options` is None.
    `check(problem, options)`, static: raises ValueError for what the types of Options don't say, or
    mustherd.plugins.OptionError with the place of an option.
    `believes_prior`: true of a search that uses the problem's prior.

    It is imported where definitions are checked, so what takes long to import is imported where it is made: that
    happens in a process of its own.
    """

    def __call__(self, problem: Problem, *, seed: int, options: Any) -> Search: ...


@runtime_checkable
class CalibratedSearch(Protocol):
    """A search that can be told how much equal trials differ, whenever that has been measured."""

    def calibrate(self, noise: Mapping[str, Noise]) -> None:
        """Take the noise of one trial in, by metric; what was said before is replaced."""
        ...
