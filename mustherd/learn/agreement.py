"""Agreement: whether the nodes of a round agree with one another by more than their differences' spread explains.

A round's blocks are one difference for each node. They are taken for as many findings; but where nodes share noise that
their orders don't set off, such as a wave that reaches two of them in opposite phase, or a load that one loses to the
other, they say the same thing twice. Then rounds differ by more than the nodes within them.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from mustherd.learn.inference import LEAST_SPREAD, average, squares
from mustherd.learn.windows import Block


class Agreement(NamedTuple):
    """What the agreement of nodes does to the error of a mean difference."""

    wider: float = 1.0
    """By how much the error is greater than the differences' spread lets one think; 1 at least."""
    freedom: int = 0
    """The degrees of freedom that it is known with."""


def agreement(blocks: Sequence[Block]) -> Agreement:
    """How much the nodes of each round agree on what one setting saves against another.

    The mean square between rounds (analysis of variance, one way) is the variance that the mean has when rounds are
    what is independent, and not nodes; over the variance of all differences. Where nodes agree wholly, what is left are
    the degrees of freedom of rounds.
    """
    every = [block.here - block.there for block in blocks]
    by_round: dict[int, list[float]] = {}
    for block, difference in zip(blocks, every, strict=True):
        by_round.setdefault(block.round, []).append(difference)
    of, count = list(by_round.values()), len(every)
    if len(of) < 2 or count == len(of):
        return Agreement(freedom=max(0, count - 1))
    total = squares(every) / (count - 1)
    if total <= LEAST_SPREAD**2:
        return Agreement(freedom=count - 1)
    mean = average(every)
    between = math.fsum(len(values) * (average(values) - mean) ** 2 for values in of) / (len(of) - 1)
    more = max(1.0, between / total)
    return Agreement(math.sqrt(more), max(1, round((count - 1) / more)))
