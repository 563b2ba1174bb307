"""Policies: where they are found, what they must be, and one from a package of its own."""

import re
import threading
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from mustherd.definition import DefinitionError, Experiment, loads, problem
from mustherd.learn.base import Settings
from mustherd.plugins import POLICIES, OptionError, PluginError, plugin, plugins
from mustherd.policy import base
from mustherd.policy.base import (
    WAIT,
    CalibratedPolicy,
    Follower,
    GuardedPolicy,
    Policy,
    PolicyError,
    Ranking,
    check,
    make,
)
from mustherd.policy.nop import Nop
from mustherd.policy.tune import Tune
from mustherd.testing.policy import DEFINITION, PolicyContract
from tests import running
from tests.plugged import found

ROOT = Path(__file__).resolve().parents[2]


def experiment(policy: str = "tune", method: str = "random") -> Experiment:
    return loads(running.definition(method=method) + f"policy: {policy}\n", "test.yml")


def test_the_projects_own_policies_are_installed() -> None:
    assert {"collect", "follow", "latency-predictor", "nop", "pipeline", "stats", "tune"} <= set(plugins(POLICIES))


class TestNop(PolicyContract):
    definition = DEFINITION + "policy: nop"


class TestCollect(PolicyContract):
    definition = DEFINITION + "policy: {name: collect, options: {keep_mib: 64}}"


class TestStats(PolicyContract):
    definition = DEFINITION + "policy: {name: stats, options: {percent: {read_p99_us: 1}}}"


class TestLatencyPredictor(PolicyContract):
    definition = DEFINITION + "policy: {name: latency-predictor, options: {seed: 3}}"


@pytest.mark.process
class TestTune(PolicyContract):
    definition = DEFINITION


class TestFollow(PolicyContract):
    definition = DEFINITION + "policy: {name: follow, options: {load: measured, table: {400k: {dvfs: 1600}}}}"


@pytest.mark.parametrize("name", ["nop", "tune"])
@pytest.mark.process
def test_a_policy_keeps_the_interface(name: str) -> None:
    defined = experiment(name)
    policy = make(defined, problem(defined))
    try:
        assert isinstance(policy, Policy)
        assert isinstance(policy, Nop if name == "nop" else Tune)
        point = policy.propose([])
        assert point is not None
        assert set(point) <= set(defined.knobs)
        policy.observe([])
    finally:
        policy.close()


@pytest.mark.process
def test_tune_says_why_it_is_over() -> None:
    text = running.definition(method="one-shot").replace(
        "method: one-shot,", "method: one-shot, settings: {itr-delay: 300, dvfs: 1200},"
    )
    defined = loads(text.replace("trials: 6", "trials: 1"), "test.yml")
    policy = make(defined, problem(defined))
    try:
        assert policy.propose([]) == {"itr-delay": 300, "dvfs": 1200}
        assert policy.propose([{"itr-delay": 300, "dvfs": 1200}]) is None
        assert policy.why_enough()
    finally:
        policy.close()


def test_an_unknown_policy_has_its_line() -> None:
    text = running.definition()
    check(loads(text, "test.yml"))
    with pytest.raises(DefinitionError) as caught:
        check(loads(text + "policy: tuen\n", "test.yml"))
    line = text.count("\n") + 1
    allowed = "collect, follow, latency-predictor, nop, pipeline, stats, tune"
    said = f"policy.name: unknown policy 'tuen'; allowed: {allowed}; did you mean 'tune'?"
    assert str(caught.value) == f"test.yml:{line}: {said}"


COLDER = Path(__file__).parents[1] / "plugins" / "example" / "colder.py"


class TestColderInItsFile(PolicyContract):
    definition = DEFINITION + f"policy: {COLDER}:Colder"


class Hasty(Nop):
    """Has enough as long as something is under way: a policy of before there was WAIT."""

    def propose(self, pending: Sequence[Settings]) -> Settings | None:
        return None if pending else {"dvfs": 1200}


class Idle(Nop):
    """Waits for ever."""

    def propose(self, pending: object) -> Any:
        return WAIT


