"""The confirmation at one load: which repeats are to run next, and what those so far say.

`Rounds` is kept up with each repeat, while the experiment runs; made anew from the same trials it stands at the very
repeat at which it was.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mustherd.goal import Goal, keeps
from mustherd.learn.base import Settings
from mustherd.learn.confirmation import Confirmation, Repeat
from mustherd.reasons import Reason
from mustherd.trial import Trial, TrialKind, TrialState

Key = tuple[tuple[str, int], ...]


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


@dataclass
class _Place:
    """A setting of the present round, and its repeat once that has begun."""

    settings: Settings
    trial: Trial | None = None


class Rounds:
    """The confirmation at one load, round by round. Pure.

    A round is over when each of its settings was measured or given up; what was measured then says which settings the
    next one has.
    """

    def __init__(self, goal: Goal, order: Sequence[Settings], *, default: Settings | None) -> None:
        """`order`: the candidates, the best first; `default`: the baseline's settings, repeated beside them."""
        self.confirmation = Confirmation(goal, order, default=default)
        self.failed = 0
        """Repeats that were given up."""
        self._over = 0
        """Rounds that are over."""
        self._asked = goal.repeats > 0
        self._needed = goal.metrics
        self._spare: dict[Key, list[Trial]] = {}
        """Repeats that no round so far has a place for."""
        self._places: list[_Place] = []
        self._begin()

    @property
    def due(self) -> tuple[Settings, ...]:
        """Settings of the present round that nobody has begun to repeat; {}: the node as it was found."""
        return tuple(place.settings for place in self._places if place.trial is None)

    @property
    def turn(self) -> tuple[bool, int]:
        """When it is its turn among the confirmations of several loads: the lowest is first.

        A round that has begun is completed before another begins, as a part of one compares nothing if the budget ends;
        and no load begins a round before each has had as many.
        """
        return all(place.trial is None for place in self._places), self._over

    def begun(self, trial: Trial) -> None:
        """A repeat was queued. One that is already under way or over may be given, and counts in its present state."""
        self.failed += _given_up(trial)
        free = next((p for p in self._places if p.trial is None and key_of(p.settings) == key_of(trial.settings)), None)
        if free is None:
            self._spare.setdefault(key_of(trial.settings), []).append(trial)
            return
        free.trial = trial
        self._go_on()

    def ended(self, trial: Trial) -> None:
        """A repeat that had begun finished or was given up."""
        self.failed += _given_up(trial)
        for place in self._places:
            if place.trial is not None and place.trial.number == trial.number:
                place.trial = trial
        for spare in self._spare.values():
            spare[:] = [trial if t.number == trial.number else t for t in spare]
        self._go_on()

    def so_far(self) -> Confirmation:
        """The confirmation with what the present round has measured; for a verdict, as no round can follow then."""
        repeats = self._repeats()
        if repeats:
            self.confirmation.add(repeats)
            self._places = []
        return self.confirmation

    def _go_on(self) -> None:
        while self._places and all(p.trial is not None and p.trial.state in _SETTLED for p in self._places):
            self.confirmation.add(self._repeats())
            self._over += 1
            self._begin()

    def _begin(self) -> None:
        points = self.confirmation.round() if self._asked else []
        self._places = [_Place(point) for point in points]
        for place in self._places:
            if spare := self._spare.get(key_of(place.settings)):
                place.trial = spare.pop(0)

    def _repeats(self) -> list[Repeat]:
        measured = finished((p.trial for p in self._places if p.trial is not None), *self._needed)
        return [Repeat(point=dict(t.settings), metrics=t.metrics, where=t.muster) for t in measured]


_SETTLED = (TrialState.FINISHED, TrialState.FAILED)


def _given_up(trial: Trial) -> bool:
    return trial.state is TrialState.FAILED and trial.reason != Reason.BUDGET_SPENT


def rounds_of(
    trials: Sequence[Trial], goal: Goal, order: Sequence[Settings] | None = None, default: Settings | None = None
) -> Rounds:
    """Where the confirmation of one load's `trials` stands.

    `order`: the candidates, if not as `candidates` says; `default`: the baseline's settings, if not those of its
    trials.
    """
    if default is None:
        default = default_settings(trials)
    rounds = Rounds(goal, candidates(trials, goal) if order is None else order, default=default)
    last = {t.number: t for t in sorted(trials, key=lambda t: t.attempt) if t.kind is TrialKind.CONFIRM}
    for number in sorted(last):
        rounds.begun(last[number])
    return rounds
