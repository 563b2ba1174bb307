"""Judging: what the windows of one candidate say of it, against the default and the limits. Pure, and keeps nothing."""

import math
from collections.abc import Container, Sequence
from typing import Literal

import msgspec

from mustherd.goal import GUARD, Constraint, Goal
from mustherd.learn.agreement import Agreement, agreement
from mustherd.learn.base import Settings
from mustherd.learn.inference import (
    ALPHA,
    ANNOUNCED,
    FORGETS,
    HOPE,
    LEAST_SPREAD,
    NEXT,
    PROMISED,
    Estimate,
    above,
    average,
    chance_within,
    interval,
    reach,
    spread,
)
from mustherd.learn.memory import Memory, mean_variance, memory, of_mean, of_next, spread_left
from mustherd.learn.waves import jumps
from mustherd.learn.windows import ENOUGH, Block, Cell, Held, Windows, few, held, refuted
from mustherd.metrics import Direction

Word = Literal["met", "not met", "not certain"]


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What the rounds say of one setting."""

    point: Settings
    word: Word
    rounds: int
    """Rounds that measured it; of the winner those after it was chosen, too."""
    limits: dict[str, Held]
    """Each limited metric, on the node with the least room."""
    nodes: dict[str, tuple[Held, ...]]
    """The same on every node."""
    words: dict[str, Word]
    """Whether each limit is kept."""
    saving_percent: Estimate | None
    """By how much of the default's objective it is better, from differences within blocks; of the winner from those
    after it was chosen. None without a block that measured both."""
    blocks: int
    """How many differences that rests on."""
    cost: float
    """Geometric mean of the objective's cost."""
    missing: tuple[str, ...] = ()
    """Nodes that measured the default and never this, so that nobody knows what it does there."""


