"""Confirmation: the best few and the default measured again, in turns, until what is announced holds.

The trial that made a setting look best was chosen for being low, so it is likely too low; and a limit that one trial
kept narrowly, another will miss. Each round measures every setting that is left once, in an order of its own, so that
drift hits all alike and pairs of one round cancel it.
"""

import math
import random
import statistics
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from mustherd.learn.search import Constraint, Point, Problem

Word = Literal["met", "not met", "not certain"]
Metrics = Mapping[str, float]

CONFIDENCE = 0.95
"""Of two-sided intervals; a limit is held against one end, so it is kept with a confidence of 0.975."""
ABREAST = 3
"""How many settings are confirmed at the same time."""
INDIFFERENCE = 0.03
"""Rounds go on while another setting may still be cheaper by more than 3 % than the one to be announced."""
LEAST_ROUNDS = 3
"""Fewer repeats than this give intervals many times as wide as the noise."""


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A mean with its confidence interval; both infinite before there are two values."""

    mean: float
    low: float
    high: float


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What the rounds say of one setting."""

    point: Point
    word: Word
    rounds: int
    limits: dict[str, Estimate]
    """Each constrained metric, in its own unit."""
    words: dict[str, Word]
    """The same metrics: whether its limit is met."""
    saving_percent: Estimate | None
    """Of the default's objective, from pairs of one round; None without a default."""
    objective: float
    """Geometric mean."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
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

    def __init__(
        self,
        problem: Problem,
        candidates: Sequence[Point],
        *,
        default: Point | None = None,
        rounds: int = 10,
        margin: float = 0.0,
        abreast: int = ABREAST,
        seed: int = 0,
    ) -> None:
        """A confirmation.

        Args:
            problem: objective and limits.
            candidates: settings to confirm, the most promising first.
            default: the baseline's settings, measured in every round.
            rounds: how many at most.
            margin: share of each limit that is kept free for drift: with 0.06 a p99 limit of 500 us counts as 470.
            abreast: how many candidates are measured at the same time.
            seed: decides the order within a round.
        """
        if rounds < 1 or abreast < 1 or not 0 <= margin < 1:
            raise ValueError("rounds and abreast are at least 1, and margin is a share from 0 to 1")
        self._problem = problem
        self._candidates = [c for c in candidates if c != default]
        self._default = default
        self._limit = rounds
        self._margin = margin
        self._abreast = abreast
        self._seed = seed
        self._rounds: list[list[tuple[Point, Metrics]]] = []
        self._dropped: list[Point] = []

    def round(self) -> list[Point]:
        """The settings of the next round in the order to measure them; empty when it is decided."""
        if len(self._rounds) >= self._limit or not self._live() or self._decided():
            return []
        points = [*self._live(), *([self._default] if self._default is not None else [])]
        random.Random(f"{self._seed}/{len(self._rounds)}").shuffle(points)
        return points

    def add(self, measured: Sequence[tuple[Point, Metrics]]) -> None:
        """Take a round in; settings whose trial was invalid are left out of it."""
        self._rounds.append(list(measured))
        judged = {self._key(p): self.judge(p) for p in self._live() if self._values(p)}
        met = [j.objective for j in judged.values() if j.word == "met"]
        for j in judged.values():
            if j.word == "not met" or (met and self._surely_worse(j.point, min(met))):
                self._dropped.append(j.point)

    def outcome(self) -> Outcome:
        """What can be announced now."""
        judged = [self.judge(p) for p in self._candidates if self._values(p)]
        left = [j for j in judged if j.point not in self._dropped]
        met = [j for j in left if j.word == "met"]
        # What is certain goes before what is only likely, however cheap that is.
        winner = min(met or left, key=lambda j: j.objective, default=None)
        word: Word = "not met" if winner is None else winner.word
        return Outcome(
            word=word, winner=winner, judged=tuple(judged), rounds=len(self._rounds), text=self._text(word, winner)
        )

    def judge(self, point: Point) -> Judged:
        """What the rounds say of `point`, which must have been measured."""
        limits: dict[str, Estimate] = {}
        words: dict[str, Word] = {}
        for constraint in self._problem.constraints:
            estimate = self._estimate(point, constraint.metric)
            limits[constraint.metric] = estimate
            words[constraint.metric] = self._held(constraint, estimate)
        saving = self._saving(point)
        said = set(words.values())
        if saving is not None:
            said.add("met" if saving.low > 0 else "not met" if saving.high <= 0 else "not certain")
        word: Word = "not met" if "not met" in said else "not certain" if "not certain" in said else "met"
        if len(self._values(point)) < LEAST_ROUNDS and word == "met":
            word = "not certain"
        objective = [
            self._transformed(self._problem.objective, m[self._problem.objective]) for m in self._values(point)
        ]
        mean = statistics.fmean(objective)
        return Judged(
            point=point,
            word=word,
            rounds=len(objective),
            limits=limits,
            words=words,
            saving_percent=saving,
            objective=math.exp(mean) if self._log(self._problem.objective) else mean,
        )

    def _held(self, constraint: Constraint, estimate: Estimate) -> Word:
        limit = constraint.limit * (1 + self._margin if constraint.at_least else 1 - self._margin)
        # A ratio of achieved to offered load can't be asked to leave room above 1.
        if constraint.at_least:
            limit = constraint.limit
            return "met" if estimate.low >= limit else "not met" if estimate.high < limit else "not certain"
        return "met" if estimate.high <= limit else "not met" if estimate.low > limit else "not certain"

    def _live(self) -> list[Point]:
        return [c for c in self._candidates if c not in self._dropped][: self._abreast]

    def _decided(self) -> bool:
        judged = [self.judge(p) for p in self._live() if self._values(p)]
        if not judged:
            return False
        first = min(judged, key=lambda j: j.objective)
        if first.word != "met":
            return False
        return all(self._low(j.point) >= first.objective * (1 - INDIFFERENCE) for j in judged if j is not first)

    def _low(self, point: Point) -> float:
        """The lower end of the objective's interval."""
        return self._estimate(point, self._problem.objective).low

    def _surely_worse(self, point: Point, best: float) -> bool:
        return len(self._values(point)) >= LEAST_ROUNDS and self._low(point) > best

    @staticmethod
    def _key(point: Point) -> tuple[tuple[str, int], ...]:
        return tuple(sorted(point.items()))

    def _values(self, point: Point) -> list[Metrics]:
        return [m for r in self._rounds for p, m in r if p == point]

    def _log(self, metric: str) -> bool:
        return all(m[metric] > 0 for r in self._rounds for _, m in r)

    def _transformed(self, metric: str, value: float) -> float:
        return math.log(value) if self._log(metric) else value

    def _estimate(self, point: Point, metric: str) -> Estimate:
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

    def _measured(self) -> list[Point]:
        points: list[Point] = []
        for r in self._rounds:
            points += [p for p, _ in r if p not in points]
        return points

    def _saving(self, point: Point) -> Estimate | None:
        """Per cent of the default's objective, from the differences of logarithms within each round."""
        if self._default is None or not self._log(self._problem.objective):
            return None
        pairs = {self._key(p): self._differences(p) for p in self._measured() if p != self._default}
        squares = sum(statistics.variance(d) * (len(d) - 1) for d in pairs.values() if len(d) > 1)
        freedom = sum(len(d) - 1 for d in pairs.values() if len(d) > 1)
        mine = pairs[self._key(point)]
        if not mine:
            return None
        found = interval(mine, math.sqrt(squares / freedom) if freedom else math.inf, freedom)
        return Estimate(
            mean=100 * (1 - math.exp(found.mean)),
            low=100 * (1 - _exp(found.high)),
            high=100 * (1 - math.exp(found.low)),
        )

    def _differences(self, point: Point) -> list[float]:
        found = []
        for r in self._rounds:
            here = [math.log(m[self._problem.objective]) for p, m in r if p == point]
            there = [math.log(m[self._problem.objective]) for p, m in r if p == self._default]
            if here and there:
                found.append(statistics.fmean(here) - statistics.fmean(there))
        return found

    def _text(self, word: Word, winner: Judged | None) -> str:
        rounds = f"{len(self._rounds)} rounds"
        if winner is None:
            return f"{word}: no setting kept the limits in {rounds}"
        parts = [f"{metric} {e.mean:.4g} ({e.low:.4g} to {e.high:.4g})" for metric, e in winner.limits.items()]
        if winner.saving_percent is not None:
            s = winner.saving_percent
            parts.append(f"saving {s.mean:.1f} % ({s.low:.1f} to {s.high:.1f})")
        settings = ", ".join(f"{k}={v}" for k, v in sorted(winner.point.items()))
        return f"{word}: {settings} in {rounds}: {'; '.join(parts)}"


def _exp(value: float) -> float:
    return math.inf if value > 700 else math.exp(value)
