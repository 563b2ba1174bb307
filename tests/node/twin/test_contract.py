"""The twin keeps the contracts of a node."""

import msgspec
import pytest

from mustherd.node.twin import TwinFaults, TwinNode, TwinOptions
from mustherd.terms import Load
from mustherd.testing.clock import ClockContract
from mustherd.testing.knob import KnobContract
from mustherd.testing.logger import LoggerContract, TextLoggerContract
from mustherd.testing.meter import MeterContract
from mustherd.testing.node import NodeContract
from tests.node.twin.stand import Stand


class OnTwin:
    """A fresh twin for each test."""

    @pytest.fixture
    def stand(self):
        return Stand(TwinOptions(speed=10))


class OfKnob(OnTwin):
    """What both knobs have in common."""

    index = 0

    @pytest.fixture
    def knob(self, stand):
        return stand.node.knobs[self.index]

    @pytest.fixture
    def same_knob(self, stand, knob):
        return type(knob)(stand.node._machine)

    @pytest.fixture
    def settle(self, stand, knob):
        return lambda: stand.live(knob.info.settle_seconds)

    @pytest.fixture
    def overwrite(self, stand, knob):
        return lambda value: stand.node._machine.write(knob.info.name, value)


class TestItrDelay(OfKnob, KnobContract):
    index = 0


class TestDvfs(OfKnob, KnobContract):
    index = 1


class TestMeter(OnTwin, MeterContract):
    @pytest.fixture
    def meter(self, stand):
        return stand.node.meter

    @pytest.fixture
    def spend(self, stand):
        return lambda: stand.live(10.0)

    @pytest.fixture
    def break_meter(self, stand):
        def switch_on():
            machine = stand.node._machine
            machine.options = msgspec.structs.replace(machine.options, faults=TwinFaults(energy_error=True))

        return switch_on


class TestPowerLog(OnTwin, LoggerContract):
    @pytest.fixture
    def logger(self, stand):
        return stand.node.loggers[0]

    @pytest.fixture
    def produce(self, stand):
        return lambda: stand.live(3.0)


class TestIntlog(OnTwin, TextLoggerContract):
    @pytest.fixture
    def stand(self):
        return Stand(TwinOptions(intlog_cores=16))

    @pytest.fixture
    def logger(self, stand):
        stand.node.start_load(Load(qps=400_000), seed=1)
        return stand.node.text_loggers[5]

    @pytest.fixture
    def produce(self, stand):
        return lambda: stand.live(3.0)


class TestClock(OnTwin, ClockContract):
    @pytest.fixture
    def clock(self, stand):
        return stand.node.clock

    @pytest.fixture
    def wait(self, stand):
        return stand.hand.move


class TestNode(OnTwin, NodeContract):
    @pytest.fixture
    def node(self, stand):
        return stand.node

    @pytest.fixture
    def live(self, stand):
        return stand.live

    def test_the_defaults_make_a_node_on_the_machines_own_clock(self):
        node = TwinNode()
        facts = node.facts
        assert (facts.kind, facts.cores, facts.tsc_khz, facts.loads_itself) == ("twin", 16, 2_600_000, True)
        assert facts.text == {**facts.text, "profile": "c6220", "speed": "1"}
        assert node.clock.now() >= 0
