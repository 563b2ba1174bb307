"""What a Prometheus scrapes: an experiment and its herd as gauges, read anew at each scrape.

Whoever serves it reads the folder and asks the shepherd who is there; the daemons themselves do nothing more for it.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import get_args

from mustherd import scrape
from mustherd.herd.membership import Presence
from mustherd.learn.judging import Word
from mustherd.metrics import ACHIEVED_RATIO, READ_P99
from mustherd.report.leading import leading
from mustherd.report.timeline import POWER
from mustherd.report.view import View
from mustherd.scrape import Gauge
from mustherd.store.catalog import STATUSES
from mustherd.trial import Trial, TrialState
from mustherd.wire.messages import MusterView

OF_A_WINDOW = (POWER, READ_P99, "achieved_qps", ACHIEVED_RATIO)

Found = tuple[View | None, Sequence[MusterView]]


def told(found: Found) -> Iterator[Gauge]:
    """Every gauge of an experiment, a herd, or both."""
    view, musters = found
    if view is not None:
        yield from _of_experiment(view)
    if musters:
        yield from _of_herd(musters)


def exposition(found: Found) -> bytes:
    """The text of a scrape."""
    return scrape.exposition(lambda: told(found))


def _gauge(name: str, meaning: str, rows: Iterable[tuple[dict[str, str], float | None]]) -> Iterator[Gauge]:
    """A gauge of what is known; nothing where nothing is."""
    some = [(labels, value) for labels, value in rows if value is not None and math.isfinite(value)]
    if some:
        yield f"mustherd_{name}", meaning, some


def _of_experiment(view: View) -> Iterator[Gauge]:
    which = {"experiment": view.experiment.name}
    progress = view.progress()
    verdict = view.stored.verdict if view.stored is not None else ""
    yield from _gauge(
        "experiment_status", "1 for the status that it has",
        (({**which, "status": s}, float(s == view.status)) for s in STATUSES),
    )  # fmt: skip
    yield from _gauge(
        "experiment_verdict", "1 for the verdict that was announced",
        (({**which, "verdict": v}, float(v == verdict)) for v in get_args(Word)),
    )  # fmt: skip
    yield from _gauge(
        "trials", "Attempts at trials by state",
        (({**which, "state": state}, float(n)) for state, n in view.counts.items()),
    )  # fmt: skip
    yield from _gauge("trials_done", "Trials that finished", [(which, float(progress.done))])
    yield from _gauge("trials_planned", "Trials that are planned", [(which, float(progress.planned))])
    yield from _gauge("eta_seconds", "Time left, about", [(which, progress.eta_seconds)])
    yield from _gauge("wall_seconds", "Time that it has run", [(which, view.wall_seconds)])
    yield from _gauge(
        "best", "The objective of the best so far, in its own unit",
        (
            ({**which, "metric": view.goal.objective, "qps": f"{one.qps or 0:g}"}, one.value)
            for one in leading(view)
            if one.lead.is_ahead
        ),
    )  # fmt: skip
    saving = view.verdict().saving_percent
    yield from _gauge("saving_percent", "What the best saves against the default", [(which, saving)])
    newest = _newest(view)
    for metric in OF_A_WINDOW:
        yield from _gauge(
            f"window_{metric}", f"{metric} of each muster's last window",
            (({**which, "muster": name}, trial.metrics.get(metric)) for name, trial in newest.items()),
        )  # fmt: skip
    rows = view.logged.values()
    if rows:
        yield from _gauge("log_rows_written", "Log rows on disk", [(which, float(sum(r.written for r in rows)))])
        yield from _gauge(
            "log_rows_lost", "Log rows lost at their source", [(which, float(sum(r.rows_lost for r in rows)))]
        )


def _newest(view: View) -> dict[str, Trial]:
    return {t.muster: t for t in view.ended() if t.state is TrialState.FINISHED and t.muster}


def _of_herd(musters: Sequence[MusterView]) -> Iterator[Gauge]:
    yield from _gauge(
        "muster_state", "1 for the state that a muster is in",
        (({"muster": m.name, "state": s}, float(s == m.presence)) for m in musters for s in Presence),
    )  # fmt: skip
    named: list[tuple[str, str, Callable[[MusterView], float | None]]] = [
        ("muster_silent_seconds", "Since a muster was heard", lambda m: m.silent_s),
        ("muster_times_late", "How often a muster has been late or worse", lambda m: float(m.times_late)),
        ("muster_unrestored", "Knobs that a muster could not put back", lambda m: float(m.unrestored)),
        ("muster_decision", "Number of the decision in force; 0: none", lambda m: float(m.in_force)),
        ("muster_answer_milliseconds", "From a decision to its read-back", lambda m: m.answer_ms),
    ]
    for name, meaning, value in named:
        yield from _gauge(name, meaning, (({"muster": m.name}, value(m)) for m in musters))
    for which in ("asked", "applied", "running"):
        yield from _gauge(
            f"knob_{which}", f"A knob's value as {which}, in its own unit",
            (
                ({"muster": m.name, "sheep": r.sheep, "knob": r.knob}, _value(getattr(r, which)))
                for m in musters
                for r in m.readings
            ),
        )  # fmt: skip
    yield from _gauge(
        "knob_held", "1 where a knob holds what was asked",
        (
            ({"muster": m.name, "sheep": r.sheep, "knob": r.knob}, float(r.held))
            for m in musters
            for r in m.readings
            if r.asked is not None
        ),
    )  # fmt: skip


def _value(value: int | None) -> float | None:
    return None if value is None else float(value)
