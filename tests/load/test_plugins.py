"""Loads and servers of other packages: found by name, told what they refuse, and believed only where they can be."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Annotated, Any

import msgspec
import pytest

from mustherd.definition import DefinitionError, Experiment, content, digest, loads
from mustherd.definition.plugin_options import check_load
from mustherd.load import registry
from mustherd.load.address import Address
from mustherd.load.base import LoadTraits, Site
from mustherd.load.error import LoadError
from mustherd.load.host import LocalHost
from mustherd.load.server import Preset, ServerProcess
from mustherd.plugins import LOADS, SERVERS, OptionError, PluginError, UnknownPluginError, plugin
from mustherd.reasons import Reason
from mustherd.terms import Load, LoadReport
from tests.plugged import found

SITE = Site(servers=(Address("127.0.0.1", 1),), leader=LocalHost(), window_s=1.0)
REPORT = LoadReport(
    generator="drip", t0_s=1.0, t1_s=2.0, offered_qps=5.0, achieved_qps=5.0, requests=5, misses=0, samples=5,
    read_us={"avg": 3.0, "p99": 4.0}, update_us={},
)  # fmt: skip


class Drip:
    """Answers what it is told to."""

    @dataclass
    class Options:
        depth: Annotated[int, msgspec.Meta(ge=1)] = 1

    traits = LoadTraits(servers=("tap",), open_loop=False)
    report: Any = REPORT
    breaks = ""

    def __init__(self, site: Site, options: Options) -> None:
        self._break("init")
        self.options = options

    @staticmethod
    def check_options(options: Options) -> None:
        if options.depth > 99:
            raise OptionError("is more than a tap gives", ("depth",), allowed="1..99")
        if options.depth == 42:
            print(1 / 0)

    def _break(self, where: str) -> None:
        if self.breaks == where:
            raise KeyError(f"no {where}")
        if self.breaks == f"{where}!":
            raise LoadError(Reason.AGENT_DEAD, "its own words")

    def prepare(self) -> None:
        self._break("prepare")

    def start(self, load: Load, seed: int) -> "Drip":
        self._break("start")
        return self

    def open_window(self) -> None:
        self._break("open")

    def close_window(self) -> Any:
        self._break("close")
        return self.report

    def stop(self) -> None:
        self._break("stop")

    def check(self) -> Sequence[str]:
        self._break("check")
        return ()


class Steady(Drip):
    """For the server that everybody knows, in whole seconds and at one load."""

    traits = LoadTraits(servers=("memcached",), open_loop=True, whole_seconds=True)


class Plain:
    """No load: it says nothing of itself."""


class Untold(Drip):
    traits = {"servers": ["tap"]}  # type: ignore[assignment]  # noqa: RUF012 - wrong on purpose


class Dry:
    traits = LoadTraits(servers=("tap",), open_loop=True)

    def start(self) -> None: ...


class Tap(ServerProcess):
    @dataclass
    class Options:
        turns: int = 1

    presets = {"warm": Preset(meaning="warm", update_ratio=0.5), "cold": Preset(meaning="cold")}  # noqa: RUF012
    load = "drip"

    def __init__(self, options: Options) -> None:
        super().__init__("tap")

    @property
    def version(self) -> str:
        return "tap 1"

    def close(self) -> None:
        """As many a server's: it ends what was never begun."""
        super().close()
        raise AttributeError("no process")


class Leak(Tap):
    presets = {"warm": "warm"}  # type: ignore[dict-item]  # noqa: RUF012 - wrong on purpose


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    here = "tests.load.test_plugins"
    names = {"drip": "Drip", "steady": "Steady", "plain": "Plain", "untold": "Untold", "dry": "Dry"}
    entries = [EntryPoint(name, f"{here}:{attribute}", LOADS) for name, attribute in names.items()]
    entries += [EntryPoint(name, f"{here}:{name.title()}", SERVERS) for name in ("tap", "leak", "plain")]
    found(monkeypatch, *entries)


