"""Why a verdict is what it is, in a sentence."""

import math
from collections.abc import Mapping, Sequence

from mustherd import metrics
from mustherd.experiment import wording
from mustherd.goal import Constraint, Goal, keeps
from mustherd.learn.inference import Estimate
from mustherd.learn.judging import Judged, RankingResult, Word
from mustherd.learn.memory import Memory
from mustherd.learn.windows import Held
from mustherd.terms import KnobInfo

ENOUGH_SAID = 200
"""Rounds beyond which nobody needs a number to know that it would take too many."""


def limits(goal: Goal) -> str:
    """Every limit of a goal: `read_p99_us <= 500 and achieved_ratio >= 0.98`."""
    return wording.together([wording.limit(c) for c in goal.constraints]) or "the limits"


def _free(goal: Goal) -> str:
    """Of limits from above; of one from below nothing is left free."""
    above = any(not c.at_least for c in goal.constraints)
    return f" with {100 * goal.margin:g} % left free" if goal.margin and above else ""


def _compared(goal: Goal, saving: Estimate) -> str:
    """`20 % less energy than the default (95 % interval 18 to 22 %)`."""
    text = f"{wording.comparison(goal.objectives[0], saving.mean)} than the default"
    if math.isfinite(saving.low) and math.isfinite(saving.high):
        text += f" (95 % interval {wording.number(saving.low, 3)} to {wording.number(saving.high, 3)} %)"
    return text


def of_winner(goal: Goal, outcome: RankingResult, winner: Judged, word: Word, knobs: Sequence[KnobInfo]) -> str:
    """What is said of the setting that the confirmation ended with, and of what is open."""
    what = wording.settings(winner.point, knobs)
    saving = winner.saving_percent
    if saving is None and not outcome.with_default:
        return f"the default was not measured, so there is nothing to compare {what} with"
    if saving is None:
        return (
            f"{what} and the default were not measured on the same node in the same round, or one of them at 0, so"
            " there is nothing to compare it with"
        )
    uses = f"{what} {metrics.of(goal.objective).verb} {_compared(goal, saving)}"
    several = len({held.node for nodes in winner.nodes.values() for held in nodes}) > 1
    if word == "met":
        kept = [_kept(c, winner.nodes[c.metric]) for c in goal.constraints]
        where = " on each of its nodes" if several else ""
        return (
            f"{uses} in {outcome.fresh} rounds made after it was chosen, and keeps"
            f" {wording.together(kept) or 'the limits'}{_free(goal)}{where}{_alike(outcome.memory)}"
        )
    if winner.missing:
        where = wording.together(winner.missing)
        return f"{uses}, but no window of it was valid on {where}, where the default was measured"
    if outcome.asked:
        return (
            f"{uses}, but windows of it that were to be measured again, as one broke a limit or lay far off, were not"
        )
    if outcome.fresh >= goal.repeats and (outcome.memory.seen or outcome.jumps):
        improvement = goal.objectives[0].direction.improvement
        return (
            f"{uses}, but the {outcome.fresh} rounds made after it was chosen leave open whether there is a"
            f" {improvement}{_jumping(outcome.jumps)}{_alike(outcome.memory)}"
        )
    if outcome.fresh:
        return f"{uses}, but only {outcome.fresh} of the rounds that were to confirm it were made"
    if winner.rounds < goal.repeats:
        return (
            f"{what} looked best, but it was measured again {winner.rounds} of {goal.repeats} times, so it's not"
            " confirmed"
        )
    open_ = [_open(c, winner.limits[c.metric], several=several) for c in goal.constraints if _is_open(c, winner)]
    improvement = goal.objectives[0].direction.improvement
    if saving.low <= 0:
        open_.append(f"the {improvement} ({wording.number(saving.low, 3)} to {wording.number(saving.high, 3)} %)")
    elif saving.mean < goal.least_saving:
        open_.append(f"a {improvement} of {goal.least_saving:g} %, the least that is announced")
    text = (
        f"{uses}, but {outcome.rounds} rounds leave open {wording.together(open_) or 'whether that will hold again'}"
        f"{_free(goal)}"
    )
    text += f"; {_needs(outcome.needed, improvement)}" if saving.low <= 0 and outcome.needed else ""
    return text + _alike(outcome.memory)


def _jumping(jumps: float) -> str:
    """That rounds go up and down together, where that was seen, and what helps."""
    if not jumps:
        return ""
    return (
        f"; rounds go up and down together by about {wording.number(100 * jumps)} %, more than settings differ within"
        " them, and a wave of a few windows may look like that: another workload.window_seconds or a second node tells"
        " more"
    )


def _alike(memory: Memory) -> str:
    """That rounds resemble those before, where that was seen, and what helps."""
    if not memory.seen:
        return ""
    return (
        f"; a setting's rounds resemble the one before more than chance makes them (about {100 * memory.share:.0f} %"
        " of a window's noise stays), so they say less than their number, and the intervals are wider: a longer"
        " workload.cool_down_seconds, or another day (experiment again), tells more"
    )


