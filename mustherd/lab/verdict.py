"""What an experiment found, in numbers and in a sentence: pure functions of its trials.

**The rule.** The verdict is `met` when a setting, measured again by as many repeats as the experiment asked for,

- keeps every limit on the mean of its repeats (the throughput guard is such a limit), and
- uses less of the objective than the default: the 95 % interval of the saving lies above zero, or the saving itself
  does where there are too few repeats for an interval.

It is `not met` otherwise. The trial by which the search found the setting doesn't count towards its confirmed values:
it was chosen for being low, so it's likely to be too low. Limits are held against means, because the best setting
lies close to its limit by nature, and with three repeats an interval is several times as wide as the noise; `certain`
says whether the whole interval keeps every limit too, and the sentence says so when it doesn't.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Literal

import msgspec

from mustherd.lab import words
from mustherd.lab.estimate import Interval, mean_interval, paired_saving_interval, saving, saving_interval
from mustherd.lab.goal import Goal, excess, keeps
from mustherd.lab.store import Store
from mustherd.lab.trial import Kind, State, Trial
from mustherd.learn.search import Constraint
from mustherd.terms import KnobInfo

Key = tuple[tuple[str, int], ...]


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two settings that are compared: means over `n` finished trials."""

    knobs: dict[str, int]
    """Values asked for; for a default that is as found, the values that were found."""
    n: int
    energy_joules: float | None
    read_p99_us: float | None
    achieved_ratio: float | None
    metrics: dict[str, float]
    intervals: dict[str, Interval]
    """Metric to the 95 % interval of its mean, from two trials on."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What an experiment found. Percentages are of the default's mean."""

    verdict: Literal["met", "not met"]
    reason: str
    objective: str
    constraints: tuple[str, ...]
    default: Side | None = None
    best: Side | None = None
    """The setting that was chosen; None where none kept the limits."""
    closest: Side | None = None
    """Where there is no best: the setting that came closest to keeping the limits."""
    saving_percent: float | None = None
    saving_ci_percent: Interval | None = None
    paired: bool = False
    """Whether the saving's interval rests on pairs of neighbouring trials, so that drift cancels."""
    confirmed: bool = False
    certain: bool = False
    without_effect: tuple[str, ...] = ()
    """Knobs that changed nothing that matters, as far as the search's trials can tell."""
    trials: dict[str, int] = {}
    """Attempts by state."""


def key_of(settings: dict[str, int]) -> Key:
    """Settings as something that can be compared and counted."""
    return tuple(sorted(settings.items()))


def _finished(trials: Iterable[Trial], *metrics: str) -> list[Trial]:
    return [
        trial
        for trial in sorted(trials, key=lambda t: (t.number, t.attempt))
        if trial.state is State.FINISHED and all(math.isfinite(trial.metrics.get(m, math.nan)) for m in metrics)
    ]


def _means(trials: Sequence[Trial]) -> dict[str, float]:
    """Means of the metrics that every one of the trials has."""
    names = [m for m in trials[0].metrics if all(math.isfinite(t.metrics.get(m, math.nan)) for t in trials)]
    return {name: statistics.fmean(trial.metrics[name] for trial in trials) for name in names}


