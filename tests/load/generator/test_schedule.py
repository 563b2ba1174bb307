import math
from typing import Any

import numpy as np
import pytest

from mustherd.load import curve
from mustherd.load.generator.options import Piece
from mustherd.load.generator.schedule import Schedule, Warp
from tests.load.stand import plan


def pieces(of: curve.Curve) -> tuple[Piece, ...]:
    return tuple(Piece(s.seconds, s.qps, s.end_qps) for s in of.segments)


def planned(schedule: Schedule, blocks: int) -> tuple[Any, ...]:
    dues, links, requests = [], [], []
    for _ in range(blocks):
        schedule.advance()
        dues += schedule.dues
        links += schedule.links
        requests += schedule.requests
    return np.array(dues), np.array(links), np.array(requests)


@pytest.mark.parametrize("arrivals", ["exponential", "fb_ia", "fixed", "uniform:1"])
def test_requests_fall_due_at_the_rate_asked_for_and_in_order(arrivals: str) -> None:
    dues, links, requests = planned(
        Schedule(plan(arrivals=arrivals, connections=16), np.random.default_rng(1), 100.0), 40
    )
    assert np.all(np.diff(dues) >= 0)
    assert dues[0] >= 100
    assert len(dues) / (dues[-1] - 100) == pytest.approx(1000, rel=0.02)
    assert np.bincount(links, minlength=16).min() > 0.9 * len(links) / 16
    assert (requests >= 1000).mean() == pytest.approx(0.25, abs=0.01)
    assert (requests.min(), requests.max()) == (0, 1999)


def test_each_connection_is_a_process_of_its_own() -> None:
    dues, links, _ = planned(Schedule(plan(arrivals="fixed"), np.random.default_rng(1), 0.0), 20)
    for link in range(4):
        assert np.diff(dues[links == link]) == pytest.approx(4 / 1000)


def test_many_poisson_connections_are_one_poisson_process() -> None:
    dues, _, _ = planned(Schedule(plan(connections=64), np.random.default_rng(1), 0.0), 40)
    gaps = np.diff(dues)
    assert gaps.std() / gaps.mean() == pytest.approx(1, rel=0.03)


def test_workers_share_the_load() -> None:
    dues, _, _ = planned(Schedule(plan(workers=4), np.random.default_rng(1), 0.0), 20)
    assert len(dues) / dues[-1] == pytest.approx(250, rel=0.03)


def test_the_same_seed_makes_the_same_requests() -> None:
    one = planned(Schedule(plan(), np.random.default_rng(5), 3.0), 3)
    other = planned(Schedule(plan(), np.random.default_rng(5), 3.0), 3)
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_counting_what_fell_due() -> None:
    schedule = Schedule(plan(), np.random.default_rng(1), 0.0)
    every = []
    for _ in range(5):
        schedule.advance()
        every += schedule.dues
        for at in (schedule.dues[0], schedule.dues[100] + 1e-9, schedule.dues[-1], schedule.dues[-1] + 1):
            assert schedule.due_before(at) == sum(due < at for due in every)
        assert schedule.taken(7) == len(every) - len(schedule.dues) + 7
    before = every[-len(schedule.dues) - 50]
    assert schedule.due_before(before) == sum(due < before for due in every)


def test_a_block_planned_in_a_quiet_moment_is_the_next_one() -> None:
    calm, busy = (Schedule(plan(), np.random.default_rng(1), 0.0) for _ in range(2))
    assert calm.prepare()
    assert not calm.prepare()
    calm.advance()
    busy.advance()
    assert calm.dues == busy.dues


@pytest.mark.parametrize(
    "of",
    [
        curve.steps([(1000, 2), (4000, 3), (0, 1), (500, 2)]),
        curve.sine(500, 3000, 2, 7),
        curve.steps([(0, 1), (2000, 5)]),
    ],
)
def test_times_invert_the_curves_integral(of: curve.Curve) -> None:
    warp = Warp(plan(curve=pieces(of)))
    requests = np.linspace(0.5, of.requests(of.seconds) - 0.5, 500)
    back = [of.requests(t) for t in warp.times(requests)]
    assert back == pytest.approx(list(requests), rel=1e-6, abs=1e-3)


def test_a_curve_begins_when_the_window_opens() -> None:
    of = curve.steps([(1000, 2), (5000, 2)])
    schedule = Schedule(plan(curve=pieces(of)), np.random.default_rng(1), 10.0)
    schedule.advance()
    assert len(schedule.dues) / (schedule.dues[-1] - 10) == pytest.approx(1000, rel=0.1), "its first value until then"
    at = next(i for i, due in enumerate(schedule.dues) if due >= 10.5)
    schedule.open(10.5, at)
    dues = list(schedule.dues)
    while dues[-1] < 14.5:
        schedule.advance()
        dues += schedule.dues
    first, second = sum(10.5 <= d < 12.5 for d in dues), sum(12.5 <= d < 14.5 for d in dues)
    assert first == pytest.approx(2000, rel=0.1)
    assert second == pytest.approx(10_000, rel=0.05)
    assert dues == sorted(dues)
    assert schedule.due_before(14.5) == sum(d < 14.5 for d in dues)
    assert schedule.due_before_window == sum(d < 10.5 for d in dues)


def test_a_curve_that_begins_with_nothing_waits_for_the_window() -> None:
    schedule = Schedule(plan(curve=(Piece(1, 0, 0), Piece(1, 1000, 1000))), np.random.default_rng(1), 10.0)
    schedule.advance()
    assert math.isinf(schedule.dues[0])
    schedule.open(20.0, 0)
    schedule.advance()
    assert 21 <= schedule.dues[0] < 21.1


def test_a_constant_load_goes_on_as_it_was_when_the_window_opens() -> None:
    schedule = Schedule(plan(), np.random.default_rng(1), 0.0)
    schedule.advance()
    before = list(schedule.dues)
    schedule.open(schedule.dues[50], 60)
    assert schedule.dues == before
    assert schedule.due_before_window == 50


def test_who_is_late_counts_what_fell_due_before_the_window_all_the_same() -> None:
    schedule = Schedule(plan(), np.random.default_rng(1), 0.0)
    schedule.advance()
    dues = list(schedule.dues)
    t0 = dues[-1] + 2
    schedule.open(t0, 10)
    with pytest.raises(RuntimeError):
        _ = schedule.due_before_window
    while dues[-1] < t0 + 1:
        schedule.advance()
        dues += schedule.dues
    assert schedule.due_before_window == sum(due < t0 for due in dues)
