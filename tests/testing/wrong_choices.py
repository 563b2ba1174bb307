"""Searches, policies and metrics that break their contract, each in one way, and beside them ones that keep it.

Every class names by `caught_by` the test of its suite that has to fail; test_suites.py runs them and looks.
"""

import math
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import EntryPoint
from typing import Any, ClassVar

import pytest

from mustherd.learn.base import Observation, Problem, Settings
from mustherd.learn.history import History
from mustherd.metrics import Metric, WindowMeasurement
from mustherd.plugins import POLICIES
from mustherd.testing.metric import MetricContract
from mustherd.testing.policy import DEFINITION, PolicyContract
from mustherd.testing.search import PROBLEM, SearchContract
from tests.plugged import found


class InOrder:
    """A search that keeps its contract."""

    def __init__(self, problem: Problem, seed: int) -> None:
        self.history, self.seed = History(problem), seed

    def ask(self, pending: Sequence[Settings] = ()) -> Settings | None:
        size = self.history.space.size
        return self.history.propose(pending, lambda blocked: next(i for i in range(size) if i not in blocked))

    def tell(self, observations: Sequence[Observation]) -> None:
        self.history.tell(observations)

    def state(self) -> dict[str, object]:
        return self.history.state("in-order", self.seed)


class OfSearch(SearchContract):
    made: ClassVar[type[InOrder]] = InOrder

    def make(self, seed: int = 1) -> AbstractContextManager[InOrder]:
        return nullcontext(type(self).made(PROBLEM, seed))


class TestRightSearch(OfSearch):
    caught_by = ""


