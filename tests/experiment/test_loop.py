"""Experiments on a store that is on disk: the same as those in memory, and no dearer by the trial however long."""

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mustherd.daemon import Stop
from mustherd.definition import Experiment, content, digest, goal, problem
from mustherd.experiment.actions import Action, Propose, Result
from mustherd.experiment.conclusion import conclude
from mustherd.experiment.loop import TrialLoop, gathering_s, write
from mustherd.experiment.scheduler import GATHER_S
from mustherd.herd.membership import Presence
from mustherd.policy.nop import Nop
from mustherd.report.json import summary
from mustherd.report.view import View
from mustherd.store.store import Store
from mustherd.trial import TrialKind
from tests.definition.make import made
from tests.experiment.simulated import Plan, World, defined, quiet


class Folder(Store):
    """A store that each run opens anew."""

    def again(self) -> "Folder":
        self.close()
        return Folder.open(self.folder, now=self._now)


def store_for(folder: Path, experiment: Experiment) -> Callable[[Callable[[], float]], Folder]:
    def create(now: Callable[[], float]) -> Folder:
        return Folder.create(
            folder,
            name="toy",
            definition="",
            resolved=content(experiment),
            goal=goal(experiment),
            digest=digest(experiment),
            now=now,
        )

    return create


@pytest.mark.parametrize(
    ("options", "more_s", "redis_s"),
    [
        ({}, 60, 60),
        ({"ready": {"seconds": 300}}, 300, 300),
        ({"ready": {"seconds": 100}, "prepare": [["true"], ["true"]], "populate": [["true"]]}, 400, 100),
    ],
)
def test_musters_may_take_as_long_to_join_as_the_server_that_they_start(
    options: dict[str, Any], more_s: float, redis_s: float
) -> None:
    server = {"command": ["serve", "{port}"], **options}
    load = {"command": ["load", "{seconds}"], "metrics": {"requests": {"at": "(.)"}}}
    here: dict[str, Any] = {"herd": {"local": {}}, "knobs": {"server-cores": [1]}, "objective": "server_cpu_seconds"}
    assert gathering_s(made(**here, workload={"server": server, "load": load})) == GATHER_S + more_s
    assert gathering_s(made(**here, workload={"qps": 1000})) == GATHER_S
    redis = {"name": "redis", "options": {key: options[key] for key in options if key == "ready"}}
    assert gathering_s(made(**here, workload={"server": redis})) == GATHER_S + redis_s
    assert gathering_s(defined()) == GATHER_S


@pytest.mark.parametrize("seed", range(3))
def test_the_store_and_the_simulated_one_keep_the_same(tmp_path: Path, seed: int) -> None:
    experiment = defined(
        trials=5, repeats=1, baseline='{"every":2}', workload=['{"qps":600000}', '{"qps":[200000,400000]}'][seed % 2]
    )
    plan = Plan(spoilt=0.2, unmeasured=0.0, kill=0.03, stop=0.01)
    worlds = [
        World(seed, experiment, plan, musters=2, look_every=3),
        World(seed, experiment, plan, musters=2, look_every=3, record=store_for(tmp_path / "x", experiment)),
    ]
    memory, disk = (world.run() for world in worlds)
    assert memory.results == disk.results
    assert memory.record.trials() == disk.record.trials()
    assert memory.record.events() == disk.record.events()
    if disk.results[-1] is Result.DONE:
        assert conclude(disk.record, experiment, disk.goal, compares=True) in (Result.DONE, Result.NOT_MET)
        told = summary(View.of(disk.record))
        assert told["search_ended"] == "every planned trial has run"
        assert (told["status"], told["trials"]["running"], told["trials"]["queued"]) == ("done", 0, 0)
    disk.record.close()


