"""The scheduler's promises, watched over by what was written alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mustherd.experiment.actions import Action, Conclude, Note, Queue, Start, Tell
from mustherd.experiment.loop import past_of
from mustherd.experiment.scheduler import Scheduler
from mustherd.experiment.tally import by_end
from mustherd.experiment.verdict import ORDER, SEARCH_OVER
from mustherd.reasons import Reason, of
from mustherd.trial import Trial, TrialKind, TrialState
from tests.experiment.memory_store import COUNTS, Record

if TYPE_CHECKING:
    from tests.experiment.simulated import World


def watch(world: World, action: Action) -> None:
    """What an action may be, given what was written before it."""
    record = world.record
    assert not world.over, f"{action} after the end"
    match action:
        case Start(trial, muster):
            assert world.musters[muster].trial is None, "a muster runs two trials"
            assert world.scheduler._under_way, "started, and forgotten"
            _watch_budget(world, trial)
            if trial.kind is TrialKind.CONFIRM:
                assert not any(t.kind is TrialKind.SEARCH and t.state in COUNTS[:2] for t in record.trials())
        case Queue(trial) if trial.kind is not TrialKind.BASELINE and world.compares:
            baselines = sum(t.kind is TrialKind.BASELINE and t.attempt == 1 for t in record.trials())
            searched = len({t.number for t in record.trials() if t.kind is TrialKind.SEARCH})
            if trial.kind is TrialKind.SEARCH:
                every, loads = world.experiment.baseline.every, len(world.goal.loads)
                assert baselines == loads * (1 + searched // (every * loads)), "a baseline is due first"
                assert searched < world.experiment.trials
                assert record.last_event(SEARCH_OVER) is None, "a search begins again"
            else:
                assert record.last_event(SEARCH_OVER) is not None
                assert record.last_event(ORDER) is not None
        case Note(kind, _, data) if kind in (SEARCH_OVER, ORDER):
            assert record.last_event(kind) is None, f"{kind} twice"
            if kind == SEARCH_OVER:
                assert data["why"] in ("trials", "policy", "budget-minutes", "budget-joules")
                assert data["text"]
        case Tell(observations):
            assert observations
        case Conclude():
            assert not [t for t in record.trials() if t.state in COUNTS[:2]], "concluded before the end"
            assert record.last_event(SEARCH_OVER) is not None
            agenda = world.scheduler._agenda
            assert agenda is not None
            for rounds in () if agenda._cut else (agenda._rounds or {}).values():
                assert rounds.due(world.scheduler._alive) == [], "concluded with repeats that are due"


def _watch_budget(world: World, trial: Trial) -> None:
    """No attempt is started beyond the budget."""
    budget, load = world.experiment.budget, world.experiment.workload
    rows = world.record.trials()
    if budget.minutes is not None:
        begun = sum(t.started_at > 0 for t in rows) + 1
        spent = begun * (load.settle_seconds + load.ramp_seconds + load.window_seconds) / 60 / world.expected
        assert spent <= budget.minutes * (1 + 1e-12), f"{spent} minutes of {budget.minutes}"
    if budget.joules is not None:
        used = [t.metrics["energy_joules"] for t in rows if "energy_joules" in t.metrics]
        under_way = sum(t.state is TrialState.RUNNING for t in rows) + 1
        assert sum(used) * (1 + under_way / max(1, len(used))) <= budget.joules * (1 + 1e-9)


def look(world: World) -> None:
    """The invariants, by what was written: everything that was to be done has been."""
    rows: list[Trial] = world.record.trials()
    numbers: dict[int, list[Trial]] = {}
    for trial in rows:
        numbers.setdefault(trial.number, []).append(trial)
    assert list(numbers) == list(range(1, len(numbers) + 1))
    for attempts in numbers.values():
        # 8, and no attempt is lost: but for the last one, each was invalid, and the last one isn't.
        assert [t.attempt for t in attempts] == list(range(1, len(attempts) + 1))
        assert all(t.state is TrialState.INVALID for t in attempts[:-1])
        last = attempts[-1]
        assert last.state is not TrialState.INVALID
        assert {t.settings == last.settings and t.load == last.load and t.kind is last.kind for t in attempts} == {True}
        # 10
        counted = [t for t in attempts if t.state is not TrialState.FINISHED and t.reason and of(t.reason).fault.counts]
        assert len(counted) <= world.experiment.gates.attempts
        if last.state is TrialState.FAILED:
            # Of a muster that is gone for good nothing is waited for.
            gone = last.place and last.reason == Reason.MUSTER_DEAD
            assert gone or not of(last.reason).again or len(counted) == world.experiment.gates.attempts, (
                "given up too early"
            )
        else:
            assert len(counted) < world.experiment.gates.attempts, "not given up"
    if world.policy is not None and world.scheduler._agenda is not None:
        # 9, 12
        searched = [t for t in by_end(rows) if t.kind is TrialKind.SEARCH and t.state is TrialState.FINISHED]
        assert [o.metrics for o in world.policy.told] == [t.metrics for t in searched]
        _compare_with_a_new_one(world)


def _compare_with_a_new_one(world: World) -> None:
    """A scheduler made anew from what was written knows what the one that wrote it knows."""
    copy: Any = Record.copy(world.record, lambda: world.wall)
    other = Scheduler(world.experiment, world.goal, expected=world.expected, now=world.now)
    other.prepared(past_of(copy), compares=world.compares, now=world.now)
    other.validate()
    mine, theirs = world.scheduler, other
    assert mine._agenda is not None
    assert theirs._agenda is not None
    again = {n: TrialState.QUEUED if s is TrialState.RUNNING else s for n, s in mine._tally.states.items()}
    assert again == theirs._tally.states
    for name in ("numbers", "last", "at_fault", "begun", "joules", "measured"):
        assert getattr(mine._tally, name) == getattr(theirs._tally, name), name
    assert mine._agenda.told == theirs._agenda.told
    assert mine._agenda._noise.noise() == theirs._agenda._noise.noise()
    assert mine._agenda._over == theirs._agenda._over
    assert (mine._agenda._rounds is None) == (theirs._agenda._rounds is None)
    for qps, rounds in (mine._agenda._rounds or {}).items():
        other_rounds = (theirs._agenda._rounds or {})[qps]
        here = [name for name, muster in world.musters.items() if muster.here]
        due, other_due = rounds.due(here), other_rounds.due(here)
        assert rounds.failed == other_rounds.failed
        if rounds.step != other_rounds.step:
            # Who was gone when a step ended is written with the first trial of the next one. Until then a new scheduler
            # may ask that muster for its part of the step before.
            assert rounds.step > other_rounds.step
            assert rounds.turn[0], "a step that has begun is not known"
            continue
        assert (due, rounds.turn) == (other_due, other_rounds.turn)
        assert rounds.confirmation.outcome() == other_rounds.confirmation.outcome()
