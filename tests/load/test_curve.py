from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mustherd.load import curve
from mustherd.load.curve import Curve, CurveError
from mustherd.terms import Load

Pieces = list[tuple[float, float, float]]
pieces = st.lists(st.tuples(st.floats(0.01, 100), st.floats(0, 1e6), st.floats(0, 1e6)), min_size=1, max_size=8).filter(
    lambda p: sum(seconds * (q + e) / 2 for seconds, q, e in p) > 0
)


@given(pieces)
def test_requests_are_the_integral_of_qps(given_pieces: Pieces) -> None:
    found = Curve(given_pieces)
    for segment in found.segments:
        # Simpson's rule is exact for straight lines.
        start, width = segment.start_s, segment.seconds
        inner = [segment.qps, (segment.qps + segment.end_qps) / 2, segment.end_qps]
        area = width / 6 * (inner[0] + 4 * inner[1] + inner[2])
        assert segment.requests == pytest.approx(area)
        assert found.requests(start + width) - found.requests(start) == pytest.approx(area, rel=1e-6, abs=1e-3)


@given(pieces, st.floats(0, 200), st.floats(0, 200))
def test_requests_never_fall(given_pieces: Pieces, one: float, other: float) -> None:
    found = Curve(given_pieces)
    low, high = sorted((one, other))
    assert found.requests(low) <= found.requests(high) * (1 + 1e-12) + 1e-6


@given(pieces, st.floats(-10, 1000))
def test_load_stays_within_its_peak(given_pieces: Pieces, at: float) -> None:
    found = Curve(given_pieces)
    peak = max(max(segment.qps, segment.end_qps) for segment in found.segments)
    assert 0 <= found.qps(at) <= peak * (1 + 1e-12)


def test_steps_jump_and_the_last_level_stays() -> None:
    found = curve.steps([(400_000, 30), (800_000, 30), (600_000, 30)])
    assert found.seconds == 90
    assert [found.qps(t) for t in (0, 29.9, 30, 60, 89.9, 90, 1e6)] == [400e3, 400e3, 800e3, 600e3, 600e3, 600e3, 600e3]
    assert found.requests(90) == 54e6
    assert found.requests(100) == 60e6
    assert found.requests(-1) == 0


def test_a_constant_load_never_ends() -> None:
    assert curve.constant(5).qps(1e9) == 5


def test_one_step() -> None:
    found = curve.step(10, 20, at_s=3, seconds=5)
    assert [found.qps(2.9), found.qps(3), found.seconds] == [10, 20, 5]


def test_a_sine_swings_between_low_and_high() -> None:
    found = curve.sine(100, 300, period_s=8, seconds=16)
    assert found.qps(0) == pytest.approx(200)
    assert found.qps(2) == pytest.approx(300)
    assert found.qps(6) == pytest.approx(100)
    assert found.qps(1) == pytest.approx(200 + 100 * 0.5**0.5, rel=2e-3)
    assert found.seconds == pytest.approx(16)
    assert found.requests(16) == pytest.approx(3200)


def test_a_sine_may_end_within_a_period() -> None:
    found = curve.sine(100, 300, period_s=8, seconds=3.1)
    assert found.seconds == pytest.approx(3.1)
    assert found.qps(3.1) == pytest.approx(found.qps(50))


def test_a_trace_with_titles_and_comments() -> None:
    found = curve.trace("# measured\nseconds,qps\n0,100\n\n10;200\n30,0\n")
    assert [(s.start_s, s.seconds, s.qps) for s in found.segments] == [(0, 10, 100), (10, 20, 200)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "at least two lines"),
        ("0,100\n", "at least two lines"),
        ("1,100\n2,100\n", "line 1: time 1 s should be 0"),
        ("0,100\n5,200\n5,300\n", "line 3: time 5 s should be above 5"),
        ("0,100\n5,many\n", "line 2: '5,many'"),
        ("0,100,7\n5,200\n", "line 1"),
        ("0,-5\n5,200\n", "piece 1: qps is -5"),
        ("0,0\n5,0\n", "0 all the time"),
        ("0,nan\n5,0\n", "qps is nan"),
    ],
)
def test_a_trace_that_cannot_be_followed(text: str, words: str) -> None:
    with pytest.raises(CurveError, match=words):
        curve.trace(text, "load.csv")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Curve([]),
        lambda: Curve([(0, 1, 1)]),
        lambda: Curve([(1, float("inf"), 1)]),
        lambda: Curve([(float("nan"), 1, 1)]),
        lambda: Curve([(1, 1, 1e10)]),
        lambda: curve.constant(0),
        lambda: curve.step(1, 2, at_s=5, seconds=5),
        lambda: curve.sine(2, 1, 1, 1),
        lambda: curve.sine(1, 2, 0, 1),
        lambda: curve.sine(-1, 2, 1, 1),
        lambda: curve.sine(1, 2, 1e-9, 1e9),
    ],
)
def test_a_curve_that_makes_no_sense(make: Callable[[], object]) -> None:
    with pytest.raises(CurveError):
        make()


@given(pieces, st.floats(0, 300), st.floats(0.5, 300))
def test_a_cut_has_the_requests_of_its_time(given_pieces: Pieces, start: float, seconds: float) -> None:
    whole = Curve(given_pieces)
    due = whole.requests(start + seconds) - whole.requests(start)
    if due < 1e-3:
        return
    found = whole.cut(start, seconds)
    assert found.seconds == pytest.approx(seconds)
    assert found.requests(seconds) == pytest.approx(due, rel=1e-6, abs=1e-2)


def test_a_part_without_load_is_none() -> None:
    with pytest.raises(CurveError, match="all the time"):
        curve.steps([(0, 10), (5, 10)]).cut(0, 10)


def test_a_load_under_a_curve_has_its_mean_and_a_level_is_no_curve() -> None:
    found = curve.under(Load(qps=1), curve.steps([(100, 10), (400, 20)]))
    assert (found.qps, found.curve) == (300, ((10, 100, 100), (20, 400, 400)))
    assert curve.of(found).qps(15) == 400
    level = curve.under(Load(qps=1), curve.steps([(100, 10), (100, 20)]))
    assert (level.qps, level.curve) == (100, ())
    assert curve.of(level).qps(5) == 100
    with pytest.raises(CurveError, match="at most 4096"):
        curve.under(Load(qps=1), curve.steps([(1 + k % 2, 1) for k in range(5000)]))
