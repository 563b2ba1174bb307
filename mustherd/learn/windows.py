"""Windows: what was measured of a setting, node by node and round by round, and what it says of a limit.

A limit is a promise about windows, on every node: a node of one kind may keep it where its neighbour doesn't. So each
node's windows are judged by themselves, with a bound for the next one (mustherd.learn.inference), and counted.
A window that lies far from its siblings is measured twice more, and the middle one of the three counts: one bad window
neither condemns a setting nor passes unnoticed. That goes for windows that are too good as well, or the rule would
lean to one side.
"""

import math
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from statistics import median
from typing import NamedTuple

import msgspec

from mustherd.goal import Constraint, keeps
from mustherd.learn.base import Settings
from mustherd.learn.inference import LEAST_SPREAD, NEXT, Estimate, exceeds, interval, next_window, squares

Key = tuple[tuple[str, int], ...]
Wider = Callable[[int], float]

FAR = {2: 10.0, 3: 7.0}
"""How many spreads of its siblings a window may lie from their middle, by their number; a spread of so few is often
too small by luck. A question too many costs two windows, one too few costs the verdict."""
FAR_OF_MANY = 5.0
LEAST_FAR = 0.05
"""Nearer than 5 % nothing is questioned."""
APART = 2.0
"""How many times the spread of its other nodes a setting's spread on one may be until it is judged by itself."""
TO_SPREAD = 1.4826
"""From a median absolute deviation to a standard deviation, of normal noise."""
ALLOWED = 0.05
"""The share of windows that may break a limit: what is promised."""
ENOUGH = round(1 / ALLOWED)
"""So many windows of a node it takes until one that broke a limit is no more than the promised share of them."""


class Repeat(msgspec.Struct, frozen=True, kw_only=True):
    """A setting measured once more: one window."""

    point: Settings
    metrics: Mapping[str, float]
    where: str = ""
    """The node that it ran on: nodes of one kind differ by some per cent, which must not count as a saving."""
    errors: Mapping[str, float] = {}
    """Metric to the relative standard error that its window has by itself, where that is known: a percentile rests on
    few requests, and comes from a histogram's bins."""


class Block(NamedTuple):
    """What two settings measured of a metric on one node in one round, as logarithms."""

    node: str
    here: float
    there: float
    round: int


class Cell:
    """The windows of one setting on one node in one round: one, or three where the first was questioned."""

    __slots__ = ("_values", "node", "repeats", "round")

    def __init__(self, round_: int, node: str) -> None:
        self.round = round_
        self.node = node
        self.repeats: list[Repeat] = []
        self._values: dict[str, float] = {}

    def add(self, repeat: Repeat) -> None:
        """Take one more window in."""
        self.repeats.append(repeat)
        self._values = {}

    def value(self, metric: str) -> float:
        """The middle of its windows."""
        found = self._values.get(metric)
        if found is None:
            found = self._values[metric] = median([one.metrics[metric] for one in self.repeats])
        return found

    def first(self, metric: str) -> float:
        """What the window measured that the round was for, whether or not it was questioned."""
        return self.repeats[0].metrics[metric]


