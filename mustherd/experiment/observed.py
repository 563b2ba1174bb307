"""What came of an experiment whose policy compares nothing: how its windows kept the limits, and what they cost."""

import math
import statistics
from collections.abc import Sequence

from mustherd import metrics
from mustherd.experiment import wording
from mustherd.experiment.verdict import Verdict
from mustherd.goal import Goal, keeps
from mustherd.trial import Trial, TrialState


def watched(trials: Sequence[Trial], goal: Goal) -> Verdict:
    """The verdict: `met` when every window that was measured kept every limit. Pure."""
    measured = [t for t in trials if t.state is TrialState.FINISHED]
    kept = sum(keeps(t.metrics, goal.constraints) for t in measured)
    limits = wording.together([wording.limit(c) for c in goal.constraints]) or "the limits"
    met = bool(measured) and kept == len(measured)
    reason = f"{'met' if met else 'not met'}: {kept} of {len(measured)} windows kept {limits}"
    values = [t.metrics[goal.objective] for t in measured if math.isfinite(t.metrics.get(goal.objective, math.nan))]
    if values and metrics.of(goal.objective).over_windows == "sum":
        reason += f"; {_said(goal.objective, math.fsum(values), 5)} in all"
    elif values:
        reason += f"; {_said(goal.objective, statistics.fmean(values))} on average"
    return Verdict(
        verdict="met" if met else "not met",
        reason=reason,
        objective=goal.objective,
        constraints=tuple(wording.limit(c) for c in goal.constraints),
        trials={state.value: sum(t.state is state for t in trials) for state in TrialState},
    )


def _said(name: str, value: float, digits: int = 4) -> str:
    """A metric by the name that people call it, with its unit: `energy 37704 J`."""
    metric = metrics.of(name)
    shown = 100 * value if metric.shown_unit == "%" else value
    return f"{metric.label} {wording.number(shown, digits)} {metric.shown_unit}".rstrip()
