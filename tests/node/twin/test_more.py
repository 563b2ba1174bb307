"""Knobs of a twin beside delay and clock: which way each goes, that model and live twin agree, and their contract."""

from collections.abc import Callable

import msgspec
import pytest

from mustherd.node.knob import Knob
from mustherd.node.twin.clock import TwinClock
from mustherd.node.twin.faults import TwinFaults, TwinOptions
from mustherd.node.twin.knobs import MORE, more_knobs
from mustherd.node.twin.machine import Machine
from mustherd.node.twin.model import Prediction, idle_watts, predict_at
from mustherd.node.twin.more import under
from mustherd.node.twin.profiles import C6220, PLAYGROUND
from mustherd.plugins import OptionError
from mustherd.terms import Load
from mustherd.testing.knob import KnobContract

MINE = msgspec.structs.replace(C6220, uncore_mhz=(800, 2400), idle_us=(1, 10, 82), napi=True)
LOAD = Load(qps=200_000.0)
HERE = {"itr-delay": 50, "dvfs": 2000}


def at(**settings: int) -> Prediction:
    return predict_at(MINE, HERE | {name.replace("_", "-"): value for name, value in settings.items()}, LOAD)


def test_what_was_found_is_the_machine_as_it_was_fitted() -> None:
    assert at() == predict_at(C6220, HERE, LOAD)
    assert under(C6220, {"uncore-max": 800, "idle-latency": 1}) == C6220, "which has none of them"
    assert [info.name for info in C6220.knobs] == ["itr-delay", "dvfs"]
    assert {info.name for info in MINE.more_knobs} == set(MORE)


def test_the_playground_is_a_c6220_with_all_of_them() -> None:
    assert [info.name for info in PLAYGROUND.knobs] == [info.name for info in MINE.knobs]
    assert predict_at(PLAYGROUND, {}, LOAD) == predict_at(C6220, {}, LOAD)
    slow = predict_at(PLAYGROUND, HERE | {"uncore-max": 1200}, LOAD)
    assert slow.power_watts < predict_at(PLAYGROUND, HERE, LOAD).power_watts


def test_a_fault_is_of_a_knob_that_the_profile_has() -> None:
    faults = TwinFaults(write_error=("uncore-max",))
    assert TwinOptions(profile="playground", faults=faults).faults is faults
    with pytest.raises(OptionError, match="unknown knob 'uncore-max'"):
        TwinOptions(profile="c6220", faults=faults)


def test_a_slower_uncore_saves_and_costs_time() -> None:
    found = [at(uncore_max=mhz) for mhz in (2400, 1600, 800)]
    watts, p99 = [f.power_watts for f in found], [f.read_us["p99"] for f in found]
    assert watts == sorted(watts, reverse=True)
    assert p99 == sorted(p99)
    assert 0.08 < 1 - watts[2] / watts[0] < 0.25


def test_cores_that_may_not_sleep_answer_sooner_and_use_more() -> None:
    found = [at(itr_delay=250, idle_latency=us) for us in (0, 82, 10, 1, 1_000_000)]
    watts, avg = [f.power_watts for f in found], [f.read_us["avg"] for f in found]
    assert found[0] == found[1], "a bound that every state keeps"
    assert watts == sorted(watts)
    assert avg == sorted(avg, reverse=True)
    assert watts[-1] > 1.1 * watts[0]
    assert idle_watts(under(MINE, {"idle-latency": 1_000_000}), 2000) > 1.2 * idle_watts(MINE, 2000)


def test_interrupts_are_put_off_where_both_say_so() -> None:
    assert at(gro_flush_timeout=200) == at(napi_defer=10) == at()
    held = at(gro_flush_timeout=200, napi_defer=10)
    assert held.interrupts_per_s < at().interrupts_per_s
    assert held.power_watts < at().power_watts
    assert held.read_us["p99"] > at().read_us["p99"]
    assert at(itr_delay=300, gro_flush_timeout=200, napi_defer=10) == at(itr_delay=300), "the card's own is longer"


@pytest.mark.parametrize("name", MORE)
class TestMore(KnobContract):
    @pytest.fixture
    def machine(self) -> Machine:
        return Machine(MINE, TwinOptions(), TwinClock(1.0, lambda: 0.0), None)

    @pytest.fixture
    def knob(self, machine: Machine, name: str) -> Knob:
        return next(knob for knob in more_knobs(machine) if knob.info.name == name)

    @pytest.fixture
    def same_knob(self, machine: Machine, name: str) -> Knob:
        return next(knob for knob in more_knobs(machine) if knob.info.name == name)

    @pytest.fixture
    def settle(self) -> Callable[[], None]:
        return lambda: None

    @pytest.fixture
    def overwrite(self, same_knob: Knob) -> Callable[[int], None]:
        return same_knob.write


def test_a_live_twin_draws_what_the_model_says() -> None:
    now = [0.0]
    machine = Machine(MINE, TwinOptions(noise=0.0), TwinClock(1.0, lambda: now[0]), None)
    more = {"uncore-max": 800, "idle-latency": 10, "gro-flush-timeout": 100, "napi-defer": 5}
    for name, value in {**HERE, **more}.items():
        machine.write(name, value)
    now[0] = MINE.reset_seconds
    machine.open_window(machine.start(LOAD, 1))
    before, now[0] = machine.joules, now[0] + 10.0
    machine.advance()
    want = at(uncore_max=800, idle_latency=10, gro_flush_timeout=100, napi_defer=5).power_watts
    assert (machine.joules - before) / 10 == pytest.approx(want)
