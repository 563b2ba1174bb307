"""Which way a metric is better. Everything that chooses makes a *cost* small.

Of a metric that is maximized the cost is the reciprocal: a gain of 10 % is then as far in its logarithm as for any
other metric, so that models, noise and hypervolumes in logarithms need no sign.
"""

MAXIMIZED = frozenset({"achieved_qps", "achieved_ratio"})
"""Metrics of which more is better; of all others less is."""

_LEAST = 1e-12


def better(metric: str) -> str:
    """What a better value is: `more` or `less`."""
    return "more" if metric in MAXIMIZED else "less"


def improvement(metric: str) -> str:
    """How a better value is called."""
    return "gain" if metric in MAXIMIZED else "saving"


def cost(metric: str, value: float) -> float:
    """What is to be made small for `value` of `metric` to become better; its own inverse: the cost's cost is the value.

    Nothing answered at all costs 1e12.
    """
    return 1 / max(value, _LEAST) if metric in MAXIMIZED else value


def better_percent(metric: str, value: float, than: float) -> float:
    """By how many per cent of `than`, which isn't 0, `value` is better: less, or of a maximized metric more."""
    return 100 * (value / than - 1) * (1 if metric in MAXIMIZED else -1)
