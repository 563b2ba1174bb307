"""The trial loop: tells the scheduler what happens and does what it decides, with a store, a herd and a policy.

What is to run is written to the store before anything is dispatched, and what happened before the next thing is
chosen, so that a kill at any moment loses the trials in flight and no more.
"""

import contextlib
import logging
import queue
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from mustherd.daemon import Stop
from mustherd.definition import Experiment, check_knobs, plan, problem
from mustherd.definition.check import WATCHING
from mustherd.definition.plan import LEAVE_SECONDS
from mustherd.errors import UserError, text_of
from mustherd.experiment import provenance, wording
from mustherd.experiment.actions import (
    Action,
    Calibrate,
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
    Tell,
    TellBaseline,
)
from mustherd.experiment.conclusion import conclude
from mustherd.experiment.external_load import OutsideLoad
from mustherd.experiment.group_runner import GroupRunner
from mustherd.experiment.herd_notes import left_of, left_text, note, note_left
from mustherd.experiment.owners import OWNERS, owners
from mustherd.experiment.prior import prior_of
from mustherd.experiment.scheduler import GATHER_S, Past, Scheduler
from mustherd.experiment.trial_runner import TrialRunner
from mustherd.experiment.verdict import SEARCH_OVER, order_of
from mustherd.herd.membership import Presence
from mustherd.load.error import LoadError
from mustherd.load.registry import server_kind
from mustherd.machine import given_out
from mustherd.plugins import SERVERS, plugin
from mustherd.policy.base import BaselinePolicy, CalibratedPolicy, Follower, Grouping, Policy, Ranking
from mustherd.policy.base import make as make_policy
from mustherd.rowlog.writer import LogWriter
from mustherd.shepherd.events import HerdError, StopAsked
from mustherd.shepherd.shepherd import Shepherd
from mustherd.store.store import Store, StoreError
from mustherd.terms import defaults_of
from mustherd.trial import Trial, TrialKind
from mustherd.wire.members import MAX_MUSTERS
from mustherd.wire.messages import MusterView

log = logging.getLogger(__name__)

POLL_S = 0.05
"""How often events are looked at while trials run."""

RESTORE_WAIT_S = 600.0
"""How long musters may take at the end to put their nodes back; one that is gone, or says nothing, ends it before."""


def write(store: Store, action: Action) -> Trial | None:
    """Do what an action asks of the store. Of Start it gives the attempt as it was stored."""
    match action:
        case Phase(name):
            store.set_phase(name)
        case Note(kind, text, data):
            store.event(kind, text, data)
        case Queue(trial):
            store.add(trial)
        case Start(trial, muster):
            return store.start(trial, muster)
        case Finish(trial, retry):
            store.finish(trial, retry=retry)
        case End(Result.STOPPED, reason):
            store.set_status("stopped", reason)
        case End(_, reason):
            store.set_status("failed", reason)
    return None


def gathering_s(experiment: Experiment) -> float:
    """How long musters may take to join. One that starts a server of the definition's joins once that is ready."""
    server = experiment.workload.server
    if experiment.herd.local is None or server is None:
        return GATHER_S
    found = plugin(SERVERS, server.name)
    kind = server_kind(found)
    # What another package calls so may be anything.
    asked = found.is_ours and hasattr(kind, "starts_within_s")
    return GATHER_S + (kind.starts_within_s(server.options) if asked else 0.0)


def past_of(store: Store) -> Past:
    """What the store knows at the beginning of a run, once what was found running has been queued again."""
    again = store.requeue_running()
    if again:
        store.event("requeued", f"{len(again)} interrupted trials are run again", {"trials": [t.number for t in again]})
    return Past(store.trials(), store.last_event(SEARCH_OVER) is not None, order_of(store))


