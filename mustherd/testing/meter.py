"""What every energy meter does."""

from collections.abc import Callable

import pytest

from mustherd.node.energy import EnergyMeter, MeterError, Tally


class MeterContract:
    """The energy counters of a node."""

    @pytest.fixture
    def meter(self) -> EnergyMeter:
        raise NotImplementedError

    @pytest.fixture
    def spend(self, meter: EnergyMeter) -> Callable[[], None]:
        """Lets the node use energy: more than one count, less than one wrap."""
        raise NotImplementedError

    @pytest.fixture
    def break_meter(self, meter: EnergyMeter) -> Callable[[], None]:
        """Makes the counters unreadable."""
        raise NotImplementedError

    def test_says_what_it_counts(self, meter: EnergyMeter) -> None:
        names = [zone.name for zone in meter.zones]
        assert len(set(names)) == len(names)
        assert {zone.kind for zone in meter.zones} <= {"package", "core", "dram", "psys"}
        assert any(zone.kind == "package" for zone in meter.zones)
        for zone in meter.zones:
            assert zone.package >= 0
            assert zone.joules_per_count > 0
            assert zone.counts_per_wrap > 1

    def test_zones_stay_as_they_are(self, meter: EnergyMeter, spend: Callable[[], None]) -> None:
        before = tuple(meter.zones)
        meter.read()
        spend()
        assert tuple(meter.zones) == before

    def test_reads_one_raw_count_per_zone(self, meter: EnergyMeter, spend: Callable[[], None]) -> None:
        for _ in range(3):
            counts = meter.read()
            assert len(counts) == len(meter.zones)
            for zone, count in zip(meter.zones, counts, strict=True):
                assert isinstance(count, int)
                assert 0 <= count < zone.counts_per_wrap
            spend()

    def test_counts_forwards(self, meter: EnergyMeter, spend: Callable[[], None]) -> None:
        tally = Tally(meter.zones, meter.read())
        sums = [0.0] * len(meter.zones)
        for _ in range(3):
            spend()
            tally.add(meter.read())
            now = [energy.joules for energy in tally.energies()]
            for zone, before, after in zip(meter.zones, sums, now, strict=True):
                if zone.kind == "package":
                    assert after > before
                assert after >= before
            sums = now

    def test_a_part_never_uses_more_than_its_package(self, meter: EnergyMeter, spend: Callable[[], None]) -> None:
        tally = Tally(meter.zones, meter.read())
        spend()
        tally.add(meter.read())
        joules = {zone.name: e.joules for zone, e in zip(meter.zones, tally.energies(), strict=True)}
        packages = {zone.package: joules[zone.name] for zone in meter.zones if zone.kind == "package"}
        for zone in meter.zones:
            if zone.kind == "core":
                assert joules[zone.name] <= packages[zone.package] + 2 * zone.joules_per_count

    def test_a_counter_that_cannot_be_read_is_an_error_never_a_zero(
        self, meter: EnergyMeter, break_meter: Callable[[], None]
    ) -> None:
        break_meter()
        with pytest.raises(MeterError, match=r"\w"):
            meter.read()
