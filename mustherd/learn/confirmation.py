"""Confirmation: the best few and the default measured again, in turns, until what is announced holds.

The trial that made a setting look best was chosen for being low, so it is likely too low; and a limit that one trial
kept narrowly, another will miss. Each round measures every setting that is left once, in an order of its own, so that
drift hits all alike: what a round, or a node, has in common is estimated beside the settings and cancels.
"""

import math
import random
import statistics
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from mustherd.goal import Constraint, Goal
from mustherd.learn.base import Settings
from mustherd.metrics import Direction

Word = Literal["met", "not met", "not certain"]
Metrics = Mapping[str, float]

CONFIDENCE = 0.95
"""Of two-sided intervals; a limit is held against one end, so it is kept with a confidence of 0.975."""
INDIFFERENCE = 0.03
"""Rounds go on while another setting may still be cheaper by more than 3 % than the one to be announced."""


class Repeat(msgspec.Struct, frozen=True, kw_only=True):
    """A setting measured once more."""

    point: Settings
    metrics: Metrics
    where: str = ""
    """The node that it ran on: nodes of one kind differ by some per cent, which must not count as a saving."""


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A mean with its confidence interval; both infinite before there are two values."""

    mean: float
    low: float
    high: float


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What the rounds say of one setting."""

    point: Settings
    word: Word
    rounds: int
    limits: dict[str, Estimate]
    """Each constrained metric, in its own unit."""
    words: dict[str, Word]
    """The same metrics: whether its limit is met."""
    saving_percent: Estimate | None
    """By how much of the default's objective it is better, net of what rounds and nodes have in common; None without a
    default."""
    cost: float
    """Geometric mean of the objective's cost."""


