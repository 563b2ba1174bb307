"""Whole experiments in no real time: the real scheduler, and a herd, a policy and a store that a seed decides.

Musters come, go, fall silent and fail; trials end in every way that they can; the process is killed between any two
actions and begun again from what was written. `World` watches over the scheduler's promises after every event, by
what was written alone.
"""

import functools
import random
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from mustherd.definition import Experiment, goal
from mustherd.definition.problem import CONTEXT
from mustherd.experiment.actions import (
    Action,
    Conclude,
    End,
    Finish,
    Prepare,
    Propose,
    Rank,
    Result,
    Start,
    Tell,
)
from mustherd.experiment.loop import past_of, write
from mustherd.experiment.scheduler import GATHER_S, LONELY_S, Scheduler
from mustherd.learn.base import Observation, Settings
from mustherd.policy.base import WAIT, Proposal
from mustherd.reasons import Reason, of
from mustherd.trial import Trial, TrialState
from tests.definition.make import made
from tests.experiment import physics, watched
from tests.experiment.memory_store import Record

STEP_S = 0.5
DELAYS = (2, 50, 100, 200, 300, 400)
CLOCKS = (1200, 1600, 2000, 2600)
SPOILT = [reason for reason in Reason if reason.again and reason.fault.counts]
LOST = [reason for reason in Reason if reason.again and not reason.fault.counts]
BROKEN = [reason for reason in Reason if not reason.again and reason is not Reason.BUDGET_SPENT]


@functools.lru_cache(maxsize=512)
def defined(**changes: Any) -> Experiment:
    """A definition; mappings and lists are JSON text, so that a call can be remembered."""
    decode = msgspec.json.decode
    whole = {k: decode(v) if isinstance(v, str) and v[0] in "[{" else v for k, v in changes.items()}
    base = {"knobs": {"itr-delay": list(DELAYS), "dvfs": list(CLOCKS)}, "constraints": ["read_p99_us <= 500"]}
    return made(**{**base, **whole})


class KilledError(Exception):
    """The process is gone, between two actions."""


class ToyPolicy:
    """Proposes what its seed, what it was told and what is under way decide, or waits; has enough after so many."""

    def __init__(
        self, seed: int, *, enough: int | None, ranks: bool, loads: Sequence[float], waits: float = 0.0
    ) -> None:
        self.waits = waits
        self.seed = seed
        self.enough = enough
        self.ranks = ranks
        self.loads = loads
        self.told: list[Observation] = []
        self.seen = 0

    def observe(self, observations: Sequence[Observation]) -> None:
        self.told += observations
        for observation in observations:
            self.seen = zlib.crc32(msgspec.json.encode(observation), self.seen)

    def propose(self, pending: Sequence[Settings]) -> Proposal:
        if self.enough is not None and len(self.told) >= self.enough:
            return None
        dice = random.Random(repr((self.seed, self.seen, pending)))
        if self.waits and dice.random() < self.waits:
            return WAIT
        point = {"itr-delay": dice.choice(DELAYS), "dvfs": dice.choice(CLOCKS)}
        if len(self.loads) > 1 and dice.random() < 0.7:
            point[CONTEXT] = int(dice.choice(self.loads))
        return point

    def ranking(self) -> list[Settings]:
        return [dict(o.point) for o in self.told][:4] if self.ranks else []


@dataclass
class Plan:
    """What may happen in a world, each as a chance of 0 to 1 for each thing that it may happen to."""

    spoilt: float = 0.1
    """An attempt is invalid, by the trial's fault or the load's."""
    lost: float = 0.1
    """It is, by nobody's fault who counts."""
    broken: float = 0.02
    """It fails."""
    unmeasured: float = 0.02
    """It finishes, but its objective is not a finite number."""
    silent: float = 0.02
    """A muster falls silent, or comes back, in a step."""
    kill: float = 0.01
    """The process is killed before an action."""
    stop: float = 0.0
    """An operator asks for the end in a step."""
    reasons: Sequence[Reason] = field(default_factory=lambda: SPOILT)
    """Why attempts are spoilt."""
    resumes: int = 6
    """How often the experiment is gone on with after a kill, a stop or a failure."""


