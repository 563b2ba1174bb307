"""What happened and what came of it, in plain words: for whoever reads nothing else."""

from collections.abc import Iterator

from mustherd import metrics
from mustherd.experiment import wording
from mustherd.experiment.lead import Lead
from mustherd.experiment.verdict import Side
from mustherd.goal import GUARD, Constraint
from mustherd.learn.windows import key_of
from mustherd.report import labels
from mustherd.report.leading import compared
from mustherd.report.method import dig, ran_for
from mustherd.report.view import View
from mustherd.trial import TrialKind, TrialState

VERBS = {"uses": "seems to use", "has": "seems to have"}
"""What a setting does with a metric, where it is not certain."""

REQUEUED = "requeued"
"""The journal's kind for attempts of a former run that are run again."""


def story(view: View) -> list[str]:
    """A few sentences: what was tried, what came of it, and what to know before believing it."""
    if not view.begun:
        why = f": {view.detail}" if view.detail else ""
        running = view.status in ("running", "created")
        return ["No trial has begun yet." if running else f"It never began{why}.", "Nothing was measured."]
    return [*_done(view), *(_found(view) if view.compares else _watched(view)), *_to_know(view)]


def _done(view: View) -> Iterator[str]:
    finished = view.finished
    nodes = len({trial.muster for trial in finished if trial.muster})
    simulated = "simulated " if dig(view.experiment.resolved, "herd", "simulated") else ""
    where = f" on {nodes} {simulated}{'node' if nodes == 1 else 'nodes'}" if nodes else ""
    at = f" at {_loads(view)}" if _loads(view) else ""
    if view.compares:
        tried = {(t.qps, key_of(t.settings)) for t in finished if t.kind is TrialKind.SEARCH}
        knobs = wording.together(view.knob_keys())
        what = f"{len(tried)} {'setting' if len(tried) == 1 else 'settings'}" + (f" of {knobs}" if knobs else "")
        yield f"In {ran_for(view)}, {what} {'was' if len(tried) == 1 else 'were'} tried{where}{at}."
    else:
        how = "as they were found" if not any(t.settings for t in finished) else "with settings chosen by the load"
        yield f"In {ran_for(view)}, {len(finished)} windows were measured{where}{at}, {how}."


def _loads(view: View) -> str:
    loads = view.loads or view.goal.loads
    if not loads:
        return ""
    each = [f"{qps:,.0f}" for qps in loads]
    said = wording.together(each) if len(each) <= 4 else f"{len(each)} loads from {each[0]} to {each[-1]}"
    return f"{said} requests a second"


def _found(view: View) -> Iterator[str]:
    found = view.verdict()
    sofar = "" if view.stored else "So far: "
    if view.lead is Lead.NOTHING and not found.loads:
        yield f"{Lead.NOTHING.called(decided=view.stored is not None).capitalize()}."
    elif found.loads:
        met = [row for row in found.loads if row.verdict == "met" and row.saving_percent is not None]
        savings = [row.saving_percent or 0.0 for row in met]
        word = _improvement(view)
        span = "" if not met else f", with a {word} of {labels.percent(min(savings))}"
        span += f" to {labels.percent(max(savings))} in {_label(view)}" if len(met) > 1 else ""
        yield f"{sofar}A better setting is certain at {len(met)} of {len(found.loads)} loads{span}."
    elif view.lead is Lead.NO_BETTER and found.best is not None:
        what = wording.settings(found.best.knobs, view.knobs)
        than = f", with {compared(view, found.saving_percent or 0.0)}"
        yield f"{sofar}No better setting than the default was found. The closest was {what}{than}."
    elif view.lead is Lead.ALONE and found.best is not None:
        what = wording.settings(found.best.knobs, view.knobs)
        yield f"{sofar}{what} looks best, but there is nothing to compare it with."
    elif found.best is not None and found.saving_percent is not None:
        what = wording.settings(found.best.knobs, view.knobs)
        certain = found.verdict == "met"
        keeps = _keeps(view, found.best)
        interval = found.saving_ci_percent
        verb = metrics.of(view.goal.objective).verb
        sure = f" (95 % certain: between {interval[0]:.1f} and {interval[1]:.1f} %)" if interval and certain else ""
        yield (
            f"{sofar}{what} {verb if certain else VERBS[verb]} {compared(view, found.saving_percent)}"
            f" than the default{sure}{keeps}{'' if certain else '; that is not certain'}."
        )
    elif found.closest is not None:
        what = wording.settings(found.closest.knobs, view.knobs)
        broken = "; ".join(_broken(view, found.closest)) or _too_little(view)
        yield f"{sofar}No better setting was found. The closest was {what}: {broken}."
    else:
        yield f"{sofar}No better setting than the default was found."


