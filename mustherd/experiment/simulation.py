"""Whole experiments in no time: the scheduler, the search and the verdict that users run, on a function for a herd."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence

import msgspec

from mustherd.definition import Experiment, problem
from mustherd.definition.problem import search_options
from mustherd.experiment.actions import (
    Action,
    Calibrate,
    Conclude,
    End,
    Finish,
    Note,
    Prepare,
    Propose,
    Queue,
    Rank,
    Start,
    Tell,
    TellBaseline,
)
from mustherd.experiment.scheduler import Past, Scheduler
from mustherd.experiment.verdict import ORDER, Verdict, decide
from mustherd.learn.base import CalibratedSearch, Search, Settings
from mustherd.learn.noise import Noise
from mustherd.learn.registry import make
from mustherd.policy.tune import Tune
from mustherd.trial import Trial, TrialState

Measure = Callable[[Settings, str], Mapping[str, float]]
"""Settings, and the node that they are tried on, to what a window there measures."""
TRIAL_S = 1.0
"""How long a trial takes on the simulation's clock; only the order of trials depends on it."""


class _Here:
    """A search that runs in this process, as `tune` wants it."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self.ask, self.tell, self.state = search.ask, search.tell, search.state

    def calibrate(self, noise: Mapping[str, Noise]) -> None:
        if isinstance(self._search, CalibratedSearch):
            self._search.calibrate(noise)

    def close(self) -> None:
        pass


class Simulation:
    """One experiment, from its first trial to its verdict. Every trial is valid, and takes as long as any other.

    The policy is `tune`; the search runs in this process.
    """

    def __init__(self, experiment: Experiment, measure: Measure, nodes: Sequence[str] = ("node-0",)) -> None:
        """An experiment at one load or none; its baseline's settings name every knob, as nothing here is `as found`."""
        task = problem(experiment)
        search = make(experiment.search.method, task, seed=experiment.search.seed, options=search_options(experiment))
        self.trials: dict[int, Trial] = {}
        """Number to trial, as it is so far."""
        self._goal = task.goal
        self._measure = measure
        self._nodes = nodes
        self._policy = Tune(experiment, task, lambda: _Here(search))
        self._scheduler = Scheduler(experiment, task.goal, expected=len(nodes), now=0.0)
        self._running: list[Trial] = []
        self._order: list[Settings] | None = None
        self._now = 0.0
        self._over = False

    def run(self) -> Verdict:
        """The verdict. RuntimeError, with the scheduler's words, where there is none."""
        self._do(self._scheduler.begin())
        while not self._over:
            self._now += TRIAL_S
            ended = [self._ended(trial) for trial in self._running]
            self._running = []
            self._do(self._scheduler.ended(ended, self._now))
            if not self._over:
                self._do(self._scheduler.herd(dict.fromkeys(self._nodes, 0.0), self._now))
        order = {} if self._order is None else {0.0: self._order}
        return decide([self.trials[number] for number in sorted(self.trials)], self._goal, order=order)

    def _ended(self, trial: Trial) -> Trial:
        metrics = dict(self._measure(trial.settings, trial.muster))
        return msgspec.structs.replace(trial, state=TrialState.FINISHED, ended_at=self._now, metrics=metrics)

    def _do(self, actions: Sequence[Action]) -> None:
        todo = deque(actions)
        while todo:
            todo += self._answer(todo.popleft())

    def _answer(self, action: Action) -> Sequence[Action]:
        """Do what an action asks; what follows from the answer."""
        match action:
            case Queue(trial) | Finish(trial):
                self.trials[trial.number] = trial
            case Start(trial, muster):
                begun = msgspec.structs.replace(trial, state=TrialState.RUNNING, muster=muster, started_at=self._now)
                self.trials[trial.number] = begun
                self._running.append(begun)
            case Note(kind, _, data) if kind == ORDER:
                self._order = [dict(settings) for row in data["loads"] for settings in row["settings"]]
            case Prepare():
                return self._scheduler.prepared(Past(), compares=True, now=self._now)
            case Propose(pending, _):
                point = self._policy.propose(pending)
                why = self._policy.why_enough() if point is None else ""
                return self._scheduler.proposed(point, why, self._now)
            case Rank():
                return self._scheduler.ranked(self._policy.ranking(), list(self.trials.values()), self._now)
            case Conclude():
                self._over = True
            case End(_, reason):
                raise RuntimeError(reason)
            case _:
                self._tell(action)
        return ()

    def _tell(self, action: Action) -> None:
        match action:
            case Tell(observations):
                self._policy.observe(observations)
            case TellBaseline(observations):
                self._policy.observe_baseline(observations)
            case Calibrate(noise):
                self._policy.calibrate(noise)
