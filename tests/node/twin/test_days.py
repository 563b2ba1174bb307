"""What differs between two twins of one profile: turbo, the day, and how far the tails spread."""

import statistics

import pytest

from mustherd.node.knob import check
from mustherd.node.twin.faults import TwinOptions
from mustherd.node.twin.profiles import C6220
from mustherd.terms import Load, LoadReport
from tests.node.twin.stand import Stand

QPS = 400_000.0


def measured(options: TwinOptions, itr_us: int = 100, mhz: int = 1600, qps: float = QPS) -> tuple[float, LoadReport]:
    return Stand(options).trial(itr_us, mhz, Load(qps=qps))


class TestTurbo:
    def test_where_it_is_switched_off_asking_for_it_gives_the_nominal_clock_and_holds(self) -> None:
        stand = Stand(TwinOptions(noise=0, turbo=False))
        off, _ = stand.trial(100, C6220.turbo_ask_mhz, Load(qps=QPS))
        reading = check(stand.dvfs, C6220.turbo_ask_mhz)
        assert (reading.held, reading.applied, reading.running) == (True, 2800, 2600)
        assert off == measured(TwinOptions(noise=0), mhz=2600)[0]
        assert off < measured(TwinOptions(noise=0), mhz=2800)[0]
        assert stand.node.facts.text["turbo"] == "off"

    def test_another_clock_is_the_same_with_and_without(self) -> None:
        assert measured(TwinOptions(turbo=False)) == measured(TwinOptions())

    def test_a_clock_that_does_not_run_does_not_hold_because_turbo_is_off(self) -> None:
        stand = Stand(TwinOptions(noise=0, turbo=False))
        stand.dvfs.write(2800)
        assert stand.dvfs.tolerance(2800, 2400) < 400
        assert stand.dvfs.tolerance(2600, 2500) == 0


class TestDays:
    def test_each_day_has_latencies_of_its_own_and_the_same_energy(self) -> None:
        days = [measured(TwinOptions(drift=1.0, noise=0, day=day)) for day in range(6)]
        assert len({report.read_us["p99"] for _, report in days}) == 6
        assert len({joules for joules, _ in days}) == 1
        assert measured(TwinOptions(drift=1.0, noise=0, day=3)) == days[3]

    def test_without_drift_every_day_is_alike(self) -> None:
        assert measured(TwinOptions(day=1)) == measured(TwinOptions(day=2))

    def test_days_spread_as_campaigns_do(self) -> None:
        usual = measured(TwinOptions(noise=0))[1].read_us["p99"]
        changes = [
            measured(TwinOptions(drift=1.0, noise=0, day=day))[1].read_us["p99"] / usual - 1 for day in range(1, 60)
        ]
        assert statistics.fmean(changes) == pytest.approx(0.06, abs=0.03)
        assert statistics.stdev(changes) == pytest.approx(0.08, abs=0.025)


class TestUnlike:
    def herd(self, unlike: float, count: int = 60) -> tuple[list[float], list[float]]:
        nodes = [measured(TwinOptions(unlike=unlike, noise=0, seed=1000 + n)) for n in range(count)]
        return [joules for joules, _ in nodes], [report.read_us["p99"] for _, report in nodes]

    def test_nodes_of_a_herd_draw_and_take_as_much_as_they_are_said_to_differ(self) -> None:
        (joules,), (p99,) = self.herd(0.0, 1)
        for values, usual in zip(self.herd(1.0), (joules, p99), strict=True):
            assert statistics.fmean(values) == pytest.approx(usual, rel=0.02)
            assert statistics.stdev(values) / usual == pytest.approx(0.03, rel=0.35)

    def test_a_node_stays_the_same_on_every_day_and_under_every_load(self) -> None:
        def factor(day: int, qps: float) -> float:
            own, usual = TwinOptions(unlike=2.0, noise=0, day=day), TwinOptions(noise=0)
            return round(measured(own, qps=qps)[0] / measured(usual, qps=qps)[0], 6)

        factors = {factor(day, qps) for day in range(3) for qps in (100_000, QPS)}
        assert len(factors) == 1
        assert factors != {1.0}

    def test_alike_nodes_are_alike(self) -> None:
        assert len(set(self.herd(0.0, 5)[0])) == 1


class TestTails:
    def spread(self, tails: float, qps: float, itr_us: int = 2) -> float:
        found = [
            Stand(TwinOptions(tails=tails)).trial(itr_us, 1200, Load(qps=qps), seed=seed)[1].read_us["p99"]
            for seed in range(40)
        ]
        return statistics.stdev(found) / statistics.fmean(found)

    def test_they_spread_where_cores_are_crowded_and_hardly_where_they_rest(self) -> None:
        assert self.spread(1.0, 600_000) > 0.05
        assert self.spread(1.0, 50_000) < 0.02
        assert self.spread(0.0, 600_000) == pytest.approx(0.008, rel=0.35), "as without crowds"

    def test_they_are_in_order_whatever_they_spread(self) -> None:
        for seed in range(20):
            _, report = Stand(TwinOptions(tails=10.0)).trial(2, 1200, Load(qps=600_000), seed=seed)
            seen = [report.read_us[name] for name in ("p50", "p90", "p95", "p99", "p999")]
            assert seen == sorted(seen)
