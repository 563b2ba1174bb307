"""Turns: the order in which each node measures the settings of a round.

What noise has in common over windows of the same time (a room, a supply, the load) or over windows that follow one
another (a drift, a wave) becomes a setting's own when the setting always meets it in the same place. So:

- *Rounds* go in pairs, the second backwards: a drift falls on all settings alike, whatever their number.
- *Pairs of rounds* have a random order of their own. In a fixed one some wave is always in step: of four windows with
  A B, B A, A B, of three and of eight with A B, B A, B A. (What chance leaves of them: mustherd.learn.waves.)
- *Nodes* go in pairs, the second backwards, and each pair of nodes has a random order of its own: what nodes share at
  one time falls on different settings. With the same order everywhere the nodes' blocks would agree with one another
  and not with the truth: many nodes would be no more than one.

References: Box, Hunter and Hunter, Statistics for Experimenters, 2005, chapter 4 (blocks and Latin squares); Fisher,
The Design of Experiments, 1935, for why the rest is left to chance.
"""

import random

PAIR = 2


def turn(count: int, *, seed: int, number: int, node: int) -> list[int]:
    """The places of a round's `count` settings in the order in which a node measures them. Pure.

    Args:
        count: settings of the round.
        seed: the experiment's.
        number: of the round, from 0 on.
        node: its number among the nodes, from 0 on, in the order in which they first took part.
    """
    order = list(range(count))
    random.Random(f"{seed}/{number // PAIR}/{node // PAIR}").shuffle(order)
    return order[::-1] if (number + node) % 2 else order
