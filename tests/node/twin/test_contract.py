"""The twin keeps the contracts of a node."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from mustherd.node.clock import Clock
from mustherd.node.energy import EnergyMeter
from mustherd.node.knob import Knob
from mustherd.node.logger import NativeLogger, TextLogger
from mustherd.node.twin.faults import TwinFaults, TwinOptions
from mustherd.node.twin.node import TwinNode
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
    def stand(self) -> Stand:
        return Stand(TwinOptions(speed=10))


class OfKnob(OnTwin):
    """What both knobs have in common."""

    index = 0

    @pytest.fixture
    def knob(self, stand: Stand) -> Knob:
        return stand.node.knobs[self.index]

    @pytest.fixture
    def same_knob(self, stand: Stand, knob: Knob) -> Knob:
        kind: Any = type(knob)
        same: Knob = kind(stand.node._machine)
        return same

    @pytest.fixture
    def settle(self, stand: Stand, knob: Knob) -> Callable[[], None]:
        return lambda: stand.live(knob.info.settle_seconds)

    @pytest.fixture
    def overwrite(self, stand: Stand, knob: Knob) -> Callable[[int], None]:
        return lambda value: stand.node._machine.write(knob.info.name, value)


class TestItrDelay(OfKnob, KnobContract):
    index = 0


class TestDvfs(OfKnob, KnobContract):
    index = 1


class TestMeter(OnTwin, MeterContract):
    @pytest.fixture
    def meter(self, stand: Stand) -> EnergyMeter:
        return stand.node.meter

    @pytest.fixture
    def spend(self, stand: Stand) -> Callable[[], None]:
        return lambda: stand.live(10.0)

    @pytest.fixture
    def break_meter(self, stand: Stand) -> Callable[[], None]:
        def switch_on() -> None:
            machine = stand.node._machine
            machine.options = msgspec.structs.replace(machine.options, faults=TwinFaults(energy_error=True))

        return switch_on


class TestPowerLog(OnTwin, LoggerContract):
    @pytest.fixture
    def logger(self, stand: Stand) -> NativeLogger:
        return stand.node.loggers[0]

    @pytest.fixture
    def produce(self, stand: Stand) -> Callable[[], None]:
        return lambda: stand.live(3.0)


class TestIntlog(OnTwin, TextLoggerContract):
    @pytest.fixture
    def stand(self) -> Stand:
        return Stand(TwinOptions(intlog_cores=16))

    @pytest.fixture
    def logger(self, stand: Stand) -> TextLogger:
        stand.node.start_load(Load(qps=400_000), seed=1)
        return stand.node.text_loggers[5]

    @pytest.fixture
    def produce(self, stand: Stand) -> Callable[[], None]:
        return lambda: stand.live(3.0)


class TestClock(OnTwin, ClockContract):
    @pytest.fixture
    def clock(self, stand: Stand) -> Clock:
        return stand.node.clock

    @pytest.fixture
    def wait(self, stand: Stand) -> Callable[[float], None]:
        return stand.hand.move


class TestNode(OnTwin, NodeContract):
    @pytest.fixture
    def node(self, stand: Stand) -> TwinNode:
        return stand.node

    @pytest.fixture
    def live(self, stand: Stand) -> Callable[[float], None]:
        return stand.live

    def test_the_defaults_make_a_node_on_the_machines_own_clock(self) -> None:
        node = TwinNode()
        facts = node.facts
        assert (facts.kind, facts.cores, facts.tsc_khz, facts.loads_itself) == ("twin", 16, 2_600_000, True)
        assert facts.text == {**facts.text, "profile": "c6220", "speed": "1"}
        assert node.clock.now() >= 0
