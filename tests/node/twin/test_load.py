"""The load a twin puts itself under: seeded, noisy as measured, honest about its window."""

import statistics
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from mustherd.node.twin import model
from mustherd.node.twin.faults import TwinOptions
from mustherd.node.twin.node import TwinNode
from mustherd.node.twin.profiles import C6220
from mustherd.terms import Load, LoadReport
from tests.node.twin.stand import Stand, faulty

LOAD = Load(qps=600_000)


def repeats(count: int, **options: Any) -> list[tuple[float, LoadReport]]:
    stand = Stand(TwinOptions(**options))
    return [stand.trial(300, 1200, LOAD, seed=seed) for seed in range(count)]


def spread(values: Sequence[float]) -> float:
    return statistics.stdev(values) / statistics.mean(values)


def test_without_noise_a_report_is_the_model() -> None:
    _, report = Stand(TwinOptions(noise=0)).trial(300, 1200, LOAD)
    exact = model.predict(C6220, 300, 1200, LOAD)
    assert report.read_us == pytest.approx(exact.read_us)
    assert report.update_us == pytest.approx(exact.update_us)
    assert report.achieved_qps == pytest.approx(exact.achieved_qps)
    assert report.t1_s - report.t0_s == 30.0
    assert (report.generator, report.offered_qps, report.requests) == ("twin", 600_000, 18_000_000)
    assert (report.misses, report.saturated) == (0, False)
    assert report.samples == 60_000


def test_the_same_seeds_give_the_same_trial() -> None:
    assert repeats(3, seed=5) == repeats(3, seed=5)


def test_other_seeds_give_another() -> None:
    seen = {joules for joules, _ in repeats(5, seed=5)} | {joules for joules, _ in repeats(5, seed=6)}
    assert len(seen) == 10


def test_an_earlier_trial_has_no_say_in_a_later_one() -> None:
    stand = Stand(TwinOptions(noise=1))
    stand.trial(50, 2600, LOAD, seed=1)
    after = stand.trial(300, 1200, LOAD, seed=2)[1]
    alone = Stand(TwinOptions(noise=1)).trial(300, 1200, LOAD, seed=2)[1]
    assert after.read_us == alone.read_us
    assert after.requests == alone.requests


def test_repeats_differ_as_much_as_measured() -> None:
    joules, reports = zip(*repeats(60), strict=True)
    assert 0.001 < spread(joules) < 0.0025
    assert 0.002 < spread([r.read_us["p99"] for r in reports]) < 0.014
    assert spread([r.read_us["avg"] for r in reports]) < spread([r.read_us["p99"] for r in reports])
    assert 0 < spread([r.achieved_qps for r in reports]) < 0.001
    exact = model.predict(C6220, 300, 1200, LOAD)
    assert statistics.mean(joules) == pytest.approx(30 * exact.power_watts, rel=0.001)


def test_noise_can_be_more() -> None:
    calm, wild = ([j for j, _ in repeats(20, noise=noise)] for noise in (1, 4))
    assert spread(wild) == pytest.approx(4 * spread(calm), rel=0.1)


def test_percentiles_keep_their_order_in_any_noise() -> None:
    for _, report in repeats(20, noise=20):
        values = [report.read_us[p] for p in ("p50", "p90", "p95", "p99", "p999")]
        assert values == sorted(values)


def test_campaigns_drift_when_told_to() -> None:
    exact = model.predict(C6220, 300, 1200, LOAD).read_us["p99"]
    drifts = [
        Stand(TwinOptions(noise=0, drift=1, seed=seed)).trial(300, 1200, LOAD)[1].read_us["p99"] / exact
        for seed in range(40)
    ]
    assert statistics.mean(drifts) == pytest.approx(1.06, abs=0.05)
    assert 0.04 < statistics.stdev(drifts) < 0.12


def test_a_generator_that_is_the_bottleneck_says_so() -> None:
    _, report = faulty(generator_saturated=True).trial(50, 2600, LOAD)
    assert report.saturated
    assert report.achieved_qps == pytest.approx(540_000)
    assert report.offered_qps == 600_000


def test_misses_are_counted() -> None:
    _, report = faulty(misses=0.01).trial(50, 2600, LOAD)
    assert report.misses == 180_000


def test_a_window_needs_opening_and_a_load_ends_once() -> None:
    stand = Stand()
    running = stand.node.start_load(LOAD, seed=1)
    with pytest.raises(RuntimeError, match="open_window"):
        running.close_window()
    running.open_window()
    stand.live(1.0)
    running.close_window()
    for again in (running.open_window, running.close_window):
        with pytest.raises(RuntimeError, match="ended"):
            again()


def test_a_new_load_ends_the_old_one() -> None:
    stand = Stand()
    old = stand.node.start_load(LOAD, seed=1)
    new = stand.node.start_load(LOAD, seed=2)
    with pytest.raises(RuntimeError, match="ended"):
        old.open_window()
    new.open_window()
    stand.node.stop_load()
    with pytest.raises(RuntimeError, match="ended"):
        new.close_window()


def test_a_window_of_no_time_has_no_requests() -> None:
    stand = Stand()
    running = stand.node.start_load(LOAD, seed=1)
    stand.node.clock.stop_at(stand.node.clock.now())
    running.open_window()
    report = running.close_window()
    assert (report.requests, report.achieved_qps, report.samples) == (0, 0.0, 0)


def test_a_load_that_no_profile_knows_is_refused_and_the_old_one_goes_on() -> None:
    stand = Stand()
    running = stand.node.start_load(LOAD, seed=1)
    with pytest.raises(ValueError, match="preset"):
        stand.node.start_load(Load(qps=1000, preset="web"), seed=1)
    running.open_window()


RISES = Load(qps=200_000, curve=((10, 100_000, 100_000), (10, 100_000, 300_000), (10, 300_000, 300_000)))


def test_a_load_that_changes_uses_what_its_parts_do() -> None:
    stand = Stand(TwinOptions(noise=0))
    joules, report = stand.trial(300, 1600, RISES)
    assert report.offered_qps == pytest.approx(200_000)
    assert report.achieved_qps == pytest.approx(200_000, rel=0.01)
    low, high = (stand.trial(300, 1600, Load(qps=qps))[0] for qps in (100_000, 300_000))
    assert low < joules < high


def test_without_load_for_a_while_it_idles() -> None:
    stand = Stand(TwinOptions(noise=0))
    half, report = stand.trial(300, 1600, Load(qps=200_000, curve=((15, 400_000, 400_000), (15, 0, 0))))
    assert report.offered_qps == pytest.approx(200_000)
    assert half < stand.trial(300, 1600, Load(qps=400_000))[0]
    assert report.read_us == pytest.approx(stand.trial(300, 1600, Load(qps=400_000))[1].read_us)


@pytest.mark.parametrize(
    "more",
    [
        {"qps": 5e-324},
        {"qps": 1e308},
        {"curve": ((1.0, 5e-324, 1.0),)},
        {"curve": ((1.0, float("nan"), 1.0),)},
        {"update_ratio": -1.0},
        {"update_ratio": float("nan")},
    ],
)
def test_a_load_that_is_no_load_is_refused_before_it_begins(more: dict[str, Any]) -> None:
    node = TwinNode()
    with pytest.raises(ValueError, match=r"a twin knows loads of|update ratio"):
        node.start_load(msgspec.structs.replace(Load(qps=1000.0), **more), 1)
