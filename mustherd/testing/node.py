"""What every node does, whatever machine is behind it."""

from collections.abc import Callable

import msgspec
import pytest

from mustherd.node.node import Node
from mustherd.terms import Facts, Load


class NodeContract:
    """Everything a muster may touch."""

    @pytest.fixture
    def node(self) -> Node:
        raise NotImplementedError

    @pytest.fixture
    def live(self, node: Node) -> Callable[[float], None]:
        """Lets this many seconds of the node's clock pass."""
        raise NotImplementedError

    def test_facts_can_be_told_to_a_shepherd(self, node: Node) -> None:
        assert node.facts.kind
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(node.facts), type=Facts) == node.facts
        assert all(text for text in node.facts.rows().values())

    def test_knobs_and_streams_have_names_of_their_own(self, node: Node) -> None:
        knobs = [(knob.info.sheep, knob.info.name) for knob in node.knobs]
        assert len(set(knobs)) == len(knobs)
        streams = [logger.stream for logger in node.loggers]
        assert len(set(streams)) == len(streams)

    def test_parts_are_the_same_every_time(self, node: Node) -> None:
        assert [k.info for k in node.knobs] == [k.info for k in node.knobs]
        assert node.meter is node.meter
        assert node.clock is node.clock
        assert [g.stream for g in node.loggers] == [g.stream for g in node.loggers]

    def test_ending_no_load_is_harmless(self, node: Node) -> None:
        node.stop_load()
        node.stop_load()

    def test_a_load_is_reported_over_its_window_where_the_node_runs_one(
        self, node: Node, live: Callable[[float], None]
    ) -> None:
        running = node.start_load(Load(qps=100_000), seed=1)
        if running is None:
            return
        live(1.0)
        t0 = node.clock.now()
        running.open_window()
        live(2.0)
        report = running.close_window()
        assert t0 <= report.t0_s < report.t1_s <= node.clock.now()
        assert report.generator
        assert report.offered_qps == 100_000
        assert report.requests == pytest.approx(report.achieved_qps * (report.t1_s - report.t0_s), rel=1e-6)
        assert 0 < report.samples <= report.requests
        assert 0 <= report.misses <= report.requests
        for latencies in (report.read_us, report.update_us):
            assert latencies.keys() == {"avg", "p50", "p90", "p95", "p99", "p999"}
            ordered = [latencies[name] for name in ("p50", "p90", "p95", "p99", "p999")]
            assert ordered[0] > 0
            assert ordered == sorted(ordered)
        node.stop_load()
