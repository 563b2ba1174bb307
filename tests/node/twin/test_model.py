"""The physics: what has to be true whatever the constants are."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mustherd.node.kinds import CONSERVATIVE, ONDEMAND, PERFORMANCE, POWERSAVE, SCHEDUTIL
from mustherd.node.twin import model
from mustherd.node.twin.profiles import C6220, PROFILES, profile
from mustherd.terms import Load
from tests.typed import some

DELAYS = st.integers(0, 1022)
CLOCKS = st.sampled_from([*range(1200, 2601, 100), 2800])
LOADS = st.builds(Load, qps=st.floats(1, 1e7), outstanding=st.integers(1, 4096))
ORDER = ("p50", "p90", "p95", "p99", "p999")


@given(itr=DELAYS, mhz=CLOCKS, load=LOADS)
def test_every_setting_has_a_sane_answer(itr: int, mhz: int, load: Load) -> None:
    found = model.predict(C6220, itr, mhz, load)
    assert C6220.power.uncore < found.power_watts < 250
    assert 0 < found.busy_fraction <= 1
    assert 0 < found.achieved_qps <= load.qps
    for latencies in (found.read_us, found.update_us):
        assert all(math.isfinite(v) and v > 0 for v in latencies.values())
        assert [latencies[p] for p in ORDER] == sorted(latencies[p] for p in ORDER)
    assert all(found.update_us[p] > found.read_us[p] for p in found.read_us)


@given(itr=DELAYS, load=LOADS)
def test_a_higher_clock_takes_more_power_and_serves_no_less(itr: int, load: Load) -> None:
    answers = [model.predict(C6220, itr, mhz, load) for mhz in (1200, 1700, 2200, 2600, 2800)]
    for slow, fast in pairwise(answers):
        assert fast.power_watts > slow.power_watts
        assert fast.achieved_qps >= slow.achieved_qps


@given(itr=DELAYS, mhz=CLOCKS, qps=st.floats(1e3, 5e5))
def test_more_load_keeps_the_cores_busier_below_the_cap(itr: int, mhz: int, qps: float) -> None:
    less, more = (model.predict(C6220, itr, mhz, Load(qps=q, outstanding=4096)) for q in (qps, 1.1 * qps))
    assert more.busy_fraction >= less.busy_fraction


@pytest.mark.parametrize("itr", [200, 250, 300, 350, 400])
@pytest.mark.parametrize("outstanding", [128, 256, 512])
def test_the_closed_loop_caps_the_load(itr: int, outstanding: int) -> None:
    found = model.predict(C6220, itr, 2800, Load(qps=1e7, outstanding=outstanding))
    assert found.achieved_qps <= 188.8e6 / itr * outstanding / 256
    if outstanding <= 256:
        assert found.achieved_qps == pytest.approx(188.8e6 / itr * outstanding / 256, rel=0.01)


def test_p99_is_u_shaped_in_the_delay_at_a_low_clock() -> None:
    p99 = [model.predict(C6220, itr, 1200, Load(qps=600_000)).read_us["p99"] for itr in (2, 50, 100, 200, 250, 300)]
    best = min(p99)
    assert p99[0] > 1.8 * best
    assert p99.index(best) in (4, 5)
    assert model.predict(C6220, 400, 1200, Load(qps=400_000)).read_us["p99"] > 1.1 * best


def test_p99_follows_the_delay_where_the_cores_are_no_bottleneck() -> None:
    for itr in range(100, 401, 50):
        over = model.predict(C6220, itr, 2600, Load(qps=200_000)).read_us["p99"] - 1.024 * itr
        assert 50 < over < 140


def test_adaptive_moderation_is_a_short_delay() -> None:
    load = Load(qps=400_000)
    adaptive = model.predict(C6220, 1, 2600, load)
    short, long = model.predict(C6220, 20, 2600, load), model.predict(C6220, 26, 2600, load)
    assert short.read_us["avg"] < adaptive.read_us["avg"] < long.read_us["avg"]


@given(rate=st.floats(1e-7, 0.1), interval=st.floats(1, 1050))
def test_batches_hold_all_requests(rate: float, interval: float) -> None:
    group = model.batches(rate, interval)
    assert group.size >= 1 - 1e-9
    assert 0 < group.at_once <= 1
    assert group.size <= 1 + rate * interval / (1 - math.exp(-rate * interval))


def test_batches_fill_up_with_the_interval() -> None:
    few, many = model.batches(0.001, 2), model.batches(0.05, 400)
    assert few.size == pytest.approx(1, rel=0.01)
    assert few.at_once == pytest.approx(1, rel=0.01)
    assert many.size == pytest.approx(0.05 * 400, rel=0.01)
    assert many.at_once < 1e-6


def test_an_idle_machine_takes_less_than_a_loaded_one_and_more_at_a_higher_clock() -> None:
    idle = [model.idle_watts(C6220, mhz) for mhz in (1200, 2000, 2600, 2800)]
    assert idle == sorted(idle)
    for mhz, watts in zip((1200, 2000, 2600, 2800), idle, strict=True):
        assert C6220.power.uncore < watts < model.predict(C6220, 300, mhz, Load(qps=50_000)).power_watts


@pytest.mark.parametrize(
    ("load", "complaint"),
    [
        (Load(qps=1000, preset="web"), "preset"),
        (Load(qps=0), "above 0"),
        (Load(qps=float("nan")), "finite"),
        (Load(qps=float("inf")), "finite"),
        (Load(qps=1000, outstanding=0), "outstanding"),
    ],
)
def test_a_load_that_was_never_measured_is_refused(load: Load, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        model.predict(C6220, 1, 2800, load)


def test_an_unknown_profile_is_refused_with_those_there_are() -> None:
    assert profile("c6220") is PROFILES["c6220"]
    with pytest.raises(ValueError, match="c6220"):
        profile("c6230")


class TestOptimum:
    VALUES = {"itr-delay": range(2, 401, 20), "dvfs": range(1200, 2601, 200)}  # noqa: RUF012

    def test_no_setting_within_the_limits_is_better(self) -> None:
        load = Load(qps=600_000)
        best = model.exhaustive_optimum(C6220, load, self.VALUES, limit_us=500)
        assert best is not None
        for itr in self.VALUES["itr-delay"]:
            for mhz in self.VALUES["dvfs"]:
                other = model.predict(C6220, itr, mhz, load)
                if other.read_us["p99"] <= 500 and other.achieved_qps >= 0.98 * load.qps:
                    assert other.power_watts >= best.prediction.power_watts

    def test_without_the_guard_on_throughput_it_would_be_another(self) -> None:
        load = Load(qps=800_000)
        guarded = some(model.exhaustive_optimum(C6220, load, self.VALUES, limit_us=500))
        naive = some(model.exhaustive_optimum(C6220, load, self.VALUES, limit_us=500, achieved_ratio=0))
        assert naive.values["itr-delay"] > guarded.values["itr-delay"]
        assert naive.prediction.achieved_qps < 0.9 * load.qps

    def test_there_may_be_none(self) -> None:
        assert model.exhaustive_optimum(C6220, Load(qps=600_000), self.VALUES, limit_us=50) is None

    def test_a_knob_that_is_not_searched_stays_as_it_was_found(self) -> None:
        found = some(model.exhaustive_optimum(C6220, Load(qps=600_000), {"dvfs": (2600, 2400)}, limit_us=500))
        assert found.values == {"itr-delay": 1, "dvfs": 2400}
        found = some(model.exhaustive_optimum(C6220, Load(qps=600_000), {"itr-delay": (2, 200)}, limit_us=500))
        assert found.values == {"itr-delay": 200, "dvfs": 2800}


class TestGovernors:
    """As Linux's own do, at the clock that they end up at."""

    LOADS = (None, *(Load(qps=q) for q in (1e3, 1e5, 4e5, 8e5, 3e6)))

    @pytest.mark.parametrize("load", LOADS)
    def test_performance_is_the_highest_clock_and_powersave_the_lowest(self, load: Load | None) -> None:
        assert model.governed_mhz(C6220, PERFORMANCE, 1, load) == 2800
        assert model.governed_mhz(C6220, POWERSAVE, 1, load) == 1200

    @pytest.mark.parametrize("governor", [ONDEMAND, CONSERVATIVE, SCHEDUTIL])
    def test_the_others_follow_the_load(self, governor: int) -> None:
        clocks = [model.governed_mhz(C6220, governor, 1, load) for load in self.LOADS]
        assert clocks[0] == 1200
        assert clocks == sorted(clocks)
        assert clocks[-1] > clocks[1]

    def test_the_busy_share_at_their_clock_is_what_they_want(self) -> None:
        for load in self.LOADS[1:]:
            assert load is not None
            for governor in (CONSERVATIVE, SCHEDUTIL):
                mhz = model.governed_mhz(C6220, governor, 100, load)
                assert mhz == 2800 or model.predict(C6220, 100, mhz, load).busy_fraction <= 0.8

    def test_a_clock_is_itself(self) -> None:
        assert model.governed_mhz(C6220, 1900, 1, None) == 1900
