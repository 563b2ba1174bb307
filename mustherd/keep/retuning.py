"""When to re-tune, whom, and with what: from the first drift to the promotion.

After a drift the nodes that drifted are watched for a day: as long as some settings may save something, by what was
seen of others and how little is known of them, canaries try the most promising, a few at a time. What one try shows
tells which are next; when nothing is likely to save any more, or the load hasn't brought anything new, it is over.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist

from mustherd.keep.beliefs import Beliefs
from mustherd.keep.book import Book, Choice
from mustherd.keep.node_state import NodeState, words
from mustherd.keep.options import Options
from mustherd.keep.retune import CANDIDATES, Outcome, Retune
from mustherd.learn.windows import Key

GATHER_BLOCKS = 3
"""Between a first drift and its re-tuning, to see which nodes have drifted together."""
AGAIN_BLOCKS = 3
"""Between two looks whether something may save."""
PROMISING = 0.002
"""What a candidate has to be expected to save, as a logarithm, where it saves at all."""
NORMAL = NormalDist()

Told = tuple[str, str, str]
"""Node, kind and text of a story line."""
Choices = Callable[[NodeState], Sequence[Choice]]


class Retuning:
    """At most one re-tuning at a time."""

    def __init__(self, options: Options, book: Book, beliefs: Beliefs) -> None:
        self.under_way: Retune | None = None
        self._options = options
        self._book = book
        self._beliefs = beliefs
        self._drifted: dict[str, int] = {}
        """Nodes that wait for one, with the block in which they drifted."""
        self._watched: dict[tuple[str, ...], int] = {}
        """Nodes that drifted together, and the block until which they may be re-tuned."""
        self._next_look = 0

    def broke(self, node: str, key: Key) -> None:
        """A limit was broken on a node at the settings of that key."""
        if self.under_way is not None:
            self.under_way.broke(node, key)

    def drifted(self, node: str, block: int) -> None:
        """A node has drifted."""
        self._drifted.setdefault(node, block)

    def step(self, number: int, nodes: Mapping[str, NodeState], choices: Choices) -> list[Told]:
        """All blocks before `number` are in: what is to be told of it."""
        told: list[Told] = []
        retune = self.under_way
        if retune is not None:
            outcome = retune.judge(number, self._book.foretell)
            if outcome is None:
                return told
            self.under_way = None
            # What is in force has to have settled by what was found.
            self._next_look = number + AGAIN_BLOCKS
            if outcome.promoted is None:
                told.append(("", "kept", f"what is in force stays: {outcome.text}"))
            else:
                better = self._better(retune, outcome, nodes)
                for name in retune.group:
                    self._beliefs.adopt(retune.canaries[0], name, outcome.promoted.key)
                    self._beliefs.promote(name, outcome.promoted.key, better)
                    if name in nodes:
                        nodes[name].dirty = True
                on = ", ".join(retune.group)
                told.append(("", "promoted", f"{words(outcome.promoted.settings)} on {on}: {outcome.text}"))
        self._drifted = {name: at for name, at in self._drifted.items() if name in nodes}
        if not self._options.retune:
            return told
        if self._drifted and number - min(self._drifted.values()) >= GATHER_BLOCKS:
            group = self._group(nodes)
            self._drifted.clear()
            self._watched = {one: until for one, until in self._watched.items() if not set(one) & set(group)}
            self._watched[group] = number + round(self._options.day_s / self._options.block_s)
            told += self._begin(group, number, nodes, choices, first=True)
        if self.under_way is None and number >= self._next_look:
            self._next_look = number + AGAIN_BLOCKS
            self._watched = {group: until for group, until in self._watched.items() if until > number}
            for group in tuple(self._watched):
                begun = self._begin(group, number, nodes, choices, first=False)
                if begun:
                    # The others have their turn before it has another.
                    self._watched[group] = self._watched.pop(group)
                    return told + begun
        return told

    def _group(self, nodes: Mapping[str, NodeState]) -> tuple[str, ...]:
        """Those that are re-tuned together: of most of the herd all."""
        together = len(self._drifted) * 2 > len(nodes)
        return tuple(sorted(nodes) if together else sorted(self._drifted))

    def _better(self, retune: Retune, outcome: Outcome, nodes: Mapping[str, NodeState]) -> float:
        """By how much the promoted settings are better than the book says, beside those that they were held against."""
        canary = nodes.get(retune.canaries[0])
        load = canary.estimator.load if canary is not None else 0.0
        promoted = outcome.promoted
        if promoted is None or load <= 0:
            return 0.0
        mine, theirs = (self._book.foretell(key, load)[0] for key in (promoted.key, retune.in_force))
        if not mine or not theirs:
            return math.log1p(-outcome.saving_percent / 100)
        return math.log(theirs / mine) + math.log1p(-outcome.saving_percent / 100)

    def _begin(
        self, group: Sequence[str], number: int, nodes: Mapping[str, NodeState], choices: Choices, *, first: bool
    ) -> list[Told]:
        most = max(1, int(self._options.explored * len(nodes)))
        canaries = [name for name in group if name in nodes and nodes[name].target is not None][:most]
        if not canaries:
            return []
        node = nodes[canaries[0]]
        in_force = node.target.key if node.target is not None else ()
        candidates = self._promising(node, in_force, choices(node), first=first)
        if not candidates:
            # Of each drift it is told once.
            return [(node.name, "kept", "what is in force stays: nothing else is likely to save")] if first else []
        self.under_way = Retune(self._options, canaries, group, candidates, number + 1, in_force)
        tried = "; ".join(words(trial.choice.settings) for trial in self.under_way.trials)
        return [("", "canary", f"{', '.join(canaries)} try {tried}")]

    def _promising(self, node: NodeState, in_force: Key, choices: Sequence[Choice], *, first: bool) -> list[Choice]:
        """What may save most beside what is in force, each as if those before it had shown what is expected of them.

        Where nothing is foretold of what is in force, the cheapest, once: no more is known after they were tried.
        """
        load = node.estimator.load
        powers = {key: self._book.foretell(key, load)[0] for key in (in_force, *(c.key for c in choices))}
        mine = powers[in_force]
        others = [choice for choice in choices if choice.key != in_force and powers[choice.key]]
        if load <= 0 or not mine:
            return others[:CANDIDATES] if first else []
        found: list[Choice] = []
        also: list[tuple[Key, float]] = []
        while others and len(found) < CANDIDATES:
            keys = [in_force, *(choice.key for choice in others)]
            means, deviations = self._beliefs.guess(node.name, "power", keys, load, also)
            least = math.log(mine) + means[0] + math.log1p(-self._options.least_saving / 100)
            worth = [
                _expected(least - math.log(powers[key] or mine) - mean, deviation)
                for key, mean, deviation in zip(keys[1:], means[1:], deviations[1:], strict=True)
            ]
            best = max(range(len(others)), key=worth.__getitem__)
            if worth[best] < PROMISING:
                break
            also.append((others[best].key, float(means[best + 1])))
            found.append(others.pop(best))
        return found


def _expected(saving: float, deviation: float) -> float:
    """What is saved on average where it is above nothing, else taken for nothing."""
    place = saving / deviation
    return saving * NORMAL.cdf(place) + deviation * NORMAL.pdf(place)
