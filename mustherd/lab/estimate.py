"""Means and what they are worth: 95 % confidence intervals for a mean and for a saving."""

import math
import statistics
from collections.abc import Sequence

CONFIDENCE = 0.95

Interval = tuple[float, float]


def _half(spread: float, freedom: float) -> float:
    """Half the width of the interval: Student's t at `freedom` times the standard error `spread`."""
    # scipy.stats would say the same after a second of importing.
    from scipy.special import stdtrit  # noqa: PLC0415

    return float(stdtrit(freedom, 0.5 + CONFIDENCE / 2)) * spread


def mean_interval(values: Sequence[float]) -> Interval | None:
    """The interval of the mean of `values`; None for fewer than two."""
    n = len(values)
    if n < 2:
        return None
    mean = statistics.fmean(values)
    half = _half(statistics.stdev(values, mean) / math.sqrt(n), n - 1)
    return mean - half, mean + half


def saving(best: Sequence[float], default: Sequence[float]) -> float:
    """How much less the best's mean is than the default's, in percent."""
    return 100.0 * (1.0 - statistics.fmean(best) / statistics.fmean(default))


def paired_saving_interval(pairs: Sequence[tuple[float, float]]) -> Interval | None:
    """The interval of `saving` when (best, default) were measured one after the other; None for fewer than two pairs.

    What both of a pair share, such as drift, cancels. The saving is 1 - r with r the ratio of the means, whose
    standard error is that of the residuals best - r * default over the default's mean (the ratio estimator: Cochran,
    Sampling Techniques, 3rd edition, section 6.4), with n - 1 degrees of freedom.
    """
    n = len(pairs)
    if n < 2:
        return None
    level = statistics.fmean(default for _, default in pairs)
    ratio = statistics.fmean(best for best, _ in pairs) / level
    spread = statistics.stdev([best - ratio * default for best, default in pairs], 0.0)
    return _around(ratio, _half(spread / math.sqrt(n) / abs(level), n - 1))


def saving_interval(best: Sequence[float], default: Sequence[float]) -> Interval | None:
    """The interval of `saving` when nothing is paired; None when either was measured fewer than two times.

    The relative variances of the two means add up to that of their ratio (first order); the degrees of freedom are
    those of Welch and Satterthwaite, so the two may vary differently.
    """
    if len(best) < 2 or len(default) < 2:
        return None
    parts = [statistics.variance(v) / len(v) / statistics.fmean(v) ** 2 for v in (best, default)]
    ratio = statistics.fmean(best) / statistics.fmean(default)
    total = sum(parts)
    if total == 0:
        return _around(ratio, 0.0)
    freedom = total**2 / sum(p**2 / (len(v) - 1) for p, v in zip(parts, (best, default), strict=True))
    return _around(ratio, _half(abs(ratio) * math.sqrt(total), freedom))


def _around(ratio: float, half: float) -> Interval:
    return 100.0 * (1.0 - ratio - half), 100.0 * (1.0 - ratio + half)
