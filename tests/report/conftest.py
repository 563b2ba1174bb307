"""Experiments on disk to report on."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mustherd.experiment.verdict import decide
from mustherd.rowlog.accounting import RowAccounting, StreamPosition
from mustherd.rowlog.ledger import Ledger
from mustherd.store.store import Store
from mustherd.terms import Facts
from mustherd.trial import Trial, TrialKind, TrialState, label_of
from tests.experiment import physics

DEFINITION = """name: toy  # a comment that stays
objective: energy_joules
constraints: [read_p99_us <= 500]
"""

RESOLVED = physics.resolved()

Make = Callable[..., Store]


def book(store: Store) -> None:
    """Log rows of trial 2 from two streams, some lost."""
    lost = {"ixgbe-log-core-0": {"gap": 7, "buffer-full": 1}, "ixgbe-log-core-1": {"buffer-full": 4}}
    with Ledger(store.folder / "logs", write=True) as ledger:
        places = {
            (label_of(2, 1), stream): StreamPosition(
                account=RowAccounting(
                    produced=110, received=98, written=95, lost=why, malformed={"blank": 3} if k else {}
                )
            )
            for k, (stream, why) in enumerate(lost.items())
        }
        ledger.commit("muster-0", 1, 1, [], places)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes stores: `make(name, trials, resolved={...}, done=True)`; they are closed at the end."""
    stores: list[Store] = []

    def made(
        name: str = "toy",
        trials: list[Trial] | None = None,
        resolved: dict[str, Any] | None = None,
        *,
        done: bool = True,
        definition: str = DEFINITION,
    ) -> Store:
        time = [1.7e9]
        whole = {**RESOLVED, "name": name, **(resolved or {})}
        folder = tmp_path / "experiments" / re.sub(r"[^a-z0-9-]", "_", name)
        store = Store.create(
            folder,
            name=name,
            definition=definition,
            resolved=whole,
            digest="d" * 64,
            goal=physics.goal_of(whole),
            now=lambda: time[0],
        )
        stores.append(store)
        for muster in ("muster-0", "muster-1"):
            facts = Facts(kind="twin", cpu="E5-2650 v2", cores=16)
            store.set_muster(muster, state="alive", facts=facts, knobs=physics.KNOBS)
        store.set_status("running")
        store.set_plan({"baseline": 4, "search": 30, "confirm": 12})
        store.event("muster-joined", "muster-0 joined")
        for one in physics.experiment() if trials is None else trials:
            time[0] = max(time[0], one.ended_at)
            physics.fill(store, [one])
        if done:
            verdict = decide(store.trials(), physics.goal_of(whole), physics.KNOBS)
            store.set_verdict(msgspec.to_builtins(verdict))
            store.set_status("done")
        return store

    yield made
    for store in stores:
        store.close()


@pytest.fixture
def spoilt() -> list[Trial]:
    """Trials that went wrong in several ways."""
    return [
        physics.trial(1, TrialKind.BASELINE, {}),
        physics.trial(
            2, TrialKind.SEARCH, {"itr-delay": 300, "dvfs": 1800}, state=TrialState.INVALID, reason="knob-not-held"
        ),
        physics.trial(3, TrialKind.SEARCH, {"itr-delay": 400, "dvfs": 1200}),
        physics.trial(
            4, TrialKind.SEARCH, {"itr-delay": 2, "dvfs": 2600}, state=TrialState.FAILED, reason="decision-refused"
        ),
    ]