def _kept(constraint: Constraint, nodes: Sequence[Held]) -> str:
    """`read_p99_us <= 500 (434, the next window up to 452, kept in 8 of 8 windows)`, on the node with the least room;
    the windows are those of all of them."""
    held = nodes[0]
    bound = f"{'down' if constraint.at_least else 'up'} to {wording.number(held.bound)}"
    kept = f"kept in {sum(h.kept for h in nodes)} of {sum(h.windows for h in nodes)} windows"
    return f"{wording.limit(constraint)} ({wording.number(held.mean.mean)}, the next window {bound}, {kept})"


def _is_open(constraint: Constraint, winner: Judged) -> bool:
    return winner.words[constraint.metric] != "met"


def _open(constraint: Constraint, held: Held, *, several: bool) -> str:
    where = f" on {held.node}" if several else ""
    kept = f"kept in {held.kept} of {held.windows} windows"
    if not math.isfinite(held.bound):
        return f"{wording.limit(constraint)}{where} ({wording.number(held.mean.mean)}, {kept})"
    way = "down to" if constraint.at_least else "up to"
    return (
        f"whether the next window keeps {wording.limit(constraint)}{where} ({way} {wording.number(held.bound)}, {kept})"
    )


def _needs(needed: Mapping[float, int | None], improvement: str) -> str:
    """How many rounds savings take: `rounds that a saving takes to be announced at this noise: 2 % 130, 5 % 24`."""
    parts = [
        f"{percent:g} % {rounds if rounds is not None and rounds <= ENOUGH_SAID else f'more than {ENOUGH_SAID}'}"
        for percent, rounds in sorted(needed.items())
    ]
    return f"rounds that a {improvement} takes to be announced at this noise: {', '.join(parts)}"


def of_unconfirmed(
    goal: Goal, what: str, measured: Mapping[str, float], windows: int, *, percent: float | None, than: float | None
) -> str:
    """What is said of the search's best, which was never measured again; `percent`: how much better it was than the
    default's objective, `than`, which may be 0 or less."""
    objective = goal.objectives[0]
    if goal.repeats:
        return f"{what} looked best, but it was not measured again, so it's not confirmed"
    if percent is None:
        why = "the default was not measured" if than is None else f"the default's {objective.metric} is {than:g}"
        return f"{why}, so there is nothing to compare {what} with"
    metric = metrics.of(objective.metric)
    if percent <= 0:
        return (
            f"no setting that keeps {limits(goal)} {metric.verb} {objective.direction} {metric.label} than the"
            f" default; the best was {what}, with {wording.comparison(objective, percent)}"
        )
    kept = [f"{wording.limit(c)} ({wording.number(measured[c.metric])})" for c in goal.constraints]
    times = "one measurement" if windows == 1 else f"{windows} trials"
    return (
        f"{what} {metric.used} {wording.comparison(objective, percent)} than the default and kept"
        f" {wording.together(kept) or 'the limits'} in {times}; no repeats were asked for, so it's unconfirmed"
    )


def default_is_best(goal: Goal) -> str:
    """Nothing that was tried is better than the default."""
    return f"of the settings that keep {limits(goal)}, the default itself is best"


def nothing_worth_having(goal: Goal, best: Judged, knobs: Sequence[KnobInfo]) -> str:
    """Settings keep the limits, and save too little."""
    objective = goal.objectives[0]
    metric = metrics.of(objective.metric)
    text = (
        f"no setting that keeps {limits(goal)} {metric.verb} {objective.direction} {metric.label} than the default by"
        f" {goal.least_saving:g} % or more"
    )
    if best.saving_percent is None:
        return text
    return f"{text}; {wording.settings(best.point, knobs)} {metric.verb} {_compared(goal, best.saving_percent)}"


def none_kept(goal: Goal, what: str, measured: Mapping[str, float], judged: Judged | None) -> str:
    """No setting kept the limits; `what` came closest, and `judged` is what its repeats say, if there were any."""
    shown = [c for c in goal.constraints if not keeps(measured, [c])] or list(goal.constraints[:1])
    if judged is not None:
        shown = [c for c in goal.constraints if judged.words[c.metric] == "not met"] or shown
    values = []
    for c in shown:
        held = judged.limits[c.metric] if judged is not None else None
        several = judged is not None and len(judged.nodes[c.metric]) > 1
        value = wording.number(measured.get(c.metric) if held is None or not several else held.mean.mean)
        values.append(f"{c.metric} {value}" + (f" on {held.node}" if held is not None and several else ""))
    none = "no setting that once kept" if judged is not None else "no setting kept"
    still = " did so over its repeats" if judged is not None else ""
    return f"{none} {limits(goal)}{still}; the closest was {what} with {wording.together(values)}"
