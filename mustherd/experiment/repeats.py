"""The confirmation at one load: which repeats are to run next and on which muster, and what those so far say.

`Rounds` is kept up with each repeat, while the experiment runs; made anew from the same trials it stands at the very
repeat at which it was.
"""

import math
import statistics
from collections.abc import Iterable, Sequence

from mustherd import reasons
from mustherd.experiment.window_errors import errors
from mustherd.goal import Goal, keeps
from mustherd.learn.base import Settings
from mustherd.learn.confirmation import Confirmation
from mustherd.learn.questions import Wanted
from mustherd.learn.windows import Key, Repeat, key_of
from mustherd.trial import Trial, TrialKind, TrialState


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


def as_found(settings: Settings, trials: Iterable[Trial]) -> bool:
    """Whether every baseline, which set nothing, found its node at `settings`: then they are the default."""
    baselines = [t for t in finished(trials) if t.kind is TrialKind.BASELINE]
    return bool(baselines) and all(not t.settings and _holds(t, settings) for t in baselines)


def _holds(trial: Trial, settings: Settings) -> bool:
    """Whether the trial's node was at each of the `settings`, by `knob` on all its sheep or by `knob@sheep`."""
    for key, value in settings.items():
        knob, _, sheep = key.partition("@")
        there = [r.applied for r in trial.readings if r.knob == knob and sheep in ("", r.sheep)]
        if not there or any(applied != value for applied in there):
            return False
    return True


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


