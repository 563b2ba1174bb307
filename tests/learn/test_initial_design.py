"""Where a search begins."""

import msgspec
import pytest

from mustherd.goal import Constraint, Goal
from mustherd.learn.base import Dimension, Problem, SearchSpace
from mustherd.learn.initial_design import DELAYS_IN_FLIGHT, corners, knees, longest_delay
from mustherd.learn.space import Space

PROBLEM = Problem(
    space=SearchSpace(
        dimensions=(
            Dimension(name="dvfs", low=1200, high=2800, step=400, role="clock"),
            Dimension(name="itr-delay", values=(1, 2, 100, 150, 200, 400), categories=(1,), scale="log", role="delay"),
        ),
        default={"dvfs": 2800, "itr-delay": 1},
    ),
    goal=Goal(limits=(Constraint("read_p99_us", 500.0),)),
)


def test_the_default_first_then_the_cheapest_corner_then_half_way() -> None:
    assert list(corners(PROBLEM, Space(PROBLEM.space.dimensions, knees(PROBLEM)))) == [
        {"dvfs": 2800, "itr-delay": 1},
        {"dvfs": 1200, "itr-delay": 200},
        {"dvfs": 2000, "itr-delay": 200},
    ]


@pytest.mark.parametrize(("qps", "delay"), [(600_000, 200), (1_200_000, 150), (1_700_000, 100)])
def test_a_delay_that_fills_the_places_in_flight_is_no_beginning(qps: int, delay: int) -> None:
    crowded = PROBLEM.over(in_flight_us=256e6 / qps)
    assert longest_delay(crowded) == pytest.approx(min(200.0, 256e6 / qps / DELAYS_IN_FLIGHT))
    assert list(corners(crowded, Space(PROBLEM.space.dimensions, knees(PROBLEM))))[1]["itr-delay"] == delay


def test_without_limits_the_longest_delay() -> None:
    free = msgspec.structs.replace(PROBLEM, goal=Goal())
    assert list(corners(free, Space(PROBLEM.space.dimensions)))[1] == {"dvfs": 1200, "itr-delay": 400}
