import os
import time
from pathlib import Path

import msgspec
import pytest

from mustherd.load import local_server
from mustherd.load.errors import LoadError
from mustherd.load.memcached.presets import load
from mustherd.muster.window import Window
from mustherd.node.knob import check
from mustherd.plugins import PluginError
from mustherd.terms import Load
from mustherd.testing.clock import ClockContract
from mustherd.testing.node import NodeContract
from mustherd.wire.messages import Measure

pytestmark = pytest.mark.memcached

TABLE = {"memcached": {"threads": 2, "port": 0}, "generator": {"connections": 4, "records": 500}}


@pytest.fixture
def node():
    made = local_server.node(TABLE)
    yield made
    made.close()


class TestNode(NodeContract):
    @pytest.fixture
    def node(self, node):
        return node

    @pytest.fixture
    def live(self):
        return lambda seconds: time.sleep(seconds / 4)

    def test_a_load_is_reported_over_its_window_where_the_node_runs_one(self, node, live):
        """The contract's, at a load that two cores carry; what falls due at random is counted, not what was asked."""

        class Smaller:
            clock = node.clock
            stop_load = node.stop_load

            @staticmethod
            def start_load(asked, seed):
                running = node.start_load(msgspec.structs.replace(asked, qps=1000), seed)

                class Rounded:
                    open_window = running.open_window

                    @staticmethod
                    def close_window():
                        report = running.close_window()
                        assert report.offered_qps == pytest.approx(1000, rel=0.3)
                        return msgspec.structs.replace(report, offered_qps=asked.qps)

                return Rounded

        super().test_a_load_is_reported_over_its_window_where_the_node_runs_one(Smaller, live)


class TestClock(ClockContract):
    @pytest.fixture
    def clock(self, node):
        return node.clock

    @pytest.fixture
    def wait(self):
        return time.sleep


def test_a_muster_measures_a_window_with_the_servers_cpu_time(node):
    order = Measure(measure=1, label="t", settle_s=0, ramp_s=0.3, window_s=0.4, load=load("etc", 2000), seed=1)
    window = Window(node, order)
    while (at := window.step().next_step) is not None:
        time.sleep(node.clock.wall_seconds_until(at))
    found = window.result
    assert found.energies == ()
    assert found.meter_error == ""
    assert found.load.counters["server_cpu_seconds"] > 0
    assert found.load.misses == 0
    assert found.load.t0_s <= found.t0_s < found.t1_s <= found.load.t1_s
    assert msgspec.json.decode(msgspec.json.encode(found.load), type=type(found.load)) == found.load


def test_a_restart_keeps_cores_and_quota_and_the_next_load_finds_its_records(node):
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
    running = node.start_load(Load(qps=1000), seed=1)
    running.open_window()
    time.sleep(0.2)
    report = running.close_window()
    assert report.misses == 0
    assert report.requests > 0


def test_facts_say_what_there_is_and_what_not(node):
    assert node.facts.kind == "process"
    assert node.facts.text["server"].startswith("memcached 1.")
    assert "server_cpu_seconds" in node.facts.text["energy"]
    assert node.meter is None
    offered = {knob.info.name for knob in node.knobs}
    assert {"server-cores", "memcached-threads"} <= offered
    assert ("cpu-quota" in offered) == (not node.facts.text["cpu-quota"].startswith("not offered"))


def test_closing_it_ends_all_that_it_started():
    node = local_server.node(TABLE)
    running = node.start_load(Load(qps=100), seed=1)
    pids = [node._server.pid, *running.pids]
    node.close()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert not Path(f"/sys/fs/cgroup/mustherd-{os.getpid()}-{pids[0]}").exists()


def test_a_group_that_a_killed_owner_left_is_removed(node):
    if node.facts.text["cpu-quota"].startswith("not offered"):
        pytest.fail("these tests want to make control groups: run them as root")
    left = Path(node.facts.text["cpu-quota"]).with_name("mustherd-99999999-1")
    left.mkdir()
    local_server.node(TABLE).close()
    assert not left.exists()
    assert Path(node.facts.text["cpu-quota"]).exists()


@pytest.mark.parametrize(
    "table", [{"memcache": {}}, {"memcached": {"threads": 0}}, {"generator": {"protocol": "udp"}}, {"generator": []}]
)
def test_a_table_that_cannot_be_read(table):
    with pytest.raises((ValueError, PluginError), match=r"memcache|threads|protocol|object"):
        local_server.node(table)


def test_no_memcached_here():
    with pytest.raises(LoadError, match="tool-missing"):
        local_server.node({"memcached": {"program": "no-such-memcached"}})
