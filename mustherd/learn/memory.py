"""Memory: whether a setting's rounds resemble the round before, and what they then say less.

Noise that a node or an hour has in common cancels within blocks. What a setting keeps for itself from round to round
does not: few rounds then agree with one another better than with the truth. It is looked for in all that the rounds
measured at once, every setting on every node, and it is allowed for.

- *The test* is Moran's (Biometrika 37, 1950) on what is left of the logarithms once each setting on each node has its
  mean and each block has its own (so what a round has in common counts for nothing): the share of it that neighbours
  in time have in common, against what that share is for windows that know nothing of one another (Cliff and Ord,
  Spatial Processes, 1981, chapter 8). Settings that are noisier than others have variances of their own in that, as far
  as they differ by more than chance. Metrics count together, less where they say the same.
- *The estimate* is the share at which a memory that fades from round to round, AR(1), would leave that much in common:
  so the lean of short series towards less is taken out.
- *What a mean is worth* follows: of consecutive windows its variance is greater than their spread lets one think.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mustherd.learn.windows import Cell, Windows, by_node

SEEN = 2.0
"""Standard deviations beyond which it is said that rounds have a memory: windows that have none reach it in at most one
confirmation of thirty (benchmark verdict_calibration, row memory)."""
LEAST_FREEDOM = 4
"""With less nothing is said."""
MOST_SHARE = 0.95
STEP = 0.05


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What the rounds of a confirmation tell of a memory of their noise."""

    deviations: float = 0.0
    """By how many standard deviations neighbouring rounds are more alike than chance makes them."""
    share: float = 0.0
    """What a window's noise keeps of the setting's round before, as a correlation: an estimate."""

    @property
    def seen(self) -> bool:
        """Whether it is beyond chance."""
        return self.deviations > SEEN

    @property
    def allowed(self) -> float:
        """The share to allow for: 0 unless it was seen."""
        return self.share if self.seen else 0.0


def memory(windows: Windows, metrics: Sequence[str]) -> Memory:
    """What all windows tell by those of the `metrics` that are positive and differ."""
    nodes: dict[str, dict[Any, list[Cell]]] = {}
    for key, cells in windows.all():
        for node, mine in by_node(cells).items():
            nodes.setdefault(node, {})[key] = mine
    parts = [part for series in nodes.values() if (part := _Part.of(series)) is not None]
    freedom = sum(part.freedom for part in parts)
    left = [_left(parts, metric) for metric in dict.fromkeys(metrics) if windows.positive(metric)]
    left = [each for each in left if sum(float(e @ e) for e in each) > len(each) * 1e-12]
    if freedom < LEAST_FREEDOM or not left:
        return Memory()
    common = [
        sum(float(e @ part.beside @ e) for part, e in zip(parts, each, strict=True)) / sum(float(e @ e) for e in each)
        for each in left
    ]
    deviations = []
    for one, each in zip(common, left, strict=True):
        expected, variance = _by_chance(parts, _variances(parts, each))
        if variance <= 0:
            return Memory()
        deviations.append((one - expected) / math.sqrt(variance))
    return Memory(
        deviations=math.fsum(deviations) / math.sqrt(len(deviations) + 2 * _same(left, freedom)),
        share=_share_of(parts, math.fsum(common) / len(common)),
    )


class _Part:
    """One node's windows: which are neighbours, and what is left once settings and blocks have their means."""

    def __init__(self, cells: Sequence[Cell], of_setting: Any, lags: Any, projection: Any, freedom: int) -> None:
        self.cells = cells
        self.of_setting = of_setting
        """Settings by windows, 1 where the window is of the setting."""
        self.projection = projection
        self.freedom = freedom
        self.lags = lags
        self.beside = (lags == 1) / 2.0
        self.seen = projection @ self.beside @ projection

    @classmethod
    def of(cls, series: Mapping[Any, Sequence[Cell]]) -> "_Part | None":
        """None where nothing is left."""
        # Imported late: only a confirmation needs it.
        import numpy as np  # noqa: PLC0415

        cells = [cell for of in series.values() for cell in of]
        rounds = sorted({cell.round for cell in cells})
        design = np.zeros((len(cells), len(series) + len(rounds)))
        lags = np.full((len(cells), len(cells)), np.inf)
        begin = 0
        for place, of in enumerate(series.values()):
            end = begin + len(of)
            order = np.arange(len(of))
            lags[begin:end, begin:end] = np.abs(order[:, None] - order[None, :])
            design[begin:end, place] = 1.0
            begin = end
        for row, cell in enumerate(cells):
            design[row, len(series) + rounds.index(cell.round)] = 1.0
        base, sizes, _ = np.linalg.svd(design, full_matrices=False)
        base = base[:, sizes > 1e-9]
        freedom = len(cells) - base.shape[1]
        of_setting = design[:, : len(series)].T.copy()
        return cls(cells, of_setting, lags, np.eye(len(cells)) - base @ base.T, freedom) if freedom > 0 else None

    def in_common(self, share: float) -> tuple[float, float]:
        """What is expected of neighbours' products and of squares at a memory of `share`."""
        covariance = share**self.lags
        return float((self.seen * covariance).sum()), float((self.projection * covariance).sum())


