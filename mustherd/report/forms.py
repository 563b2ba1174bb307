"""What `--json` prints: experiments and trials as JSON types."""

from pathlib import Path
from typing import Any

import msgspec

from mustherd.lab.shelf import list_experiments
from mustherd.lab.store import Store
from mustherd.lab.trial import State, Trial
from mustherd.lab.verdict import summary
from mustherd.report.view import View


def _plain(value: object) -> Any:
    """JSON types; what is not a finite number is null."""
    return msgspec.json.decode(msgspec.json.encode(value))


def trial_form(trial: Trial, view: View) -> dict[str, Any]:
    """A trial with everything measured, and `feasible`: whether it keeps the limits (null unless it finished)."""
    form: dict[str, Any] = _plain(trial)
    form["feasible"] = view.feasible(trial) if trial.state is State.FINISHED else None
    return form


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
        "events": _plain(view.events),
        "attempts": [trial_form(trial, view) for trial in view.trials],
    }
