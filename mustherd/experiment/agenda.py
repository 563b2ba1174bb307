"""What an experiment runs next: the baselines, between them the policy's trials, then the confirmation. Pure."""

import itertools
from collections.abc import Collection, Mapping, Sequence

from mustherd.definition import Experiment, default_settings
from mustherd.definition.plan import confirmation_trials
from mustherd.definition.problem import CONTEXT
from mustherd.experiment.actions import Action, Calibrate, Note, Phase, Propose, Queue, Rank, Tell, TellBaseline
from mustherd.experiment.budget import Budget, Shortage
from mustherd.experiment.repeats import Rounds, as_found, candidates, rounds_of
from mustherd.experiment.tally import Tally, by_end
from mustherd.experiment.verdict import ORDER, SEARCH_OVER
from mustherd.goal import Goal
from mustherd.learn.base import Observation, Settings
from mustherd.learn.noise import PooledNoise
from mustherd.policy.base import WAIT, Proposal
from mustherd.terms import Load
from mustherd.trial import Trial, TrialKind, TrialState

Order = Mapping[float, Sequence[Settings]]


def observation(trial: Trial, loads: Sequence[float]) -> Observation:
    """A trial as the policy sees it: of several `loads` its own is part of the point."""
    at = {CONTEXT: int(trial.qps)} if len(loads) > 1 else {}
    return Observation(point={**trial.settings, **at}, metrics=trial.metrics)


