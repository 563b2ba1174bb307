"""Controls: each node spends a share of its time at the baseline, held against what is around it."""

import math
import random

from mustherd.keep.beliefs import Block
from mustherd.keep.events import Paired
from mustherd.keep.node_state import NodeState
from mustherd.keep.options import Options
from mustherd.learn.base import Settings
from mustherd.learn.windows import key_of

SAME_LOAD = 0.1
"""By so much, as a logarithm, the load may differ around a control block."""
LIKE_LOAD = 0.5
"""The same where it is what a request takes that is compared."""
LEAST_BLOCKS = 4
"""In a cycle: learnt, control, learnt, and one to spare."""


class Controls:
    """Whose turn it is, and what came of it."""

    def __init__(self, options: Options, baseline: Settings) -> None:
        self._options = options
        self._key = key_of(baseline)
        self._due: dict[tuple[str, int], int] = {}

    def due(self, node: str, now: float) -> bool:
        """Whether it is a node's turn at the baseline: one block in each cycle, at random."""
        share, block_s = self._options.controls, self._options.block_s
        if share <= 0:
            return False
        blocks = max(LEAST_BLOCKS, round(1 / share))
        cycle, block = divmod(int(now // block_s), blocks)
        place = (node, cycle)
        if place not in self._due:
            self._due = {p: due for p, due in self._due.items() if p[1] == cycle}
            # Neither first nor last, so that there are blocks before and after it.
            self._due[place] = random.Random(f"{node} {cycle}").randrange(1, blocks - 1)
        return self._due[place] == block

    def pair(self, node: NodeState, block: Block | None, now: float) -> Paired | None:
        """A node's block has ended: what it completes, of learnt, control and learnt."""
        power = block.power if block is not None else None
        if block is None or power is None or node.mode not in ("control", "learnt"):
            node.before = node.control = node.control_before = None
            return None
        at = (block.load, power / max(block.load, 1e-9) if self._options.per_request else power)
        if node.mode == "control":
            node.control, node.control_before = (at, node.before) if block.key == self._key else (None, None)
            return None
        control, before = node.control, node.control_before
        node.before, node.control, node.control_before = at, None, None
        if control is None or before is None or min(control[1], before[1], at[1]) <= 0:
            return None
        if max(abs(math.log(control[0] / load)) for load, _ in (before, at)) > (
            LIKE_LOAD if self._options.per_request else SAME_LOAD
        ):
            return None
        return Paired(
            node=node.name,
            at_s=now,
            load=control[0],
            default_power=control[1],
            kept_power=math.sqrt(before[1] * at[1]),
            settings=dict(node.in_force),
        )
