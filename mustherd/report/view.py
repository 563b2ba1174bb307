"""An experiment as it stands, read once, for everything that shows it."""

from collections.abc import Sequence
from typing import Any, Self

import msgspec

from mustherd.experiment.events import Pace, pace
from mustherd.experiment.repeats import Key, default_settings, key_of
from mustherd.experiment.results import announced, front_of
from mustherd.experiment.verdict import Verdict, knobs_known, verdict_of
from mustherd.goal import GUARD, Constraint, Goal
from mustherd.learn.base import Observation
from mustherd.metrics import ENERGY, READ_P99, USUAL
from mustherd.rowlog.accounting import RowAccounting
from mustherd.rowlog.ledger import accounts_by_label
from mustherd.store.catalog import status_of
from mustherd.store.records import Event, ExperimentRecord, MusterRecord
from mustherd.store.store import LOGS, Store
from mustherd.terms import KnobInfo
from mustherd.trial import Trial, TrialKind, TrialState, label_of


class View(msgspec.Struct, frozen=True, kw_only=True):
    """An experiment at one moment: plain values, no connection behind them."""

    experiment: ExperimentRecord
    folder: str
    status: str
    detail: str
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

    @classmethod
    def of(cls, store: Store) -> Self:
        """Read `store`; StoreError where it can't be understood."""
        row = store.experiment()
        status, detail = status_of(store)
        stored, trials = announced(row.verdict), tuple(store.trials())
        return cls(
            experiment=row,
            folder=str(store.folder),
            status=status,
            detail=detail,
            goal=row.goal,
            knobs=knobs_known(store),
            trials=trials,
            counts=store.counts(),
            stored=stored,
            so_far=stored or verdict_of(store, row.goal, trials),
            musters=tuple(store.musters().values()),
            events=tuple(store.events()),
            wall_seconds=store.wall_seconds(),
            logged=accounts_by_label(store.folder / LOGS),
        )

    def verdict(self) -> Verdict:
        """The stored verdict; while there is none, what the trials say so far."""
        return self.so_far

    def account(self, trial: Trial) -> RowAccounting | None:
        """Where a trial's log rows went; None where it has none."""
        return self.logged.get(label_of(trial.number, trial.attempt))

    def front(self) -> list[Observation]:
        """With two objectives, the settings that no other beats in both; empty with one."""
        return front_of(self.trials, self.goal) if self.goal.second else []

    def knob_keys(self) -> list[str]:
        """The knobs that trials set, in the definition's order, then others as they appeared."""
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
        return value if value is not None and value == value else None  # noqa: PLR0124

    def of_default(self, trial: Trial) -> bool:
        """Whether a trial measures the default."""
        default = default_settings(self.trials)
        return trial.kind is TrialKind.BASELINE or (trial.kind is TrialKind.CONFIRM and trial.settings == default)

    def best_so_far(self) -> Trial | None:
        """The search trial with the best of the objective among those that keep every limit."""
        steps = self.improvements()
        return steps[-1] if steps else None

    def winner(self) -> Trial | None:
        """The search trial that found the setting which was announced; before that, the best so far."""
        if self.stored and self.stored.best:
            won = key_of(self.stored.best.knobs)
            return next((t for t in self.trials if t.kind is TrialKind.SEARCH and self.is_setting(t, won)), None)
        return self.best_so_far()

    def is_setting(self, trial: Trial, key: Key) -> bool:
        """Whether a trial finished with those settings."""
        return trial.state is TrialState.FINISHED and key_of(trial.settings) == key

    def ended(self) -> list[Trial]:
        """The attempts that are over, in the order they ended."""
        over = [t for t in self.trials if t.state not in (TrialState.QUEUED, TrialState.RUNNING)]
        return sorted(over, key=lambda t: (t.ended_at, t.number, t.attempt))

    def improvements(self) -> list[Trial]:
        """The search trials that were the best so far when they ended, in that order."""
        steps: list[Trial] = []
        least = float("inf")
        for trial in self.ended():
            value = self.objective(trial)
            if trial.kind is not TrialKind.SEARCH or value is None or not self.feasible(trial):
                continue
            cost = self.goal.objectives[0].direction.as_cost(value)
            if cost < least:
                least = cost
                steps.append(trial)
        return steps

    def progress(self) -> Pace:
        """How far the experiment is."""
        done = len({trial.number for trial in self.trials if trial.state is TrialState.FINISHED})
        planned = sum(self.experiment.plan.values())
        return pace(done, planned, self.wall_seconds, running=self.status == "running")

    def latest(self, count: int) -> Sequence[Trial]:
        """The attempts that ended or began last, oldest first; what is only queued comes last of all."""
        begun = [t for t in self.trials if t.state is not TrialState.QUEUED]
        begun.sort(key=lambda t: (t.state is TrialState.RUNNING, t.ended_at or t.started_at, t.number))
        return begun[-count:] if count else []
