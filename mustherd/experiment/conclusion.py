"""The end of an experiment: its verdict, and what is written down with it."""

import msgspec

from mustherd.definition import Experiment, problem
from mustherd.definition.settings_table import TABLE
from mustherd.experiment.actions import Result
from mustherd.experiment.agenda import observation
from mustherd.experiment.observed import watched
from mustherd.experiment.results import write_table
from mustherd.experiment.verdict import Verdict, verdict_of
from mustherd.goal import Goal
from mustherd.learn.sensitivity import idle_knobs
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
    idle = tuple(idle_knobs(problem(experiment), [observation(t, goal.loads) for t in searched]))
    if not idle:
        return verdict
    text = f"{' and '.join(idle)} had no measurable effect: check that nothing else sets it"
    store.event("no-effect", text, {"knobs": list(idle)})
    return msgspec.structs.replace(verdict, without_effect=idle, reason=f"{verdict.reason}; {text}")
