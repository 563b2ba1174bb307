"""A portfolio: settings in the order to confirm them, so that the first few hold the most to be hoped for together.

By cost alone the first are settings that rarely hold; by safety alone those that surely do, and a much cheaper one
that may hold is never measured again. So each place goes to the setting that adds most to the expected saving of the
best one that holds: beside a safe setting a cheaper one with some hope, beside a doubtful one a safer.
"""

from collections.abc import Sequence

SURE = 0.95
"""No setting counts as surer to hold than this: models are wrong more often than they say."""


def portfolio(savings: Sequence[float], chances: Sequence[float]) -> list[int]:
    """The places of settings in `savings`, each in turn for what it brings beside those before it.

    Args:
        savings: what each saves if it holds, on any scale on which 0 is nothing saved.
        chances: of each to hold, taken as if one had nothing to do with another.

    What can bring nothing comes last, the greatest saving first.
    """
    left = sorted(range(len(savings)), key=lambda i: -savings[i])
    order: list[int] = []
    # The best saving that holds among those in the order: each possible one with its chance, beginning with none.
    best_so_far: list[tuple[float, float]] = [(0.0, 1.0)]
    while left:
        brings = [
            min(SURE, chances[i]) * sum(p * max(0.0, savings[i] - saving) for saving, p in best_so_far) for i in left
        ]
        most = max(brings)
        if most <= 0:
            break
        taken = left.pop(brings.index(most))
        order.append(taken)
        best_so_far = _with(best_so_far, savings[taken], min(SURE, chances[taken]))
    return [*order, *left]


def _with(best: list[tuple[float, float]], saving: float, chance: float) -> list[tuple[float, float]]:
    """The best of what there was and one setting more."""
    less = [(s, p) for s, p in best if s < saving]
    return [
        *((s, p if s >= saving else p * (1 - chance)) for s, p in best),
        (saving, chance * sum(p for _, p in less)),
    ]
