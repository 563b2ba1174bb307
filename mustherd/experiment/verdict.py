"""What an experiment found, in numbers and in a sentence: pure functions of its trials.

**The rule.** What the search found is measured again in rounds: the best few settings and the default, each once
(mustherd.learn.confirmation). A setting

- is `met` when the 95 % interval of every limited metric keeps its limit, less the margin for drift, and that of the
  saving against the default (the gain, where the objective is maximized) lies above zero, after as many rounds as the
  experiment asked for at least;
- is `not met` when an interval lies beyond its limit, or that of the saving below zero;
- is `not certain` otherwise: rounds then go on until they are used up.

The best setting that is `met` is announced; without one, the best that may be. The trial by which the search
found a setting doesn't count towards its confirmed values: it was chosen for being low, so it's likely too low.

Without repeats (`repeats: 0`) the verdict rests on the search's own trials, and says so. Of several loads each has a
verdict of its own, and the experiment's is the worst of them.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from mustherd import metrics
from mustherd.experiment import baseline, wording
from mustherd.experiment.repeats import (
    Key,
    by_settings,
    candidates,
    default_settings,
    finished,
    key_of,
    means,
    rounds_of,
)
from mustherd.goal import Goal, Objective, keeps
from mustherd.learn.base import Settings
from mustherd.learn.confirmation import Estimate, Judged, Word
from mustherd.store.records import knobs_of
from mustherd.store.store import Store
from mustherd.terms import KnobInfo
from mustherd.trial import Trial, TrialKind, TrialState

Interval = tuple[float, float]
Order = Mapping[float, Sequence[Settings]]
"""Offered load to the candidates that a policy ranked for it, the best first."""

ORDER = "candidates"
"""The kind of the event that holds them."""
SEARCH_OVER = "search-over"
"""The kind of the event that says why the search ended: `why`, a code, and `text`, the end of a sentence."""

WORST: tuple[Word, ...] = ("not met", "not certain", "met")


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
    """Metric to the 95 % interval of its mean, where it was repeated."""


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """What the repeats say of one setting."""

    knobs: dict[str, int]
    word: Word
    rounds: int
    saving_percent: float | None
    saving_ci_percent: Interval | None
    metrics: dict[str, float]
    intervals: dict[str, Interval]


class AtLoad(msgspec.Struct, frozen=True, kw_only=True):
    """One load of several: a row of the table of settings."""

    qps: float
    verdict: Word
    reason: str
    best: Side | None
    default: Side | None
    saving_percent: float | None
    saving_ci_percent: Interval | None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What an experiment found.

    Percentages are of the default's mean; `saving_percent` says by how much the objective is better, which is a gain
    where it is maximized (mustherd.metrics).
    """

    verdict: Word
    reason: str
    objective: str
    sense: Literal["least", "most"] = "least"
    """What is wanted of the objective."""
    constraints: tuple[str, ...]
    default: Side | None = None
    baseline: str = ""  # what the default is, and how it is known
    best: Side | None = None
    """The setting that was chosen; None where none kept the limits, and where there are several loads."""
    closest: Side | None = None
    """Where there is no best: the setting that came closest to keeping the limits."""
    saving_percent: float | None = None
    saving_ci_percent: Interval | None = None
    confirmed: bool = False
    """Whether the best rests on as many repeats as were asked for."""
    margin: float = 0.0
    """Share of an upper limit that is kept free for drift."""
    room_percent: dict[str, float] = {}
    """Limited metric to how far the best's interval stays below its upper limit, in per cent of it: the drift that the
    verdict would bear. Negative where the interval reaches beyond."""
    rounds: int = 0
    candidates: tuple[Candidate, ...] = ()
    """Every setting that was measured again."""
    loads: tuple[AtLoad, ...] = ()
    """Where there are several loads: what holds at each, ascending."""
    without_effect: tuple[str, ...] = ()
    """Knobs that changed nothing that matters, as far as the search's trials can tell."""
    search_ended: str = ""
    """Why the search ended: its trials, a budget, or that nothing more was to be expected."""
    trials: dict[str, int] = {}
    """Attempts by state."""


