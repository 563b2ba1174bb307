"""What other packages' loads and servers say wrongly of themselves, told by name and before anything runs."""

from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any, TypedDict

import msgspec
import pytest

from mustherd.definition.plugin_options import check_load
from mustherd.load import local_server, registry
from mustherd.load.error import LoadError
from mustherd.load.server import Preset
from mustherd.node.server.process import ServerError
from mustherd.plugins import SERVERS, PluginError, plugin
from mustherd.terms import Load
from tests.load.test_plugins import REPORT, SITE, Drip, Tap, defined, installed
from tests.plugged import found

__all__ = ["installed"]


@pytest.mark.parametrize(
    ("presets", "own", "said"),
    [
        (None, "drip", "its presets are no mapping of names to Presets"),
        (["warm"], "drip", "its presets are no mapping of names to Presets"),
        ({1: Preset(meaning="warm")}, "drip", "its presets are no mapping of names to Presets"),
        ({}, 5, "its load is 5; allowed: a load's name, or ''"),
    ],
)
def test_a_server_that_says_something_else_of_itself_is_named(
    monkeypatch: pytest.MonkeyPatch, presets: Any, own: Any, said: str
) -> None:
    monkeypatch.setattr(Tap, "presets", presets)
    monkeypatch.setattr(Tap, "load", own)
    with pytest.raises(PluginError, match=r"^server 'tap' of tests \(tests.load.test_plugins:Tap\): ") as caught:
        check_load(defined("server: tap"))
    assert said in str(caught.value)


@pytest.mark.parametrize("error", [SystemExit("bye"), RuntimeError("bye")])
@pytest.mark.parametrize(("at", "said"), [("__init__", "be made"), ("start", "be started")])
def test_a_server_that_breaks_at_its_start_is_named(
    monkeypatch: pytest.MonkeyPatch, at: str, said: str, error: BaseException
) -> None:
    """One that left by sys.exit ended its muster again and again, and all that was told was that no muster joined."""

    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(Tap, at, broken)
    with pytest.raises(PluginError) as caught:
        local_server.node({"tap": {}})
    kind = type(error).__name__
    assert str(caught.value).startswith(f"server 'tap' of tests can't {said}: {kind}: bye (test_odd_plugins.py:")


@pytest.mark.parametrize(
    ("attribute", "value", "said"),
    [
        ("threads", lambda _self: 1 / 0, "can't say what threads it has: ZeroDivisionError: "),
        ("threads", lambda _self: ["a"], "can't say what threads it has: TypeError: 'str' object"),
        ("threads", lambda _self: (), "has no threads; allowed: their ids"),
        ("version", property(lambda _self: 1 / 0), "can't say what version it is: ZeroDivisionError: "),
        ("version", 5, "has version 5; allowed: text"),
        ("pin", lambda _self, _cores: 1 / 0, "can't be pinned: ZeroDivisionError: "),
    ],
)
def test_a_server_that_breaks_as_it_runs_is_named(
    monkeypatch: pytest.MonkeyPatch, attribute: str, value: Any, said: str
) -> None:
    monkeypatch.setattr(Tap, attribute, value)
    server = local_server.Server(Tap(Tap.Options()), "server 'tap' of tests")
    with pytest.raises(ServerError) as caught:
        server.pin([0]) if attribute == "pin" else getattr(server, "pid" if attribute == "threads" else attribute)
    assert str(caught.value).startswith(f"server 'tap' of tests {said}")
    server.close()


class Odd(dict[str, Any]):
    """A mapping that breaks in the middle of its own code."""

    error: BaseException = KeyError("torn")

    def items(self) -> Any:
        raise self.error

    __iter__ = values = items


@pytest.mark.parametrize("error", [KeyError("torn"), SystemExit(0)])
@pytest.mark.parametrize("part", ["read_us", "update_us", "counters", "metrics"])
def test_a_report_whose_own_mapping_breaks_is_named(
    monkeypatch: pytest.MonkeyPatch, part: str, error: BaseException
) -> None:
    monkeypatch.setattr(Odd, "error", error)
    monkeypatch.setattr(Drip, "report", msgspec.structs.replace(REPORT, **{part: Odd(a=1)}))
    with pytest.raises(LoadError, match=r"load 'drip' of tests can't say what it measured: (KeyError|SystemExit): "):
        registry.make("drip", SITE, {}).start(Load(qps=5), 1).close_window()


@pytest.mark.parametrize("error", [KeyError("torn"), SystemExit(0)])
def test_presets_whose_own_mapping_breaks_are_named(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    monkeypatch.setattr(Odd, "error", error)
    monkeypatch.setattr(Tap, "presets", Odd(warm=Preset(meaning="warm")))
    with pytest.raises(PluginError, match=r"^server 'tap' of tests can't say its presets: (KeyError|SystemExit): "):
        registry.server_kind(plugin(SERVERS, "tap"))


def test_a_load_that_is_not_installed_is_told_at_the_server_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tap, "load", "dripp")
    with pytest.raises(PluginError) as caught:
        check_load(defined("server: tap"))
    assert str(caught.value).startswith("test.yml:7: workload.server: no load 'dripp' is installed; there are: ")
    assert str(caught.value).endswith("did you mean 'drip'?")
    assert caught.value.exit_code == 2


def bare(_options: None) -> Tap:
    return Tap(Tap.Options())


def test_a_function_that_makes_servers_says_of_itself_what_a_class_says(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, EntryPoint("bare", "tests.load.test_odd_plugins:bare", SERVERS))
    with pytest.raises(PluginError, match=r"server 'bare' of tests .*: its presets are no mapping"):
        registry.server_kind(plugin(SERVERS, "bare"))


@pytest.mark.parametrize("told", [None, ["a"], 5, SystemExit(3), KeyError("x")])
def test_a_load_that_can_not_say_what_it_measures_declares_nothing(monkeypatch: pytest.MonkeyPatch, told: Any) -> None:
    """What it gave was taken apart past the guard: a definition that named it ended in a fault of our own."""

    def declares(_options: Any) -> Any:
        if isinstance(told, BaseException):
            raise told
        return told

    monkeypatch.setattr(Drip, "declares", staticmethod(declares), raising=False)
    assert registry.declares("drip", {}) == {}
    assert defined("server: tap").workload.offered_by == ("drip", {})


class Plainly:
    depth = 1


class Typed(TypedDict):
    depth: int


@dataclass
class Unsound:
    depth: int = 1

    def __post_init__(self) -> None:
        raise KeyError("nothing")


@dataclass
class Forward:
    depth: "Nowhere" = 1  # type: ignore[name-defined]  # noqa: F821 - wrong on purpose


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Plainly, r"Drip.Options is neither a dataclass nor a msgspec struct"),
        (Typed, r"Drip.Options is neither a dataclass nor a msgspec struct"),
        ({"depth": int}, r"Drip.Options is neither a dataclass nor a msgspec struct"),
        (Unsound, r"Drip.Options can't be used: KeyError: 'nothing' \(test_odd_plugins.py:\d+\)"),
        (Forward, r"Drip.Options can't be used: NameError: name 'Nowhere' is not defined"),
    ],
)
def test_options_that_nothing_can_be_made_of_are_the_package_s_fault(
    monkeypatch: pytest.MonkeyPatch, options: Any, said: str
) -> None:
    monkeypatch.setattr(Drip, "Options", options)
    with pytest.raises(PluginError, match=said) as caught:
        check_load(defined("server: tap", "generator: {name: drip, options: {depth: 1}}"))
    assert str(caught.value).startswith("test.yml:8: workload.generator: tests.load.test_plugins.Drip.Options")
