"""The search for the front of two objectives."""

import msgspec
import numpy as np
import pytest

from mustherd.goal import Constraint, Objective
from mustherd.learn.base import Observation
from mustherd.learn.gp import GaussianProcessSearch
from mustherd.learn.models import Incumbent, hypervolume_gain
from mustherd.learn.pareto import front, hypervolume
from mustherd.learn.surrogate import Surrogate
from mustherd.testing.search import PROBLEM, measured

AIMS = (Objective.of("energy_joules"), Objective.of("read_p99_us"))
BOTH = msgspec.structs.replace(PROBLEM, goal=msgspec.structs.replace(PROBLEM.goal, objectives=AIMS))


def test_the_expected_gain_is_that_of_many_draws() -> None:
    x = np.array([[0.0], [0.4], [1.0]])
    first, second = Surrogate(1, 0.05), Surrogate(1, 0.05)
    first.fit(x, np.array([1.0, 0.5, 0.2]))
    second.fit(x, np.array([0.1, 0.6, 1.0]))
    pairs = ((0.2, 1.0), (0.5, 0.6), (1.0, 0.1))
    incumbent = Incumbent(0.2, pairs, (1.2, 1.2))
    at = np.array([[0.2], [0.7]])
    covered = hypervolume(pairs, (1.2, 1.2))
    draw = np.random.default_rng(1)
    for place, gain in zip(at, hypervolume_gain(at, first, second, incumbent), strict=True):
        (m1, s1), (m2, s2) = (s.predict(place[None], return_std=True) for s in (first, second))
        ys = zip(draw.normal(m1[0], s1[0], 4000), draw.normal(m2[0], s2[0], 4000), strict=True)
        mean = np.mean([hypervolume((*pairs, y), (1.2, 1.2)) - covered for y in ys])
        assert gain == pytest.approx(mean / covered, rel=0.1, abs=1e-4)


def test_half_of_the_space_covers_nearly_all_of_what_the_whole_does() -> None:
    search = GaussianProcessSearch(BOTH, stop=False)
    seen: list[Observation] = []
    for _ in range(12):
        point = search.ask()
        assert point is not None
        seen.append(measured(point))
        search.tell(seen[-1:])
    every = [measured({"itr-delay": d, "dvfs": f}) for d in (1, 2, 50, 100, 200, 350) for f in range(1200, 1801, 200)]

    def covered(observations: list[Observation]) -> float:
        guards = (Constraint("read_p99_us", 300.0), Constraint("achieved_ratio", 0.98, at_least=True))
        found = front(observations, AIMS, guards)
        return hypervolume([(o.metrics["energy_joules"], o.metrics["read_p99_us"]) for o in found], (2100.0, 300.0))

    assert covered(seen) >= 0.97 * covered(every)


def test_a_search_for_two_needs_both_metrics() -> None:
    search = GaussianProcessSearch(BOTH)
    lacking = Observation(point={"itr-delay": 2, "dvfs": 1200}, metrics={"energy_joules": 1.0, "achieved_ratio": 1.0})
    with pytest.raises(ValueError, match="no read_p99_us"):
        search.tell([lacking])
