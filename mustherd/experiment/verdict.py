"""What an experiment found, in numbers and in a sentence: pure functions of its trials.

**The rule.** What the search found is measured again in rounds: on each node the best few settings and the default
(mustherd.learn.confirmation says how, and why it is right as often as it says). The verdict is

- `met` for the best setting that certainly saves something (or gains it, where the objective is maximized), and of
  which the next window keeps every limit on every node, less the margin for drift; its numbers come from rounds made
  after it was chosen, which did not contradict;
- `not met` when every setting certainly misses a limit or saves nothing worth having;
- `not certain` otherwise, and says what is open and how many rounds a saving needs.

The trial by which the search found a setting doesn't count: it was chosen for being low, so it's likely too low.
Without repeats (`repeats: 0`) nothing is certain. Of several loads each has a verdict of its own, and the experiment's
is the worst of them.
"""

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import msgspec

from mustherd.experiment import baseline, sentences, wording
from mustherd.experiment.repeats import as_found, by_settings, candidates, default_settings, finished, means, rounds_of
from mustherd.goal import Goal, Objective
from mustherd.learn.base import Settings
from mustherd.learn.inference import Estimate
from mustherd.learn.judging import Judged, Word
from mustherd.learn.windows import Held, Key, key_of
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


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """What the repeats of a setting say of one limit on one node. Numbers that are not known yet are None."""

    metric: str
    muster: str
    mean: float
    ci: Interval | None
    """The mean's 95 % interval."""
    next_window: float | None
    """Where the next window stays (mustherd.learn.inference.NEXT)."""
    windows: int
    kept: int
    """How many of the windows kept the limit."""


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """What the repeats say of one setting."""

    knobs: dict[str, int]
    word: Word
    rounds: int
    saving_percent: float | None
    saving_ci_percent: Interval | None
    metrics: dict[str, float]
    intervals: dict[str, Interval]
    promises: tuple[Promise, ...] = ()
    """Each limit on each node, the node with the least room first."""


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
    """Limited metric to how far the best's next window stays below its upper limit, in per cent of it: the drift that
    the verdict would bear. Negative where it may lie beyond."""
    least_saving_percent: float = 0.0
    """Less than this is not announced."""
    rounds: int = 0
    rounds_after_choice: int = 0
    """Those that the best's numbers come from; 0: none was chosen."""
    rounds_needed: dict[str, int | None] = {}
    """Saving in per cent to the rounds in which it is announced with probability 0.8, at the noise that was measured;
    None: in no number that counts, as one that isn't above the least that is announced"""
    memory: float | None = None
    """What a window's noise keeps of the setting's round before, as a correlation, where rounds resemble one another
    more than chance makes them; None: that was not seen."""
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
        self.rounds = rounds_of(trials, goal, self.order)
        self.confirmation = self.rounds.so_far()
        self.outcome = self.confirmation.outcome()

    def verdict(self) -> Verdict:
        """The verdict, with the first reason that speaks against `met`."""
        if self.goal.repeats == 0:
            return self._unconfirmed()
        winner = self.outcome.winner
        if winner is None:
            return self._without_best() if self.outcome.judged or not self.order else self._unconfirmed()
        after = self.rounds.after(winner.point) if self.outcome.fresh else set()
        group = self.repeats[key_of(winner.point)]
        best = self._side([t for t in group if t.number in after] or group, winner)
        default = self._default_side(after)
        compared = winner.saving_percent is not None
        word: Word = "not certain" if winner.word == "met" and not compared else winner.word
        return self._verdict(
            verdict=word,
            reason=f"{word}: {sentences.of_winner(self.goal, self.outcome, winner, word, self.knobs)}",
            default=default,
            best=best,
            saving_percent=winner.saving_percent.mean if winner.saving_percent else None,
            saving_ci_percent=_interval(winner.saving_percent),
            confirmed=self.outcome.fresh >= self.goal.repeats,
            room_percent=self._room(winner),
        )

    def _unconfirmed(self) -> Verdict:
        """The verdict on what was measured once: nothing was to be confirmed, or nothing has been yet."""
        chosen = next((self.searched[key_of(p)] for p in self.order if key_of(p) in self.searched), None)
        if chosen is None:
            return self._without_best()
        best, default = self._side(chosen), self._default_side()
        objective, percent, than = self.goal.objectives[0], None, None
        is_default = key_of(chosen[0].settings) == self.default
        if default is not None and not self.default:
            # A node that was left as it was found may have been at these very settings.
            is_default = best.knobs.items() <= default.knobs.items()
        if default is not None:
            than = default.metrics.get(objective.metric)
        if than is not None and not is_default and than > 0:
            percent = objective.direction.better_percent(best.metrics[objective.metric], than)
        what = wording.settings(chosen[0].settings, self.knobs)
        if is_default:
            reason = sentences.default_is_best(self.goal)
        else:
            reason = sentences.of_unconfirmed(self.goal, what, best.metrics, best.n, percent=percent, than=than)
        return self._verdict(
            verdict="not certain",
            reason=f"not certain: {reason}",
            default=default,
            best=best,
            saving_percent=percent,
        )

    def _verdict(self, **fields: Any) -> Verdict:
        judged = [] if self.goal.repeats == 0 else self.outcome.judged
        return Verdict(
            objective=self.goal.objective,
            sense=self.goal.objectives[0].direction.sense,
            constraints=tuple(wording.limit(c) for c in self.goal.constraints),
            margin=self.goal.margin,
            least_saving_percent=self.goal.least_saving,
            rounds=self.outcome.rounds,
            rounds_after_choice=self.outcome.fresh,
            rounds_needed={f"{percent:g}": rounds for percent, rounds in self.outcome.needed.items()},
            memory=round(self.outcome.memory.share, 2) if self.outcome.memory.seen and judged else None,
            candidates=tuple(self._candidate(j) for j in judged),
            trials=_counts(self.all),
            **fields,
        )

    def _candidate(self, judged: Judged) -> Candidate:
        side = self._side(self.repeats[key_of(judged.point)], judged)
        return Candidate(
            knobs=side.knobs,
            word=judged.word,
            rounds=judged.rounds,
            saving_percent=judged.saving_percent.mean if judged.saving_percent else None,
            saving_ci_percent=_interval(judged.saving_percent),
            metrics={m: side.metrics[m] for m in side.intervals} or side.metrics,
            intervals=side.intervals,
            promises=tuple(_promise(metric, held) for metric, nodes in judged.nodes.items() for held in nodes),
        )

    def _room(self, winner: Judged) -> dict[str, float]:
        """How far the next window stays below the upper limits, where that is known."""
        return {
            c.metric: round(100 * (1 - winner.limits[c.metric].bound / c.limit), 2)
            for c in self.goal.constraints
            if not c.at_least and c.limit > 0 and math.isfinite(winner.limits[c.metric].bound)
        }

    def _without_best(self) -> Verdict:
        default = self._default_side()
        tried = self.repeats or self.searched
        if not tried:
            reasons = [t.reason for t in self.all if t.reason and t.kind is not TrialKind.BASELINE]
            most = f", most often for {statistics.mode(reasons)}" if reasons else ""
            what = "no trial" if default is None else "no trial but the default's"
            return self._verdict(verdict="not met", reason=f"not met: {what} finished{most}", default=default)
        able = [j for j in self.outcome.judged if "not met" not in j.words.values()] if self.repeats else []
        if able:
            best = min(able, key=lambda j: j.cost)
            reason = sentences.nothing_worth_having(self.goal, best, self.knobs)
            closest = self._side(self.repeats[key_of(best.point)], best)
            return self._verdict(verdict="not met", reason=f"not met: {reason}", default=default, closest=closest)
        judged = min(self.outcome.judged, key=self._distance_judged, default=None) if self.repeats else None
        key = min(tried, key=lambda k: self._distance(means(tried[k]))) if judged is None else key_of(judged.point)
        nearest = self._distance(means(tried[key]))
        kept = [t[0].settings for t in tried.values() if self._distance(means(t)) <= 0]
        is_found = bool(kept) and all(as_found(settings, self.baseline) for settings in kept)
        if judged is None and (key == self.default or is_found or (len(tried) == 1 and nearest <= 0)):
            reason = f"not met: {sentences.default_is_best(self.goal)}"
            return self._verdict(verdict="not met", reason=reason, default=default)
        closest = self._side(tried[key])
        what = wording.settings(tried[key][0].settings, self.knobs)
        reason = f"not met: {sentences.none_kept(self.goal, what, closest.metrics, judged)}"
        return self._verdict(verdict="not met", reason=reason, default=default, closest=closest)

    def _distance_judged(self, judged: Judged) -> float:
        """How far the worst of the limits is from being kept, on the node where that is farthest."""
        return max((c.excess(judged.limits[c.metric].mean.mean) for c in self.goal.constraints), default=0.0)

    def _distance(self, mean: dict[str, float]) -> float:
        """How far the worst of the limits is from being kept."""
        over = [c.excess(mean.get(c.metric, math.inf if not c.at_least else -math.inf)) for c in self.goal.constraints]
        return max(over, default=0.0)

    def _default_side(self, after: Collection[int] = ()) -> Side | None:
        """The default: its repeats, of which only those numbered in `after` if there are any; else its baselines."""
        if self.beside:
            return self._side([t for t in self.beside if t.number in after] or self.beside)
        return self._side(self.baseline) if self.baseline else None

    def _side(self, group: Sequence[Trial], judged: Judged | None = None) -> Side:
        mean = means(group)
        settings = dict(group[0].settings)
        intervals: dict[str, Interval] = {}
        if group[0].kind is TrialKind.CONFIRM and self.confirmation.has(settings):
            limited = {m: held.mean for m, held in judged.limits.items()} if judged is not None else {}
            for metric in dict.fromkeys((self.goal.objective, *(c.metric for c in self.goal.constraints))):
                if metric in mean:
                    found = _interval(limited.get(metric) or self.confirmation.estimate(settings, metric))
                    intervals |= {metric: found} if found is not None else {}
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


def _promise(metric: str, held: Held) -> Promise:
    return Promise(
        metric=metric,
        muster=held.node,
        mean=held.mean.mean,
        ci=_interval(held.mean),
        next_window=held.bound if math.isfinite(held.bound) else None,
        windows=held.windows,
        kept=held.kept,
    )


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
