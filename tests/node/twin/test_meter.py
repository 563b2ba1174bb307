"""RAPL as it is: narrow counters of a unit of their own, counting always."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mustherd.node.energy import MeterError, Tally
from mustherd.node.twin import model
from mustherd.node.twin.faults import TwinOptions
from mustherd.node.twin.profiles import C6220
from mustherd.terms import Load
from tests.node.twin.stand import Stand, faulty


def used(stand: Stand, seconds: float) -> dict[str, float]:
    """Joules of each zone over the next seconds."""
    meter = stand.node.meter
    tally = Tally(meter.zones, meter.read())
    stand.live(seconds)
    tally.add(meter.read())
    return {e.zone: e.joules for e in tally.energies()}


def test_is_rapl_of_this_family() -> None:
    meter = Stand().node.meter
    assert [z.name for z in meter.zones] == ["package-0", "package-1", "core-0", "core-1"]
    assert {(z.joules_per_count, z.counts_per_wrap) for z in meter.zones} == {(2.0**-16, 2**32)}


def test_counters_start_anywhere_so_that_they_wrap_in_use() -> None:
    starts = [Stand(TwinOptions(seed=seed)).node.meter.read()[0] for seed in range(20)]
    assert min(starts) < 2**30
    assert max(starts) > 3 * 2**30
    stand = Stand(TwinOptions(noise=0))
    before = stand.node.meter.read()
    wraps = 0
    for _ in range(40):
        stand.live(60.0)
        after = stand.node.meter.read()
        wraps += sum(b > a for b, a in zip(before, after, strict=True))
        before = after
    assert wraps >= 4, "40 minutes at more than 20 W a zone wrap each of the four at least once"


def test_an_idle_machine_uses_energy() -> None:
    joules = used(Stand(TwinOptions(noise=0)), 10.0)
    watts = model.idle_watts(C6220, 2800)
    assert joules["package-0"] + joules["package-1"] == pytest.approx(10 * watts, rel=1e-5)
    assert joules["core-0"] + joules["core-1"] == pytest.approx(10 * (watts - C6220.power.uncore), rel=1e-5)


def test_energy_is_the_integral_of_power_over_whatever_happens() -> None:
    stand = faulty()
    load = Load(qps=400_000)
    tally = Tally(stand.node.meter.zones, stand.node.meter.read())
    stand.live(7.0)
    expected = 7 * model.idle_watts(C6220, 2800)
    stand.node.start_load(load, seed=3)
    stand.live(11.0)
    expected += 11 * model.predict(C6220, 1, 2800, load).power_watts
    stand.dvfs.write(1500)
    stand.live(13.0)
    expected += 13 * model.predict(C6220, 1, 1500, load).power_watts
    stand.node.stop_load()
    stand.live(17.0)
    expected += 17 * model.idle_watts(C6220, 1500)
    tally.add(stand.node.meter.read())
    joules = sum(e.joules for e in tally.energies() if e.kind == "package")
    assert joules == pytest.approx(expected, rel=1e-6)


@settings(max_examples=20)
@given(st.lists(st.floats(0.001, 60), min_size=1, max_size=20))
def test_how_often_somebody_looks_makes_no_difference(pauses: list[float]) -> None:
    stand = Stand(TwinOptions(noise=0))
    meter = stand.node.meter
    first = meter.read()
    often = Tally(meter.zones, first)
    for pause in pauses:
        stand.live(pause)
        often.add(meter.read())
    once = Stand(TwinOptions(noise=0))
    seldom = Tally(meter.zones, once.node.meter.read())
    once.live(sum(pauses))
    seldom.add(once.node.meter.read())
    for a, b in zip(often.energies(), seldom.energies(), strict=True):
        assert a.joules == pytest.approx(b.joules, rel=1e-6, abs=1e-3)


def test_a_window_is_as_long_as_it_was_meant_to_be() -> None:
    stand = Stand(TwinOptions(noise=0, speed=200))
    a, _ = stand.trial(300, 1200, Load(qps=600_000))
    exact = 30 * model.predict(C6220, 300, 1200, Load(qps=600_000)).power_watts
    assert a == pytest.approx(exact, abs=4 * 2**-16)


def test_stuck_counters_stand_still() -> None:
    assert set(used(faulty(energy_stuck=True), 10.0).values()) == {0.0}


def test_implausible_counters_show_a_multiple() -> None:
    right, wrong = used(faulty(), 10.0), used(faulty(energy_factor=40.0), 10.0)
    assert wrong["package-0"] == pytest.approx(40 * right["package-0"], rel=1e-4)


def test_unreadable_counters_are_an_error() -> None:
    with pytest.raises(MeterError, match="energy_error"):
        faulty(energy_error=True).node.meter.read()
