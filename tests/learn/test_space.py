"""Points by number, and where they lie for a model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mustherd.learn.base import Dimension
from mustherd.learn.space import ASIDE, Axis, Space

DELAY = Dimension(name="itr-delay", values=(2, 20, 200, 1), categories=(1,), scale="log")
CLOCK = Dimension(name="dvfs", low=1200, high=2600, step=200)


def test_a_range_may_end_between_two_steps() -> None:
    assert Axis(Dimension(name="x", low=1, high=6, step=2)).values == (1, 3, 5)


def test_equal_ratios_are_equal_steps_on_a_log_scale() -> None:
    axis = Axis(DELAY)
    assert axis.encode(2) == (0.0, 0.0)
    assert axis.encode(20) == pytest.approx((0.5, 0.0))
    assert axis.encode(200) == pytest.approx((1.0, 0.0))


def test_a_category_is_told_apart_and_lies_with_its_nearest_value() -> None:
    assert Axis(DELAY).encode(1) == (0.0, ASIDE)
    assert Axis(Dimension(name="x", values=(0, 1), categories=(0, 1))).encode(1) == (0.0, 1.0)


def test_a_knob_with_one_value_has_no_coordinates() -> None:
    assert Axis(Dimension(name="x", values=(3,))).encode(3) == ()


def test_off_has_a_place_on_a_log_scale() -> None:
    assert Axis(Dimension(name="x", values=(0, 1, 4), scale="log")).encode(0) == (0.0,)


@given(st.integers(0, 31))
def test_points_and_numbers_are_each_other_s_inverse(index: int) -> None:
    space = Space((DELAY, CLOCK))
    assert space.size == 32
    assert space.index(space.point(index)) == index
    assert len(space.encode(space.point(index))) == space.width == 3


def test_nearest() -> None:
    space = Space((DELAY, CLOCK))
    assert space.nearest({"itr-delay": 62.0, "dvfs": 1290.0}) == {"itr-delay": 20, "dvfs": 1200}
    assert space.nearest({"itr-delay": 64.0, "dvfs": 9999.0}) == {"itr-delay": 200, "dvfs": 2600}
    assert space.nearest({"itr-delay": 1, "dvfs": 1301}) == {"itr-delay": 1, "dvfs": 1400}


def test_a_step_changes_one_knob() -> None:
    space = Space((DELAY, CLOCK))
    near = space.steps({"itr-delay": 200, "dvfs": 1200}, reach=2)
    assert [p["itr-delay"] for p in near if p["dvfs"] == 1200] == [1, 2]
    assert [p["dvfs"] for p in near if p["itr-delay"] == 200] == [1600]


def test_below_the_knee_a_log_scale_hardly_tells_values_apart() -> None:
    plain, bent = Axis(DELAY), Axis(DELAY, knee=50)
    assert bent.encode(20)[0] < plain.encode(20)[0]
    assert bent.encode(200) == (1.0, 0.0)


def test_outside() -> None:
    space = Space((DELAY, CLOCK))
    with pytest.raises(ValueError, match=r"itr-delay=21 is not in the space; the nearest values are 20, 200"):
        space.index({"itr-delay": 21, "dvfs": 1200})
    with pytest.raises(ValueError, match="qps is no dimension"):
        space.index({"itr-delay": 20, "dvfs": 1200, "qps": 1})
    with pytest.raises(IndexError):
        space.point(32)


@pytest.mark.parametrize(
    ("dimension", "message"),
    [
        (Dimension(name="x"), "x: no values"),
        (Dimension(name="x", low=1, high=3, step=0), "step 0"),
        (Dimension(name="x", values=(1,), scale="cubic"), "'cubic'"),
        (Dimension(name="x", values=(-1, 3), scale="log"), "-1 has no place"),
    ],
)
def test_a_wrong_dimension_is_refused(dimension: Dimension, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Space((dimension,))


def test_a_name_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        Space((CLOCK, CLOCK))
    with pytest.raises(ValueError, match="at least one"):
        Space(())