@dataclass
class Muster:
    here: bool = True
    trial: Trial | None = None
    until: float = 0.0


class World:
    """One experiment, from its first run to the last."""

    def __init__(
        self,
        seed: int,
        experiment: Experiment,
        plan: Plan,
        *,
        musters: int = 1,
        expected: int | None = None,
        compares: bool = True,
        enough: int | None = None,
        ranks: bool = False,
        waits: float = 0.0,
        record: Callable[[Callable[[], float]], Any] = Record,
        look_every: int = 1,
    ) -> None:
        self.dice = random.Random(seed)
        self.seed = seed
        self.experiment = experiment
        self.goal = goal(experiment)
        self.plan = plan
        self.expected = expected if expected is not None else musters
        self.compares = compares
        self.enough = enough
        self.ranks = ranks
        self.waits = waits
        """The chance that the policy answers WAIT."""
        self.asked_in_vain = False
        """Whether it did, and nothing has happened since."""
        self.wall = 1.7e9
        self.record: Any = record(lambda: self.wall)
        self.look_every = look_every
        self.now = 0.0
        self.musters = {f"m{k}": Muster() for k in range(musters)}
        self.results: list[Result | None] = []
        """How each run ended: None where it was killed, DONE where it was concluded."""
        self.spoilt: Counter[int] = Counter()
        """Number to its attempts that were invalid and counted."""
        self.steps = 0
        self.looks = self.next_look = 0
        self.runs = 0
        self.asked_with: list[Propose] = []
        self.scheduler: Scheduler
        self.policy: ToyPolicy | None = None

    # --- running ---

    def run(self) -> "World":
        """Until the experiment is concluded, or gone on with as often as the plan says."""
        while self.results[-1:] != [Result.DONE] and self.runs <= self.plan.resumes:
            self.run_once()
        return self

    def run_once(self) -> None:
        self.runs += 1
        self.policy = None
        self.asked_in_vain = False
        self.record = self.record.again()
        for muster in self.musters.values():
            muster.trial = None
        self.scheduler = Scheduler(self.experiment, self.goal, expected=self.expected, now=self.now)
        over = len(self.results) + 1
        try:
            self.do(self.scheduler.begin())
            while len(self.results) < over:
                self.step()
        except KilledError:
            self.results.append(None)

    def step(self) -> None:
        self.steps += 1
        assert self.steps < self.bound(), "the experiment doesn't end"
        self.pass_time(STEP_S)
        for muster in self.musters.values():
            if self.dice.random() < self.plan.silent:
                muster.here = not muster.here
        done = [(m.trial, name) for name, m in self.musters.items() if m.trial is not None and self.now >= m.until]
        self.dice.shuffle(done)
        ended = [self.outcome(trial, name) for trial, name in done]
        if self.dice.random() < self.plan.stop:
            self.tell(self.scheduler.stop(ended))
            return
        self.tell(self.scheduler.ended(ended, self.now))
        if not self.over:
            here = {name: 0.0 for name, muster in self.musters.items() if muster.here}
            self.asked_in_vain &= here.keys() <= set(self.scheduler._alive)
            self.tell(self.scheduler.herd(here, self.now))

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        # The wall's clock may be set back.
        self.wall += seconds if self.dice.random() > 0.02 else -3.0

    def bound(self) -> int:
        """Steps in which it must have ended: so many attempts may come to nothing for each number of a trial."""
        gates, loads = self.experiment.gates, max(1, len(self.goal.loads))
        in_round = loads * (1 + self.experiment.confirmation.candidates)
        rounds = max(self.experiment.repeats, self.experiment.confirmation.rounds)
        numbers = 2 * self.experiment.trials + loads + in_round * rounds
        fruitless = 3 * gates.same_failure * gates.attempts * self.expected + 1
        lonely = (LONELY_S + GATHER_S) / STEP_S + 10
        return int((self.plan.resumes + 1) * numbers * fruitless * 10 + (self.plan.resumes + 1) * 20 * lonely)

    @property
    def over(self) -> bool:
        return len(self.results) == self.runs

    def tell(self, actions: list[Action]) -> None:
        self.scheduler.validate()
        self.do(actions)

    def do(self, actions: Iterable[Action]) -> None:
        todo = deque(actions)
        while todo:
            if self.dice.random() < self.plan.kill and self.runs <= self.plan.resumes:
                raise KilledError
            action = todo.popleft()
            watched.watch(self, action)
            stored = write(self.record, action)
            todo += self.answer(action, stored)
            self.scheduler.validate()
        self.looks += 1
        if self.looks >= self.next_look:
            # Less often where there is much to look at, so that a long experiment takes no longer by the step.
            self.next_look = self.looks + self.look_every + len(self.scheduler._tally.states) // 10 + self.steps // 50
            self.look()

    def answer(self, action: Action, stored: Trial | None) -> list[Action]:
        self.asked_in_vain &= not isinstance(action, Finish) or action.retry
        match action:
            case Start(_, muster):
                assert stored is not None
                self.musters[muster].trial = stored
                self.musters[muster].until = self.now + self.dice.choice([0.5, 1.0, 1.5, 4.0])
            case Finish(trial, _) if trial.muster in self.musters:
                self.musters[trial.muster].trial = None
                self.spoilt[trial.number] += trial.state is TrialState.INVALID and of(trial.reason).fault.counts
            case Prepare():
                self.policy = ToyPolicy(
                    self.seed, enough=self.enough, ranks=self.ranks, loads=self.goal.loads, waits=self.waits
                )
                return self.scheduler.prepared(past_of(self.record), compares=self.compares, now=self.now)
            case Tell(observations):
                assert self.policy is not None
                self.policy.observe(observations)
            case Propose(pending, _):
                assert self.policy is not None
                assert not self.asked_in_vain, "asked again, and nothing has happened"
                self.asked_with.append(action)
                point = self.policy.propose(pending)
                self.asked_in_vain = point is WAIT
                return self.scheduler.proposed(point, "it has seen enough" if point is None else "", self.now)
            case Rank():
                assert self.policy is not None
                return self.scheduler.ranked(self.policy.ranking(), self.record.trials(), self.now)
            case Conclude():
                self.results.append(Result.DONE)
            case End(result, _):
                self.results.append(result)
        return []

    def outcome(self, trial: Trial, muster: str) -> Trial:
        """How an attempt ends; the same for the same attempt, leaving out those that say nothing about it."""
        dice = random.Random(f"{self.seed}/{trial.number}/{self.spoilt[trial.number]}")
        drawn = dice.random()
        metrics = physics.measure(trial.settings.get("itr-delay", 1), trial.settings.get("dvfs", 2600), dice)
        ended = msgspec.structs.replace(trial, ended_at=self.wall - dice.choice([0.0, 0.1]), muster=muster)
        if self.dice.random() < (self.plan.lost if self.musters[muster].here else 0.8):
            return msgspec.structs.replace(
                ended, state=TrialState.INVALID, reason=self.dice.choice(LOST), detail="it went away"
            )
        if drawn < self.plan.spoilt:
            reason = dice.choice(list(self.plan.reasons))
            measured = metrics if dice.random() < 0.5 else {}
            return msgspec.structs.replace(
                ended, state=TrialState.INVALID, reason=reason, detail="spoilt", metrics=measured
            )
        drawn -= self.plan.spoilt
        if drawn < self.plan.broken:
            return msgspec.structs.replace(ended, state=TrialState.FAILED, reason=dice.choice(BROKEN), detail="broke")
        drawn -= self.plan.broken
        if drawn < self.plan.unmeasured:
            metrics["energy_joules"] = float("inf")
        return msgspec.structs.replace(ended, state=TrialState.FINISHED, metrics=metrics)

    def look(self) -> None:
        """Hold what was written against the invariants."""
        watched.look(self)


def sequence(world: World) -> list[tuple[Any, ...]]:
    """What was run and what came of it, number by number: the same for equal experiments."""
    last = {t.number: t for t in world.record.trials()}
    return [(n, t.kind, t.settings, t.qps, t.state, t.metrics) for n, t in sorted(last.items())]


def quiet(**changes: Any) -> Plan:
    """Nothing bad happens but for `changes`."""
    return replace(Plan(spoilt=0, lost=0, broken=0, unmeasured=0, silent=0, kill=0, resumes=0), **changes)
