"""The highest load within a limit."""

from collections.abc import Callable

import msgspec
import pytest

from mustherd.load.peak import PRECISION, Peak, find, generator_limit
from mustherd.terms import LoadReport


def server(carries: float, generator: float = 1e9, answers: float = 1e9) -> Callable[[float], LoadReport]:
    """A server whose p99 leaves the limit at a load, one that answers no more than so much, and a generator's limit."""

    def measure(qps: float) -> LoadReport:
        return LoadReport(
            generator="builtin", t0_s=0, t1_s=1, offered_qps=qps, achieved_qps=min(qps, answers), requests=1, misses=0,
            samples=1, read_us={"p99": 100.0 if qps <= carries else 900.0}, update_us={}, saturated=qps > generator,
        )  # fmt: skip

    return measure


def search(measure: Callable[[float], LoadReport], low: float = 1000, high: float = 1e6, kind: str = "read") -> Peak:
    return find(measure, kind=kind, percentile="p99", limit_us=500, low_qps=low, high_qps=high)


@pytest.mark.parametrize("carries", [1500, 31_000, 77_777, 640_000])
def test_it_lies_within_the_precision_below_what_the_server_carries(carries: int) -> None:
    found = search(server(carries))
    assert carries / (1 + PRECISION) <= found.qps <= carries
    assert found.by_server
    assert found.limited_by == "read p99 900 us > 500 us"
    assert len(found.steps) < 25


def test_a_throughput_that_stays_behind_limits_too() -> None:
    found = search(server(1e9, answers=50_000))
    assert 45_000 < found.qps <= 50_000 / 0.98
    assert "of the load was answered" in found.limited_by


def test_a_generator_s_own_limit_is_not_the_server_s() -> None:
    found = search(server(1e9, generator=40_000))
    assert found.qps <= 40_000
    assert not found.by_server


def test_what_broke_once_for_want_of_a_core_is_tried_again() -> None:
    carried, tried = server(1e9, generator=40_000), list[float]()

    def measure(qps: float) -> LoadReport:
        tried.append(qps)
        # Another process had the core at the first attempt of each load.
        return msgspec.structs.replace(carried(qps), saturated=tried.count(qps) == 1 or qps > 40_000)

    found = generator_limit(measure, low_qps=1000, high_qps=1e6)
    assert 40_000 / (1 + PRECISION) <= found.qps <= 40_000
    assert not found.by_server
    assert "itself the bottleneck: it says so itself" in found.limited_by


def test_the_generator_s_limit_is_at_least_where_the_server_gives_out() -> None:
    found = generator_limit(server(100, answers=50_000), low_qps=1000, high_qps=1e6)
    assert 45_000 < found.qps <= 50_000 / 0.98
    assert found.by_server


def test_where_nothing_breaks_it_ends_at_the_highest_load_asked_for() -> None:
    found = search(server(1e9), high=9000)
    assert (found.qps, found.by_server) == (9000, False)
    assert [s.qps for s in found.steps] == [1000, 2000, 4000, 8000, 9000]


def test_where_the_first_load_breaks_there_is_no_peak() -> None:
    found = search(server(10))
    assert (found.qps, len(found.steps)) == (0, 1)
    assert found.limited_by == "read p99 900 us > 500 us"


def test_a_latency_that_was_not_measured_keeps_no_limit() -> None:
    assert search(server(1e9), kind="update").qps == 0
