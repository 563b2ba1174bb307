"""The trial loop: what runs next, where, and when it is over.

Baseline first, then the policy's trials with the baseline interleaved, then the confirmation: the best few settings and
the baseline in rounds. With several loads each has its baseline and its confirmation, and the policy chooses the load
of its trials. What is to run is written to the store before anything is dispatched, and what happened before the
next thing is chosen, so that a kill at any moment loses the trials in flight and no more.
"""

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from enum import IntEnum

import msgspec

from mustherd import reasons
from mustherd.definition import Experiment, check_knobs, default_settings, plan, problem
from mustherd.definition.problem import CONTEXT
from mustherd.definition.settings_table import TABLE
from mustherd.experiment.external_load import OutsideLoad
from mustherd.experiment.observed import watched
from mustherd.experiment.prior import prior_of
from mustherd.experiment.repeats import candidates, standing
from mustherd.experiment.results import write_table
from mustherd.experiment.trial_runner import Ended, TrialRunner
from mustherd.experiment.verdict import ORDER, SEARCH_OVER, Verdict, order_of, verdict_of
from mustherd.herd.membership import Presence
from mustherd.learn.base import Observation, Settings
from mustherd.learn.noise import pooled
from mustherd.learn.sensitivity import idle_knobs
from mustherd.policy.base import CalibratedPolicy, Follower, Policy, Ranking
from mustherd.policy.base import make as make_policy
from mustherd.reasons import Reason
from mustherd.rowlog.writer import LogWriter
from mustherd.shepherd.events import (
    DecisionLost,
    HerdError,
    HerdEvent,
    PresenceChanged,
    PutBack,
    StopAsked,
)
from mustherd.shepherd.shepherd import Shepherd
from mustherd.store.store import Store
from mustherd.terms import Load
from mustherd.trial import Trial, TrialKind, TrialState
from mustherd.wire.messages import MusterView

log = logging.getLogger(__name__)

GATHER_S = 20.0
"""How long the expected musters may take to join at the start; then the experiment begins with those that are there."""

LONELY_S = 30.0
"""How long an experiment waits without a single muster before it gives up."""

POLL_S = 0.05
"""How often events are looked at while trials run."""

RESTORE_WAIT_S = 4.0
"""How long musters may take at the end to put their nodes back."""


class Result(IntEnum):
    """How a run of an experiment ended; the values are the exit codes of the process."""

    DONE = 0
    NOT_MET = 1
    HERD_FAILED = 3
    STOPPED = 4


class HerdFailedError(Exception):
    """The experiment can't go on; the message says why and what to do."""


class StopRequestedError(Exception):
    """Somebody asked for an orderly end."""


@dataclass
class _Streak:
    """The same bad end, again and again."""

    reason: str = ""
    count: int = 0

    def seen(self, reason: str) -> int:
        """Count an end; another reason starts over."""
        self.count = self.count + 1 if reason == self.reason else 1
        self.reason = reason
        return self.count


