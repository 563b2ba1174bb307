"""Waves: whether rounds jump up and down together by more than settings differ within them.

A drift or a step that settings have in common cancels within a round, and says nothing against a saving. But what
goes up and down every few windows reaches two settings of a round at different times, and in the few rounds that there
are it may come to each in the same place by chance. Then the differences agree with one another and not with the truth.
What such a wave does to a whole round is seen all the same: rounds that follow one another jump, to and fro.
"""

from collections.abc import Sequence

from mustherd.learn.inference import spread
from mustherd.learn.windows import Block

LEAST_ROUNDS = 6
"""With fewer, one step looks like a wave: it makes two of the second differences great."""
GREATER = 2.0
"""Jumps are seen where the median second difference is so many times the spread within blocks. Windows that know
nothing of one another have 0.83 times, and reach this in 1 to 7 confirmations of 100, by how many rounds there are:
then a saving has to be clearer."""


def jumps(blocks: Sequence[Block]) -> float:
    """By how much rounds jump up and down, on the logarithm's scale; 0 where that isn't seen.

    Half the median second difference: of rounds that go up and down in turns it is how far they go. Of several nodes
    the lower median of theirs: a wave that all are on, in whichever phase, each of them shows.

    The differences are of what two settings of consecutive blocks have in common: a drift has no second ones, and a
    step only two.
    """
    of: dict[str, list[Block]] = {}
    for block in blocks:
        of.setdefault(block.node, []).append(block)
    found = sorted(map(_jumps, of.values()))
    return found[(len(found) - 1) // 2] if found else 0.0


def _jumps(blocks: Sequence[Block]) -> float:
    """The same of one node."""
    if len(blocks) < LEAST_ROUNDS:
        return 0.0
    common = [(block.here + block.there) / 2 for block in blocks]
    second = sorted(abs(a - 2 * b + c) for a, b, c in zip(common, common[1:], common[2:], strict=False))
    middle = second[(len(second) - 1) // 2]
    return middle / 2 if middle > GREATER * spread([block.here - block.there for block in blocks]) else 0.0
