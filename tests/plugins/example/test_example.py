"""The example's plug-ins run through the suites that MustHerd's own do."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from balancer import Balancer, BalancerOptions
from fan_node import FanNode, FanOptions
from napi_budget import FILE, NapiBudget
from page_load import Pages
from page_server import PageServer
from rack_meter import Rack, RackOptions
from tail_ratio import METRIC

from mustherd.keep.source import Musters
from mustherd.load import registry
from mustherd.load.address import Address
from mustherd.load.base import LoadSource, LoadTraits, Site
from mustherd.load.host import LocalHost
from mustherd.metrics import Metric
from mustherd.node.linux.tree import Tree
from mustherd.terms import Load
from mustherd.testing.knob import KnobContract
from mustherd.testing.load import LoadContract, ServerContract
from mustherd.testing.metric import MetricContract
from mustherd.testing.node import NodeContract
from mustherd.testing.policy import DEFINITION, PolicyContract
from mustherd.testing.search import SearchContract
from mustherd.testing.source import ONE, TWO, SourceContract
from mustherd.testing.wall_meter import WallMeterContract


class TestColder(PolicyContract):
    definition = DEFINITION + "policy: colder"


class TestNeighbours(SearchContract):
    name = "neighbours"


class TestNeighboursThatReachFar(SearchContract):
    name = "neighbours"
    options = {"reach": 2}  # noqa: RUF012 - of a class variable


class TestTailRatio(MetricContract):
    @pytest.fixture
    def metric(self) -> Metric:
        return METRIC


class TestRack(WallMeterContract):
    @pytest.fixture
    def meter(self, tmp_path: Path) -> Rack:
        return Rack(RackOptions(file=str(tmp_path / "rack"), channel=2))

    @pytest.fixture
    def show(self, tmp_path: Path) -> Callable[[float], None]:
        def show(watts: float) -> None:
            (tmp_path / "rack").write_text(f"1,80.5\n2,{watts}\n")

        return show

    @pytest.fixture
    def break_meter(self, tmp_path: Path) -> Callable[[], None]:
        return (tmp_path / "rack").unlink


class TestBalancer(SourceContract):
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        return tmp_path / "rates"

    @pytest.fixture
    def source(self, musters: Musters, file: Path) -> Balancer:
        return Balancer(BalancerOptions(file=str(file)), musters)

    @pytest.fixture
    def show(self, file: Path) -> Callable[[float], None]:
        def show(amount: float) -> None:
            file.write_text(f"{ONE} {amount}\n{TWO} {amount}\n")

        return show

    @pytest.fixture
    def break_node(self, file: Path) -> Callable[[str], None]:
        def break_node(name: str) -> None:
            file.write_text(file.read_text().replace(name, "nobody"))

        return break_node


class TestNapiBudget(KnobContract):
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        file = tmp_path / FILE
        file.parent.mkdir(parents=True)
        file.write_text("300\n")
        return file

    @pytest.fixture
    def knob(self, tmp_path: Path, file: Path) -> NapiBudget:
        return NapiBudget(Tree(tmp_path))

    @pytest.fixture
    def same_knob(self, tmp_path: Path, knob: NapiBudget) -> NapiBudget:
        return NapiBudget(Tree(tmp_path))

    @pytest.fixture
    def settle(self) -> Callable[[], None]:
        return lambda: None

    @pytest.fixture
    def overwrite(self, file: Path) -> Callable[[int], None]:
        def overwrite(value: int) -> None:
            file.write_text(f"{value}\n")

        return overwrite


class TestFan(NodeContract):
    @pytest.fixture
    def node(self, tmp_path: Path) -> FanNode:
        file = tmp_path / "fan1_target"
        file.write_text("1200\n")
        return FanNode.open(FanOptions(file=str(file)), tmp_path)

    @pytest.fixture
    def live(self) -> Callable[[float], None]:
        return lambda _seconds: None


class TestPageServer(ServerContract):
    @pytest.fixture
    def server(self) -> Iterator[PageServer]:
        server = PageServer(PageServer.Options())
        yield server
        server.close()


class TestPages(LoadContract):
    @pytest.fixture
    def traits(self) -> LoadTraits:
        return Pages.traits

    @pytest.fixture
    def load(self) -> Load:
        return Load(qps=20)

    @pytest.fixture
    def source(self) -> Iterator[LoadSource]:
        server = PageServer(PageServer.Options())
        server.start()
        site = Site(servers=(server.address,), leader=LocalHost(), ramp_s=0.1, window_s=self.window_s)
        source = registry.make("pages", site, {})
        yield source
        source.stop()
        server.close()

    @pytest.fixture
    def lost(self) -> LoadSource:
        site = Site(servers=(Address("127.0.0.1", 1),), leader=LocalHost(), window_s=self.window_s)
        return registry.make("pages", site, {})
