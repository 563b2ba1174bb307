"""What a live page shows of an experiment or a herd, as JSON types: read anew each time, nothing kept."""

from collections.abc import Iterable, Sequence
from typing import Any

from mustherd import metrics
from mustherd.experiment import wording
from mustherd.report import labels
from mustherd.report.labels import clean
from mustherd.report.leading import leading
from mustherd.report.now import recent
from mustherd.report.story import story
from mustherd.report.table import SIGNS, kind_of, number_of, result_of
from mustherd.report.view import View
from mustherd.store.experiment_row import PHASE
from mustherd.trial import Trial, TrialState
from mustherd.wire.messages import MusterView

MOST_TRIALS = 20
MOST_EVENTS = 12
MOST_POINTS = 120
"""Windows in a sparkline: the last ones."""


def experiment_state(view: View, musters: Sequence[MusterView] = ()) -> dict[str, Any]:
    """An experiment at this moment; `musters` as its shepherd sees them, where it runs and could be asked."""
    progress = view.progress()
    running = view.status == "running"
    verdict = view.verdict().reason if view.begun else ""
    return {
        "name": clean(view.experiment.name),
        "folder": clean(view.folder),
        "status": view.status,
        "detail": clean(view.detail),
        "running": running,
        "phase": clean(view.experiment.phase) if running else "",
        "done": progress.done,
        "planned": progress.planned,
        "eta_seconds": progress.eta_seconds,
        "wall_seconds": round(view.wall_seconds, 1),
        "counts": {state: n for state, n in view.counts.items() if n},
        "aim": _aim(view),
        "story": clean(" ".join(story(view))),
        "verdict": clean(verdict),
        "decided": view.stored is not None,
        "best": [
            {
                "head": one.head[0].upper() + one.head[1:],
                "at": "" if one.qps is None else f"{one.qps:,.0f} requests a second",
                "settings": one.settings,
                "objective": one.objective,
                "values": ", ".join(filter(None, (one.objective, one.compared, one.limited))),
                "trial": one.trial,
            }
            for one in leading(view)
        ],
        "now": [
            {
                "label": one.label,
                "value": one.text,
                "line": [round(v, 6) for v in one.values],
                "limit": one.limit,
                "limit_text": one.limit_text,
            }
            for one in recent(view, MOST_POINTS)
        ],
        "musters": _musters(view, musters),
        "trials": [_trial(trial, view) for trial in reversed(view.latest(MOST_TRIALS))],
        "events": [
            {"at": labels.clock(e.at)[11:19], "text": clean(e.text)}
            for e in reversed([e for e in view.events if e.kind != PHASE][-MOST_EVENTS:])
        ],
        "unreadable": [clean(line) for line in view.unreadable],
    }


def _aim(view: View) -> str:
    limits = wording.together([wording.limit(c) for c in view.goal.constraints])
    label = metrics.of(view.goal.objective).label
    return clean(f"{view.goal.objectives[0].direction.sense} {label}{f' with {limits}' if limits else ''}")


def _trial(trial: Trial, view: View) -> dict[str, Any]:
    return {
        "number": number_of(trial),
        "kind": kind_of(trial, view),
        "muster": clean(trial.muster),
        "settings": clean(wording.settings(trial.settings, view.knobs)),
        "metrics": [
            {"label": metrics.of(m).label, "value": labels.quantity(m, trial.metrics[m])}
            for m in view.metrics()
            if m in trial.metrics
        ],
        "result": result_of(trial, view, SIGNS, view.winners()).plain,
    }


def _musters(view: View, asked: Sequence[MusterView]) -> list[dict[str, Any]]:
    """As the shepherd sees them now; where it can't be asked, as the store last heard."""
    if asked:
        return herd_state(asked)
    under_way = {t.muster: t for t in view.trials if t.state is TrialState.RUNNING}
    found = []
    for muster in view.musters:
        trial = under_way.get(muster.name)
        knobs = wording.settings(trial.settings, muster.knobs) if trial is not None else ""
        found.append({"name": clean(muster.name), "state": muster.state, "in_force": "", "knobs": clean(knobs)})
    return found


def herd_state(musters: Iterable[MusterView]) -> list[dict[str, Any]]:
    """Musters as their shepherd sees them."""
    return [
        {
            "name": clean(muster.name),
            "state": muster.presence,
            "heard": round(muster.silent_s, 1),
            "in_force": str(muster.in_force or ""),
            "answer_ms": None if muster.answer_ms is None else round(muster.answer_ms, 1),
            "unrestored": muster.unrestored,
            "knobs": clean(_readings(muster)),
            "offers": [
                {"name": clean(name), "allowed": clean(knob.allowed_text())}
                for name, knob in sorted({knob.name: knob for knob in reversed(muster.knobs)}.items())
            ],
        }
        for muster in musters
    ]


def _readings(muster: MusterView) -> str:
    """What knobs are read back as: one value, or its span over a node's parts."""
    found: dict[str, list[int]] = {}
    for reading in muster.readings:
        value = reading.running if reading.running is not None else reading.applied
        if value is not None:
            found.setdefault(reading.knob, []).append(value)
    said = []
    for knob, values in sorted(found.items()):
        low, high = (wording.value(knob, v, muster.knobs) for v in (min(values), max(values)))
        said.append(f"{knob} {low}" if low == high else f"{knob} {low} to {high}")
    return ", ".join(said)