class Counted(World):
    """Counts what trials take of the database: statements, and steps of the machine that carries them out."""

    def __init__(self, folder: Path, experiment: Experiment) -> None:
        self.statements = self.instructions = 0
        self.costs: dict[int, tuple[int, int]] = {}
        """Trials of the search so far, to what everything so far took."""
        super().__init__(1, experiment, quiet(), record=store_for(folder, experiment))

    def do(self, actions: Iterable[Action]) -> None:
        self.record._db.set_trace_callback(self._statement)
        self.record._db.set_progress_handler(self._instruction, 5)
        todo = deque(actions)
        while todo:
            action = todo.popleft()
            todo += self.answer(action, write(self.record, action))
        self.record._db.set_progress_handler(None, 5)
        self.record._db.set_trace_callback(None)
        self.costs.setdefault(self.scheduler._tally.numbers[TrialKind.SEARCH], (self.statements, self.instructions))

    def tell(self, actions: list[Action]) -> None:
        self.do(actions)

    def _statement(self, _: str) -> None:
        self.statements += 1

    def _instruction(self) -> int:
        self.instructions += 1
        return 0

    def per_trial(self, first: int, last: int) -> tuple[float, float]:
        """Statements and instructions of one trial, from the `first` to the `last`."""
        (s1, i1), (s2, i2) = self.costs[first], self.costs[last]
        return (s2 - s1) / (last - first), (i2 - i1) / (last - first)


def test_a_trial_takes_no_more_of_the_database_in_a_long_experiment_than_in_a_short_one(tmp_path: Path) -> None:
    experiment = defined(trials=100, repeats=0, baseline='{"every":10}')
    world = Counted(tmp_path / "long", experiment)
    world.run()
    assert world.results == [Result.DONE]
    early, late = world.per_trial(10, 40), world.per_trial(60, 90)
    assert late[0] == early[0] > 10
    # An index is a tree: it has one level more, at most.
    assert late[1] < 1.1 * early[1]
    world.record.close()


def test_what_a_whole_table_read_takes_would_be_seen(tmp_path: Path) -> None:
    class Reading(Counted):
        def answer(self, action: Action, stored: Any) -> list[Action]:
            if isinstance(action, Propose):
                self.record.trials(TrialKind.SEARCH)
            return super().answer(action, stored)

    world = Reading(tmp_path / "long", defined(trials=70, repeats=0))
    world.run()
    assert world.per_trial(40, 60)[1] > 2 * world.per_trial(5, 15)[1]
    world.record.close()


@pytest.mark.parametrize("result", [Result.DONE, None])
def test_a_policy_that_breaks_as_it_is_closed_keeps_no_node_from_being_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, result: Result | None
) -> None:
    """It was closed first: nodes were left to their leases, for as long as it hung."""
    order: list[str] = []

    class Breaking(Nop):
        def close(self) -> None:
            order.append("closed")
            raise RuntimeError("can't close")

    def decide(muster: str, _settings: object) -> Future[Any]:
        order.append(f"{muster} put back")
        answer: Future[Any] = Future()
        answer.set_result(SimpleNamespace(readings=(), detail="", outcome="restored"))
        return answer

    def look(loop: TrialLoop) -> None:
        loop._policy = Breaking(experiment, problem(experiment))
        loop._result = result
        if result is None:
            raise ValueError("a fault in the loop")

    experiment = defined()
    musters = {"muster-1": SimpleNamespace(name="muster-1", presence=Presence.ALIVE, knobs=())}
    herd: Any = SimpleNamespace(musters=lambda: musters, decide=decide)
    monkeypatch.setattr(TrialLoop, "_look", look)
    logs: Any = None
    with store_for(tmp_path / "x", experiment)(lambda: 0.0) as store:
        with pytest.raises(RuntimeError, match="can't close") as caught:
            TrialLoop(store, experiment, herd, logs, expected=1, stop=Stop()).run()
        assert order == ["muster-1 put back", "closed"]
        if result is None:
            assert isinstance(caught.value.__context__, ValueError)
            assert store.experiment().status_detail == "ValueError: a fault in the loop"
