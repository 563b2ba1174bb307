"""Loads beside one another: dealt out, started together, and reported as one."""

from collections.abc import Iterator
from typing import ClassVar, cast

import msgspec
import pytest

from mustherd.definition import DefinitionError, Experiment, load
from mustherd.experiment.plug_ins import check_plugins
from mustherd.load import registry
from mustherd.load.address import Address
from mustherd.load.base import LoadSource, LoadTraits, Site
from mustherd.load.error import LoadError
from mustherd.load.host import LocalHost
from mustherd.load.mutilate.source import MutilateSource
from mustherd.load.several import SeveralSource, merged, parts
from mustherd.plugins import LOADS, OptionError, plugin
from mustherd.reasons import Reason
from mustherd.terms import Load, LoadReport
from mustherd.testing.load import LoadContract
from tests.definition.make import made
from tests.load.stand import served

TWO = {"loads": [{"servers": [1], "share": 400, "agents": 2}, {"servers": [2], "share": 200, "update_ratio": 0.75}]}


def options(**changes: object) -> object:
    return registry.check(plugin(LOADS, "several"), {**TWO, **changes})


def site(servers: int, agents: int) -> Site:
    return Site(
        servers=tuple(Address("127.0.0.1", 11211 + k) for k in range(servers)),
        leader=LocalHost(),
        agents=tuple(LocalHost(f"10.0.0.{k}") for k in range(agents)),
        qps=600.0,
        window_s=30,
    )


def several(servers: int = 2, agents: int = 2) -> SeveralSource:
    return cast(SeveralSource, registry.make("several", site(servers, agents), TWO))


def report(qps: float, p99: float, **more: object) -> LoadReport:
    base = LoadReport(
        generator="g", t0_s=1.0, t1_s=31.0, offered_qps=qps, achieved_qps=qps, requests=round(30 * qps), misses=0,
        samples=round(30 * qps), read_us={"avg": p99 / 2, "p99": p99}, update_us={},
        counters={"cmd_get": qps, "leader_shortfall": p99 / 1000},
    )  # fmt: skip
    return msgspec.structs.replace(base, **more)


def test_servers_agents_and_load_are_dealt_out() -> None:
    source = several()
    one, two = cast(list[MutilateSource], source._sources)
    assert [[s.port for s in part._servers] for part in (one, two)] == [[11211], [11212]]
    assert [[a.name for a in part._agents] for part in (one, two)] == [["10.0.0.0", "10.0.0.1"], []]
    first, second = source._of(Load(qps=600_000, outstanding=300, curve=((30.0, 600_000, 600_000),)))
    assert (first.qps, first.update_ratio, first.outstanding) == (400_000, 0.25, 200)
    assert (second.qps, second.update_ratio, second.outstanding) == (200_000, 0.75, 100)
    assert list(second.curve[0]) == [30.0, 200_000.0, 200_000.0]
    assert sum(parts(source._loads)) == 1.0


def test_what_there_is_not_is_said() -> None:
    with pytest.raises(LoadError, match="load 2 goes to server 2, and the node has 1"):
        several(servers=1)
    with pytest.raises(LoadError, match="want 2 agents, and there are 1") as caught:
        several(agents=1)
    assert caught.value.reason == Reason.AGENT_DEAD


@pytest.mark.parametrize(
    ("loads", "path", "said"),
    [
        ([{"servers": [1], "load": "several"}], ("loads", 1, "load"), "can't be one of several"),
        ([{"servers": [1], "load": "twin"}], ("loads", 1, "load"), "can't be one of several"),
        ([{"servers": [1], "load": "nobody"}], ("loads", 1, "load"), "nobody"),
        ([{"servers": [1], "options": {"dpth": 1}}], ("loads", 1, "options", "dpth"), "unknown option"),
        ([{"servers": [0]}], ("loads", 1, "servers", 0), ">= 1"),
        ([], ("loads",), ""),
    ],
)
def test_a_wrong_one_is_named_with_its_place(loads: list[object], path: tuple[object, ...], said: str) -> None:
    with pytest.raises(OptionError) as caught:
        options(loads=[{"servers": [1]}, *loads])
    assert (caught.value.path, said in str(caught.value)) == (path, True), caught.value


def test_a_definition_s_error_is_at_its_line() -> None:
    workload = {"qps": 600, "load": {"name": "several", "options": {"loads": [{"servers": [1]}, {"servers": "x"}]}}}
    experiment = made(herd={"inventory": "x"}, workload=workload, knobs={"itr-delay": [1]})
    with pytest.raises(DefinitionError, match=r"test\.yml:12:.*servers"):
        check_plugins(experiment)


def test_two_are_reported_as_one() -> None:
    one = merged([report(400, 300.0), report(200, 480.0, t0_s=1.1, t1_s=31.2, saturated=True)])
    assert (one.t0_s, one.t1_s) == (1.1, 31.0)
    assert (one.offered_qps, one.achieved_qps, one.requests) == (
        600,
        600,
        round(400 * 29.9) + round(200 * 30 * 29.9 / 30.1),
    )
    assert one.read_us == {"avg": pytest.approx((400 * 150 + 200 * 240) / 600), "p99": 480.0}
    assert one.update_us == {}
    assert one.saturated
    assert one.counters == {"cmd_get": 600, "leader_shortfall": 0.48}
    assert one.metrics["load_1_read_p99_us"] == 300.0
    assert one.metrics["load_2_achieved_ratio"] == 1.0
    assert merged([report(400, 1.0), report(200, 1.0)], shares_servers=True).counters["cmd_get"] == 400


def test_each_load_s_own_tail_can_be_limited() -> None:
    found: Experiment = load("examples/reference-two-servers.yml")
    assert found.declared["load_2_read_p99_us"] == "less"
    traits = registry.traits_of("several", TWO)
    assert traits == LoadTraits(
        servers=("memcached",), open_loop=True, whole_seconds=True, overhead_s=MutilateSource.traits.overhead_s
    )


@pytest.mark.memcached
@pytest.mark.process
class TestSeveral(LoadContract):
    """Two generators on two servers."""

    options: ClassVar[dict[str, object]] = {
        "loads": [{"servers": [k], "load": "builtin", "options": {"connections": 2, "records": 200}} for k in (1, 2)]
    }

    @pytest.fixture
    def traits(self) -> LoadTraits:
        return registry.traits_of("several", self.options)

    @pytest.fixture
    def load(self) -> Load:
        return Load(qps=500)

    @pytest.fixture
    def source(self) -> Iterator[LoadSource]:
        with served() as one, served() as two:
            site = Site(servers=(one.address, two.address), leader=LocalHost(), ramp_s=0.1, window_s=self.window_s)
            made = registry.make("several", site, self.options)
            yield made
            made.stop()

    @pytest.fixture
    def lost(self) -> LoadSource:
        nowhere = Address("127.0.0.1", 1)
        site = Site(servers=(nowhere, nowhere), leader=LocalHost(), window_s=self.window_s)
        return registry.make("several", site, self.options)