def test_one_that_keeps_the_interface_is_made_with_its_options() -> None:
    source = registry.make("drip", SITE, {"depth": 3})
    source.prepare()
    running = source.start(Load(qps=5), 1)
    running.open_window()
    assert running.close_window() == REPORT
    assert list(source.check()) == []
    source.stop()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"overhead_s": math.nan}, "overhead_s is nan; allowed: 0..3600 s"),
        ({"overhead_s": -1e308}, "overhead_s is -1e+308; allowed: 0..3600 s"),
        ({"overhead_s": "x"}, "can't be used: Expected `float`, got `str` - at `$.overhead_s`"),
        ({"servers": 5}, "can't be used: Expected `array`, got `int` - at `$.servers`"),
    ],
)
def test_traits_that_no_load_can_have_are_told(
    monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any], said: str
) -> None:
    """A plan was a traceback."""
    traits = {"servers": ("tap",), "open_loop": False, **wrong}
    monkeypatch.setattr(Drip, "traits", LoadTraits(**traits))
    with pytest.raises(PluginError, match=r"load 'drip' of tests .*: its LoadTraits") as caught:
        registry.load_kind(plugin(LOADS, "drip"))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("plain", "load 'plain' of tests (tests.load.test_plugins:Plain) has no `traits`"),
        ("untold", "has no `traits`"),
        ("dry", "lacks check, prepare, stop: see mustherd.load.base.LoadSource"),
        ("drop", "no load 'drop' is installed; there are: builtin, command, drip"),
    ],
)
def test_what_is_no_load_is_named_and_the_others_work(name: str, said: str) -> None:
    with pytest.raises(PluginError) as caught:
        registry.make(name, SITE, {})
    assert said in str(caught.value)
    assert registry.make("drip", SITE, {})


@pytest.mark.parametrize(
    ("name", "said"),
    [("plain", "lacks address, close, load, pin"), ("leak", "its presets are no mustherd.load.server")],
)
def test_what_is_no_server_is_named(name: str, said: str) -> None:
    with pytest.raises(PluginError, match=said):
        registry.server_kind(plugin(SERVERS, name))


def test_a_load_that_is_a_part_of_its_node_is_offered_by_nobody_else() -> None:
    with pytest.raises(ValueError, match="load 'twin' is a part of its node"):
        registry.make("twin", SITE, {})


@pytest.mark.parametrize(
    ("breaks", "said"),
    [
        ("init", "be made"),
        ("prepare", "prepare"),
        ("start", "start"),
        ("open", "open a window"),
        ("close", "close a window"),
        ("check", "check itself"),
        ("stop", "stop"),
    ],
)
def test_whatever_it_raises_ends_the_attempt_and_names_it(
    monkeypatch: pytest.MonkeyPatch, breaks: str, said: str
) -> None:
    for text, reason in ((breaks, Reason.LOAD_FAILED), (f"{breaks}!", Reason.AGENT_DEAD)):
        monkeypatch.setattr(Drip, "breaks", text)
        with pytest.raises(LoadError) as caught:
            whole()
        assert caught.value.reason == reason
        foreign = f"load 'drip' of tests can't {said}: KeyError: 'no {breaks}' (test_plugins.py:LINE)"
        words = "its own words" if text.endswith("!") else foreign
        assert re.sub(r":\d+\)$", ":LINE)", caught.value.message) == words


def whole() -> None:
    source = registry.make("drip", SITE, {})
    source.prepare()
    source.check()
    running = source.start(Load(qps=5), 1)
    running.open_window()
    running.close_window()
    source.stop()


