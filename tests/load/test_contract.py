"""Every load and every server of ours runs through its contract."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mustherd.load.address import Address
from mustherd.load.base import LoadSource, LoadTraits, Site
from mustherd.load.generator.source import GeneratorSource
from mustherd.load.host import LocalHost
from mustherd.load.memcached.server import Memcached, MemcachedOptions
from mustherd.load.mutilate.command import MutilateOptions
from mustherd.load.mutilate.source import MutilateSource
from mustherd.load.on_node import NodeLoads
from mustherd.load.server import free_port
from mustherd.node.twin.faults import TwinOptions
from mustherd.terms import Load
from mustherd.testing.load import LoadContract, ServerContract
from tests.load.mutilate import pretend
from tests.load.stand import served
from tests.node.twin.stand import Stand

NOWHERE = Address("127.0.0.1", 1)


@pytest.mark.memcached
@pytest.mark.process
class TestGenerator(LoadContract):
    options = GeneratorSource.Options(connections=4, records=500)

    @pytest.fixture
    def traits(self) -> LoadTraits:
        return GeneratorSource.traits

    @pytest.fixture
    def load(self) -> Load:
        return Load(qps=500)

    @pytest.fixture
    def source(self) -> Iterator[LoadSource]:
        with served() as memcached:
            site = Site(servers=(memcached.address,), leader=LocalHost(), ramp_s=0.1, window_s=self.window_s)
            made = GeneratorSource(site, self.options)
            yield made
            made.stop()

    @pytest.fixture
    def lost(self) -> LoadSource:
        return GeneratorSource(Site(servers=(NOWHERE,), leader=LocalHost(), window_s=self.window_s), self.options)


@pytest.mark.memcached
@pytest.mark.process
class TestMutilate(LoadContract):
    """Under a program that prints what mutilate would: how a source of ours drives it."""

    @pytest.fixture
    def options(self, tmp_path: Path) -> MutilateOptions:
        return MutilateOptions(program=str(pretend.install(tmp_path / "mutilate")))

    @pytest.fixture
    def traits(self) -> LoadTraits:
        return MutilateSource.traits

    @pytest.fixture
    def load(self) -> Load:
        return Load(qps=1000)

    @pytest.fixture
    def source(self, options: MutilateOptions) -> Iterator[LoadSource]:
        with served() as memcached:
            made = MutilateSource(
                Site(servers=(memcached.address,), leader=LocalHost(), window_s=self.window_s), options
            )
            yield made
            made.stop()

    @pytest.fixture
    def lost(self, options: MutilateOptions) -> LoadSource:
        return MutilateSource(Site(servers=(NOWHERE,), leader=LocalHost(), window_s=self.window_s), options)


class TestTwin(LoadContract):
    """A simulated node is its own server, on its own clock."""

    window_s = 30.0

    @pytest.fixture
    def stand(self) -> Stand:
        return Stand(TwinOptions(speed=10))

    @pytest.fixture
    def traits(self) -> LoadTraits:
        return NodeLoads.traits

    @pytest.fixture
    def load(self) -> Load:
        return Load(qps=100_000)

    @pytest.fixture
    def source(self, stand: Stand) -> LoadSource:
        return NodeLoads(stand.node)

    @pytest.fixture
    def live(self, stand: Stand) -> Callable[[float], None]:
        return stand.live

    @pytest.fixture
    def now(self, stand: Stand) -> Callable[[], float]:
        return stand.node.clock.now

    def test_a_server_that_is_not_there_is_an_error_with_a_reason(self, source: LoadSource) -> None:  # type: ignore[override]
        """It can't be away; what is refused instead is a load that nothing is known of."""
        with pytest.raises(ValueError, match="etc"):
            source.start(Load(qps=1000, preset="zippydb"), 1)


@pytest.mark.memcached
@pytest.mark.process
class TestMemcached(ServerContract):
    @pytest.fixture
    def server(self) -> Iterator[Memcached]:
        made = Memcached(MemcachedOptions(port=free_port(), threads=2))
        yield made
        made.close()