def _by_settings(trials: Iterable[Trial]) -> dict[Key, list[Trial]]:
    groups: dict[Key, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(key_of(trial.settings), []).append(trial)
    return groups


def default_key(trials: Iterable[Trial]) -> Key | None:
    """The settings of the default: those of the baseline trials; None before there is one."""
    return next((key_of(trial.settings) for trial in trials if trial.kind is Kind.BASELINE), None)


def candidates(trials: Sequence[Trial], constraints: Sequence[Constraint], objective: str) -> list[dict[str, int]]:
    """Settings that kept every limit in the search, the one with the lowest objective first.

    To be confirmed in this order until one holds (`holds`). Equal ones in the order they were tried.
    """
    found: list[tuple[float, dict[str, int]]] = []
    for group in _by_settings(t for t in _finished(trials, objective) if t.kind is Kind.SEARCH).values():
        means = _means(group)
        if keeps(means, constraints):
            found.append((means[objective], dict(group[0].settings)))
    return [settings for _, settings in sorted(found, key=lambda item: item[0])]


def holds(trials: Sequence[Trial], settings: dict[str, int], goal: Goal) -> bool | None:
    """Whether the repeats of `settings` keep every limit on average; None before there are enough of them."""
    repeats = [
        trial
        for trial in _finished(trials, goal.objective)
        if trial.kind is Kind.CONFIRM and key_of(trial.settings) == key_of(settings)
    ]
    if not repeats or len(repeats) < goal.repeats:
        return None
    return keeps(_means(repeats), goal.constraints)


def decide(trials: Sequence[Trial], goal: Goal, knobs: Sequence[KnobInfo] = ()) -> Verdict:
    """The verdict on `trials`, all attempts of an experiment; `knobs` give values their names and units."""
    return _Decision(trials, goal, knobs).verdict()


class _Decision:
    """The trials of one verdict, sorted out."""

    def __init__(self, trials: Sequence[Trial], goal: Goal, knobs: Sequence[KnobInfo]) -> None:
        self.goal = goal
        self.knobs = knobs
        self.all = trials
        self.finished = _finished(trials, goal.objective)
        self.default = default = default_key(trials)
        self.repeats = _by_settings(
            t for t in self.finished if t.kind is Kind.CONFIRM and key_of(t.settings) != default
        )
        self.searched = _by_settings(t for t in self.finished if t.kind is Kind.SEARCH)
        self.baseline = [
            t
            for t in self.finished
            if t.kind is Kind.BASELINE or (t.kind is Kind.CONFIRM and key_of(t.settings) == default)
        ]

    def verdict(self) -> Verdict:
        """The verdict, with the first reason that speaks against `met`."""
        chosen = self._chosen()
        if chosen is None:
            return self._without_best()
        key, group, confirmed = chosen
        pairs = self._pairs(key) if group[0].kind is Kind.CONFIRM else []
        against = [default for _, default in pairs] or self.baseline
        best = self._side(group)
        default = self._side(against) if against else None
        percent, interval = self._saving(group, against, pairs)
        what = words.settings(group[0].settings, self.knobs)
        certain = confirmed and self._keeps_for_certain(best) and interval is not None and interval[0] > 0
        verdict: Literal["met", "not met"] = "not met"
        if key == self.default:
            reason = f"not met: of the settings that keep {self._limits()}, the default itself is the best"
        elif not confirmed:
            had = len(self.repeats.get(key, ()))
            reason = (
                f"not met: {what} looked best, but it was measured again {had} of {self.goal.repeats} times,"
                " so it's not confirmed"
            )
        elif default is None or percent is None:
            reason = f"not met: the default was not measured, so there is nothing to compare {what} with"
        elif percent <= 0:
            reason = (
                f"not met: no setting that keeps {self._limits()} uses less {self.goal.objective} than the default;"
                f" the best was {what}, with {words.number(-percent, 3)} % more"
            )
        elif interval is not None and interval[0] <= 0:
            reason = (
                f"not met: {what} uses {words.number(percent, 3)} % less {self.goal.objective} than the default,"
                f" but with a 95 % interval of {_span(interval, 3)} % that can't be told from nothing"
            )
        else:
            verdict = "met"
            reason = self._met(what, best, percent, interval)
        return self._verdict(
            verdict=verdict,
            reason=reason,
            default=default,
            best=best,
            saving_percent=percent,
            saving_ci_percent=interval,
            paired=bool(pairs) and interval is not None,
            confirmed=confirmed and self.goal.repeats > 0,
            certain=certain,
        )

    def _verdict(self, **fields: Any) -> Verdict:
        counts = {state.value: sum(t.state is state for t in self.all) for state in State}
        limits = tuple(words.limit(c) for c in self.goal.constraints)
        return Verdict(objective=self.goal.objective, constraints=limits, trials=counts, **fields)

    def _chosen(self) -> tuple[Key, list[Trial], bool] | None:
        """The setting to announce, its trials, and whether enough repeats confirm it."""
        confirmed = [
            (statistics.fmean(t.metrics[self.goal.objective] for t in group), key)
            for key, group in self.repeats.items()
            if len(group) >= self.goal.repeats and keeps(_means(group), self.goal.constraints)
        ]
        if confirmed:
            _, key = min(confirmed)
            return key, self.repeats[key], True
        for settings in candidates(self.finished, self.goal.constraints, self.goal.objective):
            key = key_of(settings)
            if holds(self.finished, settings, self.goal) is not False:
                return key, self.searched[key], self.goal.repeats == 0
        return None

    def _without_best(self) -> Verdict:
        default = self._side(self.baseline) if self.baseline else None
        tried = {key: self.repeats.get(key) or group for key, group in {**self.repeats, **self.searched}.items()}
        if not tried:
            reasons = [t.reason for t in self.all if t.reason and t.kind is not Kind.BASELINE]
            most = f", most often for {statistics.mode(reasons)}" if reasons else ""
            return self._verdict(verdict="not met", reason=f"not met: no trial finished{most}", default=default)
        key = min(tried, key=lambda k: self._distance(_means(tried[k])))
        closest = self._side(tried[key])
        broken = [c for c in self.goal.constraints if not keeps(closest.metrics, [c])]
        values = words.together([f"{c.metric} {words.number(closest.metrics.get(c.metric))}" for c in broken])
        none = "no setting that once kept" if self.repeats else "no setting kept"
        still = " did so over its repeats" if self.repeats else ""
        reason = (
            f"not met: {none} {self._limits()}{still};"
            f" the closest was {words.settings(tried[key][0].settings, self.knobs)} with {values}"
        )
        return self._verdict(verdict="not met", reason=reason, default=default, closest=closest)

    def _distance(self, means: dict[str, float]) -> float:
        """How far the worst of the limits is from being kept."""
        over = [
            excess(means.get(c.metric, math.inf if not c.at_least else -math.inf), c) for c in self.goal.constraints
        ]
        return max(over, default=0.0)

    def _limits(self) -> str:
        return words.together([words.limit(c) for c in self.goal.constraints]) or "the limits"

    def _side(self, group: Sequence[Trial]) -> Side:
        means = _means(group)
        intervals: dict[str, Interval] = {}
        for metric in {self.goal.objective: 0, **{c.metric: 0 for c in self.goal.constraints}}:
            interval = mean_interval([t.metrics[metric] for t in group]) if metric in means else None
            if interval is not None:
                intervals[metric] = interval
        return Side(
            knobs=_knobs_of(group),
            n=len(group),
            energy_joules=means.get("energy_joules"),
            read_p99_us=means.get("read_p99_us"),
            achieved_ratio=means.get("achieved_ratio"),
            metrics=means,
            intervals=intervals,
        )

    def _pairs(self, chosen: Key) -> list[tuple[Trial, Trial]]:
        """Each repeat of the best with the nearest repeat of the default, on the same muster where there is one.

        Of two that are equally near, the one that no repeat of another setting has: it belongs to this one's round.
        """
        defaults = [t for t in self.baseline if t.kind is Kind.CONFIRM]
        pairs: dict[Key, list[tuple[Trial, Trial]]] = {key: [] for key in self.repeats}
        taken: set[int] = set()
        for trial in sorted((t for group in self.repeats.values() for t in group), key=lambda t: t.number):
            own = pairs[key_of(trial.settings)]
            free = [t for t in defaults if all(t is not default for _, default in own)]
            if free:
                near = min(free, key=partial(_distance_between, trial, taken))
                taken.add(near.number)
                own.append((trial, near))
        found = pairs.get(chosen, [])
        return found if len(found) > 1 and len(found) == len(self.repeats[chosen]) else []

    def _saving(
        self, group: Sequence[Trial], against: Sequence[Trial], pairs: Sequence[tuple[Trial, Trial]]
    ) -> tuple[float | None, Interval | None]:
        best = [t.metrics[self.goal.objective] for t in group]
        default = [t.metrics[self.goal.objective] for t in against]
        if not default or statistics.fmean(default) <= 0 or statistics.fmean(best) <= 0:
            return None, None
        if pairs:
            interval = paired_saving_interval(list(zip(best, default, strict=True)))
        else:
            interval = saving_interval(best, default)
        return saving(best, default), interval

    def _keeps_for_certain(self, best: Side) -> bool:
        for constraint in self.goal.constraints:
            interval = best.intervals.get(constraint.metric)
            if interval is None or not constraint.met_by(interval[0] if constraint.at_least else interval[1]):
                return False
        return True

    def _met(self, what: str, best: Side, percent: float, interval: Interval | None) -> str:
        sure = f" (95 % interval {_span(interval, 3)} %)" if interval else ""
        over = f"on the mean of {best.n} {'repeats' if self.goal.repeats else 'trials'}"
        if best.n == 1:
            over = "in one measurement"
        kept = [f"{words.limit(c)} ({words.number(best.metrics[c.metric])})" for c in self.goal.constraints]
        reason = (
            f"met: {what} uses {words.number(percent, 3)} % less {self.goal.objective} than the default{sure}"
            f" and keeps {words.together(kept) or 'the limits'} {over}"
        )
        loose = [
            f"{c.metric} ({_span(best.intervals[c.metric])})"
            for c in self.goal.constraints
            if c.metric in best.intervals and not c.met_by(best.intervals[c.metric][0 if c.at_least else 1])
        ]
        if loose:
            reason += f"; it's close: the 95 % interval reaches beyond the limit for {words.together(loose)}"
        return reason


def _span(interval: Interval, digits: int = 4) -> str:
    return f"{words.number(interval[0], digits)} to {words.number(interval[1], digits)}"


def _distance_between(trial: Trial, taken: set[int], default: Trial) -> tuple[bool, int, bool, int]:
    apart = abs(default.number - trial.number)
    return default.muster != trial.muster, apart, default.number in taken, default.number


def _knobs_of(group: Sequence[Trial]) -> dict[str, int]:
    """What the trials set; where they left the node as found, what was found, by knob or `knob@sheep`."""
    if group[0].settings:
        return dict(group[0].settings)
    found: dict[str, dict[str, int]] = {}
    for reading in group[0].readings:
        if reading.applied is not None:
            found.setdefault(reading.knob, {})[reading.sheep] = reading.applied
    knobs: dict[str, int] = {}
    for knob, sheep in sorted(found.items()):
        if len(set(sheep.values())) == 1:
            knobs[knob] = next(iter(sheep.values()))
        else:
            knobs.update({f"{knob}@{name}": value for name, value in sorted(sheep.items())})
    return knobs


def knobs_known(store: Store) -> tuple[KnobInfo, ...]:
    """The knobs that the experiment's musters have, one of each name."""
    return tuple({k.name: k for record in store.musters().values() for k in record.knobs}.values())


def summary(store: Store) -> dict[str, Any]:
    """The experiment's result as JSON types: the object that `mustherd experiment start --json` ends with.

    The verdict is the stored one, or what the trials say so far.
    """
    row = store.experiment()
    verdict = row.verdict
    if verdict is None:
        found = decide(store.trials(), Goal.of(row.resolved), knobs_known(store))
        verdict = msgspec.json.decode(msgspec.json.encode(found))
    return {
        "experiment": row.name,
        "folder": str(store.folder),
        "status": row.status,
        **verdict,
        "trials": store.counts(),
        "wall_seconds": round(store.wall_seconds(), 3),
    }
