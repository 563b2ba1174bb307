"""What `--json` prints: experiments and trials as JSON types."""

from collections.abc import Sequence
from typing import Any

import msgspec

from mustherd.experiment import wording
from mustherd.experiment.again import Record
from mustherd.experiment.provenance import PROGRAM, ROW_PARSER
from mustherd.experiment.results import guards, picks, volumes
from mustherd.goal import Constraint
from mustherd.report.leading import leading
from mustherd.report.view import View
from mustherd.store.catalog import Summary
from mustherd.trial import Trial, TrialState
from mustherd.wire.messages import MusterView


def _plain(value: object) -> Any:
    """JSON types; what is not a finite number is null."""
    return msgspec.json.decode(msgspec.json.encode(value))


def _front(view: View) -> dict[str, Any] | None:
    """With two objectives: the settings that no other beats in both, and how the hypervolume grew."""
    goal = view.goal
    if not goal.second:
        return None
    grown, reference = volumes(view.trials, goal)
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


def record_form(record: Record) -> dict[str, Any]:
    """What other days showed of what was announced; `margin` is the share of a limit to keep free on this herd."""
    return {"held": record.held, "margin": record.margin, "text": record.text(), "days": _plain(record.days)}


def summary(view: View) -> dict[str, Any]:
    """The experiment's result: the object that `mustherd experiment start --json` ends with.

    The verdict is the stored one, or what the trials say so far.
    """
    return {
        "experiment": view.experiment.name,
        "folder": view.folder,
        "status": view.status,
        **(_plain(view.so_far) if view.experiment.verdict is None else view.experiment.verdict),
        "today": view.today,
        "trials": view.counts,
        "wall_seconds": round(view.wall_seconds, 3),
        "row_parser": view.provenance.get(PROGRAM, {}).get(ROW_PARSER),
    }


def pick_form(view: View, limits: Sequence[Constraint]) -> dict[str, Any]:
    """What `experiment pick` says: for each load the setting of best objective within `limits`."""
    goal = view.goal
    kept = [*guards(goal, *(c.metric for c in limits)), *limits]
    return {
        "folder": view.folder,
        "objective": goal.objective,
        "limits": [wording.limit(c) for c in kept],
        "picks": _plain(picks(view.trials, goal, limits)),
    }


def list_form(summaries: Sequence[Summary]) -> list[dict[str, Any]]:
    """Experiments, a summary each."""
    return [_plain(one) for one in summaries]


def lead_form(view: View) -> list[dict[str, Any]]:
    """What is ahead, at each load: how it stands (`lead`, a name of mustherd.experiment.lead.Lead), as a sentence, its
    settings (null where none is named), its mean of the objective and what it saves against the default, in percent;
    empty where nothing is compared."""
    return [
        {
            "lead": one.lead.name.lower().replace("_", "-"),
            "ahead": one.lead.is_ahead,
            "text": one.line(),
            "qps": one.qps,
            "settings": one.knobs if one.settings else None,
            "objective": _plain(one.value),
            "saving_percent": _plain(one.saving_percent),
            "trial": int(one.trial.partition("-")[0]) if one.trial else None,
        }
        for one in leading(view)
    ]


def status_form(view: View, stands: str, musters: Sequence[MusterView]) -> dict[str, Any]:
    """How an experiment stands: what `experiment status --json` prints; `musters` as its shepherd sees them."""
    return {
        "experiment": view.experiment.name,
        "folder": view.folder,
        "status": stands,
        "status_detail": view.detail,
        "phase": view.experiment.phase,
        "trials": view.counts,
        "progress": _plain(view.progress()),
        "lead": lead_form(view),
        "musters": _plain(musters),
    }


def show_form(view: View) -> dict[str, Any]:
    """The experiment's summary, and with it progress, definition, versions, musters, events and every trial."""
    best = view.winner()
    return {
        **summary(view),
        "status": view.status,
        "status_detail": view.detail,
        "phase": view.experiment.phase,
        "decided": view.stored is not None,
        "again": record_form(view.again),
        "objective": view.goal.objective,
        "progress": _plain(view.progress()),
        "lead": lead_form(view),
        "best_so_far": None if best is None else best.number,
        "definition": view.experiment.resolved,
        "digest": view.experiment.digest,
        "versions": view.experiment.versions,
        "provenance": view.provenance,
        "provenance_changes": list(view.provenance_changes),
        "created_at": view.experiment.created_at,
        "musters": _plain(view.musters),
        "front": _front(view),
        "events": _plain(view.events),
        "attempts": [trial_form(trial, view) for trial in view.trials],
        "unreadable": list(view.unreadable),
    }