class TrialLoop:
    """One run of an experiment on a shepherd's herd."""

    def __init__(
        self,
        store: Store,
        experiment: Experiment,
        shepherd: Shepherd,
        logs: LogWriter,
        *,
        expected: int,
        stop: Stop,
        outside: OutsideLoad | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`expected`: how many musters to wait for; `stop`: set from outside to end in good order."""
        self._store = store
        self._experiment = experiment
        self._shepherd = shepherd
        self._outside = outside
        self._runner = TrialRunner(experiment, shepherd, logs, outside)
        self._groups: GroupRunner | None = None
        """Where trials are of several nodes at a time."""
        self._goal = store.experiment().goal
        self._expected = expected
        self._stop = stop
        self._now = now
        self._scheduler = Scheduler(
            experiment, self._goal, expected=expected, now=now(), wait_s=gathering_s(experiment)
        )
        self._threads = ThreadPoolExecutor(MAX_MUSTERS, thread_name_prefix="trial")
        self._running: set[Future[Trial]] = set()
        self._policy: Policy | None = None
        self._result: Result | None = None

    def run(self) -> Result:
        """Run to the end; the store holds everything that it found."""
        try:
            return self._run()
        finally:
            # Nodes are back by then: what a policy does here may break, or never end.
            if self._policy is not None:
                self._policy.close()

    def _run(self) -> Result:
        self._store.set_status("running")
        try:
            self._do(self._scheduler.begin())
            while self._result is None:
                self._look()
        except BaseException as error:
            if isinstance(error, StoreError):
                # What is wrong with the folder was not so at the beginning: much has been changed since.
                error.exit_code = Result.HERD_FAILED
            with contextlib.suppress(StoreError):
                self._do(self._scheduler.abandon())
                self._store.set_status("failed", _told(error))
            raise
        finally:
            left = self._leave()
        if left:
            # Whatever was found: somebody has to look after that node, and a run that resumes this one tries again.
            self._store.set_status("failed", left)
            self._store.event("failed", left)
            return Result.HERD_FAILED
        return self._result

    # --- what happens ---

    def _look(self) -> None:
        """Wait a moment, tell the scheduler what has happened, and do what follows."""
        if self._running:
            wait(self._running, timeout=POLL_S, return_when=FIRST_COMPLETED)
        done = {future for future in self._running if future.done()}
        self._running -= done
        ended = sorted((future.result() for future in done), key=lambda t: (t.ended_at, t.number))
        if why := self._stop_asked():
            self._do(self._scheduler.stop(ended, why=why))
            return
        until = self._experiment.budget.until
        if until is not None and time.time() > until.timestamp() - LEAVE_SECONDS:
            self._do(self._scheduler.stop(ended, why=f"the reservation ends at {until.isoformat(' ', 'minutes')}"))
            return
        self._do(self._scheduler.ended(ended, self._now()))
        self._do(self._scheduler.herd(self._here(), self._now()))

    def _here(self) -> dict[str, float]:
        """Musters that are there, or groups by the muster that stands for each: what their slowest knobs take, in s."""
        musters = self._shepherd.musters().values()
        here = {m.name: max((k.settle_seconds for k in m.knobs), default=0.0) for m in musters if _is_here(m.presence)}
        return here if self._groups is None else self._groups.whole(here)

    def _stop_asked(self) -> str:
        """Take note of the herd's events, waiting for the first one if no trial runs; who wants the end, '': nobody."""
        if self._stop.is_set():
            return self._stop.why or "it was told to end"
        timeout_s = 0.0 if self._running else POLL_S
        while True:
            try:
                event = self._shepherd.events.get(block=timeout_s > 0, timeout=timeout_s or None)
            except queue.Empty:
                return ""
            timeout_s = 0.0
            if isinstance(event, StopAsked):
                return f"{event.by} asked for it"
            note(self._store, self._shepherd.musters(), event)

    # --- what is done ---

    def _do(self, actions: Iterable[Action]) -> None:
        """Do actions in order; what the answers lead to comes last."""
        todo = deque(actions)
        while todo:
            action = todo.popleft()
            stored = write(self._store, action)
            _say(action)
            match action:
                case Start(_, muster) if stored is not None:
                    self._running.add(self._threads.submit((self._groups or self._runner).run, stored, muster))
                case Prepare():
                    todo += self._prepare()
                case Conclude():
                    compares = self._policy is not None and self._policy.compares
                    self._result = conclude(self._store, self._experiment, self._goal, compares=compares)
                case End(result, _):
                    self._result = result
                case _ if self._policy is not None:
                    todo += self._ask(self._policy, action)

    def _ask(self, policy: Policy, action: Action) -> list[Action]:
        """Do what an action asks of the policy."""
        match action:
            case Tell(observations):
                policy.observe(observations)
            case TellBaseline(observations) if isinstance(policy, BaselinePolicy):
                policy.observe_baseline(observations)
            case Calibrate(noise) if isinstance(policy, CalibratedPolicy):
                policy.calibrate(noise)
            case Propose(pending, load):
                if isinstance(policy, Follower):
                    policy.expect(load)
                point = policy.propose(pending)
                return self._scheduler.proposed(point, policy.why_enough() if point is None else "", self._now())
            case Rank():
                ranking = policy.ranking() if isinstance(policy, Ranking) else ()
                return self._scheduler.ranked(ranking, self._store.trials(), self._now())
        return []

    def _prepare(self) -> list[Action]:
        """Make the policy, hold the definition against the nodes, and look at what former runs left."""
        store, musters = self._store, self._shepherd.musters().values()
        task = problem(self._experiment, self._default_point())
        prior = prior_of(store, self._experiment, task)
        self._policy = make_policy(self._experiment, task.over(prior=prior))
        groups = self._policy.groups([view.name for view in musters]) if isinstance(self._policy, Grouping) else ()
        if groups:
            self._groups = GroupRunner(self._runner, groups)
            self._scheduler.herd(self._here(), self._now())
        # What nothing is set on need not be there.
        for view in musters if self._experiment.policy.name not in WATCHING else ():
            if self._groups is None or view.name in self._groups.workers:
                check_knobs(self._experiment, view.knobs, view.facts)
        self._keep_provenance(musters)
        log.info("the herd offers %s", ", ".join(sorted({k.name for view in musters for k in view.knobs})))
        planned, compares = plan(self._experiment, self._expected), self._policy.compares
        numbers: dict[str, int] = {TrialKind.SEARCH: planned.search}
        if compares:
            numbers |= {TrialKind.BASELINE: planned.baseline, TrialKind.CONFIRM: planned.confirm}
        store.set_plan(numbers)
        return self._scheduler.prepared(past_of(store), compares=compares, now=self._now())

    def _keep_provenance(self, musters: Collection[MusterView]) -> None:
        """Write down what each node is, who has its knobs and what loads it; say what isn't as a former run had it."""
        for host, who in owners(musters).items():
            self._store.event(OWNERS, f"on {host} {who}", {"host": host})
        found: dict[str, provenance.Part] = {}
        for view in musters:
            found[view.name] = provenance.of_node(view.facts)
            if self._outside is not None and not view.facts.loads_itself:
                try:
                    found[provenance.LOAD_OF + view.name] = self._outside.builds(view)
                except LoadError as error:
                    log.warning("the builds of who loads %s aren't known: %s", view.name, error)
        for differing in provenance.keep(self._store, found):
            log.warning("not as before: %s", differing.text())

    def _default_point(self) -> dict[str, int]:
        """The values that the nodes have when nobody sets anything, of the first muster that can tell."""
        for view in self._shepherd.musters().values():
            with contextlib.suppress(HerdError, TimeoutError):
                applied = self._shepherd.decide(view.name, ()).result(RESTORE_WAIT_S)
                if applied.outcome != "restored":
                    continue
                found = {r.knob: r.applied for r in applied.readings if r.applied is not None}
                return {**found, **defaults_of(view.knobs)}
        return {}

    # --- the end ---

    def _leave(self) -> str:
        """End what still runs and put every node back; gives which could not be, a sentence."""
        if self._running:
            # Their windows end with what they are about; then what one of them may yet have set is undone.
            self._runner.stop()
            self._give_back()
        self._threads.shutdown()
        left = self._give_back()
        with contextlib.suppress(StoreError):
            for muster, what in left.items():
                note_left(self._store, muster, what)
        return "; ".join(left_text(muster, what) for muster, what in left.items())

    def _give_back(self) -> dict[str, str]:
        """Put every node back and wait for the musters to say so; their leases would, seconds later.

        Gives musters whose nodes could not be, and what is left of each.
        """
        here = [view.name for view in self._shepherd.musters().values() if _is_here(view.presence)]
        left: dict[str, str] = {}
        for name, future in {name: self._shepherd.decide(name, ()) for name in here}.items():
            with contextlib.suppress(HerdError, TimeoutError):
                applied = future.result(RESTORE_WAIT_S)
                if what := left_of(applied):
                    left[name] = what
        return left


def _say(action: Action) -> None:
    """The steps that somebody follows who looks for what goes wrong."""
    match action:
        case Phase(name):
            log.debug("phase %s", name)
        case Start(trial, muster):
            log.debug("trial %d begins on %s: %s", trial.number, muster, wording.settings(trial.settings))
        case Finish(trial, _):
            why = f": {trial.detail or trial.reason}" if trial.reason else ""
            log.debug("trial %d is %s%s", trial.number, trial.state.value, why)
        case Note(_, text, _):
            log.debug("%s", text)


def _told(error: BaseException) -> str:
    """An error that is the whole story by itself; of any other its class, too; and what the machine doesn't give."""
    told = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {text_of(error)}"
    return f"{told}; {why}" if (why := given_out(error)) else told


def _is_here(presence: str) -> bool:
    return presence == Presence.ALIVE