class Conductor:
    """Conducts one run of an experiment on a shepherd's herd."""

    def __init__(
        self,
        store: Store,
        experiment: Experiment,
        shepherd: Shepherd,
        logs: LogWriter,
        *,
        expected: int,
        stop: threading.Event,
        outside: OutsideLoad | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._experiment = experiment
        self._shepherd = shepherd
        self._runner = TrialRunner(experiment, shepherd, logs, outside)
        self._goal = store.experiment().goal
        self._expected = expected
        self._stop = stop
        self._now = now
        self._baseline = default_settings(experiment)
        self._loads = self._goal.loads or (0.0,)
        self._order: dict[float, list[Settings]] | None = None
        self._under_way: dict[Future[Ended], Trial] = {}
        self._failures, self._invalids = _Streak(), _Streak()
        self._policy: Policy | None = None
        self._search_over = ""
        self._alone_since: float | None = None

    def run(self) -> Result:
        """Run to the end; the store holds everything that it found."""
        store = self._store
        store.set_status("running")
        try:
            with contextlib.ExitStack() as stack:
                self._gather()
                knobs = next(iter(self._shepherd.musters().values())).knobs
                default = self._default_point()
                task = problem(self._experiment, default)
                prior = prior_of(store, self._experiment, task)
                self._policy = make_policy(self._experiment, task.over(prior=prior))
                stack.callback(self._policy.close)
                for view in self._shepherd.musters().values():
                    check_knobs(self._experiment, view.knobs)
                log.info("the herd offers %s", ", ".join(sorted({k.name for k in knobs})))
                store.set_plan(self._plan())
                again = store.requeue_running()
                if again:
                    store.event("requeued", f"{len(again)} interrupted trials are run again")
                self._replay()
                pool = ThreadPoolExecutor(max_workers=max(1, self._expected), thread_name_prefix="trial")
                stack.callback(pool.shutdown)
                self._loop(pool)
            return self._conclude()
        except StopRequestedError:
            self._abandon()
            store.set_status("stopped", "an operator asked for it")
            store.event("stopped", "stopped on request; resume goes on from here")
            return Result.STOPPED
        except HerdFailedError as error:
            self._abandon()
            store.set_status("failed", str(error))
            store.event("failed", str(error))
            return Result.HERD_FAILED
        except BaseException as error:
            self._abandon()
            store.set_status("failed", f"{type(error).__name__}: {error}")
            raise
        finally:
            self._give_back()

    # --- before the first trial ---

    def _gather(self) -> None:
        self._store.set_phase("gathering")
        deadline = self._now() + GATHER_S
        while len(self._alive()) < self._expected and self._now() < deadline:
            self._events(timeout_s=POLL_S)
        here = self._alive()
        if not here:
            raise HerdFailedError(f"no muster joined within {GATHER_S:g} s: see their logs, or `mustherd herd status`")
        if len(here) < self._expected:
            self._store.event("muster-absent", f"begins with {len(here)} of {self._expected} musters")

    def _default_point(self) -> dict[str, int]:
        """The values that the nodes have before anything is changed, of the first muster that can tell."""
        for view in self._shepherd.musters().values():
            with contextlib.suppress(HerdError, TimeoutError):
                applied = self._shepherd.decide(view.name, ()).result(RESTORE_WAIT_S)
                readings = applied.readings
                return {r.knob: r.applied for r in readings if r.applied is not None}
        return {}

    def _plan(self) -> Mapping[str, int]:
        planned = plan(self._experiment, self._expected)
        if self._policy is None or not self._policy.compares:
            return {TrialKind.SEARCH: planned.search}
        return {
            TrialKind.BASELINE: planned.baseline,
            TrialKind.SEARCH: planned.search,
            TrialKind.CONFIRM: planned.confirm,
        }

    def _replay(self) -> None:
        finished = self._store.trials(TrialKind.SEARCH, TrialState.FINISHED)
        if finished and self._policy is not None:
            self._calibrate()
            self._policy.observe([self._observation(t) for t in finished])
            self._store.event("replayed", f"the policy learnt {len(finished)} finished trials again")

    def _observation(self, trial: Trial) -> Observation:
        """A trial as the policy sees it: of several loads its own is part of the point."""
        at = {CONTEXT: int(trial.qps)} if len(self._loads) > 1 else {}
        return Observation(point={**trial.settings, **at}, metrics=trial.metrics)

    def _calibrate(self) -> None:
        """Tell the policy how much equal trials differ, as far as the baseline's repeats show it."""
        if not isinstance(self._policy, CalibratedPolicy):
            return
        groups: dict[float, list[Mapping[str, float]]] = {}
        for trial in self._store.trials(TrialKind.BASELINE, TrialState.FINISHED):
            groups.setdefault(trial.qps, []).append(trial.metrics)
        noise = pooled(groups.values(), self._goal.metrics)
        if noise:
            self._policy.calibrate(noise)

    # --- the loop ---

    def _loop(self, pool: ThreadPoolExecutor) -> None:
        while True:
            self._events(timeout_s=0)
            idle = [name for name in self._alive() if name not in {t.muster for t in self._under_way.values()}]
            waiting = False
            for muster in idle:
                trial = self._next()
                if trial is None:
                    waiting = True
                    break
                begun = self._store.start(trial, muster)
                self._under_way[pool.submit(self._runner.run, begun, muster)] = begun
            if not self._under_way:
                if waiting:
                    return
                self._wait_for_musters()
                continue
            self._alone_since = None
            done, _ = wait(self._under_way, timeout=POLL_S, return_when=FIRST_COMPLETED)
            for future in done:
                self._ended(self._under_way.pop(future), future.result())

    def _next(self) -> Trial | None:
        """What an idle muster shall run; None when there is nothing (yet)."""
        queued = self._store.queued()
        if queued:
            return queued[0]
        chosen = self._next_of_search() or self._next_of_confirmation()
        if chosen is None:
            return None
        kind, settings, qps = chosen
        number = self._store.next_number()
        load = self._load_of(kind, qps)
        return self._store.add(Trial(number=number, kind=kind, settings=settings, load=load))

    def _load_of(self, kind: TrialKind, qps: float) -> Load | None:
        """The load of a trial where it differs from trial to trial: one of several, or a curve's next part."""
        load = self._experiment.workload
        if len(self._loads) > 1:
            return load.load(qps=qps)
        return load.load(self._numbers(TrialKind.SEARCH)) if load.parts and kind is TrialKind.SEARCH else None

    def _at(self, trials: Sequence[Trial], qps: float) -> list[Trial]:
        """The trials at a load: all of them where there is one load."""
        return [t for t in trials if len(self._loads) == 1 or t.qps == qps]

    def _next_of_search(self) -> tuple[TrialKind, Settings, float] | None:
        policy = self._policy
        if self._search_over or policy is None:
            return None
        begun = self._numbers(TrialKind.SEARCH)
        if begun >= self._experiment.trials:
            self._end_search("every planned trial has run")
            return None
        spent = self._spent()
        if spent:
            self._end_search(spent)
            return None
        # Of several loads each has its baseline, and its own share of the trials between two of them.
        every = self._experiment.baseline.every * len(self._loads)
        due = len(self._loads) * (1 + begun // every)
        if policy.compares and (baselines := self._numbers(TrialKind.BASELINE)) < due:
            self._store.set_phase("baseline" if begun == 0 else "search")
            return TrialKind.BASELINE, self._baseline, self._loads[baselines % len(self._loads)]
        self._store.set_phase("search")
        turn = self._loads[begun % len(self._loads)]
        if isinstance(policy, Follower):
            policy.expect(self._load_of(TrialKind.SEARCH, turn) or self._experiment.workload.load())
        under_way = [self._observation(t).point for t in self._under_way.values() if t.kind is TrialKind.SEARCH]
        point = policy.propose(under_way)
        if point is None:
            self._end_search(policy.why_enough())
            return None
        # A policy that leaves the load out tries each load in its turn.
        qps = float(point.get(CONTEXT, 0)) or turn
        return TrialKind.SEARCH, {key: value for key, value in point.items() if key != CONTEXT}, qps

    def _end_search(self, reason: str) -> None:
        self._search_over = reason
        self._store.event(SEARCH_OVER, f"the search is over: {reason}")

    def _next_of_confirmation(self) -> tuple[TrialKind, Settings, float] | None:
        policy = self._policy
        if policy is None or not policy.compares or self._experiment.repeats == 0:
            return None
        if any(t.kind is TrialKind.SEARCH for t in self._under_way.values()):
            return None
        self._store.set_phase("confirmation")
        trials, order = self._store.trials(), self._candidates()
        for qps in self._loads:
            there = standing(self._at(trials, qps), self._goal.at(qps), order.get(qps))
            if there.failed > self._goal.rounds:
                raise HerdFailedError(f"{there.failed} confirmation trials failed: see the trials' reasons")
            if there.due:
                return TrialKind.CONFIRM, there.due[0], qps
        return None

    def _candidates(self) -> dict[float, list[Settings]]:
        """What is to be confirmed at each load, the best first: ranked once, and written down for a resumed run."""
        if self._order is None:
            self._order = order_of(self._store)
        if not self._order:
            trials = self._store.trials()
            ranking = self._policy.ranking() if isinstance(self._policy, Ranking) else []
            for qps in self._loads:
                ranked = [{k: v for k, v in p.items() if k != CONTEXT} for p in ranking if p.get(CONTEXT, qps) == qps]
                self._order[qps] = ranked or candidates(self._at(trials, qps), self._goal.at(qps))
            self._store.event(
                ORDER,
                f"to be confirmed: {', '.join(str(len(points)) for points in self._order.values())} settings",
                {"loads": [{"qps": qps, "settings": points} for qps, points in self._order.items()]},
            )
        return self._order

    def _numbers(self, kind: TrialKind) -> int:
        return len({t.number for t in self._store.trials(kind)})

    def _spent(self) -> str:
        """The budget that is used up, in words; '' while there is some left, the confirmation's share set aside."""
        budget, load = self._experiment.budget, self._experiment.workload
        if budget.minutes is None and budget.joules is None:
            return ""
        rows = self._store.trials()
        attempts = sum(t.state is not TrialState.QUEUED for t in rows)
        in_round = len(self._loads) * (1 + self._experiment.confirmation.candidates)
        kept = in_round * self._experiment.repeats if self._policy is not None and self._policy.compares else 0
        settling = [k.settle_seconds for view in self._shepherd.musters().values() for k in view.knobs]
        seconds = max([load.settle_seconds, *settling]) + load.ramp_seconds + load.window_seconds
        minutes = (attempts + kept + 1) * seconds / 60 / max(1, self._expected)
        if budget.minutes is not None and minutes > budget.minutes:
            return f"the budget of {budget.minutes:g} minutes is used up, but for the confirmation"
        used = [t.metrics["energy_joules"] for t in rows if "energy_joules" in t.metrics]
        mean = sum(used) / len(used) if used else 0.0
        if budget.joules is not None and sum(used) + mean * (kept + 1) > budget.joules:
            return f"the budget of {budget.joules:g} J is used up, but for the confirmation"
        return ""

    def _ended(self, begun: Trial, ended: Ended) -> None:
        trial, gates = ended.trial, self._experiment.gates
        retry = trial.state is TrialState.INVALID
        if retry and reasons.of(trial.reason).fault.counts and trial.attempt >= gates.attempts:
            retry = False
            detail = f"invalid {trial.attempt} times, the last time because {trial.detail}"
            trial = msgspec.structs.replace(trial, state=TrialState.FAILED, detail=detail)
        self._store.finish(trial, retry=retry)
        if trial.state is not TrialState.FINISHED:
            self._store.event(
                f"trial-{trial.state}", f"trial {begun.number} on {begun.muster} {trial.state}: {trial.detail}"
            )
        if trial.state is TrialState.FINISHED and trial.kind is TrialKind.SEARCH and self._policy is not None:
            self._policy.observe([self._observation(trial)])
        if trial.state is TrialState.FINISHED and trial.kind is TrialKind.BASELINE:
            self._calibrate()
        self._break_streaks(trial)

    def _break_streaks(self, trial: Trial) -> None:
        gates = self._experiment.gates
        if trial.state is TrialState.FINISHED:
            self._failures, self._invalids = _Streak(), _Streak()
            return
        failures = self._failures.seen(trial.reason) if trial.state is TrialState.FAILED else 0
        invalids = self._invalids.seen(trial.reason) if trial.state is TrialState.INVALID else 0
        if failures >= gates.same_failure:
            raise HerdFailedError(f"{failures} trials in a row failed with {trial.reason}: {trial.detail}")
        # An environment that spoils every attempt must not loop, even where single attempts are worth repeating.
        limit = gates.same_failure * gates.attempts * max(1, self._expected)
        if invalids >= limit:
            raise HerdFailedError(f"{invalids} attempts in a row were invalid with {trial.reason}: {trial.detail}")

    # --- the herd ---

    def _alive(self) -> dict[str, MusterView]:
        return {name: view for name, view in self._shepherd.musters().items() if view.presence == Presence.ALIVE}

    def _wait_for_musters(self) -> None:
        if self._alone_since is None:
            self._alone_since = self._now()
            self._store.event("herd-gone", "no muster is left; waiting for one to come back")
        if self._now() - self._alone_since > LONELY_S:
            raise HerdFailedError(f"no muster has been there for {LONELY_S:g} s; resume when the herd is back")
        self._events(timeout_s=POLL_S)

    def _events(self, timeout_s: float) -> None:
        """Take note of what has happened, waiting for the first event at most `timeout_s`."""
        if self._stop.is_set():
            raise StopRequestedError
        while True:
            try:
                event = self._shepherd.events.get(block=timeout_s > 0, timeout=timeout_s or None)
            except queue.Empty:
                return
            timeout_s = 0
            if isinstance(event, StopAsked):
                raise StopRequestedError
            self._note(event)

    def _note(self, event: HerdEvent) -> None:
        store = self._store
        match event:
            case PresenceChanged(change):
                view = self._shepherd.musters().get(change.muster)
                store.set_muster(
                    change.muster,
                    state=change.after,
                    facts=view.facts if view else None,
                    knobs=view.knobs if view else None,
                )
                data = {"muster": change.muster}
                if change.before is None:
                    store.event("muster-joined", f"muster {change.muster} joined", data)
                elif change.new_life:
                    store.event("muster-restarted", f"muster {change.muster} started again", data)
                else:
                    text = f"muster {change.muster} is {change.after} after {change.silent_s:.1f} s of silence"
                    store.event(f"muster-{change.after}", text, data)
            case PutBack(muster, reason, readings):
                back = ", ".join(f"{r.knob} {r.applied}" for r in readings) or "nothing to do"
                store.event("knobs-restored", f"muster {muster} put its node back ({back}): {reason}")
            case DecisionLost(muster, seq):
                store.event("decision-lost", f"decision {seq} is not in force on muster {muster} any more")
            case StopAsked():
                pass

    # --- the end ---

    def _conclude(self) -> Result:
        store = self._store
        if self._policy is None or not self._policy.compares:
            seen = watched(store.trials(), self._goal)
            store.set_verdict(msgspec.to_builtins(seen))
            store.set_phase("done")
            store.set_status("done")
            store.event("verdict", seen.reason)
            return Result.DONE if seen.verdict == "met" else Result.NOT_MET
        verdict = self._name_idle_knobs(verdict_of(store, self._goal))
        store.set_verdict(msgspec.to_builtins(verdict))
        if verdict.loads:
            write_table(store.folder / TABLE, verdict, self._experiment.name)
            store.event("table", f"the settings for each load are in {TABLE}")
        store.set_phase("done")
        store.set_status("done")
        store.event("verdict", verdict.reason)
        return Result.DONE if verdict.verdict == "met" else Result.NOT_MET

    def _name_idle_knobs(self, verdict: Verdict) -> Verdict:
        """Say which knobs had no measurable effect: something may overwrite them, and what was tuned is noise."""
        searched = self._store.trials(TrialKind.SEARCH, TrialState.FINISHED)
        idle = tuple(idle_knobs(problem(self._experiment), [self._observation(t) for t in searched]))
        if not idle:
            return verdict
        text = f"{' and '.join(idle)} had no measurable effect: check that nothing else sets it"
        self._store.event("no-effect", text)
        return msgspec.structs.replace(verdict, without_effect=idle, reason=f"{verdict.reason}; {text}")

    def _abandon(self) -> None:
        """Trials in flight are run again by resume."""
        for trial in self._under_way.values():
            ended = msgspec.structs.replace(
                trial,
                state=TrialState.INVALID,
                reason=Reason.RUN_ENDED,
                detail="the experiment ended before the trial did",
            )
            self._store.finish(ended, retry=True)
        self._under_way.clear()

    def _give_back(self) -> None:
        """Put every node back and wait for the musters to say so; their leases would, seconds later."""
        pending = [self._shepherd.decide(name, ()) for name in self._alive()]
        for future in pending:
            with contextlib.suppress(HerdError, TimeoutError):
                future.result(RESTORE_WAIT_S)
