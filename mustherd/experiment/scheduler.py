"""What an experiment does next: events and time in, actions out. No sockets, threads, clocks or files.

The loop tells the scheduler what happened, one event after the other, and does what it gets back
(mustherd.experiment.actions), in order. What the scheduler remembers follows from the trials and the two events
in the store alone, so a kill between any two actions loses the trials under way and no more.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from mustherd import reasons
from mustherd.definition import Experiment
from mustherd.experiment.actions import (
    Action,
    Conclude,
    End,
    Finish,
    Note,
    Phase,
    Prepare,
    Propose,
    Queue,
    Rank,
    Result,
    Start,
)
from mustherd.experiment.agenda import Agenda, Order
from mustherd.experiment.budget import Budget
from mustherd.experiment.streaks import Hopeless, Streaks
from mustherd.experiment.tally import Tally
from mustherd.experiment.waiting import Waiting
from mustherd.goal import GUARD, Goal
from mustherd.learn.base import Settings
from mustherd.policy.base import Proposal
from mustherd.reasons import Reason
from mustherd.trial import Trial, TrialState, next_attempt

GATHER_S = 20.0
"""How long the expected musters may take to join at the start; then the experiment begins with those that are there."""

LONELY_S = 30.0
"""How long an experiment waits without a single muster before it gives up, and a round for one that is a part of it."""

INVARIANTS = {
    8: "invariant 8: at most one attempt of a trial is queued, running or finished",
    9: "invariant 9: only finished trials are told to a policy, each once",
    10: "invariant 10: an attempt that ended for the trial's fault counts towards `attempts`, one for the muster's does"
    " not",
    11: "invariant 11: the guard is part of every Goal",
    12: "invariant 12: equal definitions give equal problems and equal proposals, in one run or in several",
}
"""What `Scheduler.validate` checks, under the numbers that they have among the invariants of the whole."""


@dataclass(frozen=True)
class Past:
    """What the store knows when a run begins, once what was under way has been queued again."""

    trials: Sequence[Trial] = ()
    """All attempts by number and attempt."""
    search_over: bool = False
    """Whether the search's end was written down."""
    order: Order = field(default_factory=dict)
    """Offered load to the settings to confirm, the best first; empty before they were ranked."""