@pytest.mark.parametrize(
    ("kind", "test", "said"),
    [
        ("Hasty", "test_has_not_enough_for_what_is_still_under_way", "WAIT is the answer before"),
        ("Idle", "test_proposes_what_the_experiment_allows_and_says_why_it_ends", "there is nothing to wait for"),
        ("Idle", "test_knows_of_trials_under_way", "there is nothing to wait for"),
    ],
)
def test_the_suite_sees_a_policy_that_ends_or_waits_wrongly(kind: str, test: str, said: str) -> None:
    defined = loads(DEFINITION + f"policy: {__file__}:{kind}", "contract.yml")
    with pytest.raises(AssertionError, match=said):
        getattr(PolicyContract(), test)(make(defined, problem(defined)), defined)


def test_a_policy_in_a_file_is_found_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(COLDER.read_text())
    defined = experiment("./mine.py:Colder")
    check(defined)
    assert make(defined, problem(defined)).propose([]) == {"dvfs": max(defined.knobs["dvfs"])}
    # What is edited, in a notebook say, is read anew.
    (tmp_path / "mine.py").write_text("lacks = all = 'that'\n")
    with pytest.raises(PluginError, match=r"policy 'Colder' of \./mine\.py .*there is no Colder in it"):
        check(defined)
    (tmp_path / "mine.py").write_text("import (")
    with pytest.raises(PluginError, match=r"can't be loaded: SyntaxError: invalid syntax \(mine\.py, line 1\)"):
        check(defined)


def test_a_policy_s_file_that_is_not_there_has_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        DefinitionError, match=r"policy\.name: there is no file 'hotter\.py'; allowed: a file"
    ) as caught:
        check(experiment("hotter.py:Hotter"))
    assert caught.value.line == running.definition().count("\n") + 1
    with pytest.raises(DefinitionError, match=r"'\./hotter\.py' is no name; allowed: .* or FILE\.py:CLASS"):
        experiment("./hotter.py")


@pytest.mark.parametrize("name", ["nop", "tune"])
def test_options_that_nobody_reads_have_their_line(name: str) -> None:
    text = running.definition() + f"policy:\n  name: {name}\n  options:\n    speed: 3\n"
    with pytest.raises(DefinitionError, match="unknown option 'speed'; allowed: no options") as caught:
        check(loads(text, "test.yml"))
    assert caught.value.line == text.count("\n")


def test_a_package_cannot_take_a_built_ins_place(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, EntryPoint("tune", "stranger:Tune", POLICIES))
    assert plugin(POLICIES, "tune").target == "mustherd.policy.tune:Tune"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no_such_module:Policy", "can't be loaded: ModuleNotFoundError"),
        ("collections:OrderedDict", "lacks close, compares, observe, propose, why_enough"),
        ("tests.policy.test_policy:Half", "lacks close, compares, observe, why_enough"),
        ("tests.policy.test_policy:Unmakable", "could not be made: ZeroDivisionError"),
        ("tests.policy.test_policy:Mistaken", r"could not be made: ValueError: not in list \(test_policy.py:"),
    ],
)
def test_a_broken_package_is_named(monkeypatch: pytest.MonkeyPatch, value: str, message: str) -> None:
    found(monkeypatch, EntryPoint("bad", value, POLICIES))
    defined = experiment("bad")
    with pytest.raises((PolicyError, PluginError), match=message) as caught:
        make(defined, problem(defined))
    assert value in str(caught.value)
    assert "'bad'" in str(caught.value)


class Half:
    """Not a policy: it can't be told anything."""

    def __init__(self, *_: object) -> None:
        pass

    def propose(self, pending: object) -> None:
        pass


class Whole:
    """A policy that can be told what to answer."""

    compares = False
    answer: Any = None

    def __init__(self, experiment: Experiment, _problem: object) -> None:
        self.options = experiment.policy.options

    def observe(self, observations: object) -> None:
        raise KeyError("nothing can be observed")

    def propose(self, pending: object) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def why_enough(self) -> str:
        return ""

    def close(self) -> None:
        pass


class Unmakable(Whole):
    def __init__(self, *_: object) -> None:
        print(1 / 0)


class Mistaken(Whole):
    def __init__(self, *_: object) -> None:
        raise ValueError("not\nin list")


class Picky(Whole):
    @staticmethod
    def check(experiment: Experiment) -> None:
        if experiment.policy.options["steps"][1] > 5:
            raise OptionError("is too many", ("steps", 1), allowed="up to 5")
        if experiment.policy.options["steps"][0] > 5:
            raise ValueError("the first step is too many")
        print(experiment.policy.options["nothing"])


