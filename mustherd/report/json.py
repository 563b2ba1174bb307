"""What `--json` prints: experiments and trials as JSON types."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from mustherd.experiment import wording
from mustherd.experiment.results import guards, picked, volumes
from mustherd.experiment.verdict import summary
from mustherd.learn.base import Constraint
from mustherd.report.view import View
from mustherd.store.catalog import list_experiments
from mustherd.store.store import Store
from mustherd.trial import Trial, TrialKind, TrialState


def _plain(value: object) -> Any:
    """JSON types; what is not a finite number is null."""
    return msgspec.json.decode(msgspec.json.encode(value))


def _front(view: View) -> dict[str, Any] | None:
    """With two objectives: the settings that no other beats in both, and how the hypervolume grew."""
    goal = view.goal
    if not goal.second:
        return None
    grown, reference = volumes(view.trials, goal, goal.second)
    return {
        "objectives": [goal.objective, goal.second],
        "settings": [{"settings": o.point, "metrics": _plain(o.metrics)} for o in view.front()],
        "hypervolume": [{"trial": number, "value": value} for number, value in grown],
        "reference": list(reference),
    }


def trial_form(trial: Trial, view: View) -> dict[str, Any]:
    """A trial with everything measured; `feasible`: whether it keeps the limits (null unless it finished); `log_rows`:
    the account of its log rows over all streams (null without any)."""
    form: dict[str, Any] = _plain(trial)
    form["feasible"] = view.feasible(trial) if trial.state is TrialState.FINISHED else None
    form["log_rows"] = _plain(view.account(trial))
    return form


def pick_form(store: Store, limits: Sequence[Constraint]) -> tuple[dict[str, Any], View]:
    """What `experiment pick` says: for each load the setting of best objective within `limits`; and the view of it."""
    view = View.of(store)
    goal = view.goal
    loads = goal.loads if len(goal.loads) > 1 else (None,)
    picks = []
    for qps in loads:
        trials = [t for t in view.trials if qps is None or t.qps == qps]
        found = picked(trials, goal, limits)
        repeats = [t for t in trials if found is not None and t.settings == found.point and t.kind is TrialKind.CONFIRM]
        picks.append(
            {
                "qps": qps,
                "settings": None if found is None else found.point,
                "metrics": None if found is None else _plain(found.metrics),
                "repeats": sum(t.state is TrialState.FINISHED for t in repeats),
            }
        )
    kept = [*guards(goal, *(c.metric for c in limits)), *limits]
    form = {
        "folder": view.folder,
        "objective": goal.objective,
        "limits": [wording.limit(c) for c in kept],
        "picks": picks,
    }
    return form, view


def list_form(parent: Path | str) -> list[dict[str, Any]]:
    """Experiments below a folder, a summary each."""
    return [msgspec.to_builtins(one) for one in list_experiments(parent)]


def show_form(store: Store) -> dict[str, Any]:
    """The experiment's summary, and with it progress, definition, versions, musters, events and every trial."""
    view = View.of(store)
    best = view.best_so_far()
    return {
        **summary(store),
        "status": view.status,
        "status_detail": view.detail,
        "phase": view.experiment.phase,
        "decided": view.stored is not None,
        "objective": view.goal.objective,
        "progress": _plain(view.progress()),
        "best_so_far": None if best is None else best.number,
        "definition": view.experiment.resolved,
        "digest": view.experiment.digest,
        "versions": view.experiment.versions,
        "created_at": view.experiment.created_at,
        "musters": _plain(view.musters),
        "front": _front(view),
        "events": _plain(view.events),
        "attempts": [trial_form(trial, view) for trial in view.trials],
    }
