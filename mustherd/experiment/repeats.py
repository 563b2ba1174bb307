"""The confirmation as the store has it: what the repeats so far say, and which of them are to run next.

Everything is worked out anew from the trials each time, so that a resumed experiment goes on with the very repeat at
which it was stopped.
"""

import math
import statistics
from collections.abc import Iterable, Sequence

import msgspec

from mustherd.goal import Goal, keeps
from mustherd.learn.base import Settings
from mustherd.learn.confirmation import Confirmation, Repeat
from mustherd.trial import Trial, TrialKind, TrialState

Key = tuple[tuple[str, int], ...]


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where a confirmation stands."""

    confirmation: Confirmation
    due: tuple[Settings, ...]
    """Settings of the present round that nobody has begun to repeat; {}: the node as it was found."""
    failed: int
    """Repeats that were given up."""


def key_of(settings: dict[str, int]) -> Key:
    """Settings as something that can be compared and counted."""
    return tuple(sorted(settings.items()))


def finished(trials: Iterable[Trial], *names: str) -> list[Trial]:
    """The finished trials that have the metrics called `names`, in the order of their numbers."""
    return [
        trial
        for trial in sorted(trials, key=lambda t: (t.number, t.attempt))
        if trial.state is TrialState.FINISHED and all(math.isfinite(trial.metrics.get(m, math.nan)) for m in names)
    ]


def means(trials: Sequence[Trial]) -> dict[str, float]:
    """Means of the metrics that every one of the trials has."""
    names = [m for m in trials[0].metrics if all(math.isfinite(t.metrics.get(m, math.nan)) for t in trials)]
    return {name: statistics.fmean(trial.metrics[name] for trial in trials) for name in names}


def by_settings(trials: Iterable[Trial]) -> dict[Key, list[Trial]]:
    """Trials in groups of equal settings, groups in the order of their first."""
    groups: dict[Key, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(key_of(trial.settings), []).append(trial)
    return groups


def default_settings(trials: Iterable[Trial]) -> Settings | None:
    """The settings of the default: those of the baseline trials; None before there is one."""
    return next((trial.settings for trial in trials if trial.kind is TrialKind.BASELINE), None)


def candidates(trials: Sequence[Trial], goal: Goal) -> list[Settings]:
    """Settings that kept every limit in the search, the one with the best objective first.

    To be confirmed in this order where no policy ranks them. Equal ones in the order they were tried. Once there are
    repeats, the settings that they are of.
    """
    default = default_settings(trials)
    repeated = [t.settings for t in sorted(trials, key=lambda t: t.number) if t.kind is TrialKind.CONFIRM]
    if repeated:
        return list({key_of(s): s for s in reversed(repeated) if s != default}.values())[::-1]
    found: list[tuple[float, Settings]] = []
    for group in by_settings(t for t in finished(trials, goal.objective) if t.kind is TrialKind.SEARCH).values():
        mean = means(group)
        if keeps(mean, goal.constraints):
            found.append((goal.cost(mean), dict(group[0].settings)))
    return [settings for _, settings in sorted(found, key=lambda item: item[0])]


def standing(trials: Sequence[Trial], goal: Goal, order: Sequence[Settings] | None = None) -> Standing:
    """Where the confirmation of one load's `trials` stands; `order`: the candidates, if not as `candidates` says."""
    default = default_settings(trials)
    order = candidates(trials, goal) if order is None else order
    confirmation = Confirmation(goal, order, default=default)
    last = {t.number: t for t in sorted(trials, key=lambda t: t.attempt) if t.kind is TrialKind.CONFIRM}
    waiting: dict[Key, list[Trial]] = by_settings(last[number] for number in sorted(last))
    failed = sum(t.state is TrialState.FAILED for t in last.values())
    while goal.repeats and (points := confirmation.round()):
        due = [p for p in points if not waiting.get(key_of(p))]
        round_ = [waiting[key_of(p)].pop(0) for p in points if waiting.get(key_of(p))]
        over = not due and all(t.state in (TrialState.FINISHED, TrialState.FAILED) for t in round_)
        repeats = [
            Repeat(point=dict(t.settings), metrics=t.metrics, where=t.muster) for t in finished(round_, *goal.metrics)
        ]
        if over or repeats:
            confirmation.add(repeats)
        if not over:
            return Standing(confirmation=confirmation, due=tuple(due), failed=failed)
    return Standing(confirmation=confirmation, due=(), failed=failed)