def decide(trials: Sequence[Trial], goal: Goal, knobs: Sequence[KnobInfo] = (), order: Order | None = None) -> Verdict:
    """The verdict on `trials`, all attempts of an experiment; `knobs` give values their names and units."""
    order = order or {}
    if len(goal.loads) < 2:
        return _Decision(trials, goal, knobs, next(iter(order.values()), None)).verdict()
    rows = []
    for qps in goal.loads:
        mine = [t for t in trials if t.qps == qps]
        found = _Decision(mine, goal.at(qps), knobs, order.get(qps)).verdict()
        rows.append(
            AtLoad(
                qps=qps,
                verdict=found.verdict,
                reason=found.reason,
                best=found.best,
                default=found.default,
                saving_percent=found.saving_percent,
                saving_ci_percent=found.saving_ci_percent,
            )
        )
    word = next(w for w in WORST if any(row.verdict == w for row in rows))
    return Verdict(
        verdict=word,
        reason=f"{word}: {_over_loads(rows, goal.objectives[0])}",
        objective=goal.objective,
        sense=goal.objectives[0].direction.sense,
        constraints=tuple(wording.limit(c) for c in goal.constraints),
        margin=goal.margin,
        loads=tuple(rows),
        trials=_counts(trials),
    )


def _over_loads(rows: Sequence[AtLoad], objective: Objective) -> str:
    """How many loads have which verdict, and what is saved or gained where it is met."""
    parts = []
    for word in WORST[::-1]:
        there = [row for row in rows if row.verdict == word]
        if there:
            at = wording.together([wording.number(row.qps) for row in there])
            parts.append(f"{word} at {len(there)} of {len(rows)} loads ({at} qps)")
    saved = [row.saving_percent for row in rows if row.verdict == "met" and row.saving_percent is not None]
    if saved:
        span = wording.number(min(saved), 3)
        if len(saved) > 1:
            span += f" to {wording.number(max(saved), 3)}"
        parts.append(f"{objective.direction.improvement} {span} %")
    return "; ".join(parts)


def _counts(trials: Sequence[Trial]) -> dict[str, int]:
    return {state.value: sum(t.state is state for t in trials) for state in TrialState}


