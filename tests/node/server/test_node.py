import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mustherd.load import local_server
from mustherd.load.error import LoadError
from mustherd.load.memcached.presets import load
from mustherd.muster.window import Window
from mustherd.node.clock import Clock
from mustherd.node.knob import check
from mustherd.node.node import Node, RunningLoad
from mustherd.node.server.node import ProcessNode
from mustherd.plugins import PluginError
from mustherd.terms import Load, LoadReport
from mustherd.testing.clock import ClockContract
from mustherd.testing.node import NodeContract
from mustherd.wire.messages import Measure
from tests.typed import some

pytestmark = [pytest.mark.memcached, pytest.mark.process]

TABLE = {"memcached": {"threads": 2, "port": 0}, "generator": {"connections": 4, "records": 500}}


@pytest.fixture
def node() -> Iterator[ProcessNode]:
    made = local_server.node(TABLE)
    yield made
    made.close()


class TestNode(NodeContract):
    @pytest.fixture
    def node(self, node: ProcessNode) -> ProcessNode:
        return node

    @pytest.fixture
    def live(self) -> Callable[[float], None]:
        return lambda seconds: time.sleep(seconds / 4)

    def test_a_load_is_reported_over_its_window_where_the_node_runs_one(
        self, node: Node, live: Callable[[float], None]
    ) -> None:
        """The contract's, at a load that two cores carry; what falls due at random is counted, not what was asked."""
        start_load = node.start_load

        class Rounded:
            def __init__(self, asked: Load, running: RunningLoad) -> None:
                self.asked = asked
                self.running = running
                self.open_window = running.open_window

            def close_window(self) -> LoadReport:
                report = self.running.close_window()
                assert report.offered_qps == pytest.approx(1000, rel=0.3)
                return msgspec.structs.replace(report, offered_qps=self.asked.qps)

        def smaller(asked: Load, seed: int) -> Rounded:
            return Rounded(asked, some(start_load(msgspec.structs.replace(asked, qps=1000), seed)))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(node, "start_load", smaller)
            super().test_a_load_is_reported_over_its_window_where_the_node_runs_one(node, live)


class TestClock(ClockContract):
    @pytest.fixture
    def clock(self, node: ProcessNode) -> Clock:
        return node.clock

    @pytest.fixture
    def wait(self) -> Callable[[float], None]:
        return time.sleep


def test_a_muster_measures_a_window_with_the_servers_cpu_time(node: ProcessNode) -> None:
    order = Measure(measure=1, label="t", settle_s=0, ramp_s=0.3, window_s=0.4, load=load("etc", 2000), seed=1)
    window = Window(node, order)
    while (at := window.step().next_step) is not None:
        time.sleep(node.clock.wall_seconds_until(at))
    found = some(window.result)
    load_report = some(found.load)
    assert found.energies == ()
    assert found.meter_error == ""
    assert load_report.counters["server_cpu_seconds"] > 0
    assert load_report.misses == 0
    assert load_report.t0_s <= found.t0_s < found.t1_s <= load_report.t1_s
    assert msgspec.json.decode(msgspec.json.encode(load_report), type=type(load_report)) == load_report


def test_a_restart_keeps_cores_and_quota_and_the_next_load_finds_its_records(node: ProcessNode) -> None:
    knobs = {knob.info.name: knob for knob in node.knobs}
    settings = {"server-cores": 1, "memcached-threads": 3}
    if "cpu-quota" in knobs:
        settings["cpu-quota"] = 50
    for name, value in reversed(settings.items()):
        knobs[name].write(value)
    assert all(check(knobs[name], value).held for name, value in settings.items())
    if "cpu-quota" in knobs:
        group = Path(node.facts.text["cpu-quota"])
        assert str(node._server.pid) in (group / "cgroup.procs").read_text().split()
    running = some(node.start_load(Load(qps=1000), seed=1))
    running.open_window()
    time.sleep(0.2)  # fixed: the window
    report = running.close_window()
    assert report.misses == 0
    assert report.requests > 0


def test_facts_say_what_there_is_and_what_not(node: ProcessNode) -> None:
    assert node.facts.kind == "process"
    assert node.facts.text["server"].startswith("memcached 1.")
    assert "server_cpu_seconds" in node.facts.text["energy"]
    assert node.meter is None
    offered = {knob.info.name for knob in node.knobs}
    assert {"server-cores", "memcached-threads"} <= offered
    assert ("cpu-quota" in offered) == ("cpu-quota" not in node.facts.missing)
    assert ("cpu-quota" in offered) == ("cpu-quota" in node.facts.text)


def test_closing_it_ends_all_that_it_started() -> None:
    node = local_server.node(TABLE)
    running: Any = node.start_load(Load(qps=100), seed=1)
    pids = [node._server.pid, *running.pids]
    node.close()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert not Path(f"/sys/fs/cgroup/mustherd-{os.getpid()}-{pids[0]}").exists()


def test_a_group_that_a_killed_owner_left_is_removed(node: ProcessNode) -> None:
    if "cpu-quota" in node.facts.missing:
        pytest.fail("these tests want to make control groups: run them as root")
    left = Path(node.facts.text["cpu-quota"]).with_name("mustherd-99999999-1")
    left.mkdir()
    local_server.node(TABLE).close()
    assert not left.exists()
    assert Path(node.facts.text["cpu-quota"]).exists()


@pytest.mark.parametrize(
    "table", [{"memcache": {}}, {"memcached": {"threads": 0}}, {"generator": {"protocol": "udp"}}, {"generator": []}]
)
def test_a_table_that_cannot_be_read(table: dict[str, Any]) -> None:
    with pytest.raises((ValueError, PluginError), match=r"memcache|threads|protocol|object"):
        local_server.node(table)


def test_no_memcached_here() -> None:
    with pytest.raises(LoadError, match="tool-missing"):
        local_server.node({"memcached": {"program": "no-such-memcached"}})
