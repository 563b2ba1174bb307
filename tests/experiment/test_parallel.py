"""Trials on several nodes at the same time, each loaded by a team of its own."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from mustherd.definition.workload import Workload
from mustherd.experiment.external_load import OutsideLoad
from mustherd.load import registry
from mustherd.load.address import Address
from mustherd.load.base import Site
from mustherd.load.placement import Layout, Place
from mustherd.store.store import Store
from mustherd.terms import Facts
from mustherd.trial import Trial, TrialState
from mustherd.wire.messages import MusterView
from tests import running
from tests.real_herd import herd

SERVERS: dict[str, tuple[Address, ...]] = {
    **{f"m{k}": (Address("127.0.0.1", 11211 + k),) for k in range(3)},
    "twin": (Address("127.0.0.1", 11211),),
}


class Source:
    """Stands for a load; what was made, and where, is in `made`."""

    def __init__(self, site: Site, made: list[Site]) -> None:
        made.append(site)

    def prepare(self) -> None: ...

    def stop(self) -> None: ...

    def check(self) -> list[str]:
        return []


class Bench:
    """An outside load whose windows last until they are let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, agents: int, musters: int) -> None:
        self.sites: list[Site] = []
        monkeypatch.setattr(registry, "make", lambda _name, site, _options: Source(site, self.sites))
        layout = Layout(agents=tuple(Place(address=f"a{k}") for k in range(agents)), servers=SERVERS)
        self.load = OutsideLoad(Workload(qps=1000), layout, musters=musters)
        self.busy: list[str] = []
        self.entered = threading.Condition()
        self.go_on = {name: threading.Event() for name in SERVERS}
        self.threads: list[threading.Thread] = []

    def window(self, muster: str) -> None:
        view = cast("MusterView", type("View", (), {"name": muster, "facts": Facts(kind="fake")}))

        def run() -> None:
            servers = self.load._servers(view)
            with self.load._crew(muster, frozenset(servers)) as crew:
                self.load._source_for(crew, muster, servers)
                with self.entered:
                    self.busy.append(muster)
                    self.entered.notify_all()
                self.go_on[muster].wait(20)
            with self.entered:
                self.busy.remove(muster)
                self.entered.notify_all()

        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()

    def wait_for(self, what: Callable[[], bool]) -> None:
        with self.entered:
            assert self.entered.wait_for(what, 20), self.busy

    def end(self, muster: str) -> None:
        self.go_on[muster].set()
        self.wait_for(lambda: muster not in self.busy)


def test_each_muster_has_its_team_and_its_windows_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, agents=6, musters=3)
    for name in ("m0", "m1", "m2"):
        bench.window(name)
    bench.wait_for(lambda: len(bench.busy) == 3)
    agents = [{host.name for host in site.agents} for site in bench.sites]
    assert [len(some) for some in agents] == [2, 2, 2]
    assert len(set().union(*agents)) == 6, "no agent serves two"
    for name in ("m0", "m1", "m2"):
        bench.end(name)
    bench.go_on["m1"].clear()
    bench.window("m1")
    bench.wait_for(lambda: bench.busy == ["m1"])
    assert len(bench.sites) == 3, "a muster comes back to the team that it had, and nothing starts anew"
    bench.end("m1")


def test_a_muster_that_comes_back_with_another_server_has_that_one_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its server ended with it, and the next one took a port of its own: the old one refuses connections."""
    bench = Bench(monkeypatch, agents=1, musters=1)
    for port in (4000, 4000, 4001):
        facts = Facts(kind="fake", address=("127.0.0.1", port))
        bench.load.builds(cast("MusterView", type("View", (), {"name": "local", "facts": facts})))
    assert [site.servers for site in bench.sites] == [(Address("127.0.0.1", port),) for port in (4000, 4001)]


def test_where_there_are_fewer_teams_musters_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, agents=2, musters=3)
    for name in ("m0", "m1"):
        bench.window(name)
    bench.wait_for(lambda: len(bench.busy) == 2)
    bench.window("m2")
    with bench.entered:
        assert not bench.entered.wait_for(lambda: "m2" in bench.busy, 0.2)
    bench.end("m0")
    bench.wait_for(lambda: "m2" in bench.busy)
    for name in ("m1", "m2"):
        bench.end(name)


def test_musters_that_share_a_server_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, agents=0, musters=2)
    bench.window("m0")
    bench.wait_for(lambda: bench.busy == ["m0"])
    bench.window("twin")
    with bench.entered:
        assert not bench.entered.wait_for(lambda: "twin" in bench.busy, 0.2)
    bench.end("m0")
    bench.wait_for(lambda: bench.busy == ["twin"])
    bench.end("twin")


def windows(folder: Path) -> tuple[list[Trial], float]:
    """Finished trials, and the seconds from the first one's start to the last one's end."""
    with Store.open(folder, read_only=True) as store:
        finished = store.trials(state=TrialState.FINISHED)
    return finished, max(t.ended_at for t in finished) - min(t.started_at for t in finished)


@pytest.mark.process
def test_three_musters_are_loaded_at_the_same_time(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"knobs": {"dvfs": [1300, 1500, 1700, 1900, 2100]}, "trials": 5, "baseline": {"every": 9}}
    with herd(tmp_path, 3) as made:
        made.write()
        code, result, err = running.complete(tmp_path, made.definition(**changes), name="three")
        assert code in (0, 1), err
    finished, _ = windows(Path(result["folder"]))
    assert len(finished) == 6
    assert {t.muster for t in finished} == set(made.names)
    spans = sorted((t.started_at, t.ended_at) for t in finished)
    assert max(begun for begun, _ in spans[:3]) < min(ended for _, ended in spans[:3]), spans
