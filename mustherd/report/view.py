"""An experiment as it stands, read once, for everything that shows it."""

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import msgspec

from mustherd.experiment import provenance, wording
from mustherd.experiment.again import Record, for_today, record_of
from mustherd.experiment.events import Pace, pace
from mustherd.experiment.lead import Lead, lead_of
from mustherd.experiment.left_behind import left_in
from mustherd.experiment.provenance import Provenance
from mustherd.experiment.repeats import default_settings
from mustherd.experiment.results import announced, front_of
from mustherd.experiment.verdict import AtLoad, Verdict, decide, verdict_on
from mustherd.goal import GUARD, Constraint, Goal
from mustherd.learn.base import Observation
from mustherd.learn.windows import Key, key_of
from mustherd.metrics import ENERGY, READ_P99, USUAL
from mustherd.rowlog.accounting import RowAccounting
from mustherd.rowlog.ledger import accounts_by_label
from mustherd.store.catalog import status_of
from mustherd.store.errors import StoreError
from mustherd.store.records import UNREADABLE, Event, ExperimentRecord, MusterRecord, knobs_of
from mustherd.store.store import LOGS, Store
from mustherd.terms import KnobInfo
from mustherd.trial import Trial, TrialKind, TrialState, label_of


class View(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """An experiment at one moment: plain values, no connection behind them."""

    experiment: ExperimentRecord
    folder: str
    status: str
    detail: str
    """Why it failed or was stopped, and which nodes were left changed."""
    goal: Goal
    knobs: tuple[KnobInfo, ...]
    trials: tuple[Trial, ...]
    """All attempts by number and attempt."""
    counts: dict[str, int]
    stored: Verdict | None
    """The verdict as it was announced; None before that."""
    so_far: Verdict
    """What the trials say, announced or not."""
    musters: tuple[MusterRecord, ...]
    events: tuple[Event, ...]
    wall_seconds: float
    logged: dict[str, RowAccounting]
    """Where each attempt's log rows went, by its label; empty where nothing is logged."""
    unreadable: tuple[str, ...] = ()
    """What of the folder can't be read and is left out here, a line each."""
    provenance: Provenance = {}
    """What it was measured with, part by part, as it was at its last start."""
    provenance_changes: tuple[str, ...] = ()
    """What of it was not as a run before had it, a sentence each."""
    again: Record = Record()
    """What other days showed of what was announced."""

    @classmethod
    def of(cls, store: Store) -> Self:
        """Read `store`, and of what is damaged as much as can be read; StoreError where that is nothing."""
        row = store.experiment()
        status, detail = status_of(store)
        left_out: list[str] = []
        trials = tuple(store.trials(left_out=left_out))
        musters = tuple(store.musters(left_out=left_out).values())
        events = tuple(store.events(left_out=left_out))
        resolved = _resolved(row, left_out)
        stored = announced(row.verdict)
        left = left_in(store.folder) if store.owner() is None else []
        return cls(
            experiment=msgspec.structs.replace(row, resolved=resolved),
            folder=str(store.folder),
            status=status,
            detail="; ".join([*[detail] * bool(detail), *left]),
            goal=row.goal,
            knobs=knobs_of(musters),
            trials=trials,
            counts=store.counts(),
            stored=stored,
            so_far=stored or _so_far(store, trials, row.goal, knobs_of(musters), left_out),
            musters=musters,
            events=events,
            wall_seconds=store.wall_seconds(),
            logged=_logged(store, left_out),
            unreadable=tuple(left_out),
            provenance=provenance.read(events),
            provenance_changes=tuple(provenance.changes(events)),
            again=record_of(store.folder, stored, row.goal),
        )

    def verdict(self) -> Verdict:
        """The stored verdict; while there is none, what the trials say so far."""
        return self.so_far

    @property
    def today(self) -> str:
        """That what was announced is for today alone, as long as no other day has confirmed it; else ''."""
        # Where nothing was compared, nothing was announced.
        return for_today(Path(self.folder), self.stored, self.again) if self.compares else ""

    def account(self, trial: Trial) -> RowAccounting | None:
        """Where a trial's log rows went; None where it has none."""
        return self.logged.get(label_of(trial.number, trial.attempt))

    def front(self) -> list[Observation]:
        """With two objectives, the settings that no other beats in both; empty with one."""
        return front_of(self.trials, self.goal) if self.goal.second else []

    def knob_keys(self) -> list[str]:
        """The knobs that trials set, in the definition's order, then others as they appeared."""
        return self._knob_keys

    @cached_property
    def _knob_keys(self) -> list[str]:
        keys = dict.fromkeys(self.experiment.resolved.get("knobs") or {})
        keys.update(dict.fromkeys(key for trial in self.trials for key in trial.settings))
        return list(keys)

    def knob_values(self, key: str) -> list[int]:
        """The values of a knob that the definition lists or that were searched, ascending; a range's are not listed."""
        space: Any = (self.experiment.resolved.get("knobs") or {}).get(key)
        listed = {value for value in space if isinstance(value, int)} if isinstance(space, list) else set()
        return sorted(
            listed | {t.settings[key] for t in self.trials if t.kind is TrialKind.SEARCH and key in t.settings}
        )

    def metrics(self) -> list[str]:
        """The metrics worth a column: the objective, what is limited, and energy, p99 and load where measured."""
        return self._metrics

    @cached_property
    def _metrics(self) -> list[str]:
        limited = [constraint.metric for constraint in self.goal.constraints]
        measured = {name for trial in self.trials for name in trial.metrics} or {ENERGY, READ_P99}
        usual = [name for name in USUAL if name in measured]
        loads = ["achieved_qps"] if any(trial.load for trial in self.trials) else []
        names = dict.fromkeys([*loads, self.goal.objective, *usual[:2], *limited, *usual[2:]])
        return sorted(names, key=lambda name: name == GUARD)

    def broken(self, trial: Trial) -> list[Constraint]:
        """The limits that a trial's measurements don't keep."""
        return [
            c for c in self.goal.constraints if c.metric not in trial.metrics or not c.met_by(trial.metrics[c.metric])
        ]

    def feasible(self, trial: Trial) -> bool:
        """Whether a trial is finished and keeps every limit."""
        return trial.state is TrialState.FINISHED and self.objective(trial) is not None and not self.broken(trial)

    def objective(self, trial: Trial) -> float | None:
        """What the trial measured of the objective."""
        value = trial.metrics.get(self.goal.objective)
        return value if value is not None and math.isfinite(value) else None

    def of_default(self, trial: Trial) -> bool:
        """Whether a trial measures the default."""
        return trial.kind is TrialKind.BASELINE or (trial.kind is TrialKind.CONFIRM and trial.settings == self._default)

    @cached_property
    def _default(self) -> dict[str, int] | None:
        return default_settings(self.trials)

    @cached_property
    def compares(self) -> bool:
        """Whether settings are held against one another: a search does, a policy that watches or follows doesn't."""
        policy = self.experiment.resolved.get("policy")
        name = policy.get("name") if isinstance(policy, dict) else policy
        beside = (TrialKind.BASELINE, TrialKind.CONFIRM)
        return (
            name in (None, SEARCHES)
            or any(self.experiment.plan.get(kind.value) for kind in beside)
            or any(trial.kind in beside for trial in self.trials)
        )

    @cached_property
    def loads(self) -> tuple[float, ...]:
        """The loads in requests per second that trials were given, ascending; empty where all have one."""
        found = {trial.qps for trial in self.trials if trial.load is not None and trial.load.qps}
        return tuple(sorted(found)) if len(found) > 1 else ()

    def at(self, qps: float) -> Self:
        """The same at one of its loads: its trials, and what is announced there."""
        trials = tuple(trial for trial in self.trials if trial.qps == qps)
        goal = self.goal.at(qps)
        row = next((row for row in self.so_far.loads if row.qps == qps), None)
        found = decide(trials, goal, self.knobs) if row is None else _verdict_at(row, goal)
        return msgspec.structs.replace(
            self, trials=trials, goal=goal, so_far=found, stored=found if self.stored else None
        )

    @cached_property
    def lead(self) -> Lead:
        """How the best setting of the verdict stands against the default, announced or so far; of one load."""
        tried = any(t.kind in (TrialKind.SEARCH, TrialKind.CONFIRM) and not self.of_default(t) for t in self.measured)
        return lead_of(self.so_far, tried=tried)

    def winner(self) -> Trial | None:
        """The first search trial of the verdict's best setting, announced or so far; None where that may not be called
        the best (`lead`).

        Of several loads there is none: each has its own (`winners`).
        """
        return self._winner

    def winners(self) -> list[Trial]:
        """The winner, or of several loads that of each which has one."""
        return self._winners

    @cached_property
    def _winners(self) -> list[Trial]:
        each = [self.at(qps).winner() for qps in self.loads] if self.loads and self.compares else [self.winner()]
        return [trial for trial in each if trial is not None]

    @cached_property
    def _winner(self) -> Trial | None:
        if self.loads or not self.compares:
            return None
        if self.so_far.best is None or not self.lead.is_ahead:
            return None
        won = key_of(self.so_far.best.knobs)
        return next((t for t in self.trials if t.kind is TrialKind.SEARCH and self.is_setting(t, won)), None)

    def is_setting(self, trial: Trial, key: Key) -> bool:
        """Whether a trial finished with those settings."""
        return trial.state is TrialState.FINISHED and key_of(trial.settings) == key

    @cached_property
    def begun(self) -> tuple[Trial, ...]:
        """The attempts that have begun, by number and attempt."""
        return tuple(t for t in self.trials if t.state is not TrialState.QUEUED)

    @cached_property
    def finished(self) -> tuple[Trial, ...]:
        """The trials that are finished, by number."""
        return tuple(t for t in self.trials if t.state is TrialState.FINISHED)

    @cached_property
    def measured(self) -> tuple[Trial, ...]:
        """The finished trials that have a value of the objective, by number."""
        return tuple(t for t in self.finished if self.objective(t) is not None)

    def ended(self) -> list[Trial]:
        """The attempts that are over, in the order they ended."""
        over = [t for t in self.trials if t.state not in (TrialState.QUEUED, TrialState.RUNNING)]
        return sorted(over, key=lambda t: (t.ended_at, t.number, t.attempt))

    def improvements(self) -> list[Trial]:
        """The search trials that were the best so far at their load when they ended, in that order; none where nothing
        is compared."""
        return self._improvements

    @cached_property
    def _improvements(self) -> list[Trial]:
        steps: list[Trial] = []
        least: dict[float, float] = {}
        for trial in self.ended() if self.compares else ():
            value = self.objective(trial)
            if trial.kind is not TrialKind.SEARCH or value is None or not self.feasible(trial):
                continue
            cost = self.goal.objectives[0].direction.as_cost(value)
            if cost < least.get(trial.qps, math.inf):
                least[trial.qps] = cost
                steps.append(trial)
        return steps

    def progress(self) -> Pace:
        """How far the experiment is."""
        done = len({trial.number for trial in self.finished})
        planned = sum(self.experiment.plan.values())
        return pace(done, planned, self.wall_seconds, running=self.status == "running")

    def latest(self, count: int) -> Sequence[Trial]:
        """The attempts that ended or began last, oldest first; what is only queued comes last of all."""
        begun = sorted(self.begun, key=lambda t: (t.state is TrialState.RUNNING, t.ended_at or t.started_at, t.number))
        return begun[-count:] if count else []


SEARCHES = "tune"
"""The policy that searches, and the one that a definition has unless it says otherwise."""

SECTIONS = ("workload", "knobs", "search", "baseline", "confirmation", "gates", "herd")
"""Keys of a definition that have keys of their own, as far as anything here looks into them."""


def _resolved(row: ExperimentRecord, left_out: list[str]) -> dict[str, Any]:
    """The definition's meaning, without what isn't of its shape."""
    odd = [name for name in SECTIONS if not isinstance(row.resolved.get(name), dict | None)]
    left_out += [f"{row.name}: {name} of its definition can't be read" for name in odd]
    return {name: value for name, value in row.resolved.items() if name not in odd}


def _verdict_at(row: AtLoad, goal: Goal) -> Verdict:
    """What is announced at one load of several, as a verdict of its own."""
    return Verdict(
        verdict=row.verdict,
        reason=row.reason,
        objective=goal.objective,
        sense=goal.objectives[0].direction.sense,
        constraints=tuple(wording.limit(c) for c in goal.constraints),
        default=row.default,
        best=row.best,
        saving_percent=row.saving_percent,
        saving_ci_percent=row.saving_ci_percent,
        margin=goal.margin,
        least_saving_percent=goal.least_saving,
    )


def _so_far(
    store: Store, trials: Sequence[Trial], goal: Goal, knobs: Sequence[KnobInfo], left_out: list[str]
) -> Verdict:
    try:
        return verdict_on(store, trials, goal, knobs)
    except (StoreError, *UNREADABLE) as error:
        left_out.append(f"{store.folder}: what its trials say can't be told: {error}")
        return decide((), goal, knobs)


def _logged(store: Store, left_out: list[str]) -> dict[str, RowAccounting]:
    try:
        return accounts_by_label(store.folder / LOGS)
    except StoreError as error:
        left_out.append(str(error))
        return {}