class _Decision:
    """The trials of one verdict at one load, sorted out."""

    def __init__(
        self, trials: Sequence[Trial], goal: Goal, knobs: Sequence[KnobInfo], order: Sequence[Settings] | None
    ) -> None:
        self.goal = goal
        self.knobs = knobs
        self.all = trials
        self.finished = finished(trials, goal.objective)
        default = default_settings(trials)
        self.default: Key | None = None if default is None else key_of(default)
        self.repeats = by_settings(
            t for t in self.finished if t.kind is TrialKind.CONFIRM and key_of(t.settings) != self.default
        )
        self.searched = by_settings(t for t in self.finished if t.kind is TrialKind.SEARCH)
        self.baseline = [t for t in self.finished if t.kind is TrialKind.BASELINE]
        self.beside = [t for t in self.finished if t.kind is TrialKind.CONFIRM and key_of(t.settings) == self.default]
        self.order = list(order) if order is not None else candidates(trials, goal)
        self.confirmation = rounds_of(trials, goal, self.order).so_far()
        self.outcome = self.confirmation.outcome()

    def verdict(self) -> Verdict:
        """The verdict, with the first reason that speaks against `met`."""
        if self.goal.repeats == 0:
            return self._unconfirmed(asked=False)
        winner = self.outcome.winner
        if winner is None:
            return self._without_best() if self.outcome.judged or not self.order else self._unconfirmed(asked=True)
        group = self.repeats[key_of(winner.point)]
        best, default = self._side(group, winner.point), self._default_side()
        confirmed = winner.rounds >= self.goal.repeats
        compared = confirmed and winner.saving_percent is not None
        word: Word = "not certain" if winner.word == "met" and not compared else winner.word
        return self._verdict(
            verdict=word,
            reason=self._reason(word, winner, best, confirmed=confirmed),
            default=default,
            best=best,
            saving_percent=winner.saving_percent.mean if winner.saving_percent else None,
            saving_ci_percent=_interval(winner.saving_percent),
            confirmed=confirmed,
            room_percent=self._room(winner),
        )

    def _reason(self, word: Word, winner: Judged, best: Side, *, confirmed: bool) -> str:
        what = wording.settings(winner.point, self.knobs)
        saved = winner.saving_percent
        if saved is None:
            return f"not certain: the default was not measured, so there is nothing to compare {what} with"
        if not confirmed:
            return (
                f"{word}: {what} looked best, but it was measured again {winner.rounds} of {self.goal.repeats} times,"
                " so it's not confirmed"
            )
        objective = self.goal.objectives[0]
        uses, more = metrics.of(objective.metric).verb, objective.direction
        how_much = f"{wording.comparison(objective, saved.mean)} than the default"
        if (interval := _interval(saved)) is not None:
            how_much += f" (95 % interval {_span(interval, 3)} %)"
        if word == "not met":
            return (
                f"not met: no setting that keeps {self._limits()} {uses} {more} than the default;"
                f" {what} {uses} {how_much}"
            )
        kept = [f"{wording.limit(c)} ({wording.number(best.metrics[c.metric])})" for c in self.goal.constraints]
        beside = f" with {100 * self.goal.margin:g} % left free" if self.goal.margin else ""
        if word == "met":
            return (
                f"met: {what} {uses} {how_much} and keeps {wording.together(kept) or 'the limits'}{beside}"
                f" over {best.n} repeats"
            )
        open_ = [
            f"{name} ({_span(best.intervals[name])})" if name in best.intervals else name
            for name, said in winner.words.items()
            if said == "not certain"
        ]
        if saved.low <= 0:
            name = f"the {objective.direction.improvement}"
            open_.append(f"{name} ({_span(interval, 3)} %)" if interval is not None else name)
        return (
            f"not certain: {what} {uses} {how_much}, but after {best.n} repeats the 95 % interval reaches beyond the"
            f" limit for {wording.together(open_) or 'something'}{beside}"
        )

    def _unconfirmed(self, *, asked: bool) -> Verdict:
        """The verdict on what was measured once: nothing was to be confirmed, or nothing has been yet."""
        chosen = next((self.searched[key_of(p)] for p in self.order if key_of(p) in self.searched), None)
        if chosen is None:
            return self._without_best()
        best, default = self._side(chosen), self._default_side()
        what = wording.settings(chosen[0].settings, self.knobs)
        kept = [f"{wording.limit(c)} ({wording.number(best.metrics[c.metric])})" for c in self.goal.constraints]
        objective = self.goal.objectives[0]
        uses, more = metrics.of(objective.metric).verb, objective.direction
        percent = None
        if default is not None and (than := default.metrics.get(objective.metric, 0.0)) > 0:
            percent = objective.direction.better_percent(best.metrics[objective.metric], than)
        word: Word = "not certain"
        if asked:
            reason = f"not certain: {what} looked best, but it was not measured again, so it's not confirmed"
        elif key_of(chosen[0].settings) == self.default:
            word, reason = "not met", f"not met: of the settings that keep {self._limits()}, the default itself is best"
        elif percent is None:
            reason = f"not certain: the default was not measured, so there is nothing to compare {what} with"
        elif percent <= 0:
            word = "not met"
            reason = (
                f"not met: no setting that keeps {self._limits()} {uses} {more} {objective.metric} than the default;"
                f" the best was {what}, with {wording.comparison(objective, percent)}"
            )
        else:
            word, measured = "met", "one measurement" if best.n == 1 else f"{best.n} trials"
            had = metrics.of(objective.metric).used
            reason = (
                f"met: {what} {had} {wording.comparison(objective, percent)} than the default and"
                f" kept {wording.together(kept) or 'the limits'} in {measured}; no repeats were asked for, so it's"
                " unconfirmed"
            )
        return self._verdict(verdict=word, reason=reason, default=default, best=best, saving_percent=percent)

    def _verdict(self, **fields: Any) -> Verdict:
        judged = [] if self.goal.repeats == 0 else self.outcome.judged
        return Verdict(
            objective=self.goal.objective,
            sense=self.goal.objectives[0].direction.sense,
            constraints=tuple(wording.limit(c) for c in self.goal.constraints),
            margin=self.goal.margin,
            rounds=self.outcome.rounds,
            candidates=tuple(self._candidate(j) for j in judged),
            trials=_counts(self.all),
            **fields,
        )

    def _candidate(self, judged: Judged) -> Candidate:
        side = self._side(self.repeats[key_of(judged.point)], judged.point)
        return Candidate(
            knobs=side.knobs,
            word=judged.word,
            rounds=judged.rounds,
            saving_percent=judged.saving_percent.mean if judged.saving_percent else None,
            saving_ci_percent=_interval(judged.saving_percent),
            metrics={m: side.metrics[m] for m in side.intervals} or side.metrics,
            intervals=side.intervals,
        )

    def _room(self, winner: Judged) -> dict[str, float]:
        """How far the intervals stay below the upper limits."""
        return {
            c.metric: round(100 * (1 - winner.limits[c.metric].high / c.limit), 2)
            for c in self.goal.constraints
            if not c.at_least and c.limit > 0 and math.isfinite(winner.limits[c.metric].high)
        }

    def _without_best(self) -> Verdict:
        default = self._default_side()
        tried = {key: self.repeats.get(key) or group for key, group in {**self.repeats, **self.searched}.items()}
        if not tried:
            reasons = [t.reason for t in self.all if t.reason and t.kind is not TrialKind.BASELINE]
            most = f", most often for {statistics.mode(reasons)}" if reasons else ""
            return self._verdict(verdict="not met", reason=f"not met: no trial finished{most}", default=default)
        key = min(tried, key=lambda k: self._distance(means(tried[k])))
        if key == self.default or (len(tried) == 1 and self._distance(means(tried[key])) <= 0):
            reason = f"not met: of the settings that keep {self._limits()}, the default itself is best"
            return self._verdict(verdict="not met", reason=reason, default=default)
        closest = self._side(tried[key])
        shown = [c for c in self.goal.constraints if not keeps(closest.metrics, [c])] or self.goal.constraints[:1]
        values = wording.together([f"{c.metric} {wording.number(closest.metrics.get(c.metric))}" for c in shown])
        none = "no setting that once kept" if self.repeats else "no setting kept"
        still = " did so over its repeats" if self.repeats else ""
        reason = (
            f"not met: {none} {self._limits()}{still};"
            f" the closest was {wording.settings(tried[key][0].settings, self.knobs)} with {values}"
        )
        return self._verdict(verdict="not met", reason=reason, default=default, closest=closest)

    def _distance(self, mean: dict[str, float]) -> float:
        """How far the worst of the limits is from being kept."""
        over = [c.excess(mean.get(c.metric, math.inf if not c.at_least else -math.inf)) for c in self.goal.constraints]
        return max(over, default=0.0)

    def _limits(self) -> str:
        return wording.together([wording.limit(c) for c in self.goal.constraints]) or "the limits"

    def _default_side(self) -> Side | None:
        """The default: its repeats, or where there are none its baseline trials."""
        if self.beside:
            return self._side(self.beside, dict(self.beside[0].settings))
        return self._side(self.baseline) if self.baseline else None

    def _side(self, group: Sequence[Trial], repeated: Settings | None = None) -> Side:
        mean = means(group)
        intervals: dict[str, Interval] = {}
        if repeated is not None and self.confirmation.has(repeated):
            for metric in dict.fromkeys((self.goal.objective, *(c.metric for c in self.goal.constraints))):
                found = _interval(self.confirmation.estimate(repeated, metric)) if metric in mean else None
                if found is not None:
                    intervals[metric] = found
        return Side(
            knobs=_knobs_of(group),
            n=len(group),
            energy_joules=mean.get("energy_joules"),
            read_p99_us=mean.get("read_p99_us"),
            achieved_ratio=mean.get("achieved_ratio"),
            metrics=mean,
            intervals=intervals,
        )