class RankingResult(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a confirmation."""

    word: Word
    winner: Judged | None
    """None where no candidate is left that may keep the limits."""
    judged: tuple[Judged, ...]
    """Everything that was measured, dropped settings included, in the candidates' order."""
    rounds: int
    text: str


def interval(values: Sequence[float], spread: float, freedom: int, confidence: float = CONFIDENCE) -> Estimate:
    """Student's interval of a mean, where `spread` is a standard deviation known with `freedom` degrees of freedom."""
    mean = statistics.fmean(values)
    if freedom < 1:
        return Estimate(mean=mean, low=-math.inf, high=math.inf)
    # Imported late: it takes a quarter of a second, and only a confirmation needs it.
    from scipy.special import stdtrit  # noqa: PLC0415

    half = float(stdtrit(freedom, 0.5 + confidence / 2)) * spread / math.sqrt(len(values))
    return Estimate(mean=mean, low=mean - half, high=mean + half)


class Confirmation:
    """Which settings to measure next, and what the rounds so far say. Pure: it measures nothing itself.

    A setting is dropped once it certainly misses a limit, or certainly uses more than one that is `met`; the next
    candidate takes its place. It ends when the cheapest setting that is left is `met` and none beside it may be much
    cheaper, or when rounds run out.
    """

    def __init__(self, goal: Goal, candidates: Sequence[Settings], *, default: Settings | None = None) -> None:
        """A confirmation of `candidates`, the most promising first, beside the `default`, the baseline's settings.

        The goal says with which limits, how many rounds a setting needs before it is announced (`repeats`, at least
        one) and how many there are at most (`rounds`, never fewer), how many candidates are measured at the same time
        (`parallel`) and what decides the order within a round (`seed`). ValueError where `rounds` or `parallel` is
        below 1.
        """
        if goal.rounds < 1 or goal.parallel < 1:
            raise ValueError("a confirmation has at least 1 round of 1 setting")
        self._goal = goal
        self._objective = goal.objectives[0]
        self._candidates = [c for c in candidates if c != default]
        self._default = default
        self._least = max(1, goal.repeats)
        self._limit = max(self._least, goal.rounds)
        self._parallel = goal.parallel
        self._seed = goal.seed
        self._rounds: list[list[Repeat]] = []
        self._dropped: list[Settings] = []

    def round(self) -> list[Settings]:
        """The settings of the next round in the order to measure them; empty when it is decided."""
        if len(self._rounds) >= self._limit or not self._live() or self._decided():
            return []
        points = [*self._live(), *([self._default] if self._default is not None else [])]
        # Every other round goes backwards: a drift in time, and a difference between two nodes that take turns, then
        # fall on all settings alike, whatever their number.
        random.Random(f"{self._seed}/{len(self._rounds) // 2}").shuffle(points)
        return points[::-1] if len(self._rounds) % 2 else points

    def add(self, measured: Sequence[Repeat]) -> None:
        """Take a round in; settings whose trial was invalid are left out of it."""
        self._rounds.append(list(measured))
        judged = {self._key(p): self.judge(p) for p in self._live() if self._values(p)}
        met = [j.cost for j in judged.values() if j.word == "met"]
        for j in judged.values():
            if j.word == "not met" or (met and self._surely_worse(j.point, min(met))):
                self._dropped.append(j.point)

    def outcome(self) -> RankingResult:
        """What can be announced now."""
        judged = [self.judge(p) for p in self._candidates if self._values(p)]
        left = [j for j in judged if j.point not in self._dropped]
        met = [j for j in left if j.word == "met"]
        # What is certain goes before what is only likely, however cheap that is.
        winner = min(met or left, key=lambda j: j.cost, default=None)
        word: Word = "not met" if winner is None else winner.word
        return RankingResult(
            word=word, winner=winner, judged=tuple(judged), rounds=len(self._rounds), text=self._text(word, winner)
        )

    def judge(self, point: Settings) -> Judged:
        """What the rounds say of `point`, which must have been measured."""
        limits: dict[str, Estimate] = {}
        words: dict[str, Word] = {}
        for constraint in self._goal.aimed:
            estimate = self.estimate(point, constraint.metric)
            limits[constraint.metric] = estimate
            words[constraint.metric] = self._held(constraint, estimate)
        saving = self._saving(point)
        said = set(words.values())
        if saving is not None:
            said.add("met" if saving.low > 0 else "not met" if saving.high <= 0 else "not certain")
        word: Word = "not met" if "not met" in said else "not certain" if "not certain" in said else "met"
        if len(self._values(point)) < self._least and word == "met":
            word = "not certain"
        objective = self._goal.objective
        values = [self._transformed(objective, m[objective]) for m in self._values(point)]
        mean = statistics.fmean(values)
        return Judged(
            point=point,
            word=word,
            rounds=len(values),
            limits=limits,
            words=words,
            saving_percent=saving,
            cost=self._objective.direction.as_cost(math.exp(mean) if self._log(objective) else mean),
        )

    @staticmethod
    def _held(constraint: Constraint, estimate: Estimate) -> Word:
        limit = constraint.limit
        if constraint.at_least:
            return "met" if estimate.low >= limit else "not met" if estimate.high < limit else "not certain"
        return "met" if estimate.high <= limit else "not met" if estimate.low > limit else "not certain"

    def _live(self) -> list[Settings]:
        return [c for c in self._candidates if c not in self._dropped][: self._parallel]

    def _decided(self) -> bool:
        judged = [self.judge(p) for p in self._live() if self._values(p)]
        if not judged:
            return False
        first = min(judged, key=lambda j: j.cost)
        if first.word != "met":
            return False
        return all(self._low(j.point) >= first.cost * (1 - INDIFFERENCE) for j in judged if j is not first)

    def _low(self, point: Settings) -> float:
        """The lower end of the interval of the objective's cost."""
        objective = self._goal.objective
        found = self.estimate(point, objective)
        return (
            self._objective.direction.as_cost(found.high) if self._objective.direction is Direction.MORE else found.low
        )

    def _surely_worse(self, point: Settings, best: float) -> bool:
        return len(self._values(point)) >= self._least and self._low(point) > best

    @staticmethod
    def _key(point: Settings) -> tuple[tuple[str, int], ...]:
        return tuple(sorted(point.items()))

    def _values(self, point: Settings) -> list[Metrics]:
        return [one.metrics for r in self._rounds for one in r if one.point == point]

    def _log(self, metric: str) -> bool:
        return all(one.metrics[metric] > 0 for r in self._rounds for one in r)

    def _transformed(self, metric: str, value: float) -> float:
        return math.log(value) if self._log(metric) else value

    def has(self, point: Settings) -> bool:
        """Whether a round has measured `point`."""
        return bool(self._values(point))

    def estimate(self, point: Settings, metric: str) -> Estimate:
        """The metric's mean at `point`; its relative noise is pooled over all settings, which have it in common."""
        log = self._log(metric)
        squares, freedom = 0.0, 0
        for other in self._measured():
            values = [self._transformed(metric, m[metric]) for m in self._values(other)]
            if len(values) > 1 and (log or other == point):
                squares += statistics.variance(values) * (len(values) - 1)
                freedom += len(values) - 1
        found = interval(
            [self._transformed(metric, m[metric]) for m in self._values(point)],
            math.sqrt(squares / freedom) if freedom else math.inf,
            freedom,
        )
        if not log:
            return found
        return Estimate(mean=math.exp(found.mean), low=math.exp(found.low), high=_exp(found.high))

    def _measured(self) -> list[Settings]:
        points: list[Settings] = []
        for r in self._rounds:
            points += [one.point for one in r if one.point not in points]
        return points

    def _saving(self, point: Settings) -> Estimate | None:
        """In per cent of the default's objective: least squares on its logarithm, with a level for every setting, round
        and node, so that only what is left beside them is noise."""
        import numpy as np  # noqa: PLC0415
        from scipy.special import stdtrit  # noqa: PLC0415

        repeats = [(place, one) for place, r in enumerate(self._rounds) for one in r]
        settings = self._measured()
        if self._default is None or not self._log(self._goal.objective) or self._default not in settings:
            return None
        nodes = sorted({one.where for _, one in repeats})
        rows = [
            [
                *(float(one.point == p) for p in settings),
                *(float(place == r) for r in range(1, len(self._rounds))),
                *(float(one.where == n) for n in nodes[1:]),
            ]
            for place, one in repeats
        ]
        design, y = np.array(rows), np.log([one.metrics[self._goal.objective] for _, one in repeats])
        contrast = np.zeros(design.shape[1])
        contrast[settings.index(point)], contrast[settings.index(self._default)] = 1.0, -1.0
        inverse = np.linalg.pinv(design)
        if not np.allclose(contrast @ inverse @ design, contrast, atol=1e-8):
            # As long as each setting ran on a node of its own, nothing tells the two apart.
            design, contrast = design[:, : len(settings)], contrast[: len(settings)]
            inverse = np.linalg.pinv(design)
        weights = inverse @ y
        freedom = len(y) - int(np.linalg.matrix_rank(design))
        half = math.inf
        if freedom > 0:
            variance = max(0.0, float(np.sum((y - design @ weights) ** 2))) / freedom
            half = float(stdtrit(freedom, 0.5 + CONFIDENCE / 2)) * math.sqrt(
                variance * float(np.sum((contrast @ inverse) ** 2))
            )
        mean = float(contrast @ weights)
        if self._objective.direction is Direction.MORE:
            return Estimate(
                mean=100 * (math.exp(mean) - 1),
                low=100 * (math.exp(mean - half) - 1),
                high=100 * (_exp(mean + half) - 1),
            )
        return Estimate(
            mean=100 * (1 - math.exp(mean)), low=100 * (1 - _exp(mean + half)), high=100 * (1 - math.exp(mean - half))
        )

    def _text(self, word: Word, winner: Judged | None) -> str:
        rounds = f"{len(self._rounds)} rounds"
        if winner is None:
            return f"{word}: no setting kept the limits in {rounds}"
        parts = [f"{metric} {e.mean:.4g} ({e.low:.4g} to {e.high:.4g})" for metric, e in winner.limits.items()]
        if winner.saving_percent is not None:
            s = winner.saving_percent
            parts.append(f"{self._objective.direction.improvement} {s.mean:.1f} % ({s.low:.1f} to {s.high:.1f})")
        settings = ", ".join(f"{k}={v}" for k, v in sorted(winner.point.items()))
        return f"{word}: {settings} in {rounds}: {'; '.join(parts)}"


def _exp(value: float) -> float:
    return math.inf if value > 700 else math.exp(value)