class Unsaid:
    def __repr__(self) -> str:
        raise KeyError("no text")

    def items(self) -> Any:
        raise RuntimeError("no items")


class Leaving(dict[str, int]):
    def items(self) -> Any:
        raise SystemExit(0)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"dvfs": 1250}, "proposes dvfs 1250, which is not among the experiment's values"),
        ({"dvfs": 1200, "volume": 11}, "proposes volume 11"),
        ({"qps": 5}, "proposes qps 5"),
        ({"dvfs": float("nan")}, "proposes {'dvfs': nan}: a whole number for each knob is wanted"),
        ({"dvfs": "fast"}, "proposes {'dvfs': 'fast'}: a whole number for each knob is wanted"),
        (["dvfs", 1200], "proposes ['dvfs', 1200]: a whole number for each knob is wanted"),
        (Unsaid(), "proposes a Unsaid that breaks when it is shown (KeyError): a whole number"),
        (Leaving(dvfs=1200), "proposes {'dvfs': 1200}: a whole number for each knob is wanted"),
        ({"dvfs": 10**5000}, "proposes dvfs a int that breaks when it is shown (ValueError), which is not among"),
        ("x" * 10**6, "proposes 'xxx"),
        (ZeroDivisionError("by zero"), "can't propose: ZeroDivisionError: by zero"),
    ],
)
def test_what_a_package_proposes_is_looked_at(monkeypatch: pytest.MonkeyPatch, answer: Any, said: str) -> None:
    found(monkeypatch, EntryPoint("odd", "tests.policy.test_policy:Whole", POLICIES))
    monkeypatch.setattr(Whole, "answer", answer)
    defined = experiment("odd")
    policy = make(defined, problem(defined))
    with pytest.raises(PolicyError) as caught:
        policy.propose([])
    assert str(caught.value).startswith(f"policy 'odd' of tests {said}")
    assert len(str(caught.value)) < 300


def grouped() -> None:
    defined = experiment("odd")
    policy = make(defined, problem(defined))
    assert isinstance(policy, GuardedPolicy)
    policy.groups(["a", "b"])


@pytest.mark.parametrize(
    ("attribute", "value", "said"),
    [
        ("compares", "no", "compares 'no'; allowed: True, False"),
        ("compares", property(lambda _self: 1 / 0), "can't say whether it compares: ZeroDivisionError"),
        ("groups", lambda _self, _musters: [("a", "b")], "groups ('a', 'b'), which is no mustherd.policy.base.Group"),
    ],
)
def test_what_a_package_s_policy_says_of_itself_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, attribute: str, value: Any, said: str
) -> None:
    found(monkeypatch, EntryPoint("odd", "tests.policy.test_policy:Whole", POLICIES))
    monkeypatch.setattr(Whole, attribute, value, raising=False)
    with pytest.raises(PolicyError) as caught:
        grouped()
    assert str(caught.value).startswith(f"policy 'odd' of tests {said}")


@pytest.mark.parametrize(
    ("workers", "said"),
    [
        ((), "it has no workers"),
        (("nobody",), "no muster is called 'nobody'; allowed: a, b"),
        ("b", "its workers and of_source are tuples of names"),
        (["a"], "a is in two of them"),
    ],
)
def test_groups_that_make_no_sense_are_told(monkeypatch: pytest.MonkeyPatch, workers: Any, said: str) -> None:
    found(monkeypatch, EntryPoint("odd", "tests.policy.test_policy:Whole", POLICIES))
    monkeypatch.setattr(Whole, "groups", lambda _self, _musters: [base.Group(workers, "a")], raising=False)
    with pytest.raises(PolicyError, match=rf"policy 'odd' of tests groups \[?Group\(.*\)\]?: {said}$"):
        grouped()


def test_why_a_package_s_policy_has_enough_is_one_line_with_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, EntryPoint("odd", "tests.policy.test_policy:Whole", POLICIES))
    monkeypatch.setattr(Whole, "why_enough", lambda _self: "a\nb\x1b[31m" + "x" * 10**6)
    defined = experiment("odd")
    why = make(defined, problem(defined)).why_enough()
    assert why.startswith(r"a\nb\x1b[31mxxx")
    assert len(why) < 3000