class Unsaid:
    def __repr__(self) -> str:
        raise KeyError("no text")


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (None, "reports None, which is no LoadReport"),
        ({"requests": 5}, "which is no LoadReport"),
        (msgspec.structs.replace(REPORT, achieved_qps=math.nan), "reports achieved_qps nan, which is no amount"),
        (msgspec.structs.replace(REPORT, requests=-1), "reports requests -1"),
        (msgspec.structs.replace(REPORT, read_us={"p99": math.inf}), "reports read_us.p99 inf"),
        (msgspec.structs.replace(REPORT, read_us={"p99": "fast"}), "reports read_us.p99 'fast'"),
        (msgspec.structs.replace(REPORT, counters={"drops": math.nan}), "reports counters.drops nan"),
        (msgspec.structs.replace(REPORT, requests=10**400), "reports requests 1000000"),
        (msgspec.structs.replace(REPORT, counters={"drops": 10**400}), "reports counters.drops 1000000"),
        (msgspec.structs.replace(REPORT, read_us=None), "reports read_us None, which is no mapping of amounts"),
        (msgspec.structs.replace(REPORT, counters=5), "reports counters 5, which is no mapping of amounts"),
        (msgspec.structs.replace(REPORT, requests=5.5), "Expected `int`, got `float` - at `$.requests`"),
        (msgspec.structs.replace(REPORT, generator=5), "Expected `str`, got `int` - at `$.generator`"),
        (msgspec.structs.replace(REPORT, misses=Unsaid()), "misses a Unsaid that breaks when it is shown (KeyError)"),
        (Unsaid(), "reports a Unsaid that breaks when it is shown (KeyError), which is no LoadReport"),
        ("x" * 10**6, "xxx..., which is no LoadReport"),
        (msgspec.structs.replace(REPORT, t1_s=1.0), "reports a window that ends before it begins"),
    ],
)
def test_a_report_that_holds_no_numbers_is_not_believed(
    monkeypatch: pytest.MonkeyPatch, report: Any, said: str
) -> None:
    monkeypatch.setattr(Drip, "report", report)
    with pytest.raises(LoadError, match="load 'drip' of tests") as caught:
        whole()
    assert caught.value.reason == Reason.OUTPUT_UNREADABLE
    assert said in caught.value.message
    assert len(caught.value.message) < 300


DEFINITION = """\
name: tap
herd:
  {herd}
workload:
  qps: 100
  window_seconds: 2
{workload}
knobs: {{server-cores: [1, 2]}}
objective: server_cpu_seconds
gates: {{achieved_ratio: {ratio}}}
"""


def defined(*lines: str, herd: str = "local: {}", ratio: float = 0) -> Experiment:
    text = DEFINITION.format(workload="".join(f"  {line}\n" for line in lines), herd=herd, ratio=ratio)
    return loads(text, "test.yml")


def test_a_server_brings_its_mixes_and_its_load() -> None:
    experiment = defined("server: tap")
    check_load(experiment)
    load = experiment.workload
    assert (load.preset, load.update_ratio) == ("warm", 0.5)
    assert load.offered_by == ("drip", {})
    assert load.load() == Load(qps=100, preset="warm", update_ratio=0.5)
    assert defined("server: tap", "preset: cold").workload.update_ratio == 0


def test_names_may_have_options() -> None:
    experiment = defined("server: {name: tap, options: {turns: 3}}", "generator: {name: drip, options: {depth: 3}}")
    check_load(experiment)
    assert experiment.workload.offered_by == ("drip", {"depth": 3})
    assert content(experiment)["workload"]["server"] == {"name": "tap", "options": {"turns": 3}}
    same = defined("server: {options: {turns: 3}, name: tap}", "generator: {name: drip, options: {depth: 3}}")
    assert digest(same) == digest(experiment)


def test_a_definition_without_them_is_what_it_was() -> None:
    said = content(defined("generator: builtin"))["workload"]
    assert said["generator"] == "builtin"
    assert "server" not in said
    assert digest(defined("generator: builtin")) == digest(defined("generator: {name: builtin}"))