def _left(parts: Sequence[_Part], metric: str) -> list[Any]:
    import numpy as np  # noqa: PLC0415

    found = []
    for part in parts:
        logs = np.array([math.log(cell.value(metric)) for cell in part.cells])
        found.append(part.projection @ (logs - logs.mean()))
    return found


def _variances(parts: Sequence[_Part], left: Sequence[Any]) -> list[Any]:
    """The variance of each window, by what is left of its setting on its node; all alike where they differ no more than
    by chance.

    One setting that is much noisier than the others has nearly all of what is left, and then there is that much less
    to tell a memory by.
    """
    import numpy as np  # noqa: PLC0415

    found, chance = [], []
    for part, e in zip(parts, left, strict=True):
        # What is left of a setting has a share of the others' noise in it, which the blocks' means bring.
        mixed = part.of_setting @ part.projection**2 @ part.of_setting.T
        found.append(np.clip(np.linalg.pinv(mixed) @ (part.of_setting @ e**2), 0.0, None))
        chance += [2 / own for own in part.of_setting @ part.projection.diagonal() if own > 0]
    every = np.concatenate(found)
    mean = float(every.mean())
    differ = float(every.var()) / mean**2 if mean > 0 else 0.0
    trusted = max(0.0, 1 - float(np.mean(chance)) / differ) if differ > 0 else 0.0
    return [(mean + trusted * (of - mean)) @ part.of_setting for part, of in zip(parts, found, strict=True)]


def _by_chance(parts: Sequence[_Part], variances: Sequence[Any]) -> tuple[float, float]:
    """The mean and the variance of what neighbours have in common by chance, where windows have these variances."""
    total = sum(float(part.projection.diagonal() @ of) for part, of in zip(parts, variances, strict=True))
    if total <= 0:
        return 0.0, 0.0
    mean = sum(float(part.seen.diagonal() @ of) for part, of in zip(parts, variances, strict=True)) / total
    squared = alike = 0.0
    for part, of in zip(parts, variances, strict=True):
        both = of[:, None] * of
        squared += float(((part.seen - mean * part.projection) ** 2 * both).sum())
        alike += float((part.projection**2 * both).sum())
    freedom = total**2 / alike
    return mean, 2 * squared / total**2 * freedom / (freedom + 2)


def _same(left: Sequence[Sequence[Any]], freedom: int) -> float:
    """How much of what metrics say they say together: the squared correlations of all pairs, less chance's."""
    found = 0.0
    for place, one in enumerate(left):
        for other in left[:place]:
            squares = [math.fsum(float(e @ e) for e in each) for each in (one, other)]
            product = math.fsum(float(a @ b) for a, b in zip(one, other, strict=True))
            found += max(0.0, product**2 / (squares[0] * squares[1]) - 1 / freedom)
    return found


def _share_of(parts: Sequence[_Part], common: float) -> float:
    """The share at which as much is expected in common as there is."""
    share, before = 0.0, -math.inf
    while True:
        products, squares = (sum(of) for of in zip(*(part.in_common(share) for part in parts), strict=True))
        here = products / squares
        if here >= common or share >= MOST_SHARE:
            if math.isfinite(before) and here > before:
                share -= STEP * min(1.0, max(0.0, here - common) / (here - before))
            return min(MOST_SHARE, share)
        share, before = round(share + STEP, 4), max(before, here)


@functools.cache
def mean_variance(count: int, share: float) -> float:
    """The variance of the mean of so many consecutive windows, where a window's is 1."""
    return (count + 2 * math.fsum((count - k) * share**k for k in range(1, count))) / count**2


def spread_left(rounds: int, values: int, share: float) -> float:
    """What is to be expected of the squared spread of so many `values` of consecutive rounds, several in each where
    there are several nodes, two at least; a value's own is 1."""
    nodes = max(1.0, values / rounds)
    return (1 - mean_variance(min(rounds, values), share) / nodes) * values / (values - 1)


def of_mean(rounds: int, values: int, share: float) -> float:
    """By how much a mean's standard error, worked out from the spread of its values, comes out too small."""
    if share <= 0 or values < 2:
        return 1.0
    rounds = min(rounds, values)
    return math.sqrt(mean_variance(rounds, share) * rounds / spread_left(rounds, values, share))


def of_next(rounds: int, share: float) -> float:
    """By how much the bound for a node's next window, worked out from the spread of those of so many rounds, lies too
    near their mean."""
    if share <= 0 or rounds < 2:
        return 1.0
    return math.sqrt((1 + mean_variance(rounds, share)) / (1 + 1 / rounds) / spread_left(rounds, rounds, share))