class Windows:
    """Every window of a confirmation, by setting."""

    def __init__(self) -> None:
        self._cells: dict[Key, dict[tuple[int, str], Cell]] = {}
        self._not_positive: set[str] = set()

    def add(self, round_: int, repeats: Sequence[Repeat]) -> None:
        """Take a round's windows in; one more of the same setting, node and round joins those that are there."""
        for one in repeats:
            cells = self._cells.setdefault(key_of(one.point), {})
            place = (round_, one.where)
            if place not in cells:
                cells[place] = Cell(round_, one.where)
            cells[place].add(one)
            self._not_positive.update(name for name, value in one.metrics.items() if value <= 0)

    def of(self, point: Settings, rounds: Container[int] | None = None) -> list[Cell]:
        """The cells of a setting, in the order of rounds; with `rounds` only theirs."""
        cells = self._cells.get(key_of(point), {}).values()
        return list(cells) if rounds is None else [c for c in cells if c.round in rounds]

    def all(self) -> Iterable[tuple[Key, Collection[Cell]]]:
        """The cells of every setting, in the order of rounds."""
        return ((key, cells.values()) for key, cells in self._cells.items())

    def blocks(self, point: Settings, other: Settings, metric: str, rounds: Container[int]) -> list[Block]:
        """Every block, a node's part of a round, that measured both settings, of a positive metric.

        The first windows count. Those that were measured again came later, were asked for by what a limited metric
        did, and only candidates have them: the middle of three would rid these alone of what disturbs all alike.
        """
        beside = self._cells.get(key_of(other), {})
        return [
            Block(
                cell.node,
                math.log(cell.first(metric)),
                math.log(beside[cell.round, cell.node].first(metric)),
                cell.round,
            )
            for cell in self.of(point, rounds)
            if (cell.round, cell.node) in beside
        ]

    def positive(self, metric: str) -> bool:
        """Whether every value of a metric is above 0, so that it has a logarithm."""
        return metric not in self._not_positive

    def spread(self, metric: str) -> float:
        """The usual relative spread of a positive metric between rounds: the median over settings and nodes; 0 if
        unknown."""
        found = []
        for cells in self._cells.values():
            for of in by_node(cells.values()).values():
                if len(of) > 1:
                    values = [math.log(c.value(metric)) for c in of]
                    found.append(math.sqrt(squares(values) / (len(values) - 1)))
        return median(found) if found else 0.0


def key_of(point: Mapping[str, int]) -> Key:
    """Settings as something that can be compared and counted."""
    return tuple(sorted(point.items()))


def by_node(cells: Iterable[Cell]) -> dict[str, list[Cell]]:
    """Cells by the node that they were measured on."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.node, []).append(cell)
    return found


def _as_it_is(_count: int) -> float:
    return 1.0


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What a setting's windows say of one limit on one node."""

    node: str
    mean: Estimate
    """Of a window, in the metric's unit; its interval covers over all looks."""
    bound: float
    """Where the next window stays, with the chance mustherd.learn.inference.NEXT."""
    windows: int
    kept: int
    """How many of the windows kept the limit, margin or not."""
    p_value: float
    """Of the claim that the mean keeps the limit, less the margin."""
    within: bool
    """Whether the bound keeps the limit, less the margin, and so did enough of the windows; one window that broke it,
    and was contradicted when it was measured again, doesn't count until there are ENOUGH."""
    broken: bool
    """Whether the mean certainly breaks the limit, less the margin."""


def held(
    constraint: Constraint,
    cells: Sequence[Cell],
    margin: float = 0.0,
    *,
    log: bool = True,
    looks: int = 1,
    chance: float = NEXT,
    wider: tuple[Wider, Wider] = (_as_it_is, _as_it_is),
) -> list[Held]:
    """A limit on each node that measured a setting, the node with the least room first.

    The spread is the setting's own, pooled over its nodes; a node's own where that is greater. Where it is that of
    the other nodes APART times, theirs say nothing of how well it is known.

    Args:
        constraint: the limit.
        cells: the setting's windows, one at least.
        margin: share of an upper limit that is kept free.
        log: whether the metric is judged on its logarithm; it is positive then, and so is the limit.
        looks: how many looks intervals and `broken` have to cover.
        chance: of the bound.
        wider: of so many windows, by how much a mean's error and the next window's bound come out too small.
    """
    sign = -1.0 if constraint.at_least else 1.0
    # A ratio of achieved to offered load can't be asked to leave room above 1.
    limit = _there(constraint.limit if constraint.at_least else constraint.limit * (1 - margin), sign, log)
    least = LEAST_SPREAD * (1.0 if log else abs(constraint.limit) or 1.0)
    nodes = by_node(cells)
    values = {node: [_there(c.value(constraint.metric), sign, log) for c in of] for node, of in nodes.items()}
    of_node = {node: squares(mine) for node, mine in values.items()}
    found = []
    for node, mine in values.items():
        count = len(mine)
        deviation, freedom = _spread(of_node[node], count - 1, math.fsum(of_node.values()), len(cells) - len(nodes))
        deviation = max(deviation, least)
        of_mean, of_next = (factor(count) for factor in wider)
        around = interval(mine, deviation * of_mean, freedom, looks)
        repeats = [one for cell in nodes[node] for one in cell.repeats]
        own_error = max(one.errors.get(constraint.metric, 0.0) for one in repeats) * (1.0 if log else abs(around.mean))
        bound = around.mean + next_window(count, deviation * of_next, freedom, own_error, chance)
        error = deviation * of_mean / math.sqrt(count)
        low, high = sorted((_back(around.low, sign, log), _back(around.high, sign, log)))
        found.append(
            Held(
                node=node,
                mean=Estimate(mean=_back(around.mean, sign, log), low=low, high=high),
                bound=_back(bound, sign, log),
                windows=len(repeats),
                kept=sum(constraint.met_by(one.metrics[constraint.metric]) for one in repeats),
                p_value=exceeds((limit - around.mean) / error, freedom) if freedom else 1.0,
                within=bound <= limit and _few(nodes[node], constraint),
                broken=around.low > limit,
            )
        )
    return sorted(found, key=lambda h: h.bound * sign, reverse=True)


