"""What every search does: the contract of mustherd.learn.base, as a suite."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar

import pytest

from mustherd.goal import Constraint, Goal
from mustherd.learn import registry
from mustherd.learn.base import Dimension, Observation, Problem, Search, SearchSpace, Settings

PROBLEM = Problem(
    space=SearchSpace(
        dimensions=(
            Dimension(name="itr-delay", values=(1, 2, 50, 100, 200, 350), categories=(1,), scale="log", role="delay"),
            Dimension(name="dvfs", low=1200, high=1800, step=200, role="clock"),
        ),
        default={"itr-delay": 1, "dvfs": 1800},
    ),
    goal=Goal(limits=(Constraint("read_p99_us", 300.0),), repeats=3),
)
SIZE = 24


def measured(point: Settings) -> Observation:
    """A node that gets slower with a longer delay and a lower clock, and saves energy by both."""
    delay, clock = max(2, point["itr-delay"]), point["dvfs"] / 1000
    return Observation(
        point=point,
        metrics={
            "energy_joules": 800 + 700 * clock - 0.5 * delay,
            "read_p99_us": 80 + delay + 200 / clock**2,
            "achieved_ratio": min(1.0, 0.9 + 0.08 * clock),
        },
    )


class SearchContract:
    """What mustherd.learn.base promises."""

    name: ClassVar[str] = ""
    """The search's name among those installed."""
    options: ClassVar[Mapping[str, object]] = {}
    exhausts = True
    """Whether the search goes on until nothing of the space is left."""
    repeats: ClassVar[int] = 0
    """Trials at most that it spends here on points that it tried before."""

    def make(self, seed: int = 1) -> AbstractContextManager[Search]:
        """The search over PROBLEM; what it holds is let go at the context's end."""
        return nullcontext(registry.make(self.name, PROBLEM, seed=seed, options=self.options))

    @pytest.fixture
    def search(self) -> Iterator[Search]:
        with self.make() as search:
            yield search

    def run(self, search: Search, trials: int) -> list[Settings]:
        points = []
        for _ in range(trials):
            point = search.ask()
            if point is None:
                break
            points.append(point)
            search.tell([measured(point)])
        return points

    def test_proposes_points_of_the_space_once(self, search: Search) -> None:
        points = self.run(search, SIZE + self.repeats + 5)
        different = {tuple(sorted(p.items())) for p in points}
        assert len(points) - len(different) <= self.repeats
        for point in points:
            assert set(point) == {"itr-delay", "dvfs"}
            assert point["itr-delay"] in PROBLEM.space.dimensions[0].values
            assert point["dvfs"] in range(1200, 1801, 200)
            assert all(type(v) is int for v in point.values())
        if self.exhausts:
            assert len(different) == SIZE
        assert search.ask() is None

    def test_same_seed_same_proposals(self) -> None:
        with self.make(seed=7) as one, self.make(seed=7) as other:
            assert self.run(one, 8) == self.run(other, 8)

    def test_two_musters_never_test_the_same_point(self, search: Search) -> None:
        under_way: list[Settings] = []
        tried: list[Settings] = []
        for _ in range(6):
            while len(under_way) < 3 and (point := search.ask(under_way)) is not None:
                assert point not in under_way
                assert point not in tried
                under_way.append(point)
            if under_way:
                tried.append(under_way.pop(0))
                search.tell([measured(tried[-1])])
        assert tried

    def test_a_forgotten_trial_stops_nothing(self, search: Search) -> None:
        first = search.ask()
        assert first is not None
        second = search.ask()
        assert second != first

    def test_what_was_never_told_is_offered_again_when_nothing_else_is_left(self, search: Search) -> None:
        if not self.exhausts:
            return  # it ends before its space does, so there is nothing to hold it to
        forgotten = search.ask()
        assert forgotten is not None
        points = self.run(search, SIZE + self.repeats)
        assert points[-1] == forgotten
        assert points.count(forgotten) == 1
        assert len({tuple(sorted(p.items())) for p in points}) == SIZE

    def test_refuses_a_point_outside_and_learns_nothing(self, search: Search) -> None:
        good = measured({"itr-delay": 50, "dvfs": 1400})
        bad = Observation(point={"itr-delay": 51, "dvfs": 1400}, metrics=good.metrics)
        with pytest.raises(ValueError, match="itr-delay"):
            search.tell([good, bad])
        assert search.state()["observations"] == 0

    @pytest.mark.parametrize("value", [math.nan, math.inf, None])
    def test_refuses_a_metric_that_is_no_number(self, search: Search, value: float | None) -> None:
        good = measured({"itr-delay": 50, "dvfs": 1400})
        metrics = {k: v for k, v in good.metrics.items() if k != "read_p99_us"}
        if value is not None:
            metrics["read_p99_us"] = value
        with pytest.raises(ValueError, match="read_p99_us"):
            search.tell([Observation(point=good.point, metrics=metrics)])
        assert search.state()["observations"] == 0

    def test_learns_what_it_never_proposed(self, search: Search) -> None:
        point = {"itr-delay": 100, "dvfs": 1600}
        search.tell([measured(point)])
        search.tell([])
        state = search.state()
        assert state["observations"] == 1
        best = state["best"]
        assert isinstance(best, dict)
        assert best["point"] == point
        assert search.ask() != point

    def test_survives_repeats_of_a_point(self, search: Search) -> None:
        point = {"itr-delay": 1, "dvfs": 1800}
        search.tell([measured(point)] * 4)
        assert search.ask() not in (point,)
        assert search.state()["observations"] == 4

    def test_state_is_json_and_says_who_it_is(self, search: Search) -> None:
        self.run(search, 2)
        state = json.loads(json.dumps(search.state()))
        assert isinstance(state["method"], str)
        assert state["seed"] == 1
        assert "reason" in state
        assert "best" in state