class RankingResult(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a confirmation."""

    word: Word
    winner: Judged | None
    """None where no candidate is left that may keep the limits and save something."""
    judged: tuple[Judged, ...]
    """Everything that was measured, dropped settings included, in the candidates' order."""
    rounds: int
    with_default: bool
    """Whether a default was measured beside the candidates."""
    fresh: int
    """How many of the rounds the winner's numbers come from, those after it was chosen; 0: there were none."""
    memory: Memory
    """Whether settings' rounds resemble those before."""
    jumps: float
    """By which share the winner's rounds and the default's go up and down together; 0 where that isn't seen."""
    asked: bool
    """Whether windows of the winner are still to be measured again."""
    needed: dict[float, int | None]
    """Saving in per cent to the rounds in which it is announced with probability mustherd.learn.inference.POWER, at the
    noise that was measured; None: in no more than mustherd.learn.inference.MOST_ROUNDS. Empty before it is known."""
    text: str


class Found(msgspec.Struct, frozen=True):
    """One candidate, by some of the rounds."""

    differences: list[float]
    """Logarithms of its objective's cost over the default's, block by block."""
    limits: dict[str, list[Held]]
    """Each limited metric on each node, the node with the least room first."""
    rounds: int
    """How many of the rounds measured it."""
    agreement: Agreement
    """Of a round's nodes on what it saves."""
    missing: frozenset[str]
    """Nodes that measured the default in some round, and this in none."""

    def all_limits(self) -> list[Held]:
        """Every limit on every node."""
        return [one for nodes in self.limits.values() for one in nodes]


class Judge:
    """Knows what is wanted, and looks it up in the windows."""

    def __init__(self, goal: Goal, windows: Windows, *, default: Settings | None, looks: int) -> None:
        """`looks`: how many looks together intervals have to cover at."""
        self._goal = goal
        self._windows = windows
        self._default = default
        self._looks = looks
        self.memory = Memory()
        """What the windows so far tell of a memory of their noise; where it is seen, everything is less certain."""
        self._sign = -1.0 if goal.objectives[0].direction is Direction.MORE else 1.0

    def look(self) -> None:
        """See by all windows whether rounds resemble those before, in what is wanted of them."""
        limited = [c.metric for c in self._goal.constraints if c.metric != GUARD]
        self.memory = memory(self._windows, [self._goal.objective, *limited])

    def find(self, point: Settings, rounds: Container[int]) -> Found:
        """What `rounds` measured of `point`, one window at least."""
        cells, blocks = self._windows.of(point, rounds), self._blocks(point, rounds)
        return Found(
            differences=self._costs(blocks),
            limits={c.metric: self.held(c, cells) for c in self._goal.constraints},
            rounds=len({cell.round for cell in cells}),
            agreement=agreement(blocks),
            missing=self.missing(point),
        )

    def missing(self, point: Settings) -> frozenset[str]:
        """Nodes that measured the default in some round and `point` in none: what a limit does there, nobody knows."""
        there = {cell.node for cell in self._windows.of(self._default)} if self._default is not None else set()
        return frozenset(there - {cell.node for cell in self._windows.of(point)})

    def differences(self, point: Settings, rounds: Container[int], other: Settings | None = None) -> list[float]:
        """Logarithms of the objective's cost at `point` over that at `other`, or the default, block by block."""
        return self._costs(self._blocks(point, rounds, other))

    def _costs(self, blocks: Sequence[Block]) -> list[float]:
        return [self._sign * (block.here - block.there) for block in blocks]

    def _blocks(self, point: Settings, rounds: Container[int], other: Settings | None = None) -> list[Block]:
        other = self._default if other is None else other
        objective = self._goal.objective
        if other is None or not self._windows.positive(objective):
            return []
        return self._windows.blocks(point, other, objective, rounds)

    def jumps(self, point: Settings, rounds: Container[int]) -> float:
        """By how much `rounds` jump together (mustherd.learn.waves), of `point` and the default; 0 where unseen."""
        return jumps(self._blocks(point, rounds))

    def held(
        self, constraint: Constraint, cells: Sequence[Cell], looks: int | None = None, chance: float = NEXT
    ) -> list[Held]:
        """A limit on each node, over all looks unless for so many."""
        looks = self._looks if looks is None else looks
        share, log = self.memory.allowed, self.log(constraint)
        wider = (lambda count: of_mean(count, count, share)), (lambda count: of_next(count, share))
        return held(constraint, cells, self._goal.margin, log=log, looks=looks, chance=chance, wider=wider)

    def log(self, constraint: Constraint) -> bool:
        """Whether a limited metric has a logarithm."""
        return constraint.limit > 0 and self._windows.positive(constraint.metric)

    def p_value(self, found: Found) -> float:
        """Of the claim that a candidate saves something and keeps every limit on every node: the worst of its parts."""
        parts = [one.p_value for one in found.all_limits()]
        if self._default is not None:
            wider = found.agreement.wider * of_mean(found.rounds, len(found.differences), self.memory.allowed)
            parts.append(above([-d for d in found.differences], 0.0, wider, found.agreement.freedom))
        return max(parts, default=1.0)

    def stands(self, found: Found) -> bool:
        """Whether it may be announced as far as its estimated saving and the next window's bounds go."""
        return not found.missing and self._worth(found.differences) and all(one.within for one in found.all_limits())

    def hopeless(self, found: Found) -> bool:
        """Whether it certainly misses a limit, or certainly saves nothing worth announcing."""
        if any(one.broken for one in found.all_limits()):
            return True
        return len(found.differences) > 1 and self.saving(found.differences, self._looks).high < self._goal.least_saving

    def dearer(self, point: Settings, best: Settings, rounds: Container[int], share: float = 1.0) -> bool:
        """Whether `point` certainly costs more than `share` of what `best` does, by the blocks that measured both."""
        beside = self.differences(point, rounds, best)
        return len(beside) > 1 and interval(beside, looks=self._looks).low > math.log(share)

    def contradicted(self, point: Settings, after: Container[int]) -> bool:
        """Whether the rounds `after` a candidate was chosen contradict the choice: there is no saving worth having in
        them, or all windows together break the promise."""
        differences = self.differences(point, after)
        if self._default is not None and (len(differences) < 2 or not self._worth(differences)):
            return True
        cells = self._windows.of(point)
        held_ = [one for c in self._goal.constraints for one in self.held(c, cells, chance=PROMISED)]
        return not (few(cells, self._goal.constraints) and all(one.within for one in held_))

    def too_few(self, point: Settings) -> dict[Cell, int]:
        """Where windows break a limit at times, and how many more `point` needs there.

        That is on nodes where a window of whichever setting broke it and was contradicted: of one in six, a setting's
        few windows often show none. Nothing once a bound or a second window has settled it.
        """
        cells = self._windows.of(point)
        if not few(cells, self._goal.constraints, ENOUGH):
            return {}
        found = {}
        for constraint in self._goal.constraints:
            at_times = {c.node for _, of in self._windows.all() for c in of if refuted(c, constraint)}
            for one in self.held(constraint, cells, chance=PROMISED):
                if not one.within:
                    return {}
                if one.windows < ENOUGH and one.node in at_times:
                    mine = [c for c in cells if c.node == one.node]
                    broke = [c for c in mine if refuted(c, constraint)]
                    found[(broke or mine)[-1]] = ENOUGH - one.windows
        return found

    def lacking(self, found: Found, left: int, least: int) -> dict[str, tuple[float, float]]:
        """The limits that `left` rounds more will hardly bring the next window's bound within.

        Each metric with its mean, and with what the mean of another candidate would have to be that is measured in the
        rounds that are left, `least` of them at least: were its spread the same.
        """
        lacked: dict[str, tuple[float, float]] = {}
        for constraint in self._goal.constraints:
            goal = constraint.limit * (1 - self._goal.margin)
            if constraint.at_least or not self.log(constraint):
                continue
            for one in found.limits[constraint.metric]:
                each = one.windows / found.rounds
                noise = math.log(one.bound / one.mean.mean) / reach(one.windows)
                room = math.log(goal / one.mean.mean)
                if chance_within(room, noise, one.windows - 1, one.windows, round(each * left)) < HOPE:
                    wanted = goal * math.exp(-noise * reach(max(least, round(each * left))))
                    lacked[constraint.metric] = (one.mean.mean, min(one.mean.mean, wanted))
        return lacked

    def saving(self, differences: Sequence[float], looks: int = 1) -> Estimate:
        """Differences, one at least, as a saving in per cent of the default's objective, or a gain."""
        return self._as_percent(interval(differences, max(spread(differences), LEAST_SPREAD), looks=looks))

    def announced(self, point: Settings, before: Sequence[int], after: Sequence[int]) -> Estimate | None:
        """The winner's saving by the rounds `after` it was chosen, and by the spread of those and the ones `before`, or
        by how rounds jump where that is seen; as if its rounds had a memory of FORGETS, or more where more was seen.
        None without a block after."""
        late = self.differences(point, after)
        every = [*self.differences(point, before), *late]
        if not late or len(every) < 2:
            return self._as_percent(interval(late, confidence=ANNOUNCED)) if late else None
        here, earlier = (len({cell.round for cell in self._windows.of(point, rounds)}) for rounds in (after, before))
        here, share = min(here, len(late)), max(FORGETS, self.memory.allowed)
        wide = mean_variance(here, share) * here / spread_left(here + earlier, len(every), share)
        blocks = self._blocks(point, {*before, *after})
        jumping, nodes = jumps(blocks), agreement(blocks)
        deviation = max(spread(every) * nodes.wider, jumping, LEAST_SPREAD) * math.sqrt(wide)
        return self._as_percent(interval(late, deviation, nodes.freedom, confidence=ANNOUNCED))

    def _as_percent(self, found: Estimate) -> Estimate:
        return Estimate(mean=self._percent(found.mean), low=self._percent(found.high), high=self._percent(found.low))

    def estimate(self, point: Settings, metric: str) -> Estimate:
        """The mean of a metric over all windows of `point`, with its interval over all looks."""
        values = [cell.value(metric) for cell in self._windows.of(point)]
        if not self._windows.positive(metric):
            return interval(values, looks=self._looks)
        logs = [math.log(value) for value in values]
        found = interval(logs, max(spread(logs), LEAST_SPREAD), looks=self._looks)
        return Estimate(mean=_exp(found.mean), low=_exp(found.low), high=_exp(found.high))

    def judged(self, point: Settings, word: Word, *, before: Sequence[int], after: Sequence[int]) -> Judged:
        """What all windows say of a candidate, `word` being what becomes of it.

        Args:
            point: the candidate, which was measured.
            word: its end.
            before: the rounds that candidates were chosen by.
            after: of the winner, those after it was chosen; else none.
        """
        cells = self._windows.of(point)
        nodes = {c.metric: tuple(self.held(c, cells)) for c in self._goal.constraints}
        if late := self._windows.of(point, after):
            # The bounds rest on all windows; the means, like the saving, on those after the choice.
            for c in self._goal.constraints:
                means = {h.node: h.mean for h in self.held(c, late, looks=1)}
                all_ = nodes[c.metric]
                nodes[c.metric] = tuple(msgspec.structs.replace(h, mean=means.get(h.node, h.mean)) for h in all_)
        differences = self.differences(point, after or before)
        saving = self.saving(differences, self._looks) if differences else None
        if after:
            saving = self.announced(point, before, after)
            doubted = self.memory.seen or self.jumps(point, {*before, *after}) > 0
            if word == "met" and doubted and saving is not None and saving.low <= 0:
                word = "not certain"
        objective = self._goal.objective
        values = [c.value(objective) for c in cells]
        mean = math.exp(average([math.log(v) for v in values])) if min(values) > 0 else average(values)
        return Judged(
            point=point,
            word=word,
            rounds=len({cell.round for cell in cells}),
            limits={metric: of[0] for metric, of in nodes.items()},
            nodes=nodes,
            words={metric: _limit_word(of) for metric, of in nodes.items()},
            saving_percent=saving,
            blocks=len(differences),
            cost=self._goal.objectives[0].direction.as_cost(mean),
            missing=tuple(sorted(self.missing(point))),
        )

    def _worth(self, differences: Sequence[float]) -> bool:
        if self._default is None:
            return True
        return bool(differences) and self._percent(average(differences)) >= self._goal.least_saving

    def _percent(self, difference: float) -> float:
        return self._sign * 100 * (1 - _exp(self._sign * difference))


def _limit_word(nodes: Sequence[Held]) -> Word:
    if any(one.broken for one in nodes):
        return "not met"
    return "met" if all(one.within and one.p_value <= ALPHA for one in nodes) else "not certain"


def text_of(word: Word, winner: Judged | None, rounds: int, direction: Direction) -> str:
    """The end of a confirmation in a line, for logs."""
    if winner is None:
        return f"{word}: no setting kept the limits and saved something in {rounds} rounds"
    parts = [f"{metric} {h.mean.mean:.4g} (next window: {h.bound:.4g})" for metric, h in winner.limits.items()]
    if winner.saving_percent is not None:
        s = winner.saving_percent
        parts.append(f"{direction.improvement} {s.mean:.1f} % ({s.low:.1f} to {s.high:.1f})")
    settings = ", ".join(f"{k}={v}" for k, v in sorted(winner.point.items()))
    return f"{word}: {settings} in {rounds} rounds: {'; '.join(parts)}"


def _exp(value: float) -> float:
    return math.inf if value > 700 else math.exp(value)
