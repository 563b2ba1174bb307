"""Surfaces made up for trying searches and verdicts: energy and p99 over two or three knobs, with a known optimum.

Each family asks something else of a search; within a family a seed decides where things lie. What is here looks like
no machine in particular: a search that does well on recorded grids alone has learnt these grids.
"""

import itertools
import math
import random
from collections.abc import Callable, Sequence

from mustherd.goal import Constraint
from mustherd.learn.base import Observation, Settings
from mustherd.learn.replay import Table

LIMIT = Constraint("read_p99_us", 500.0)
"""What the families of which a limit is asked are made for."""
SIZES = {2: (21, 21), 3: (9, 9, 9)}
"""Number of knobs to how many values each has."""
KNOBS = ("knob-a", "knob-b", "knob-c")
JOULES = 1000.0
P99_US = 250.0

Place = Sequence[float]
"""Where a setting lies, each knob in 0..1."""
Shape = Callable[[Place, "_Drawn"], tuple[float, float]]
"""A place to the energy there, as a multiple of JOULES, and p99 in us."""


class _Drawn:
    """What a seed decides: two places and a slant."""

    def __init__(self, draw: random.Random, width: int) -> None:
        self.first = [draw.random() for _ in range(width)]
        self.second = [draw.random() for _ in range(width)]
        self.slant = draw.uniform(-0.8, 0.8)


def _away(a: Place, b: Place) -> float:
    return math.dist(a, b)


def _flat(_u: Place, _d: _Drawn) -> tuple[float, float]:
    return 1.0, P99_US


def _bowl(u: Place, d: _Drawn) -> tuple[float, float]:
    return 1 + _away(u, d.first) ** 2, P99_US


def _valley(u: Place, d: _Drawn) -> tuple[float, float]:
    x, y = u[0] - d.first[0], u[1] - d.first[1]
    return 1 + 3 * (x * d.slant + y) ** 2 + 0.2 * (x - d.slant * y) ** 2, P99_US


def _limit(u: Place, d: _Drawn) -> tuple[float, float]:
    return 2 - 0.6 * u[0] - 0.4 * u[1], 150 + 300 * (u[0] ** 2 + 0.8 * u[1] ** 2) + 60 * u[-1] + 80 * d.first[0]


def _two_valleys(u: Place, d: _Drawn) -> tuple[float, float]:
    return 1 + 0.8 * _away(u, d.first) ** 2 - 0.35 * math.exp(-((_away(u, d.second) / 0.12) ** 2)), P99_US


def _needle(u: Place, d: _Drawn) -> tuple[float, float]:
    return 1 + 0.5 * _away(u, d.first) ** 2 - 0.4 * (_away(u, d.second) < 0.085), P99_US


def _ripple(u: Place, d: _Drawn) -> tuple[float, float]:
    wave = sum(1 - math.cos(12 * (a - b)) for a, b in zip(u, d.first, strict=True))
    return 1 + 0.6 * _away(u, d.first) ** 2 + 0.1 * wave, P99_US


def _cliff(u: Place, d: _Drawn) -> tuple[float, float]:
    return 1.8 - 0.5 * u[0] - 0.3 * u[1], 200 if u[0] + 0.7 * u[1] < 0.6 + 0.6 * d.first[0] else 2000


def _island(u: Place, d: _Drawn) -> tuple[float, float]:
    return 1 + 0.5 * _away(u, d.first) ** 2, 300 if _away(u, d.second) < 0.2 else 700


def _plateau(u: Place, d: _Drawn) -> tuple[float, float]:
    return 1 - 0.1 * (_away(u, d.first) < 0.25), P99_US


SHAPES: dict[str, tuple[Shape, int]] = {
    "flat": (_flat, 2),
    "bowl": (_bowl, 2),
    "valley": (_valley, 2),
    "limit": (_limit, 2),
    "two-valleys": (_two_valleys, 2),
    "needle": (_needle, 2),
    "ripple": (_ripple, 2),
    "cliff": (_cliff, 2),
    "island": (_island, 2),
    "plateau": (_plateau, 2),
    "bowl-3": (_bowl, 3),
    "two-valleys-3": (_two_valleys, 3),
    "needle-3": (_needle, 3),
}
"""Family to its shape and how many knobs it has: nothing to find; one valley, round, long or with waves; an optimum at
the limit, behind a cliff, or where alone the limit is kept; a deeper second valley, or a needle, that nothing points
to; a plateau."""


def surface(family: str, seed: int) -> tuple[Table, Settings]:
    """A surface of a family, and a default on it: of the settings that keep LIMIT, the corner that uses most.

    ValueError for a family that isn't in SHAPES.
    """
    if family not in SHAPES:
        raise ValueError(f"there is no surface {family!r}; there are {', '.join(SHAPES)}")
    shape, width = SHAPES[family]
    drawn = _Drawn(random.Random(f"{family}/{seed}"), width)
    sizes, knobs = SIZES[width], KNOBS[:width]
    found = []
    for place in itertools.product(*map(range, sizes)):
        joules, p99 = shape([v / (n - 1) for v, n in zip(place, sizes, strict=True)], drawn)
        metrics = {"energy_joules": JOULES * joules, "read_p99_us": p99, "achieved_ratio": 1.0}
        found.append(Observation(point=dict(zip(knobs, place, strict=True)), metrics=metrics))
    ends = [{0, n - 1} for n in sizes]
    corners = [o for o in found if all(v in end for v, end in zip(o.point.values(), ends, strict=True))]
    kept = [o for o in corners if LIMIT.met_by(o.metrics["read_p99_us"])] or corners
    return Table(found), dict(max(kept, key=lambda o: o.metrics["energy_joules"]).point)
