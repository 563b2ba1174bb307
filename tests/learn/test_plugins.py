"""Searches of other packages: found by name, told what they refuse, and believed only where they can be."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest

from mustherd.definition import DefinitionError, loads
from mustherd.definition.plugin_options import check_search
from mustherd.goal import Constraint
from mustherd.learn.base import Observation, Problem, Search, Settings
from mustherd.learn.history import History
from mustherd.learn.registry import GuardedSearch, SearchError, check, find, make
from mustherd.learn.replay import Table, replay
from mustherd.learn.worker import SearchProcess
from mustherd.plugins import SEARCHES, OptionError, PluginError
from mustherd.testing.search import PROBLEM, SearchContract, measured
from tests import running
from tests.plugged import found, site


class Backwards:
    """The space from its end."""

    @dataclass
    class Options:
        skip: Annotated[int, msgspec.Meta(ge=0)] = 0
        names: tuple[str, ...] = ()

        def __post_init__(self) -> None:
            if "nobody" in self.names:
                raise ValueError("nobody is no name")

    def __init__(self, problem: Problem, *, seed: int, options: Options) -> None:
        self.options = options
        self._history = History(problem)
        self._seed = seed

    @staticmethod
    def check(problem: Problem, options: Options) -> None:  # noqa: ARG004
        if options.skip >= 24:
            raise OptionError(f"{options.skip} points are the whole space", ("skip",), allowed="0..23")
        if options.skip == 13:
            raise ValueError("13 brings bad luck")
        if options.skip == 17:
            print(1 / 0)

    def ask(self, pending: Sequence[Settings] = ()) -> Settings | None:
        size = self._history.space.size
        return self._history.propose(pending, lambda blocked: max(i for i in range(size) if i not in blocked))

    def tell(self, observations: Sequence[Observation]) -> None:
        self._history.tell(observations)

    def state(self) -> dict[str, object]:
        return self._history.state("backwards", self._seed)


class Odd(Backwards):
    """Answers what it is told to."""

    Options = None  # type: ignore[assignment]
    check = None  # type: ignore[assignment]
    point: Any = None
    said: Any = None

    def __init__(self, problem: Problem, *, seed: int, options: None) -> None:
        if self.point == "unmakable":
            raise KeyError("no such thing")

    def ask(self, pending: Sequence[Settings] = ()) -> Settings | None:
        if isinstance(self.point, Exception):
            raise self.point
        point: Settings = self.point
        return point

    def state(self) -> dict[str, object]:
        said: dict[str, object] = self.said
        return said


class Deaf:
    """Not a search: it can't be told anything."""

    def ask(self, pending: object) -> None: ...


not_callable = 5


@pytest.fixture
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    here = "tests.learn.test_plugins"
    names = {"backwards": "Backwards", "odd": "Odd", "deaf": "Deaf", "number": "not_callable", "absent": "Absent"}
    entries = [EntryPoint(name, f"{here}:{attribute}", SEARCHES) for name, attribute in names.items()]
    found(monkeypatch, *entries, EntryPoint("broken", "tests.learn.no_such_module:X", SEARCHES))


@pytest.mark.usefixtures("_installed")
class TestBackwards(SearchContract):
    """A guarded search keeps the contract of a search."""

    def make(self, seed: int = 1) -> AbstractContextManager[Search]:
        search = make("backwards", PROBLEM, seed=seed)
        assert isinstance(search, GuardedSearch)
        return nullcontext(search)

    def test_points_come_from_the_end(self, search: Search) -> None:
        assert search.ask() == {"itr-delay": 350, "dvfs": 1800}


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("broken", r"search 'broken' of tests \(.*\) can't be loaded: ModuleNotFoundError"),
        ("absent", "can't be loaded: AttributeError"),
        ("deaf", "lacks state, tell"),
        ("number", "lacks a way to call it"),
    ],
)
def test_what_is_no_search_is_named_and_the_others_work(name: str, said: str) -> None:
    with pytest.raises(PluginError, match=said):
        make(name, PROBLEM)
    assert make("backwards", PROBLEM).ask() is not None
    assert make("grid", PROBLEM).ask() is not None