@pytest.mark.parametrize(
    ("lines", "said", "key"),
    [
        (["server: tab"],
         "'tab'; allowed: command, leak, memcached, nginx, plain, postgresql, redis, tap; did you mean 'tap'?",
         "workload.server.name"),
        (["server: 5"], "should be a mapping, found '5'", "workload.server"),
        (["server: tap", "preset: etc"], "unknown preset 'etc'; allowed: warm, cold", "workload.preset"),
        (["generator: drap"], "unknown generator 'drap'", "workload.generator.name"),
        (["generator: {name: drip, opts: {}}"], "unknown key 'opts'", "workload.generator.opts"),
        (["server: tap", "generator: steady"], "'steady' can't load tap; allowed: command, drip, http, several, wrk",
         "workload.generator"),
        (["generator: drip"],
         "'drip' can't load memcached; allowed: builtin, command, http, memtier, mutilate, several, steady, twin, wrk",
         "workload.generator"),
        (["generator: twin"], "'twin' is a part of a simulated node", "workload.generator"),
        (["server: {name: tap, options: {turn: 3}}"], "unknown option 'turn'; allowed: turns; did you mean 'turns'?",
         "workload.server.options.turn"),
        (["server: {name: tap, options: {turns: x}}"], "should be a whole number, found 'x'",
         "workload.server.options.turns"),
        (["server: tap", "generator: {name: drip, options: {depth: 0}}"], "should be a whole number >= 1, found '0'",
         "workload.generator.options.depth"),
        (["server: tap", "generator: {name: drip, options: {depth: 100}}"], "is more than a tap gives; allowed: 1..99",
         "workload.generator.options.depth"),
        (["generator: steady", "curve: {steps: [[5, 1], [6, 1]]}"], "steady's load is constant within a window",
         "workload.curve"),
        (["generator: mutilate", "curve: {steps: [[5, 1], [6, 1]]}"], "mutilate's load is constant within a window",
         "workload.curve"),
        (["generator: mutilate", "window_seconds: 2.5"], "mutilate measures whole seconds", "workload.window_seconds"),
        (["generator: mutilate", "mutilate: {dpeth: 3}"], "unknown field `dpeth`", "workload.mutilate"),
        (["generator: {name: mutilate, options: {dpeth: 3}}"], "did you mean 'depth'?",
         "workload.generator.options.dpeth"),
        (["generator: {name: mutilate, options: {depth: 3}}", "mutilate: {depth: 4}"], "are said in 'mutilate' and in",
         "workload.mutilate"),
        (["generator: builtin", "mutilate: {depth: 4}"], "mutilate doesn't make this load", "workload.mutilate"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_load_has_its_line(lines: list[str], said: str, key: str) -> None:
    text = DEFINITION.format(workload="".join(f"  {line}\n" for line in lines), herd="local: {}", ratio=0)
    if any(line.startswith("curve") for line in lines):
        text = text.replace("  qps: 100\n", "")
    if any(line.startswith("window") for line in lines):
        text = text.replace("  window_seconds: 2\n", "")
    with pytest.raises(DefinitionError) as caught:
        check_load(loads(text, "test.yml"))
    assert said in str(caught.value)
    assert caught.value.key == key
    first = text.count("\n", 0, text.index("workload:")) + 2
    assert first <= caught.value.line <= first + 4


def test_a_closed_loop_s_answered_share_is_no_guard() -> None:
    with pytest.raises(DefinitionError, match=r"drip offers what is answered.*did you mean '0'") as caught:
        check_load(defined("server: tap", ratio=0.98))
    assert caught.value.key == "gates.achieved_ratio"


@pytest.mark.parametrize(
    ("line", "herd", "said"),
    [
        ("server: tap", "simulated: {}", "simulated nodes run memcached"),
        ("generator: drip", "simulated: {}", "simulated nodes load themselves"),
        ("server: {name: tap, options: {turns: 3}}", "inventory: lab", "only a local herd runs its server"),
    ],
)
def test_what_a_herd_cannot_do_is_said(line: str, herd: str, said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        check_load(defined(line, herd=herd))


def test_a_simulated_node_s_own_load_may_be_named() -> None:
    text = DEFINITION.format(workload="  generator: twin\n", herd="simulated: {}", ratio=0)
    experiment = loads(text.replace("server-cores: [1, 2]", "dvfs: [1200, 2600]"), "test.yml")
    check_load(experiment)


def test_a_check_that_breaks_is_the_package_s_fault() -> None:
    with pytest.raises(PluginError, match="load 'drip' of tests can't check its options: ZeroDivisionError"):
        check_load(defined("server: tap", "generator: {name: drip, options: {depth: 42}}"))


def test_a_server_without_worker_threads_has_no_knob_for_them() -> None:
    text = DEFINITION.format(workload="  server: tap\n", herd="local: {}", ratio=0)
    with pytest.raises(DefinitionError, match=r"unknown knob 'memcached-threads'; allowed: busy-poll") as caught:
        loads(text.replace("server-cores", "memcached-threads"), "test.yml")
    assert caught.value.key == "knobs.memcached-threads"
    assert loads(text.replace("server-cores", "memcached-threads").replace("server: tap", "preset: usr"), "test.yml")


def test_an_unknown_one_is_a_mistake_of_the_user() -> None:
    assert UnknownPluginError.exit_code == 2
    assert PluginError.exit_code == 3