class Scheduler:
    """Decides what one run of an experiment does. Calls take the time, in seconds of any clock that only rises.

    Guarantees, each checked by `validate`: at most one attempt at a trial is queued, running or finished; a policy is
    told finished trials only, in the order in which they ended; `gates.attempts` bounds the attempts that ended for
    the trial's or the load's fault, and counts no other. Nothing is started beyond the budget.
    """

    def __init__(self, experiment: Experiment, goal: Goal, *, expected: int, now: float, wait_s: float = GATHER_S):
        """`expected`: how many musters to wait for at the start, `wait_s`: how long; as much longer if all are gone."""
        gates = experiment.gates
        self._experiment = experiment
        self._goal = goal
        self._expected = max(1, expected)
        self._settle_s = 0.0
        self._budget = Budget.of(experiment, self._expected)
        self._streaks = Streaks(gates.same_failure, gates.same_failure * gates.attempts * self._expected)
        self._tally = Tally()
        self._agenda: Agenda | None = None
        self._alive: tuple[str, ...] = ()
        self._waiting = Waiting()
        self._under_way: dict[str, Trial] = {}
        """Muster to what it runs."""
        self._preparing = self._asking = self._over = False
        self._wait_s, self._lonely_s, self._wait_until = wait_s, LONELY_S + wait_s - GATHER_S, now + wait_s
        self._alone_since: float | None = None

    # --- events ---

    def begin(self) -> list[Action]:
        """The run begins."""
        return [Phase("gathering")]

    def herd(self, settle_s: Mapping[str, float], now: float) -> list[Action]:
        """Who is alive now: muster to the seconds that its slowest knob takes to settle. Repeating it is harmless."""
        self._alive = tuple(settle_s)
        slowest = max((self._settle_s, *settle_s.values()))
        if slowest != self._settle_s:
            self._settle_s = slowest
            self._budget = Budget.of(self._experiment, self._expected, slowest)
        return self.tick(now)

    def tick(self, now: float) -> list[Action]:
        """Time passed."""
        if self._over or self._preparing:
            return []
        return self._gather(now) if self._agenda is None else self._go_on(now)

    def prepared(self, past: Past, *, compares: bool, now: float) -> list[Action]:
        """All is ready, and this is what the store knows; `compares`: whether the policy is held against a baseline."""
        if self._over:
            return []
        self._preparing = False
        self._tally = Tally.of(past.trials)
        self._waiting.add(t for t in past.trials if t.state is TrialState.QUEUED)
        self._agenda = Agenda(
            self._experiment,
            self._goal,
            self._tally,
            past.trials,
            compares=compares,
            over=past.search_over,
            order=past.order,
        )
        return [*self._agenda.again(past.trials), *self._go_on(now)]

    def proposed(self, point: Proposal, why_enough: str, now: float) -> list[Action]:
        """The policy answered: a setting; WAIT; or None, that it has no more, and why."""
        if self._over or self._agenda is None:
            return []
        self._asking = False
        busy = bool(self._under_way or self._waiting.trials)
        return [*self._taking(self._agenda.proposed(point, why_enough, busy=busy)), *self._go_on(now)]

    def ranked(self, ranking: Sequence[Settings], trials: Sequence[Trial], now: float) -> list[Action]:
        """The policy ranked what is worth confirming, the best first; if it ranks nothing, all `trials` decide."""
        if self._over or self._agenda is None:
            return []
        self._asking = False
        return [self._agenda.ranked(ranking, trials), *self._go_on(now)]

    def ended(self, trials: Iterable[Trial], now: float) -> list[Action]:
        """Attempts that were started ended, each in its state. An attempt that isn't under way is ignored."""
        actions = self._account(trials)
        return actions if self._over else [*actions, *self._go_on(now)]

    def stop(self, ended: Iterable[Trial] = (), *, why: str = "an operator asked for it") -> list[Action]:
        """An orderly end was asked for, `why` says by whom; attempts that have `ended` meanwhile count."""
        if self._over:
            return []
        actions = self._account(ended)
        if actions and isinstance(actions[-1], End):
            return actions
        note = Note("stopped", f"stopped: {why}; resume goes on from here", {"why": why})
        return [*actions, *self.abandon(), note, End(Result.STOPPED, why)]

    def abandon(self) -> list[Action]:
        """The run ends now: what is under way is queued again, for a run that resumes this one."""
        self._over = True
        actions: list[Action] = []
        for trial in list(self._under_way.values()):
            actions += self._finish(_lost(trial), retry=True)
        self._under_way.clear()
        return actions

    # --- what follows ---

    def _account(self, trials: Iterable[Trial]) -> list[Action]:
        """Take in how attempts ended."""
        actions: list[Action] = []
        hopeless: Hopeless | None = None
        for trial in trials:
            begun = self._under_way.get(trial.muster)
            if begun is None or (begun.number, begun.attempt) != (trial.number, trial.attempt) or self._agenda is None:
                continue
            del self._under_way[trial.muster]
            # What is told later must have ended later, whatever the clock did: a resumed run tells it in that order.
            ended_at = max(trial.ended_at, math.nextafter(self._tally.ended_at, math.inf))
            judged, retry = self._judged(msgspec.structs.replace(trial, ended_at=ended_at))
            actions += self._finish(judged, retry=retry)
            if judged.state is not TrialState.FINISHED:
                actions.append(_ended_badly(judged))
            if not retry:
                actions += self._agenda.ended(judged)
            hopeless = hopeless or self._streaks.ended(judged)
        if hopeless is None:
            return actions
        # Only now: what ended at the same time was measured, and is kept.
        return [*actions, *self._fail(hopeless.text, reason=hopeless.reason, count=hopeless.count)]

    def _gather(self, now: float) -> list[Action]:
        here = len(self._alive)
        if here < self._expected and now < self._wait_until:
            return []
        if not here:
            return self._fail(f"no muster joined within {self._wait_s:g} s: see their logs, or `mustherd herd status`")
        self._preparing = True
        if here >= self._expected:
            return [Prepare()]
        data = {"musters": here, "expected": self._expected}
        return [Note("muster-absent", f"begins with {here} of {self._expected} musters", data), Prepare()]

    def _go_on(self, now: float) -> list[Action]:
        """Give every idle muster something to do; the end, when there is nothing left."""
        actions: list[Action] = []
        agenda = self._agenda
        while agenda is not None and not self._over and not self._asking:
            if text := agenda.hopeless():
                return [*actions, *self._fail(text)]
            if not (idle := [muster for muster in self._alive if muster not in self._under_way]):
                break
            actions += (step := self._employ(agenda, idle))
            if not any(isinstance(action, Start | Finish) for action in step):
                break
        busy = self._over or self._asking or self._waiting.trials or self._under_way
        if agenda is not None and self._alive and not busy:
            self._over = True
            actions.append(Conclude())
        if agenda is not None and (stranded := self._stranded(agenda, now)):
            return [*actions, *stranded, *self._go_on(now)]
        return [*actions, *self._lonely(now)]

    def _employ(self, agenda: Agenda, idle: Sequence[str]) -> list[Action]:
        """Give one of the musters that are idle something to do, or ask the policy what."""
        actions: list[Action] = []
        for muster in idle:
            mine = self._waiting.take(muster)
            if mine is None:
                actions += self._taking(agenda.next(self._under_way.values(), self._budget, muster, self._alive))
                if self._asking:
                    return actions
                mine = self._waiting.take(muster)
            if mine is not None:
                return [*actions, *self._start(agenda, mine, muster)]
        return actions

    def _start(self, agenda: Agenda, trial: Trial, muster: str) -> list[Action]:
        """Start an attempt that waited, unless that would go beyond the budget."""
        if short := self._budget.short(self._tally, 1):
            return self._give_up(agenda, trial, Reason.BUDGET_SPENT, short.text)
        self._tally.started(trial)
        self._under_way[muster] = msgspec.structs.replace(trial, state=TrialState.RUNNING, muster=muster)
        return [Start(trial, muster)]

    def _stranded(self, agenda: Agenda, now: float) -> list[Action]:
        """Give up what only musters can run that have been gone for too long: the others go on without them."""
        actions: list[Action] = []
        for trial in () if self._over else self._waiting.strand(self._alive, now, LONELY_S):
            text = f"muster {trial.place} has been gone for {LONELY_S:g} s: its part of the round is left out"
            actions += self._give_up(agenda, trial, Reason.MUSTER_DEAD, text)
        return actions

    def _give_up(self, agenda: Agenda, trial: Trial, reason: Reason, detail: str) -> list[Action]:
        """An attempt that waited is not made."""
        failed = msgspec.structs.replace(trial, state=TrialState.FAILED, reason=reason, detail=detail)
        return [*self._finish(failed, retry=False), _ended_badly(failed), *agenda.ended(failed)]

    def _judged(self, trial: Trial) -> tuple[Trial, bool]:
        """How an attempt ended, all attempts considered, and whether another one follows."""
        if trial.state is not TrialState.INVALID:
            return trial, False
        counted = self._tally.at_fault[trial.number] + reasons.of(trial.reason).fault.counts
        if counted < self._experiment.gates.attempts:
            return trial, True
        detail = f"invalid {counted} times, the last time because {trial.detail}"
        return msgspec.structs.replace(trial, state=TrialState.FAILED, detail=detail), False

    def _finish(self, trial: Trial, *, retry: bool) -> list[Action]:
        self._tally.ended(trial)
        if retry:
            again = next_attempt(trial)
            self._tally.queued(again)
            self._waiting.add([again])
        return [Finish(trial, retry)]

    def _taking(self, actions: list[Action]) -> list[Action]:
        """Remember what the agenda chose."""
        for action in actions:
            if isinstance(action, Queue):
                self._waiting.add([action.trial])
            self._asking = self._asking or isinstance(action, Propose | Rank)
        return actions

    def _lonely(self, now: float) -> list[Action]:
        if self._over or self._alive or self._under_way:
            self._alone_since = None
            return []
        if self._alone_since is None:
            self._alone_since = now
            if self._agenda is None:
                return []  # nobody has come yet, which is no news
            return [Note("herd-gone", "no muster is left; waiting for one to come back")]
        if now - self._alone_since > self._lonely_s:
            return self._fail(f"no muster has been there for {self._lonely_s:g} s; resume when the herd is back")
        return []

    def validate(self) -> None:
        """Raise AssertionError where the state breaks an invariant; for tests: it takes time that grows with trials."""
        running = {t.number for t in self._under_way.values()}
        told = [] if self._agenda is None else self._agenda.told
        one_each = len(running) == len(self._under_way) == self._tally.running
        broken = _broken(self._tally, set(self._waiting.trials), running, told, self._experiment.gates.attempts)
        if self._experiment.gates.achieved_ratio > 0 and GUARD not in self._goal.metrics:
            broken.append(INVARIANTS[11])
        if broken or not one_each:
            raise AssertionError("; ".join(broken or [INVARIANTS[8]]))

    def _fail(self, text: str, **data: object) -> list[Action]:
        return [*self.abandon(), Note("failed", text, data), End(Result.HERD_FAILED, text)]