def _interval(estimate: Estimate | None) -> Interval | None:
    """The two ends where both are finite: JSON knows no infinity."""
    if estimate is None or not (math.isfinite(estimate.low) and math.isfinite(estimate.high)):
        return None
    return estimate.low, estimate.high


def _span(interval: Interval, digits: int = 4) -> str:
    return f"{wording.number(interval[0], digits)} to {wording.number(interval[1], digits)}"


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
    return knobs_of(store.musters().values())


def order_of(store: Store) -> dict[float, list[Settings]]:
    """The candidates by load, the best first, as they were ranked when the search ended; {} before that."""
    ranked = store.last_event(ORDER)
    rows: list[dict[str, Any]] = ranked.data["loads"] if ranked else []
    return {float(row["qps"]): [dict(settings) for settings in row["settings"]] for row in rows}


def verdict_of(store: Store, goal: Goal | None = None) -> Verdict:
    """What an experiment's trials say so far, with why its search ended."""
    return verdict_on(store, store.trials(), goal or store.experiment().goal, knobs_known(store))


def verdict_on(store: Store, trials: Sequence[Trial], goal: Goal, knobs: Sequence[KnobInfo]) -> Verdict:
    """The same of trials and knobs that were read already."""
    found = decide(trials, goal, knobs, order_of(store))
    ended = store.last_event(SEARCH_OVER)
    told = {"search_ended": ended.data["text"] if ended else "", "baseline": baseline.said(trials, knobs)}
    return msgspec.structs.replace(found, **told)
