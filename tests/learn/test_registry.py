"""Every search is run through the contract, once in this process and once in its own."""

from contextlib import AbstractContextManager

import pytest

from mustherd.goal import Goal
from mustherd.learn.base import Dimension, Problem, Search, SearchSpace
from mustherd.learn.registry import make
from mustherd.learn.worker import SearchProcess
from mustherd.plugins import PluginError
from mustherd.testing.search import PROBLEM, SIZE, SearchContract, measured

SETTINGS: dict[str, object] = {"settings": {"itr-delay": 200, "dvfs": 1400}}


class TestGrid(SearchContract):
    name = "grid"

    def test_goes_through_the_space_in_order(self) -> None:
        with self.make() as search:
            points = self.run(search, 5)
        assert [p["dvfs"] for p in points] == [1200, 1400, 1600, 1800, 1200]
        assert [p["itr-delay"] for p in points] == [1, 1, 1, 1, 2]


class TestRandom(SearchContract):
    name = "random"

    def test_seeds_differ(self) -> None:
        with self.make(1) as one, self.make(2) as other:
            assert self.run(one, 8) != self.run(other, 8)

    def test_goes_on_where_it_was_after_a_resume(self) -> None:
        with self.make() as whole, self.make() as resumed:
            points = self.run(whole, 10)
            resumed.tell([measured(p) for p in points[:6]])
            assert self.run(resumed, 4) == points[6:]

    def test_draws_from_a_space_too_large_to_list(self) -> None:
        dimensions = tuple(Dimension(name=f"knob-{i}", low=0, high=999) for i in range(8))
        search = make("random", Problem(space=SearchSpace(dimensions=dimensions), goal=Goal()), seed=1)
        assert search.ask() != search.ask()


class TestOneShot(SearchContract):
    name, options, exhausts = "one-shot", SETTINGS, False

    def test_a_forgotten_trial_stops_nothing(self, search: Search) -> None:
        assert search.ask() == SETTINGS["settings"]
        assert search.ask() is None


class TestGaussianProcess(SearchContract):
    name, options, repeats = "gp", {"stop": False}, 2

    def test_finds_the_best_in_a_quarter_of_the_space(self, search: Search) -> None:
        self.run(search, 6)
        best = search.state()["best"]
        assert isinstance(best, dict)
        assert best["point"] == {"itr-delay": 50, "dvfs": 1200}


@pytest.mark.long
class TestGaussianProcessThatStops(SearchContract):
    name, exhausts, repeats = "gp", False, 2


def test_a_gaussian_process_says_why_it_stopped() -> None:
    stops = TestGaussianProcessThatStops()
    with stops.make() as search:
        points = stops.run(search, SIZE)
        assert len(points) < SIZE
        assert "improvement still expected" in str(search.state()["reason"])


@pytest.mark.long
@pytest.mark.process
class TestProcess(SearchContract):
    """That a search in a process of its own is none the worse for it; test_worker.py has what is special there."""

    def make(self, seed: int = 1) -> AbstractContextManager[Search]:
        return SearchProcess("random", PROBLEM, seed=seed)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("genetic", {}, "there are: gp, grid, one-shot, random"),
        ("grdi", {}, "did you mean 'grid'"),
        ("random", {"settings": {}}, "settings: unknown option 'settings'; allowed: no options"),
        ("grid", {"initial": 3}, "initial: unknown option 'initial'; allowed: order, repetitions"),
        ("gp", {"inital": 3}, "inital: unknown option 'inital'; allowed: initial, stop, noise"),
        ("gp", {"initial": 0}, "initial: should be a whole number >= 1, found '0'"),
        ("gp", {"stop": "never"}, "stop: should be true or false, found 'never'"),
        ("gp", {"noise": {"read_p99_us": 2}}, "noise.read_p99_us: should be a number < 1"),
        ("one-shot", {"settings": {"itr-delay": 3, "dvfs": 1400}}, "'one-shot': itr-delay=3 is not in the space"),
        ("one-shot", {"settings": {"itr-delay": 2}}, "'one-shot': the point has no dvfs"),
    ],
)
def test_a_wrong_definition_names_what_is_allowed(method: str, options: dict[str, object], message: str) -> None:
    with pytest.raises((ValueError, PluginError), match=message):
        make(method, PROBLEM, seed=1, options=options)
    with pytest.raises((ValueError, PluginError), match=message):
        SearchProcess(method, PROBLEM, seed=1, options=options)
