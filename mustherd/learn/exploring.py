"""Exploring: trials where nothing was tried yet, whatever the model believes, and when the space has been looked over.

A model is sure of itself wherever its few observations lie on a smooth surface; a narrow valley between them it can't
know of. So a share of the trials goes where the most of the space is far from any trial, all of them do once the model
expects no improvement anywhere, and a search doesn't end before hardly anything is far.
"""

import math

import numpy as np
from scipy.spatial.distance import cdist

from mustherd.learn.process import Array

FROM = 8
"""Points tried before the first that is there to explore: so many usually lead to the neighbourhood of an optimum that
anything points to."""
EVERY = 4
"""From there on each fourth point explores, and once the model expects no improvement all do, but for each fourth as
long as the best point so far lacks windows. What a narrow valley is found with is trials that are far from each other:
were each fourth left to a model without hope, chance would find one sooner."""
CAUTIOUS = 12
"""After so many points at the latest what is looked for is what can be promised."""
WINDOWS = 3
"""The best point so far is measured so often, in the turns that are left then: what windows differ by near its limits
says how much room it needs."""
NEAR = 0.2
"""How far from a trial a point may lie and still count as looked at, over two coordinates in 0..1; over more of them
farther, with the square root of their number, as everything is."""
LEFT = 0.03
"""The share of the space that may be left unseen when the search ends."""


def due(tried: int, *, quiet: bool) -> bool:
    """Whether the next point after so many is there to explore; `quiet`: the model expects no improvement."""
    turn = (tried - FROM) % EVERY
    return tried >= FROM and (turn != EVERY - 1 if quiet else turn == 0)


def repeats(tried: int, *, quiet: bool) -> bool:
    """Whether the next window after so many points may be the best one's again: how much windows differ near a limit
    nobody knows before one there was repeated, and noise that is taken for a surface always promises more."""
    return quiet or (tried >= CAUTIOUS and (tried - FROM) % EVERY == EVERY - 1)


def reach(width: int) -> float:
    """How far a trial over `width` coordinates is taken to see."""
    return NEAR * math.sqrt(max(1, width) / 2)


def distances(x: Array, tried: Array) -> Array:
    """From each of `x` (n by width) to the nearest of `tried` (m by width); infinite where nothing was."""
    if not len(tried):
        return np.full(len(x), math.inf)
    return np.asarray(cdist(x, tried).min(axis=1), dtype=np.float64)


def unseen(x: Array, tried: Array) -> float:
    """The share of `x` that lies out of reach of every trial."""
    return float(np.mean(distances(x, tried) > reach(x.shape[1]))) if len(x) else 0.0


def revealing(x: Array, tried: Array, weights: Array | None = None) -> int:
    """The place in `x` of the point that brings the most of `x` within reach; `weights`: how much each of `x` counts.

    Counted by how much nearer it brings them, up to twice the reach; a point at the edge has less around it, so unlike
    the point that is farthest from all others it is rarely chosen.
    """
    far = 2 * reach(x.shape[1])
    now = np.minimum(distances(x, tried), far)
    nearer = np.maximum(now[None, :] - cdist(x, x), 0.0)
    return int(np.argmax(nearer.sum(axis=1) if weights is None else nearer @ weights))
