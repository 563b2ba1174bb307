"""What the rows of verdict_calibration are made of."""

import math
import random
from collections.abc import Callable, Iterable
from typing import Any

from scipy.stats import binom

CHANCE = 0.001
"""How unlikely what was found may be before a row fails."""
Row = dict[str, Any]


def row(name: str, found: Iterable[bool], *, least: float | None = None, most: float | None = None) -> Row:
    """A share of what was found that has to be at `least` or at `most`.

    `within`: whether it is; `passed`: the same, or beyond it by no more than chance explains.
    """
    hits = [bool(one) for one in found]
    count, runs = sum(hits), len(hits)
    if least is not None:
        passed = runs > 0 and count >= binom.ppf(CHANCE, runs, least)
        must = f">= {least:g}"
    else:
        assert most is not None
        passed = count <= (binom.ppf(1 - CHANCE, runs, most) if runs else 0)
        must = f"<= {most:g}"
    share = round(count / runs, 4) if runs else None
    within = bool(runs) and (count >= least * runs if least is not None else count <= (most or 0.0) * runs)
    return {"name": name, "found": share, "must_be": must, "passed": bool(passed), "within": within, "runs": runs}


def student(freedom: int, share: float) -> Callable[[random.Random], float]:
    """Noise with heavy tails: Student's t."""

    def draw(random_: random.Random) -> float:
        squares = sum(random_.gauss(0, 1) ** 2 for _ in range(freedom))
        return max(0.05, 1 + share * random_.gauss(0, 1) / math.sqrt(squares / freedom))

    return draw


def outliers(share: float, factor: float, noise: float) -> Callable[[random.Random], float]:
    """Some windows are many times too long."""
    return lambda draw: (factor if draw.random() < share else 1.0) * (1 + noise * draw.gauss(0, 1))
