"""Re-tuning on drift: candidates on canaries, the settings in force beside them, judged as a verdict is.

A canary takes turns, block by block in random order, between a candidate and what is in force on it (a switchback); the
nodes that are no canaries show in the same blocks what the load and the weather did. A pair's difference of logarithms,
less theirs, goes into the same test that an experiment's verdict uses (mustherd.learn.inference): looks fixed
beforehand, the level shared between them and the candidates, a bound for the next block's latency.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mustherd.keep.beliefs import Block
from mustherd.keep.book import Choice
from mustherd.keep.node_state import words
from mustherd.keep.options import Options
from mustherd.learn.inference import above, average, level_of, looks, next_window, spread
from mustherd.learn.windows import Key

CANDIDATES = 3
LEAST_PAIRS, MOST_PAIRS = 4, 12
FEW_PAIRS = 2
HOPELESS = 2.0
"""Deviations of the mean of a few pairs below what is worth it, after which a candidate is given up: that promotes
nothing, so it takes nothing from the test's level."""
LEAST_SPREAD = 0.01
"""Of pairs, however alike the first ones are."""
MOST_BLOCKS = 240
STALE_BLOCKS = 20
"""A re-tuning that the load doesn't let get on is given up: after so many blocks without another pair."""

Foretell = Callable[[Key, float], tuple[float | None, float | None]]


@dataclass
class Trial:
    """What was seen of one candidate."""

    choice: Choice
    savings: list[float] = field(default_factory=list)
    """Logarithm of power in force over the candidate's, pair by pair."""
    latencies: list[float] = field(default_factory=list)
    """Logarithm of the latency over the limit."""
    over: str = ""
    """Why it is rejected."""


@dataclass(frozen=True)
class Outcome:
    """How a re-tuning ended."""

    promoted: Choice | None
    text: str
    saving_percent: float = 0.0


class Retune:
    """One, from its first block on; told every block of the herd."""

    def __init__(  # noqa: PLR0917
        self,
        options: Options,
        canaries: Sequence[str],
        group: Sequence[str],
        candidates: Sequence[Choice],
        start: int,
        in_force: Key,
    ) -> None:
        """`group` has the nodes that a promotion is for, the canaries among them."""
        self.canaries = tuple(canaries)
        self.group = tuple(group)
        self.in_force = in_force
        self.trials = [Trial(one) for one in candidates[:CANDIDATES]]
        self._options = options
        self._start = start
        self._blocks: dict[int, dict[str, Block]] = {}
        self._plan: dict[tuple[str, int], tuple[Trial, bool] | None] = {}
        self._done = -1
        self._paired = start

    def arm(self, node: str, number: int) -> Choice | None:
        """What a canary tries in a block; None: what is in force."""
        planned = self._planned(node, number)
        return planned[0].choice if planned is not None and planned[1] else None

    def add(self, block: Block) -> None:
        """A block of any node has ended."""
        if block.number >= self._start:
            self._blocks.setdefault(block.number, {})[block.node] = block

    def broke(self, node: str, key: Key) -> None:
        """A candidate broke the limit on a canary."""
        for trial in self.trials:
            if node in self.canaries and trial.choice.key == key and not trial.over:
                trial.over = "broke the limit"

    def judge(self, number: int, foretell: Foretell) -> Outcome | None:
        """All blocks before `number` are in: how it ended, if it did."""
        pair = (number - self._start) // 2 - 1
        while self._done < pair:
            self._done += 1
            for node in self.canaries:
                self._take(node, self._done, foretell)
        level = level_of(LEAST_PAIRS, MOST_PAIRS, len(self.trials))
        steps = looks(LEAST_PAIRS, MOST_PAIRS)
        bound = -math.log1p(-self._options.least_saving / 100)
        for trial in self.trials:
            count = len(trial.savings)
            if trial.over:
                continue
            trial.over = self._hopeless(trial, bound)
            if trial.over or count < LEAST_PAIRS:
                continue
            deviation = spread(trial.latencies) if len(trial.latencies) > 1 else math.inf
            keeps = not trial.latencies or (
                average(trial.latencies) + next_window(len(trial.latencies), deviation, len(trial.latencies) - 1) <= 0
            )
            if count in steps and keeps and above(trial.savings, bound) <= level:
                saving = 100 * -math.expm1(-average(trial.savings))
                return Outcome(trial.choice, f"saves {saving:.1f} % in {count} pairs and keeps the limit", saving)
            if count >= MOST_PAIRS:
                trial.over = "saves too little to be told" if keeps else "may break the limit"
        if all(trial.over for trial in self.trials):
            why = "; ".join(f"{words(t.choice.settings)} {t.over}" for t in self.trials) or "nothing else may hold"
            return Outcome(None, why)
        if number - self._start > MOST_BLOCKS or number - max(self._paired, self._start) > STALE_BLOCKS:
            return Outcome(None, "the load left no pairs to compare")
        return None

    def _hopeless(self, trial: Trial, bound: float) -> str:
        """Why a candidate isn't worth another pair: it is dearer, or above the limit, by all that was seen."""
        count = len(trial.savings)
        if count < FEW_PAIRS:
            return ""
        if average(trial.savings) + HOPELESS * max(LEAST_SPREAD, spread(trial.savings)) / math.sqrt(count) < bound:
            return "saves nothing"
        return "may break the limit" if trial.latencies and average(trial.latencies) > 0 else ""

    def _planned(self, node: str, number: int) -> tuple[Trial, bool] | None:
        """The trial that a block belongs to, and whether it is its candidate's turn in it."""
        if node not in self.canaries or number < self._start:
            return None
        place = (node, number - self._start)
        if place not in self._plan:
            pair = place[1] // 2
            open_ = [t for t in self.trials if not t.over]
            if not open_:
                return None
            trial = open_[pair % len(open_)]
            first = random.Random(f"{self._start} {pair} {node}").random() < 0.5
            self._plan[node, 2 * pair] = trial, first
            self._plan[node, 2 * pair + 1] = trial, not first
        return self._plan[place]

    def _take(self, node: str, pair: int, foretell: Foretell) -> None:
        numbers = (self._start + 2 * pair, self._start + 2 * pair + 1)
        plans = [self._plan.get((node, n - self._start)) for n in numbers]
        blocks = [self._blocks.get(n, {}).get(node) for n in numbers]
        if plans[0] is None or plans[1] is None or blocks[0] is None or blocks[1] is None:
            return
        trial = plans[0][0]
        tried, kept = (0, 1) if plans[0][1] else (1, 0)
        one, other = blocks[tried], blocks[kept]
        if one is None or other is None or one.key != trial.choice.key or other.key == one.key:
            return
        if not one.power or not other.power:
            return
        difference = math.log(other.power / one.power)
        at_one, at_other = foretell(other.key, one.load)[0], foretell(other.key, other.load)[0]
        if at_one and at_other:
            difference -= math.log(at_other / at_one)
        difference -= self._weather(numbers[kept]) - self._weather(numbers[tried])
        trial.savings.append(difference)
        self._paired = max(numbers)
        if one.latency:
            trial.latencies.append(math.log(one.latency / self._options.limit))

    def _weather(self, number: int) -> float:
        seen = [
            b.power_off
            for b in self._blocks.get(number, {}).values()
            if b.node not in self.canaries and b.power_off is not None
        ]
        return average(seen) if seen else 0.0