class TestSuggestsOutsideTheSpace(OfSearch):
    caught_by = "test_proposes_points_of_the_space_once"

    class made(InOrder):  # noqa: N801
        def ask(self, pending: Sequence[Settings] = ()) -> Settings | None:
            point = super().ask(pending)
            return point and {**point, "dvfs": point["dvfs"] + 1}

        def tell(self, observations: Sequence[Observation]) -> None:
            points = [{**one.point, "dvfs": one.point["dvfs"] // 200 * 200} for one in observations]
            super().tell([Observation(point=p, metrics=o.metrics) for p, o in zip(points, observations, strict=True)])


class TestSuggestsHalves(OfSearch):
    caught_by = "test_proposes_points_of_the_space_once"

    class made(InOrder):  # noqa: N801
        def ask(self, pending: Sequence[Settings] = ()) -> Settings | None:
            point = super().ask(pending)
            return point and {name: float(value) for name, value in point.items()}  # type: ignore[misc]


class TestSuggestsTheSameAgain(OfSearch):
    caught_by = "test_proposes_points_of_the_space_once"

    class made(InOrder):  # noqa: N801
        def ask(self, pending: Sequence[Settings] = ()) -> Settings | None:
            return self.history.space.point(0)


class TestHasItsOwnDice(OfSearch):
    caught_by = "test_same_seed_same_proposals"
    dice = random.Random(1)

    class made(InOrder):  # noqa: N801
        def ask(self, pending: Sequence[Settings] = ()) -> Settings | None:
            size, dice = self.history.space.size, TestHasItsOwnDice.dice
            return self.history.propose(
                pending, lambda blocked: dice.choice([i for i in range(size) if i not in blocked])
            )


class TestDoesNotSeeWhatIsUnderWay(OfSearch):
    caught_by = "test_two_musters_never_test_the_same_point"

    class made(InOrder):  # noqa: N801
        def ask(self, pending: Sequence[Settings] = ()) -> Settings | None:
            told = {tuple(sorted(point.items())) for point in self.points}
            space = self.history.space
            points = (space.point(index) for index in range(space.size))
            return next((point for point in points if tuple(sorted(point.items())) not in told), None)

        def tell(self, observations: Sequence[Observation]) -> None:
            super().tell(observations)
            self.points += [one.point for one in observations]

        def __init__(self, problem: Problem, seed: int) -> None:
            super().__init__(problem, seed)
            self.points: list[Settings] = []


class TestLearnsHalfOfWhatItRefuses(OfSearch):
    caught_by = "test_refuses_a_point_outside_and_learns_nothing"

    class made(InOrder):  # noqa: N801
        def tell(self, observations: Sequence[Observation]) -> None:
            for one in observations:
                super().tell([one])


class TestBelievesWhatIsNoNumber(OfSearch):
    caught_by = "test_refuses_a_metric_that_is_no_number"

    class made(InOrder):  # noqa: N801
        def tell(self, observations: Sequence[Observation]) -> None:
            super().tell([one for one in observations if math.isfinite(one.metrics.get("read_p99_us", math.nan))])


class TestEndsEarly(OfSearch):
    caught_by = "test_proposes_points_of_the_space_once"

    class made(InOrder):  # noqa: N801
        asked = 0

        def ask(self, pending: Sequence[Settings] = ()) -> Settings | None:
            self.asked += 1
            return super().ask(pending) if self.asked < 20 else None


class TestItsStateIsNoJson(OfSearch):
    caught_by = "test_state_is_json_and_says_who_it_is"

    class made(InOrder):  # noqa: N801
        def state(self) -> dict[str, object]:
            return {**super().state(), "history": self.history}


class Up:
    """A policy that keeps its contract."""

    compares = True

    def __init__(self, experiment: Any, problem: Problem) -> None:
        self.left = list(experiment.knobs["dvfs"])

    def observe(self, observations: Sequence[Observation]) -> None:
        for one in observations:
            if one.point["dvfs"] in self.left:
                self.left.remove(one.point["dvfs"])

    def propose(self, pending: Sequence[Settings]) -> Settings | None:
        return {"dvfs": self.left[0]} if self.left else None

    def why_enough(self) -> str:
        return "all were tried"

    def close(self) -> None:
        pass


class OutsideTheKnobs(Up):
    def propose(self, pending: Sequence[Settings]) -> Settings | None:
        return {"dvfs": 1250}


class OwnDice(Up):
    dice = random.Random(1)

    def propose(self, pending: Sequence[Settings]) -> Settings | None:
        return {"dvfs": self.dice.choice(self.left)} if self.left else None


class NoReason(Up):
    def why_enough(self) -> str:
        return ""


class LearnsOneAtATime(Up):
    def observe(self, observations: Sequence[Observation]) -> None:
        if len(observations) > 1:
            raise ValueError("one at a time")
        super().observe(observations)


class NothingToDo(Up):
    def propose(self, pending: Sequence[Settings]) -> Settings | None:
        return None


class OfPolicy(PolicyContract):
    definition = DEFINITION + "policy: odd"
    made: ClassVar[str] = "Up"

    @pytest.fixture(autouse=True)
    def _installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found(monkeypatch, EntryPoint("odd", f"{__name__}:{self.made}", POLICIES))


class TestRightPolicy(OfPolicy):
    caught_by = ""


class TestProposesOutsideTheKnobs(OfPolicy):
    caught_by = "test_proposes_what_the_experiment_allows_and_says_why_it_ends"
    made = "OutsideTheKnobs"


class TestPolicyHasItsOwnDice(OfPolicy):
    caught_by = "test_the_same_experiment_is_run_the_same_way"
    made = "OwnDice"


class TestEndsWithoutAReason(OfPolicy):
    caught_by = "test_proposes_what_the_experiment_allows_and_says_why_it_ends"
    made = "NoReason"


class TestCannotBeResumed(OfPolicy):
    caught_by = "test_a_resumed_run_goes_on"
    made = "LearnsOneAtATime"


class TestNeverProposes(OfPolicy):
    caught_by = "test_proposes_what_the_experiment_allows_and_says_why_it_ends"
    made = "NothingToDo"


def metric(compute: Callable[[WindowMeasurement], float | None], **changes: Any) -> Metric:
    return Metric(**{"name": "tail", "meaning": "how long the tail is", "verb": "has", "compute": compute, **changes})


def tail(window: WindowMeasurement) -> float | None:
    return None if window.load is None or "p99" not in window.load.read_us else window.load.read_us["p99"]


class OfMetric(MetricContract):
    made: ClassVar[Metric] = metric(tail)

    @pytest.fixture
    def metric(self) -> Metric:
        return self.made


class TestRightMetric(OfMetric):
    caught_by = ""


class TestRaisesWhereNothingWasMeasured(OfMetric):
    caught_by = "test_what_was_not_measured_is_none_and_no_error"
    made = metric(lambda window: window.load.read_us["p99"])  # type: ignore[union-attr]


class TestIsNoNumber(OfMetric):
    caught_by = "test_is_a_number_where_all_was_measured"
    made = metric(lambda _: math.nan)


class TestIsAnotherEachTime(OfMetric):
    caught_by = "test_is_a_number_where_all_was_measured"
    dice = random.Random(1)
    made = metric(lambda _: TestIsAnotherEachTime.dice.random())
