"""What every load and every server does: the contracts of mustherd.load.base and mustherd.load.server, as suites."""

import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mustherd.load.base import LoadSource, LoadTraits
from mustherd.load.error import LoadError
from mustherd.load.server import Preset, ServerKind
from mustherd.node.node import RunningLoad
from mustherd.terms import Load, LoadReport

LATENCIES = ("avg", "p50", "p90", "p95", "p99", "p999")
ORDERED = LATENCIES[1:]


class LoadContract:
    """A source of loads, with a server that it reaches."""

    window_s = 1.0
    spread = 0.5
    """Share by which what was offered may differ from what was asked: arrivals are random."""

    @pytest.fixture
    def source(self) -> Iterator[LoadSource]:
        """A source for a site whose window lasts `window_s`; ended after the test."""
        raise NotImplementedError

    @pytest.fixture
    def lost(self) -> LoadSource:
        """A source whose server is not there."""
        raise NotImplementedError

    @pytest.fixture
    def traits(self) -> LoadTraits:
        """What its kind says of it."""
        raise NotImplementedError

    @pytest.fixture
    def load(self) -> Load:
        """A load that the server carries with ease."""
        raise NotImplementedError

    @pytest.fixture
    def live(self) -> Callable[[float], None]:
        """Lets so many seconds pass on the clock of its reports."""
        return time.sleep

    @pytest.fixture
    def now(self) -> Callable[[], float]:
        """That clock."""
        return time.monotonic

    def window(self, running: RunningLoad, live: Callable[[float], None]) -> LoadReport:
        """One window of a load that was started."""
        running.open_window()
        live(self.window_s)
        return running.close_window()

    def test_says_what_it_can_load(self, traits: LoadTraits) -> None:
        assert traits.servers
        assert all(traits.servers)

    def test_finds_nothing_wrong_where_all_is_well(self, source: LoadSource) -> None:
        source.prepare()
        assert list(source.check()) == []

    def test_reports_what_happened_in_its_window(
        self, source: LoadSource, load: Load, live: Callable[[float], None], now: Callable[[], float]
    ) -> None:
        source.prepare()
        begun = now()
        report = self.window(source.start(load, 1), live)
        assert report.generator
        assert begun <= report.t0_s < report.t1_s <= now()
        seconds = report.t1_s - report.t0_s
        assert seconds >= self.window_s * 0.99
        assert report.offered_qps == pytest.approx(load.qps, rel=self.spread)
        assert report.requests > 0
        assert report.requests == pytest.approx(report.achieved_qps * seconds, rel=0.01)
        assert 0 < report.samples <= report.requests
        assert 0 <= report.misses <= report.requests
        assert report.read_us or report.update_us
        for latencies in (report.read_us, report.update_us):
            assert latencies.keys() <= set(LATENCIES)
            values = [latencies[name] for name in ORDERED if name in latencies]
            assert values == sorted(values)
            assert all(math.isfinite(value) and value >= 0 for value in latencies.values())
        assert all(math.isfinite(value) for value in report.counters.values())

    def test_one_load_comes_after_another(self, source: LoadSource, load: Load, live: Callable[[float], None]) -> None:
        source.prepare()
        source.start(load, 1)
        first = self.window(source.start(load, 2), live)
        second = self.window(source.start(load, 3), live)
        assert first.t1_s <= second.t0_s

    def test_may_be_stopped_at_any_time_and_goes_on(
        self, source: LoadSource, load: Load, live: Callable[[float], None]
    ) -> None:
        source.stop()
        source.prepare()
        source.start(load, 1)
        source.stop()
        source.stop()
        source.prepare()
        source.start(load, 1).open_window()
        source.stop()
        source.prepare()
        assert self.window(source.start(load, 1), live).requests > 0

    def test_a_window_that_was_not_opened_is_not_closed(self, source: LoadSource, load: Load) -> None:
        source.prepare()
        running = source.start(load, 1)
        with pytest.raises((RuntimeError, LoadError), match="open_window"):
            running.close_window()

    def test_a_server_that_is_not_there_is_an_error_with_a_reason(
        self, lost: LoadSource, load: Load, live: Callable[[float], None]
    ) -> None:
        assert [problem for problem in lost.check() if problem.strip()]
        with pytest.raises(LoadError) as caught:
            self.attempt(lost, load, live)
        assert caught.value.reason
        assert caught.value.message.strip()
        lost.stop()

    def attempt(self, source: LoadSource, load: Load, live: Callable[[float], None]) -> None:
        """A whole trial, from preparing to the report."""
        source.prepare()
        self.window(source.start(load, 1), live)


class ServerContract:
    """A kind of servers, by one on this machine."""

    @pytest.fixture
    def server(self) -> Iterator[ServerKind]:
        """A server that was made and not yet started; closed after the test."""
        raise NotImplementedError

    def test_knows_its_mixes_of_requests(self, server: ServerKind) -> None:
        for name, preset in server.presets.items():
            assert name
            assert isinstance(preset, Preset)
            assert preset.meaning
            assert 0 <= preset.update_ratio <= 1
        assert isinstance(server.load, str)

    def test_is_there_once_it_was_started(self, server: ServerKind) -> None:
        server.start()
        server.start()
        assert 0 < server.address.port < 65536
        assert server.version.strip()
        assert server.threads()

    def test_all_its_threads_are_pinned(self, server: ServerKind) -> None:
        server.start()
        core = max(os.sched_getaffinity(0))
        for _ in range(50):
            # A server that has just started may still make threads.
            server.pin([core])
            if {frozenset(os.sched_getaffinity(thread)) for thread in server.threads()} == {frozenset({core})}:
                return
            time.sleep(0.1)
        pytest.fail("some of its threads are not pinned")

    def test_ends_with_all_that_it_started(self, server: ServerKind) -> None:
        server.start()
        threads = server.threads()
        server.close()
        with pytest.raises(LoadError):
            server.threads()
        assert not Path(f"/proc/{threads[0]}").exists()