class Rounds:
    """The confirmation at one load, step by step: a round, or windows that are measured again. Pure.

    Every muster that is there measures the settings of a round, in an order that its number decides: musters are
    numbered as they first begin a repeat, so a run that resumes numbers them alike. A step is over when each muster
    that takes part has measured them all or given them up; what was measured then says what the next one holds.
    """

    def __init__(self, goal: Goal, order: Sequence[Settings], *, default: Settings | None, past: Sequence[Trial] = ()):
        """A confirmation at its first step.

        Args:
            goal: what is confirmed, and how.
            order: the candidates, the best first.
            default: the baseline's settings, repeated beside them.
            past: trials of the search, which say what to expect of the candidates.
        """
        self.confirmation = Confirmation(goal, order, default=default, expected=expected(order, past, goal))
        self.failed = 0
        """Repeats that were given up, by the fault of the trial or of the load."""
        self._needed = goal.metrics
        self._spare: list[Trial] = []
        """Repeats that no step so far has a place for."""
        self._after: dict[Key, set[int]] = {}
        self._step = 0
        self._wanted: list[Wanted] = []
        self._numbers: dict[str, int] = {}
        """Muster to its number."""
        self._turns: dict[int, list[int]] = {}
        """A muster's number to the places among what is wanted, in its order."""
        self._measured: dict[str, dict[int, Trial]] = {}
        """Muster to the place among what is wanted to the repeat there, once it has begun."""
        self._begin()

    def due(self, musters: Iterable[str]) -> list[tuple[Settings, str]]:
        """What nobody has begun to measure in the present step, and which of the `musters` has to; settings that are
        {}: the node as it was found."""
        musters = list(musters)
        self._go_on(musters)
        found = []
        for muster in musters:
            mine = self._measured.get(muster, {})
            found += [
                (self._wanted[place].point, muster)
                for place in self._turn(muster)
                if place not in mine and self._wanted[place].where in ("", muster)
            ]
        return found

    def _turn(self, muster: str) -> list[int]:
        """The places of what is wanted in the order of a muster; of a new one, as if it were the next to begin."""
        if any(wanted.where for wanted in self._wanted):
            return list(range(len(self._wanted)))
        number = self._numbers.get(muster, len(self._numbers))
        if number not in self._turns:
            self._turns[number] = [self._wanted.index(one) for one in self.confirmation.round(number)]
        return self._turns[number]

    @property
    def step(self) -> int:
        """The number of the present step, from 1 on."""
        return self._step

    @property
    def turn(self) -> tuple[bool, int]:
        """When it is its turn among the confirmations of several loads: the lowest is first.

        A round that has begun is completed before another begins, as a part of one compares nothing if the budget ends;
        and no load begins a round before each has had as many.
        """
        return not self._measured, self._step

    def begun(self, trial: Trial) -> None:
        """A repeat was queued. One that is already under way or over may be given, and counts in its present state."""
        self.failed += _given_up(trial)
        while trial.round > self._step and self._wanted:
            # The step before it was over, whoever was missing then.
            self._close()
        if not self._put(trial):
            self._spare.append(trial)

    def ended(self, trial: Trial) -> None:
        """A repeat that had begun finished or was given up."""
        self.failed += _given_up(trial)
        for mine in self._measured.values():
            for place, other in mine.items():
                if other.number == trial.number:
                    mine[place] = trial
        self._spare = [trial if other.number == trial.number else other for other in self._spare]

    def so_far(self) -> Confirmation:
        """The confirmation with what the present step has measured; for a verdict, as no step can follow then."""
        self._go_on(())
        if self._repeats():
            self._close()
        return self.confirmation

    def _go_on(self, musters: Sequence[str]) -> None:
        """Go on to the next step when all of `musters`, and whoever else takes part, are through with this one."""
        while self._wanted and self._through(musters):
            self._close()

    def _through(self, musters: Sequence[str]) -> bool:
        if any(t.state not in _SETTLED for mine in self._measured.values() for t in mine.values()):
            return False
        awaited = [w.where for w in self._wanted if w.where]
        if awaited:
            # Of a muster that is gone nothing more can be asked.
            return all(self._has_all(muster) or (muster not in musters and bool(musters)) for muster in awaited)
        # Musters that came to nothing here don't count; without any at all there is nothing to go on with.
        here = musters or list(self._measured)
        return bool(self._measured) and all(self._has_all(muster) for muster in here)

    def _has_all(self, muster: str) -> bool:
        mine = self._measured.get(muster, {})
        return all(place in mine or w.where not in ("", muster) for place, w in enumerate(self._wanted))

    def after(self, settings: Settings) -> set[int]:
        """The numbers of the trials that were made after `settings` were chosen, of them and of the default."""
        return self._after.get(key_of(settings), set())

    def _close(self) -> None:
        if (chosen := self.confirmation.chosen) is not None:
            numbers = {t.number for mine in self._measured.values() for t in mine.values()}
            self._after.setdefault(key_of(chosen), set()).update(numbers)
        self.confirmation.add(self._repeats())
        self._begin()

    def _begin(self) -> None:
        self._step += 1
        self._wanted = self.confirmation.round()
        self._turns = {}
        self._measured = {}
        spare, self._spare = self._spare, []
        for trial in spare:
            if not self._put(trial):
                self._spare.append(trial)

    def _put(self, trial: Trial) -> bool:
        """Give a repeat its place in the present step; whether there is one."""
        if trial.round not in (0, self._step):
            return False
        muster = trial.place or trial.muster
        mine = self._measured.setdefault(muster, {})
        for place, wanted in enumerate(self._wanted):
            if place not in mine and wanted.where in ("", muster) and key_of(wanted.point) == key_of(trial.settings):
                mine[place] = trial
                self._numbers.setdefault(muster, len(self._numbers))
                return True
        if not mine:
            del self._measured[muster]
        return False

    def _repeats(self) -> list[Repeat]:
        measured = finished((t for mine in self._measured.values() for t in mine.values()), *self._needed)
        return [
            Repeat(point=dict(t.settings), metrics=t.metrics, where=t.muster, errors=errors(t.load_report))
            for t in measured
        ]


_SETTLED = (TrialState.FINISHED, TrialState.FAILED)


def _given_up(trial: Trial) -> bool:
    return trial.state is TrialState.FAILED and reasons.of(trial.reason).fault.counts


def expected(order: Sequence[Settings], past: Sequence[Trial], goal: Goal) -> list[dict[str, float]]:
    """What the search's trials let one expect of each of the candidates in `order`, where they tried it."""
    tried = by_settings(t for t in finished(past, *goal.metrics) if t.kind is TrialKind.SEARCH)
    return [means(tried[key_of(settings)]) if key_of(settings) in tried else {} for settings in order]


def rounds_of(
    trials: Sequence[Trial], goal: Goal, order: Sequence[Settings] | None = None, default: Settings | None = None
) -> Rounds:
    """Where the confirmation of one load's `trials` stands.

    `order`: the candidates, if not as `candidates` says; `default`: the baseline's settings, if not those of its
    trials.
    """
    if default is None:
        default = default_settings(trials)
    order = candidates(trials, goal) if order is None else order
    rounds = Rounds(goal, order, default=default, past=trials)
    last = {t.number: t for t in sorted(trials, key=lambda t: t.attempt) if t.kind is TrialKind.CONFIRM}
    for number in sorted(last):
        rounds.begun(last[number])
    return rounds
