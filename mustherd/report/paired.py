"""Two runs under the same loads, window beside window: what one policy saves against another."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

import msgspec

from mustherd import metrics
from mustherd.experiment import wording
from mustherd.learn.inference import interval as mean_interval
from mustherd.report import labels
from mustherd.report.side_by_side import told_apart
from mustherd.report.story import limit
from mustherd.report.view import View
from mustherd.trial import Trial

LOAD_APART = 0.01
"""Two windows had the same load when what was asked for differs by at most this share."""


class Pairing(msgspec.Struct, frozen=True, kw_only=True):
    """Windows of two experiments that had the same load, and what one's come to against the other's."""

    experiment: str
    against: str
    objective: str
    windows: int
    """Pairs: the n-th window of a load in one with the n-th of that load in the other."""
    left_out: int
    """Windows of either without a partner."""
    value: float
    """The objective over the paired windows: a sum where it is one, else a mean."""
    against_value: float
    better_percent: float
    """By how much `experiment` is better, in per cent of `against`'s."""
    ci_percent: tuple[float, float] | None
    """Its 95 % interval, of the pairs' differences; None with fewer than two."""
    kept: int
    against_kept: int
    """Windows that kept every limit of their experiment, of the paired ones."""
    text: str
    """The same in a sentence."""


def pairs_of(view: View, against: View) -> list[tuple[Trial, Trial]]:
    """Finished windows of both that had the same load, in order."""
    left = list(against.measured)
    pairs = []
    for trial in view.measured:
        at = _load(trial, view)
        partner = next((t for t in left if _same(at, _load(t, against))), None)
        if partner is not None:
            left.remove(partner)
            pairs.append((trial, partner))
    return pairs


def _load(trial: Trial, view: View) -> float:
    return trial.qps or (view.goal.loads[0] if view.goal.loads else trial.metrics.get("offered_qps", 0.0))


def _same(one: float, other: float) -> bool:
    return abs(one - other) <= LOAD_APART * max(abs(one), abs(other))


def paired(view: View, against: View, called: tuple[str, str] | None = None) -> Pairing | None:
    """What `view` saves against `against`; None where they can't be held against one another. `called`: what they are
    called, if not by their own names.

    That is where one of them searches (its windows are of many settings, and its verdict is the answer), where they
    are after different things, and where no two windows had the same load and length.
    """
    objective = view.goal.objective
    lengths = [v.experiment.resolved.get("workload", {}).get("window_seconds") for v in (view, against)]
    if view.compares or against.compares or objective != against.goal.objective or lengths[0] != lengths[1]:
        return None
    pairs = pairs_of(view, against)
    ours = [a.metrics[objective] for a, _ in pairs]
    theirs = [b.metrics[objective] for _, b in pairs]
    if not pairs or not math.fsum(theirs):
        return None
    direction = view.goal.objectives[0].direction
    whole = math.fsum(theirs)
    percent = direction.better_percent(math.fsum(ours), whole)
    interval = None
    if len(pairs) > 1:
        # Of a ratio of sums: how far each pair lies from it, as a share of the mean window. What a load itself uses
        # cancels.
        middle, ratio = whole / len(pairs), math.fsum(ours) / whole
        apart = [100 * (a - ratio * b) / middle for a, b in zip(ours, theirs, strict=True)]
        found = mean_interval([percent + one for one in apart])
        interval = (found.low, found.high) if math.isfinite(found.low) else None
    of = sum if metrics.of(objective).over_windows == "sum" else statistics.fmean
    kept = sum(view.feasible(a) for a, _ in pairs)
    against_kept = sum(against.feasible(b) for _, b in pairs)
    left_out = len(view.measured) + len(against.measured) - 2 * len(pairs)
    pairing = Pairing(
        experiment=called[0] if called else view.experiment.name,
        against=called[1] if called else against.experiment.name,
        objective=objective,
        windows=len(pairs),
        left_out=left_out,
        value=float(of(ours)),
        against_value=float(of(theirs)),
        better_percent=percent,
        ci_percent=interval,
        kept=kept,
        against_kept=against_kept,
        text="",
    )
    return msgspec.structs.replace(pairing, text=_said(pairing, view))


def _said(found: Pairing, view: View) -> str:
    metric = metrics.of(found.objective)
    more = (found.better_percent >= 0) == metric.maximized
    span = ""
    if found.ci_percent is not None:
        low, high = sorted(-v if found.better_percent < 0 else v for v in found.ci_percent)
        span = f" (95 % interval {low:.1f} to {high:.1f} %)"
    limits = wording.together([limit(c) for c in view.goal.constraints])
    kept = (
        f"; {limits} was kept in {found.kept} of its {found.windows} windows, and in {found.against_kept} of"
        f" those of {found.against}"
        if limits
        else ""
    )
    rest = f"; {found.left_out} windows had no partner of the same load" if found.left_out else ""
    return (
        f"{found.experiment} {metric.verb} {labels.percent(abs(found.better_percent))}"
        f" {'more' if more else 'less'} {metric.label} than {found.against} over {found.windows} windows of the same"
        f" loads{span}: {labels.quantity(found.objective, found.value, 5)} against"
        f" {labels.quantity(found.objective, found.against_value, 5)}{kept}{rest}"
    )


def all_paired(views: Sequence[View]) -> list[Pairing]:
    """Each experiment held against the last one that is named, where it can be."""
    return [found for found, _ in with_views(views)]


def with_views(views: Sequence[View]) -> list[tuple[Pairing, View]]:
    """The same, each with the view that is held against the last one; two of one name go by their folders."""
    *names, last = told_apart([(view.experiment.name, view.folder) for view in views])
    found = [(paired(view, views[-1], (name, last)), view) for view, name in zip(views, names, strict=False)]
    return [(one, view) for one, view in found if one is not None]


def forms(views: Sequence[View]) -> list[dict[str, Any]]:
    """The same as JSON types."""
    found: list[dict[str, Any]] = msgspec.json.decode(msgspec.json.encode(all_paired(views)))
    return found
