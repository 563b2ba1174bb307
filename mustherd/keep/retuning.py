"""When to re-tune, whom, and with what: from the first drift to the promotion."""

import math
from collections.abc import Callable, Mapping, Sequence

from mustherd.keep.beliefs import Beliefs
from mustherd.keep.book import Book, Choice
from mustherd.keep.node_state import NodeState, words
from mustherd.keep.options import Options
from mustherd.keep.retune import Outcome, Retune

GATHER_BLOCKS = 3
"""Between a first drift and its re-tuning, to see which nodes have drifted together."""

Told = tuple[str, str, str]
"""Node, kind and text of a story line."""


class Retuning:
    """At most one re-tuning at a time."""

    def __init__(self, options: Options, book: Book, beliefs: Beliefs) -> None:
        self.under_way: Retune | None = None
        self._options = options
        self._book = book
        self._beliefs = beliefs
        self._drifted: dict[str, int] = {}
        """Nodes that wait for one, with the block in which they drifted."""

    def drifted(self, node: str, block: int) -> None:
        """A node has drifted."""
        self._drifted.setdefault(node, block)

    def step(
        self, number: int, nodes: Mapping[str, NodeState], choices: Callable[[NodeState], Sequence[Choice]]
    ) -> list[Told]:
        """All blocks before `number` are in: what is to be told of it."""
        told: list[Told] = []
        retune = self.under_way
        if retune is not None:
            outcome = retune.judge(number, self._book.foretell)
            if outcome is None:
                return told
            self.under_way = None
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
        if self._options.retune and self._drifted and number - min(self._drifted.values()) >= GATHER_BLOCKS:
            told += self._begin(number, nodes, choices)
        return told

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
        self, number: int, nodes: Mapping[str, NodeState], choices: Callable[[NodeState], Sequence[Choice]]
    ) -> list[Told]:
        together = len(self._drifted) * 2 > len(nodes)
        group = sorted(nodes) if together else sorted(self._drifted)
        most = max(1, int(self._options.explored * len(nodes)))
        canaries = [name for name in group if nodes[name].target is not None][:most]
        if not canaries:
            return []
        self._drifted.clear()
        first = nodes[canaries[0]]
        in_force = first.target.key if first.target is not None else ()
        others = [choice for choice in choices(first) if choice.key != in_force]
        if not others:
            return [(first.name, "kept", "what is in force stays: the book has nothing else that holds")]
        self.under_way = Retune(self._options, canaries, group, others, number + 1, in_force)
        tried = "; ".join(words(trial.choice.settings) for trial in self.under_way.trials)
        return [("", "canary", f"{', '.join(canaries)} try {tried}")]