@pytest.mark.parametrize("error", [RuntimeError("one\ntwo"), SystemExit("one two"), KeyboardInterrupt("one two")])
def test_a_package_s_policy_that_breaks_as_it_is_closed_costs_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    """What was done was told as failed."""

    def close(_self: object) -> None:
        raise error

    found(monkeypatch, EntryPoint("odd", "tests.policy.test_policy:Whole", POLICIES))
    monkeypatch.setattr(Whole, "close", close)
    defined = experiment("odd")
    make(defined, problem(defined)).close()
    kind = type(error).__name__
    assert f"policy 'odd' of tests can't close: {kind}: one two (test_policy.py:" in caplog.text


def test_a_package_s_policy_that_never_closes_is_left_at_that(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The experiment was done, and its command never ended."""
    ends = threading.Event()
    found(monkeypatch, EntryPoint("odd", "tests.policy.test_policy:Whole", POLICIES))
    monkeypatch.setattr(Whole, "close", lambda _self: ends.wait())
    monkeypatch.setattr(base, "CLOSE_S", 0)
    defined = experiment("odd")
    make(defined, problem(defined)).close()
    ends.set()
    assert "policy 'odd' of tests takes longer than 0 s to close: it is left at that" in caplog.text


def test_a_package_s_policy_that_only_proposes_can_be_told_all(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, EntryPoint("odd", "tests.policy.test_policy:Whole", POLICIES))
    point: Settings = {"dvfs": 1200}
    monkeypatch.setattr(Whole, "answer", point)
    defined = experiment("odd")
    policy = make(defined, problem(defined))
    assert isinstance(policy, Policy)
    assert policy.propose([]) == point
    assert policy.compares is False
    told: Any = policy
    assert isinstance(told, Follower)
    assert isinstance(told, CalibratedPolicy)
    assert isinstance(told, Ranking)
    told.expect(defined.workload.load())
    told.calibrate({})
    assert list(told.ranking()) == []
    with pytest.raises(PolicyError, match="can't learn: KeyError: 'nothing can be observed'"):
        policy.observe([])


@pytest.mark.parametrize(
    ("steps", "said", "lines_below"),
    [
        ([1, 6], "policy.options.steps[1]: is too many; allowed: up to 5", 4),
        ([6, 1], "policy.options: the first step is too many", 2),
    ],
)
def test_options_that_a_package_refuses_have_their_line(
    monkeypatch: pytest.MonkeyPatch, steps: list[int], said: str, lines_below: int
) -> None:
    found(monkeypatch, EntryPoint("picky", "tests.policy.test_policy:Picky", POLICIES))
    head = running.definition() + "policy:\n  name: picky\n"
    text = head + f"  options:\n    steps:\n      - {steps[0]}\n      - {steps[1]}\n"
    with pytest.raises(DefinitionError) as caught:
        check(loads(text, "test.yml"))
    assert said in str(caught.value)
    assert caught.value.line == head.count("\n") + lines_below


def test_a_check_that_breaks_is_the_package_s_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, EntryPoint("picky", "tests.policy.test_policy:Picky", POLICIES))
    with pytest.raises(PluginError, match="policy 'picky' of tests can't check its options: KeyError: 'nothing'"):
        check(loads(running.definition() + "policy: {name: picky, options: {steps: [1, 2]}}\n", "test.yml"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (-1, "-1"),
        ("64", "'64'"),
        (True, "True"),
        (None, "None"),
        pytest.param(10**5000, "a int that breaks when it is shown (ValueError)", id="huge"),
        (0, ""),
    ],
)
def test_a_log_s_bound_is_a_number_of_bytes_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, given: Any, said: str
) -> None:
    """One below 0 removed each file as soon as it was whole."""
    found(monkeypatch, EntryPoint("odd", "tests.policy.test_policy:Whole", POLICIES))
    monkeypatch.setattr(Whole, "log_bytes", staticmethod(lambda _experiment: given), raising=False)
    if not said:
        check(experiment("odd"))
        return
    with pytest.raises(DefinitionError) as caught:
        check(experiment("odd"))
    assert re.fullmatch(
        rf"test.yml:\d+: policy: policy 'odd' of tests: its log_bytes are {re.escape(said)}; allowed: a whole number"
        r" from 0 to 9007199254740991",
        str(caught.value),
    )