class Unsaid(dict[str, int]):
    def __repr__(self) -> str:
        raise KeyError("no text")

    def items(self) -> Any:
        raise RuntimeError("no items")


class Leaving(dict[str, int]):
    def items(self) -> Any:
        raise SystemExit(0)


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize(
    ("point", "said"),
    [
        ({"itr-delay": 51, "dvfs": 1400}, "itr-delay=51 is not in the space; the nearest values are 50, 100"),
        ({"itr-delay": 50}, "the point has no dvfs"),
        ({"itr-delay": 50, "dvfs": 1400, "volume": 11}, "volume is no dimension of the space"),
        ({"itr-delay": math.nan, "dvfs": 1400}, "no point of the space"),
        ({"itr-delay": "50", "dvfs": 1400}, "no point of the space"),
        ([50, 1400], "no point of the space"),
        (Unsaid({"itr-delay": 50}), "proposes a Unsaid that breaks when it is shown (KeyError), which is no point of"),
        (Leaving({"itr-delay": 50}), "proposes {'itr-delay': 50}, which is no point of the space: 0"),
        ({"itr-delay": 10**5000, "dvfs": 1400}, "that breaks when it is shown (ValueError), which is no point of"),
        (["x" * 10**6], "xxx..., which is no point of the space"),
        (ZeroDivisionError("by zero"), "can't propose: ZeroDivisionError: by zero"),
        (ValueError("one\ntwo"), "can't propose: ValueError: one two (test_plugins.py:"),
    ],
)
def test_a_point_outside_the_space_is_not_tried(monkeypatch: pytest.MonkeyPatch, point: Any, said: str) -> None:
    monkeypatch.setattr(Odd, "point", point)
    with pytest.raises(SearchError, match="search 'odd' of tests") as caught:
        make("odd", PROBLEM).ask()
    assert said in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.usefixtures("_installed")
def test_what_breaks_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Odd, "said", {"reason": object()})
    with pytest.raises(SearchError, match="search 'odd' of tests can't say its state: TypeError"):
        make("odd", PROBLEM).state()
    monkeypatch.setattr(Odd, "tell", lambda _self, _observations: ["y"].remove("x"))
    with pytest.raises(ValueError, match=r"^search 'odd' of tests can't learn: ValueError: list.*\(test_plugins.py:"):
        make("odd", PROBLEM).tell([])
    monkeypatch.setattr(Odd, "point", "unmakable")
    with pytest.raises(SearchError, match="search 'odd' of tests can't be made: KeyError"):
        make("odd", PROBLEM)


@pytest.mark.usefixtures("_installed")
def test_whole_numbers_of_other_libraries_are_numbers() -> None:
    import numpy as np

    class Numpy(Odd):
        point = {"itr-delay": np.int64(50), "dvfs": np.int32(1400)}  # noqa: RUF012 - a point

    search = GuardedSearch(find("odd"), Numpy, PROBLEM, 1, None)
    point = search.ask()
    assert point == {"itr-delay": 50, "dvfs": 1400}
    assert all(type(value) is int for value in point.values())


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize(
    ("option", "said", "key"),
    [
        ("skp: 3", "unknown option 'skp'; allowed: skip, names; did you mean 'skip'", "search.options.skp"),
        ("skip: three", "should be a whole number, found 'three'", "search.options.skip"),
        ("skip: -1", "should be a whole number >= 0, found '-1'", "search.options.skip"),
        ("names: [a, 5]", "should be text, found the number 5; in quotes it is text", "search.options.names[1]"),
        ("names: [nobody]", "nobody is no name", "search.options"),
        ("skip: 90", "90 points are the whole space; allowed: 0..23", "search.options.skip"),
        ("skip: 13", "'backwards': 13 brings bad luck", "search.options"),
    ],
)
def test_a_wrong_option_has_its_line(option: str, said: str, key: str) -> None:
    head = running.definition().replace("search: {method: random, seed: 1}", "search:\n  method: backwards")
    text = head.replace("  method: backwards\n", f"  method: backwards\n  options:\n    {option}\n")
    with pytest.raises(DefinitionError) as caught:
        check_search(loads(text, "test.yml"))
    assert said in str(caught.value)
    assert caught.value.key == key
    assert caught.value.line == text[: text.index(option)].count("\n") + 1


