"""A subset of a long search's observations that its model is made of.

A Gaussian process takes time with the cube of what it saw. Beyond MOST observations it is made of a subset: half of it
lies around the best points, where the next trials are decided, and half is spread over all that was tried, so that the
model still knows the rest of the space. Up to MOST nothing is left out. (Subset of data: Rasmussen and Williams,
Gaussian Processes for Machine Learning, 2006, 8.3.3; around the optimum as in Gramacy and Apley, Local Gaussian process
approximation, 2015.)
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from statistics import median

import numpy as np
from scipy.spatial.distance import cdist

from mustherd.goal import Goal
from mustherd.learn.base import Observation
from mustherd.learn.process import Array

MOST = 200
"""Observations that a model is made of at most."""
WINDOWS = 6
"""Of one point the newest so many: the default, which is measured again and again, would be most of the subset."""
CENTRES = 5
"""The best points, around which half of the subset lies: the best alone may be so by chance."""


def subset(goal: Goal, told: Mapping[int, Sequence[Observation]], x: Array, most: int = MOST) -> list[Observation]:
    """Of the observations of each point, which is at its row of `x`, those that a model is made of.

    All of them, as long as they are no more than `most`. The points keep their order.
    """
    if sum(map(len, told.values())) <= most:
        return list(chain.from_iterable(told.values()))
    newest = [of[-WINDOWS:] for of in told.values()]
    order = sorted(range(len(newest)), key=lambda place: _rank(goal, newest[place]))
    centres = x[order[:CENTRES]]
    taken: list[int] = []
    room = most
    for place in np.argsort(cdist(x, centres).min(axis=1), kind="stable").tolist():
        if room - len(newest[place]) < most // 2:
            break
        taken.append(place)
        room -= len(newest[place])
    # The farthest from all that is taken, one after the other.
    away = cdist(x, x[taken]).min(axis=1) if taken else np.full(len(x), np.inf)
    away[taken] = -1.0
    while room > 0 and away.max() >= 0:
        place = int(np.argmax(away))
        away = np.minimum(away, np.where(away < 0, away, cdist(x, x[[place]])[:, 0]))
        away[place] = -1.0
        if len(newest[place]) <= room:
            taken.append(place)
            room -= len(newest[place])
    return [observation for place in sorted(taken) for observation in newest[place]]


def _rank(goal: Goal, observations: Sequence[Observation]) -> tuple[float, float]:
    """What the points are sorted by, the best first: how far the middle window is beyond the limits, then its cost."""
    middle = {metric: median(o.metrics[metric] for o in observations) for metric in goal.metrics}
    return sum(max(0.0, limit.excess(middle[limit.metric])) for limit in goal.aimed), goal.cost(middle)