def _watched(view: View) -> Iterator[str]:
    kept = sum(view.feasible(t) for t in view.finished)
    if view.goal.constraints:
        limits = wording.together([limit(c) for c in view.goal.constraints])
        yield f"{kept} of {len(view.finished)} windows kept {limits}."
    total = total_of(view)
    if total:
        yield f"All windows together: {total}."
    yield (
        "Nothing was compared, so this is not a saving: 'mustherd experiment compare' holds it against a run of the"
        " same loads."
    )


def total_of(view: View) -> str:
    """The objective over all windows: a sum where the metric is one, else a mean."""
    objective = metrics.of(view.goal.objective)
    values = [t.metrics[view.goal.objective] for t in view.measured]
    if not values:
        return ""
    whole = sum(values) if objective.over_windows == "sum" else sum(values) / len(values)
    mean = "" if objective.over_windows == "sum" else "mean "
    return f"{mean}{objective.label} {labels.quantity(view.goal.objective, whole, 5)}"


def _to_know(view: View) -> Iterator[str]:
    found = view.verdict()
    defaults = {row.qps: row.default for row in found.loads} if found.loads else {0.0: found.default}
    for qps, side in defaults.items():
        if side is not None and (broken := list(_broken(view, side))):
            at = f" at {qps:,.0f} requests a second" if qps else ""
            yield f"The default itself breaks a limit{at}: {'; '.join(broken)}."
    again = sum(event.kind == REQUEUED for event in view.events)
    if again:
        yield f"It was interrupted and resumed {'once' if again == 1 else f'{again} times'}."
    void = sum(t.state in (TrialState.INVALID, TrialState.FAILED) for t in view.trials)
    if void:
        yield (
            f"{void} {'attempt' if void == 1 else 'attempts'} could not be trusted or broke and"
            f" {'does' if void == 1 else 'do'} not count."
        )
    if view.today:
        yield f"{view.today[0].upper()}{view.today[1:]}."
    if found.without_effect:
        yield f"{wording.together(found.without_effect)} changed nothing that matters."


def _improvement(view: View) -> str:
    return view.goal.objectives[0].direction.improvement


def _label(view: View) -> str:
    return metrics.of(view.goal.objective).label


def _too_little(view: View) -> str:
    """Why a setting is only the closest, though it keeps the limits on average."""
    found, side = view.verdict(), view.verdict().closest
    mine = next((c.saving_percent for c in found.candidates if side and c.knobs == side.knobs), None)
    least = found.least_saving_percent
    if mine is not None and mine < least:
        too_little = f"a {_improvement(view)} under {least:g} % is not announced"
        return f"it has {compared(view, mine)} than the default, and {too_little}"
    return "a next window of it may break a limit"


def _keeps(view: View, side: Side) -> str:
    kept = [
        f"{metrics.of(c.metric).label} {'at or above' if c.at_least else 'within'}"
        f" {labels.quantity(c.metric, c.limit, 6)}"
        for c in view.goal.constraints
        if c.metric in side.metrics and c.met_by(side.metrics[c.metric]) and c.metric != GUARD
    ]
    return f", with {wording.together(kept)}" if kept else ""


def limit(constraint: Constraint) -> str:
    """A limit as a person says it: `read p99 <= 500 us`."""
    way = "≥" if constraint.at_least else "≤"
    label = "answered load" if constraint.metric == GUARD else metrics.of(constraint.metric).label
    return f"{label} {way} {labels.quantity(constraint.metric, constraint.limit, 6)}"


def _broken(view: View, side: Side) -> Iterator[str]:
    for constraint in view.goal.constraints:
        value = side.metrics.get(constraint.metric)
        if value is not None and not constraint.met_by(value):
            yield (
                f"{metrics.of(constraint.metric).label} is {labels.quantity(constraint.metric, value)}, allowed is"
                f" {'at least' if constraint.at_least else 'at most'}"
                f" {labels.quantity(constraint.metric, constraint.limit, 6)}"
            )
