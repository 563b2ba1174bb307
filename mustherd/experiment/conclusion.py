"""The end of an experiment: its verdict, and what is written down with it."""

from collections.abc import Sequence

import msgspec

from mustherd.definition import Experiment, problem
from mustherd.definition.settings_table import TABLE
from mustherd.experiment import wording
from mustherd.experiment.actions import Result
from mustherd.experiment.agenda import observation
from mustherd.experiment.observed import watched
from mustherd.experiment.results import write_table
from mustherd.experiment.verdict import Verdict, verdict_of
from mustherd.goal import Goal
from mustherd.learn.sensitivity import idle_knobs, must_matter
from mustherd.store.store import Store
from mustherd.trial import TrialKind, TrialState


def conclude(store: Store, experiment: Experiment, goal: Goal, *, compares: bool) -> Result:
    """Store what an experiment found; with `compares` against its baseline, else as its windows were."""
    if compares:
        verdict = _name_idle_knobs(store, experiment, goal, verdict_of(store, goal))
    else:
        verdict = watched(store.trials(), goal)
    store.set_verdict(msgspec.to_builtins(verdict))
    if verdict.loads:
        write_table(store.folder / TABLE, verdict, experiment.name)
        store.event("table", f"the settings for each load are in {TABLE}", {"file": TABLE})
    store.set_phase("done")
    store.set_status("done")
    store.event("verdict", verdict.reason, {"verdict": verdict.verdict})
    return Result.DONE if verdict.verdict == "met" else Result.NOT_MET


def _name_idle_knobs(store: Store, experiment: Experiment, goal: Goal, verdict: Verdict) -> Verdict:
    """Say which knobs had no measurable effect: something may overwrite them, and what was tuned is noise."""
    searched = store.trials(TrialKind.SEARCH, TrialState.FINISHED)
    task = problem(experiment)
    idle = tuple(idle_knobs(task, [observation(t, goal.loads) for t in searched]))
    if not idle:
        return verdict
    text = f"{wording.together(idle)} had no measurable effect: check that nothing else sets it"
    store.event("no-effect", text, {"knobs": list(idle)})
    found = msgspec.structs.replace(verdict, without_effect=idle, reason=f"{verdict.reason}; {text}")
    broken = [d.name for d in task.space.dimensions if d.name in idle and must_matter(d)]
    return doubted(found, broken) if broken else found


def doubted(verdict: Verdict, knobs: Sequence[str]) -> Verdict:
    """The verdict where `knobs` had no effect, though they must have one: it isn't known what was really set."""
    if verdict.verdict != "met":
        return verdict
    text = f"not certain: {wording.together(knobs)} can't be without effect on a load over so wide a range"
    loads = tuple(
        msgspec.structs.replace(row, verdict="not certain", reason=f"{text}; {row.reason}")
        if row.verdict == "met"
        else row
        for row in verdict.loads
    )
    reason = f"{text}, so something else sets it; otherwise {verdict.reason}"
    return msgspec.structs.replace(verdict, verdict="not certain", reason=reason, loads=loads)