@pytest.mark.usefixtures("_installed")
def test_a_check_that_breaks_is_the_package_s_fault() -> None:
    with pytest.raises(PluginError, match="search 'backwards' of tests can't check its options: ZeroDivisionError"):
        check("backwards", PROBLEM, {"skip": 17})


@pytest.mark.usefixtures("_installed")
def test_a_definition_may_name_it_and_nothing_that_it_does_not_know() -> None:
    text = running.definition(method="backwards")
    check_search(loads(text, "test.yml"))
    for name, value in (("initial", "3"), ("settings", "{itr-delay: 2, dvfs: 1200}"), ("table", "t.yml")):
        with pytest.raises(DefinitionError, match=f"search.{name}"):
            loads(text.replace("method: backwards", f"method: backwards, {name}: {value}"), "test.yml")
    with pytest.raises(DefinitionError, match=r"search.prior: 'backwards' believes nothing"):
        check_search(loads(text.replace("method: backwards", "method: backwards, prior: folder"), "test.yml"))


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ("{method: gp, options: {stop: false}}", "search.options.stop: 'stop' is a key of `search` itself"),
        ("{method: grid, options: {stop: false}}", "unknown option 'stop'; allowed: order, repetitions"),
        ("{method: gp, options: {nois: {}}}", "unknown option 'nois'"),
        ("{method: gp, options: {noise: {read_p99_us: 2}}}", "should be a number < 1"),
    ],
)
def test_our_own_searches_check_their_options_too(search: str, said: str) -> None:
    text = running.definition().replace("{method: random, seed: 1}", search)
    with pytest.raises(DefinitionError) as caught:
        check_search(loads(text, "test.yml"))
    assert said in str(caught.value)
    assert caught.value.line == text[: text.index("search:")].count("\n") + 1


@pytest.mark.usefixtures("_installed")
def test_it_is_replayed_like_any_other() -> None:
    recorded = Table([measured({"itr-delay": d, "dvfs": f}) for d in (1, 2, 50, 100) for f in (1200, 1500, 1800)])
    searched = recorded.problem("energy_joules", (Constraint("read_p99_us", 300.0),))
    [run] = replay(
        lambda seed: make("backwards", searched, seed=seed, peers=True), recorded, searched, seeds=(1,), trials=99
    )
    assert run.points[0] == {"itr-delay": 100, "dvfs": 1800}
    assert run.pick == recorded.optimum(searched).point


MODULE = """
class Cycle:
    def __init__(self, problem, *, seed, options):
        self._values = {d.name: list(d.values) for d in problem.space.dimensions}
        self._n = 0
    def ask(self, pending=()):
        self._n += 1
        print("this is no answer")
        if self._n > 3:
            return {"itr-delay": 51, "dvfs": 1400}
        return {name: values[self._n % len(values)] for name, values in self._values.items()}
    def tell(self, observations): pass
    def state(self): return {"method": "cycle", "reason": "it has gone round"}
"""


@pytest.mark.process
def test_the_process_of_a_search_finds_it_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = site(tmp_path, "cycling", MODULE, {SEARCHES: {"cycle": "Cycle"}})
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{Path(__file__).resolve().parents[2]}")
    monkeypatch.syspath_prepend(str(folder))
    found(monkeypatch)
    values = msgspec.structs.replace(PROBLEM.space.dimensions[1], values=(1200, 1400))
    problem = PROBLEM.over(dimensions=(values,), default=None)
    with SearchProcess("cycle", problem) as search:
        points = [search.ask() for _ in range(3)]
        assert points == [{"dvfs": 1400}, {"dvfs": 1200}, {"dvfs": 1400}]
        search.tell([])
        assert search.state()["reason"] == "it has gone round"
        with pytest.raises(SearchError, match=r"search 'cycle' of cycling 1\.0 proposes .*: itr-delay is no dimension"):
            search.ask()