class Agenda:
    """Chooses trials, one after the other, and keeps up with what became of them.

    The baseline runs first and again between the policy's trials; once the search is over, what it found is confirmed
    in rounds. Of several loads each has its baseline and its confirmation, and they take turns where the policy doesn't
    choose. The search ends once, for good: a run that is resumed doesn't begin it again.
    """

    def __init__(
        self,
        experiment: Experiment,
        goal: Goal,
        tally: Tally,
        past: Sequence[Trial],
        *,
        compares: bool,
        over: bool,
        order: Order,
    ) -> None:
        """`past` are the attempts that `tally` has counted; `over` and `order`: what was written down of them."""
        self._experiment = experiment
        self._goal = goal
        self._tally = tally
        self._compares = compares
        self._loads = goal.loads or (0.0,)
        self._parts = experiment.workload.parts
        self._phase = ""
        self._over = over
        self._waits = False
        self._here: set[str] = set()
        self._cut = False
        self._rounds: dict[float, Rounds] | None = None
        self.told: list[tuple[float, int]] = []
        """When each trial ended that the policy was told of, and its number."""
        self._noise = PooledNoise(goal.metrics)
        if order:
            self._confirm(order, past)

    def again(self, past: Sequence[Trial]) -> list[Action]:
        """What a new policy must be told of the trials of former runs, in the order in which they ended."""
        ended = [t for t in by_end(past) if t.state is TrialState.FINISHED and t.kind is not TrialKind.CONFIRM]
        told: list[Action] = []
        for kind, group in itertools.groupby(ended, lambda t: t.kind):
            of = list(group)
            told.append(self._tell(*of) if kind is TrialKind.SEARCH else self._tell_baseline(*of))
        searched = sum(t.kind is TrialKind.SEARCH for t in ended)
        if not searched:
            return told
        text = f"the policy learnt {searched} finished trials again"
        return [*self._calibrated(), *told, Note("replayed", text, {"trials": searched})]

    def next(self, busy: Collection[Trial], budget: Budget, muster: str, here: Sequence[str]) -> list[Action]:
        """What leads to the next trial of `muster`, which is `here` with others; trials that are `busy` are under way.

        Ends with Queue when one was chosen, with Propose or Rank when the policy must be asked first, and with neither
        when there is nothing to run there, or not before something that is under way has ended.
        """
        actions: list[Action] = []
        self._waits &= self._here.issuperset(here)
        self._here = set(here)
        if not self._over:
            actions += self._next_of_search(busy, budget)
        if self._over and self._compares and self._experiment.repeats > 0:
            actions += self._next_of_confirmation(busy, budget, muster, here)
        return actions

    def proposed(self, point: Proposal, why_enough: str, *, busy: bool) -> list[Action]:
        """What the policy answered to Propose: the next setting, that it waits, or that it has enough and why.

        Who waits is asked again once a trial has ended or another muster is here; where nothing is `busy`, none will.
        """
        self._waits = point is WAIT and busy
        if self._waits:
            return []
        if point is WAIT:
            return [self._end_search("policy", "the policy waits, and nothing that it could wait for is under way")]
        if point is None:
            return [self._end_search("policy", why_enough or "the policy proposes nothing more")]
        # A policy that leaves the load out tries each load in its turn.
        qps = float(point.get(CONTEXT, 0)) or self._turn()
        return [self._queue(TrialKind.SEARCH, {key: value for key, value in point.items() if key != CONTEXT}, qps)]

    def ranked(self, ranking: Sequence[Settings], trials: Sequence[Trial]) -> Action:
        """What the policy answered to Rank, the best first; if it ranks nothing, all `trials` so far decide."""
        order: dict[float, Sequence[Settings]] = {}
        for qps in self._loads:
            ranked = [{k: v for k, v in p.items() if k != CONTEXT} for p in ranking if p.get(CONTEXT, qps) == qps]
            there = self._at(trials, qps)
            best = ranked or candidates(there, self._goal.at(qps))
            # Where the node is at one anyway it would be held against itself.
            order[qps] = [settings for settings in best if not as_found(settings, there)]
        self._confirm(order, trials)
        text = f"to be confirmed: {', '.join(str(len(points)) for points in order.values())} settings"
        return Note(ORDER, text, {"loads": [{"qps": qps, "settings": list(points)} for qps, points in order.items()]})

    def ended(self, trial: Trial) -> list[Action]:
        """A trial finished, or was given up: what the policy is told."""
        self._waits = False
        match trial.kind:
            case TrialKind.CONFIRM if self._rounds is not None:
                self._rounds[self._load_at(trial)].ended(trial)
            case TrialKind.SEARCH if trial.state is TrialState.FINISHED:
                return [self._tell(trial)]
            case TrialKind.BASELINE if trial.state is TrialState.FINISHED:
                return [self._tell_baseline(trial), *self._calibrated()]
        return []

    def hopeless(self) -> str:
        """Why the confirmation can't come to an end; '' while it can."""
        failed = [r.failed for r in (self._rounds or {}).values() if r.failed > self._goal.rounds]
        return f"{failed[0]} confirmation trials failed: see the trials' reasons" if failed else ""

    # --- the search ---

    def _next_of_search(self, busy: Collection[Trial], budget: Budget) -> list[Action]:
        begun = self._tally.numbers[TrialKind.SEARCH]
        if begun >= self._experiment.trials:
            return [self._end_search("trials", "every planned trial has run")]
        kept = self._kept(budget.parallel)
        if short := budget.short(self._tally, kept + 1):
            return [self._end_search(short.code, short.text + (", but for the confirmation" if kept else ""))]
        # Of several loads each has its baseline, and its own share of the trials between two of them.
        every = self._experiment.baseline.every * len(self._loads)
        due = len(self._loads) * (1 + begun // every)
        if self._compares and (baselines := self._tally.numbers[TrialKind.BASELINE]) < due:
            at = self._loads[baselines % len(self._loads)]
            baseline = self._queue(TrialKind.BASELINE, default_settings(self._experiment), at)
            return [*self._enter("search" if begun else "baseline"), baseline]
        if self._waits:
            return []
        pending = [observation(t, self._loads).point for t in busy if t.kind is TrialKind.SEARCH]
        load = self._load_of(TrialKind.SEARCH, self._turn()) or self._experiment.workload.load()
        return [*self._enter("search" if self._compares else "measuring"), Propose(pending, load)]

    def _turn(self) -> float:
        return self._loads[self._tally.numbers[TrialKind.SEARCH] % len(self._loads)]

    def _kept(self, musters: int) -> int:
        """Attempts that are set aside for the confirmation, though no more than the search has had: of a budget that is
        too small for both each has a half."""
        if not self._compares:
            return 0
        # Counted by numbers of trials: attempts that were lost must not decide when the search ends.
        return min(musters * confirmation_trials(self._experiment), self._tally.numbers.total())

    def _end_search(self, why: str, text: str) -> Note:
        self._over = True
        # A policy that compares nothing searches nothing either.
        what = "the search" if self._compares else "measuring"
        return Note(SEARCH_OVER, f"{what} is over: {text}", {"why": why, "text": text})

    # --- the confirmation ---

    def _next_of_confirmation(
        self, busy: Collection[Trial], budget: Budget, muster: str, here: Sequence[str]
    ) -> list[Action]:
        if self._cut or any(t.kind is TrialKind.SEARCH for t in busy):
            return []
        actions = self._enter("confirmation")
        if self._rounds is None:
            return [*actions, Rank()]
        dues = {qps: rounds.due(here) for qps, rounds in self._rounds.items()}
        begun = {qps: len(due) for qps, due in dues.items() if not self._rounds[qps].turn[0]}
        for qps, rounds in sorted(self._rounds.items(), key=lambda one: one[1].turn):
            mine = next((settings for settings, where in dues[qps] if where == muster), None)
            if mine is None:
                continue
            # A round that can't be completed compares nothing, neither this one nor those that others are at.
            if short := budget.short(self._tally, sum({**begun, qps: len(dues[qps])}.values())):
                return [*actions, self._cut_short(short)]
            return [*actions, self._queue(TrialKind.CONFIRM, mine, qps, step=rounds.step, place=muster)]
        return actions

    def _cut_short(self, short: Shortage) -> Note:
        self._cut = True
        return Note(short.code, f"the confirmation is over: {short.text}", {"why": short.code, "text": short.text})

    def _confirm(self, order: Order, trials: Sequence[Trial]) -> None:
        self._rounds = {
            qps: rounds_of(self._at(trials, qps), self._goal.at(qps), order.get(qps)) for qps in self._loads
        }

    # --- trials and their loads ---

    def _queue(self, kind: TrialKind, settings: Settings, qps: float, *, step: int = 0, place: str = "") -> Queue:
        """Choose a trial; one of the confirmation's `step` has its `place`, the muster that must run it."""
        load = self._load_of(kind, qps)
        trial = Trial(
            number=self._tally.last + 1, kind=kind, settings=dict(settings), load=load, round=step, place=place
        )
        self._tally.queued(trial)
        if kind is TrialKind.CONFIRM and self._rounds is not None:
            self._rounds[qps].begun(trial)
        return Queue(trial)

    def _load_of(self, kind: TrialKind, qps: float) -> Load | None:
        """The load of a trial where it differs from trial to trial: one of several, or a curve's next part."""
        workload = self._experiment.workload
        if len(self._loads) > 1:
            return workload.load(qps=qps)
        return workload.load(self._tally.numbers[kind]) if self._parts and kind is TrialKind.SEARCH else None

    def _load_at(self, trial: Trial) -> float:
        return trial.qps if len(self._loads) > 1 else self._loads[0]

    def _at(self, trials: Sequence[Trial], qps: float) -> list[Trial]:
        """The trials at a load: all of them where there is one load."""
        return [t for t in trials if len(self._loads) == 1 or t.qps == qps]

    def _tell(self, *trials: Trial) -> Tell:
        self.told += [(t.ended_at, t.number) for t in trials]
        return Tell([observation(t, self._loads) for t in trials])

    def _tell_baseline(self, *trials: Trial) -> TellBaseline:
        for trial in trials:
            self._noise.add(trial.qps, trial.metrics)
        return TellBaseline([observation(t, self._loads) for t in trials])

    def _calibrated(self) -> list[Action]:
        """Tell the policy how much equal trials differ, once the baseline's repeats show it."""
        noise = self._noise.noise()
        return [Calibrate(noise)] if noise else []

    def _enter(self, phase: str) -> list[Action]:
        if phase == self._phase:
            return []
        self._phase = phase
        return [Phase(phase)]