def _spread(own: float, freedom: int, every: float, freedom_of_all: int) -> tuple[float, int]:
    """A node's standard deviation and its degrees of freedom, by its windows' sum of squares and that of every node."""
    if not freedom_of_all:
        return math.inf, 0
    pooled = math.sqrt(every / freedom_of_all)
    if not freedom:
        return pooled, freedom_of_all
    mine, others = math.sqrt(own / freedom), freedom_of_all - freedom
    alone = others > 0 and mine > APART * math.sqrt(max(0.0, every - own) / others)
    return max(pooled, mine), freedom if alone else freedom_of_all


def _there(value: float, sign: float, log: bool) -> float:
    """A value on the scale on which less is better and noise is judged."""
    return sign * math.log(value) if log else sign * value


def _back(value: float, sign: float, log: bool) -> float:
    return (math.exp(min(700.0, sign * value)) if log else sign * value) if math.isfinite(value) else sign * value


def refuted(cell: Cell, constraint: Constraint) -> bool:
    """Whether a window broke the limit, and most of those that were measured after it didn't."""
    return constraint.met_by(cell.value(constraint.metric)) and _over(cell, constraint) > 0


def few(cells: Iterable[Cell], constraints: Sequence[Constraint], least: int = 0) -> bool:
    """Whether on each node no more windows than the promised share broke a limit, contradicted or not; with `least`,
    whether that may still be so once there are that many.

    Whichever limit it was: two of twenty that broke one each are as many as two that broke the same.
    """
    for of in by_node(cells).values():
        windows = [one.metrics for cell in of for one in cell.repeats]
        over = sum(not keeps(one, constraints) for one in windows)
        if over > math.floor(ALLOWED * max(least, len(windows))):
            return False
    return True


def _over(cell: Cell, constraint: Constraint) -> int:
    return sum(not constraint.met_by(one.metrics[constraint.metric]) for one in cell.repeats)


def _few(cells: Sequence[Cell], constraint: Constraint) -> bool:
    """Whether few enough windows broke the limit: the promised share, or for now one that its repeats contradicted."""
    over = sum(_over(cell, constraint) for cell in cells)
    share = math.floor(ALLOWED * sum(len(cell.repeats) for cell in cells))
    return over <= share or (over <= 1 and any(refuted(cell, constraint) for cell in cells))


def questioned(cells: Sequence[Cell], metric: str, usual: float) -> list[Cell]:
    """The window on each node that lies too far from its siblings to be believed: at most one a node.

    `usual` is the relative spread that windows of this experiment have; the metric is positive.
    """
    found = []
    for of in by_node(cells).values():
        if len(of) < 1 + min(FAR):
            continue
        values = [math.log(c.value(metric)) for c in of]
        far = []
        for place, (cell, value) in enumerate(zip(of, values, strict=True)):
            if len(cell.repeats) > 1:
                continue
            others = values[:place] + values[place + 1 :]
            middle = median(others)
            scale = TO_SPREAD * median([abs(o - middle) for o in others])
            away = abs(value - middle)
            if away > max(FAR.get(len(others), FAR_OF_MANY) * scale, 3 * usual, LEAST_FAR):
                far.append((away, cell))
        if far:
            found.append(max(far, key=lambda f: f[0])[1])
    return found
