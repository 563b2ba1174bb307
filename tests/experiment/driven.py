"""A scheduler that a test drives by hand."""

from collections.abc import Iterator
from typing import Any

import msgspec

from mustherd.definition import goal
from mustherd.experiment.actions import (
    Action,
    Finish,
    Note,
    Prepare,
    Propose,
    Queue,
    Rank,
)
from mustherd.experiment.scheduler import GATHER_S, Past, Scheduler
from mustherd.policy.base import Proposal
from mustherd.terms import Reading
from mustherd.trial import Trial, TrialKind, TrialState
from tests.experiment import physics
from tests.experiment.simulated import defined


class Driven:
    """A scheduler that a test drives by hand: what it did, and the store and the answers that go with it."""

    def __init__(
        self,
        expected: int = 1,
        musters: int = 1,
        compares: bool = True,
        past: Past | None = None,
        wait_s: float = GATHER_S,
        **changes: Any,
    ):
        self.experiment = defined(**changes)
        self.goal = goal(self.experiment)
        self.scheduler = Scheduler(self.experiment, self.goal, expected=expected, now=0.0, wait_s=wait_s)
        self.compares = compares
        self.past = past or Past()
        self.done: list[Action] = []
        self.ranking: list[dict[str, int]] = []
        self.here = {f"m{k}": 0.0 for k in range(musters)}
        self.points: Iterator[Proposal] = iter(
            [{"itr-delay": d, "dvfs": c} for d in (2, 50, 100, 200, 300, 400) for c in (1200, 2600)] * 20
        )

    def do(self, actions: list[Action]) -> list[Action]:
        """Do actions as the loop would; gives everything that was done."""
        new: list[Action] = []
        todo = list(actions)
        while todo:
            action = todo.pop(0)
            self.scheduler.validate()
            new.append(action)
            match action:
                case Prepare():
                    todo += self.scheduler.prepared(self.past, compares=self.compares, now=0.0)
                case Propose():
                    point = next(self.points, None)
                    todo += self.scheduler.proposed(point, "there is no more", 0.0)
                case Rank():
                    todo += self.scheduler.ranked(self.ranking, self.trials(new), 0.0)
        self.done += new
        return new

    def trials(self, also: list[Action]) -> list[Trial]:
        return [a.trial for a in [*self.done, *also] if isinstance(a, Finish)]

    def begin(self) -> list[Action]:
        return self.do([*self.scheduler.begin(), *self.scheduler.herd(self.here, 0.0)])

    def running(self) -> list[Trial]:
        return list(self.scheduler._under_way.values())

    def end(
        self,
        *,
        state: TrialState = TrialState.FINISHED,
        reason: str = "",
        at: float = 1.0,
        joules: float = 1000.0,
        readings: tuple[Reading, ...] = (),
    ) -> list[Action]:
        """End what runs first."""
        trial = self.running()[0]
        metrics = physics.measure(trial.settings.get("itr-delay", 1), trial.settings.get("dvfs", 2600))
        if state is not TrialState.FINISHED:
            metrics = {}
        elif joules:
            metrics["energy_joules"] = joules + trial.number
        ended = msgspec.structs.replace(
            trial, state=state, reason=reason, detail="so it is", ended_at=at, metrics=metrics, readings=readings
        )
        return self.do(self.scheduler.ended([ended], 0.0))

    def ends(self, count: int, **how: Any) -> None:
        for _ in range(count):
            self.end(**how)


def kinds(actions: list[Action]) -> list[TrialKind]:
    return [a.trial.kind for a in actions if isinstance(a, Queue)]


def asked(driven: Driven) -> int:
    """How often the policy was asked for a setting."""
    return sum(isinstance(a, Propose) for a in driven.done)


def notes(actions: list[Action], kind: str) -> list[Note]:
    return [a for a in actions if isinstance(a, Note) and a.kind == kind]


def only(actions: list[Action], kind: type) -> Any:
    [found] = [a for a in actions if isinstance(a, kind)]
    return found