def _lost(trial: Trial) -> Trial:
    """An attempt that its run didn't outlast."""
    why = "the experiment ended before the trial did"
    return msgspec.structs.replace(trial, state=TrialState.INVALID, reason=Reason.RUN_ENDED, detail=why)


def _ended_badly(trial: Trial) -> Note:
    data = {"trial": trial.number, "attempt": trial.attempt, "muster": trial.muster, "reason": trial.reason}
    where = f" on {trial.muster}" if trial.muster else ""
    return Note(f"trial-{trial.state}", f"trial {trial.number}{where} {trial.state}: {trial.detail}", data)


def _broken(
    tally: Tally, queued: set[int], running: set[int], told: Sequence[tuple[float, int]], attempts: int
) -> list[str]:
    """The invariants that do not hold, by numbers of trials and by what a policy was told."""
    in_state = {s: {n for n, state in tally.states.items() if state is s} for s in TrialState}
    found = {
        8: not queued.isdisjoint(running)
        or (queued, running) != (in_state[TrialState.QUEUED], in_state[TrialState.RUNNING]),
        9: len(set(told)) != len(told) or not {n for _, n in told} <= in_state[TrialState.FINISHED],
        10: any(count > attempts for count in tally.at_fault.values())
        or any(tally.at_fault[number] >= attempts for number in queued | running),
        # What a resumed run tells, it tells in the order of the ends: a policy must have been told in no other.
        12: [at for at, _ in told] != sorted(at for at, _ in told),
    }
    return [INVARIANTS[number] for number, is_broken in found.items() if is_broken]
