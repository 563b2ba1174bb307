"""A load by command: its ramp, its window, and what becomes of what it prints."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mustherd.load import registry
from mustherd.load.address import Address
from mustherd.load.base import LoadSource, LoadTraits, Site
from mustherd.load.command.source import CommandSource, LoadCommand, report
from mustherd.load.curve import steps, under
from mustherd.load.error import LoadError
from mustherd.load.host import LocalHost
from mustherd.node.server import tree
from mustherd.plugins import LOADS, OptionError, plugin
from mustherd.reasons import Reason
from mustherd.terms import Load, LoadReport
from mustherd.testing.load import LoadContract
from tests.load.command.programs import HERE
from tests.load.command.test_server import made as server_made
from tests.waiting import until

pytestmark = pytest.mark.process

KNOCK = [*HERE, "knock", "{host}", "{port}", "{seconds}", "{qps}"]
METRICS = {
    "requests": {"at": "count"},
    "read_p50_us": {"at": "latency.p50"},
    "read_p99_us": {"at": "latency.p99"},
    "queue_length": {"at": "queue"},
}
NOWHERE = Address("127.0.0.1", 1)
LOAD = Load(qps=50)


def options(*more: str, **given: Any) -> LoadCommand:
    base = {"command": [*KNOCK, *more], "results": "json", "metrics": METRICS, "loop": "open", "begins": "^begins"}
    return msgspec.convert({**base, **given}, LoadCommand)


@pytest.fixture(scope="module")
def server() -> Iterator[Address]:
    """Where something listens."""
    served = server_made()
    served.start()
    yield served.address
    served.close()


@pytest.fixture
def site(server: Address, tmp_path: Path) -> Site:
    return Site(servers=(server,), leader=LocalHost(), ramp_s=0.0, window_s=1.0, logs=str(tmp_path / "load"))


def window(source: LoadSource, load: Load = LOAD) -> LoadReport:
    source.prepare()
    running = source.start(load, 1)
    running.open_window()
    return running.close_window()


@pytest.mark.long
class TestCommand(LoadContract):
    @pytest.fixture
    def traits(self) -> LoadTraits:
        return CommandSource.traits

    @pytest.fixture
    def load(self) -> Load:
        return LOAD

    @pytest.fixture
    def source(self, site: Site) -> Iterator[LoadSource]:
        made = CommandSource(site, options())
        yield made
        made.stop()

    @pytest.fixture
    def lost(self) -> LoadSource:
        return CommandSource(Site(servers=(NOWHERE,), leader=LocalHost(), window_s=1.0), options())


@pytest.mark.parametrize("more", [(), ("to={results}",)], ids=["printed", "in a file"])
def test_what_it_prints_is_the_report_and_is_kept(site: Site, tmp_path: Path, more: tuple[str, ...]) -> None:
    found = window(CommandSource(site, options(*more)))
    assert found.generator == Path(HERE[0]).name
    assert found.offered_qps == 50
    assert found.requests == found.samples > 30
    assert found.read_us["p50"] > 0
    assert found.metrics == {"queue_length": 7}
    assert found.t1_s - found.t0_s == pytest.approx(1.0, abs=0.8)
    kept = (tmp_path / "load" / "0001.txt").read_text()
    assert '"queue": 7' in kept
    assert not more or "--- results" in kept


def test_commands_run_once_before_the_first_window(site: Site, tmp_path: Path) -> None:
    note = ["sh", "-c", 'echo "$1" >> "$2"', "-", "at {port}", str(tmp_path / "notes")]
    source = CommandSource(site, options(prepare=[note]))
    source.prepare()
    for seed in (1, 2):
        running = source.start(LOAD, seed)
        running.open_window()
        assert running.close_window().requests
    assert (tmp_path / "notes").read_text() == f"at {site.servers[0].port}\n"


@pytest.mark.parametrize(
    ("given", "reason", "said"),
    [
        ({"command": [*KNOCK, "fails=1"], "begins": ""}, Reason.LOAD_FAILED, "ended with 3: connection lost"),
        ({"command": [*KNOCK, "fails=1"]}, Reason.LOAD_FAILED, "ended with 3: connection lost"),
        ({"command": ["no-such-load", "{seconds}", "{qps}"]}, Reason.TOOL_MISSING, "no-such-load is not installed"),
        ({"prepare": [["sh", "-c", "echo none; exit 4"]]}, Reason.LOAD_FAILED, "prepare: sh ended with 4: none"),
        ({"prepare": [["sleep", "60"]], "prepare_seconds": 0.2}, Reason.LOAD_TIMEOUT, "prepare: sleep takes longer"),
        ({"command": ["sleep", "60{seconds}", "{qps}"], "begins": "", "slack_seconds": 0.1}, Reason.LOAD_TIMEOUT,
         "sleep takes longer than 1 s"),
        ({"command": ["sh", "-c", 'rm "$0"', "{results}", "{seconds}", "{qps}"], "begins": ""}, Reason.LOAD_FAILED,
         "{results} of sh: No such file or directory"),
        ({"begins": "^never", "slack_seconds": 0.3}, Reason.LOAD_TIMEOUT, "does not print '^never', by which"),
        ({"metrics": {"requests": {"at": "answers"}}}, Reason.OUTPUT_UNREADABLE, "no requests in the load's output"),
        ({"results": "csv", "metrics": {"requests": {"at": "n"}}}, Reason.OUTPUT_UNREADABLE, "no requests"),
    ],
)  # fmt: skip
def test_what_goes_wrong_has_its_reason(site: Site, given: dict[str, Any], reason: Reason, said: str) -> None:
    source = CommandSource(site, options(**given))
    with pytest.raises(LoadError) as caught:
        window(source)
    source.stop()
    assert (caught.value.reason, said in caught.value.message) == (reason, True), caught.value.message


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"warm_up": ["sh", "-c", "echo cold; exit 5"]}, "warm_up: sh ended with 5: cold"),
        ({"command": ["sh", "-c", "exit 6", "{seconds}", "{qps}"]}, "ramp: sh ended with 6"),
    ],
)
def test_what_fails_in_the_ramp_is_called_by_its_key(site: Site, given: dict[str, Any], said: str) -> None:
    source = CommandSource(msgspec.structs.replace(site, ramp_s=0.2), options(**given))
    with pytest.raises(LoadError, match=said):
        window(source)
    source.stop()


ENDLESS = "import sys; sys.stdout.write('x' * 5000); sys.stdout.flush(); {}"


@pytest.mark.parametrize(
    ("command", "begins", "called"),
    [
        (["-c", ENDLESS.format("")], "", "stdout of "),
        (["-c", ENDLESS.format("import signal; signal.pause()")], "^never", "stdout of "),
        (["-c", ENDLESS.format("import signal; signal.pause()")], "", "stdout of "),
        (["-c", "import sys; open(sys.argv[1], 'w').write('x' * 5000)", "{results}"], "", "{results} of "),
        (["-c", "import os, sys; os.unlink(sys.argv[1]); os.symlink('/dev/zero', sys.argv[1])", "{results}"], "",
         "{results} of "),
        (["-c", "import signal, sys; open(sys.argv[1], 'w').write('x' * 5000); signal.pause()", "{results}"], "",
         "{results} of "),
    ],
    ids=["ended", "awaited", "running", "in a file", "in a file without an end", "running, in a file"],
)  # fmt: skip
def test_an_output_without_an_end_is_neither_read_nor_kept(
    site: Site, monkeypatch: pytest.MonkeyPatch, command: list[str], begins: str, called: str
) -> None:
    monkeypatch.setattr("mustherd.programs.MOST_PRINTED", 4000)
    whole = [HERE[0], *command, "{seconds}", "{qps}"]
    source = CommandSource(site, options(command=whole, begins=begins))
    with pytest.raises(LoadError) as caught:
        window(source)
    source.stop()
    assert caught.value.reason == Reason.OUTPUT_UNREADABLE
    assert caught.value.message == f"{called}{HERE[0]}: the load prints too much; allowed: 0 MiB"
    assert not list(Path(site.logs).glob("*"))


def test_a_curve_is_refused(site: Site) -> None:
    source = CommandSource(site, options())
    source.prepare()
    with pytest.raises(LoadError, match="follows no curve"):
        source.start(under(LOAD, steps([(5, 1), (6, 1)])), 1)


def test_who_is_told_requests_gets_so_many_as_fill_the_window(site: Site, tmp_path: Path) -> None:
    # A program that sends 2000 a second, and notes how many it was asked for.
    program = tmp_path / "sender"
    program.write_text(
        f'#!/bin/sh\necho "$1" >> {tmp_path / "asked"}\n'
        'sleep "$(awk -v n="$1" \'BEGIN {print n / 2000}\')"\necho "{\\"n\\": $1}"\n'
    )
    program.chmod(0o755)
    given = options(command=[str(program), "{requests}"], metrics={"requests": {"at": "n"}}, loop="closed", begins="")
    found = window(CommandSource(msgspec.structs.replace(site, ramp_s=1.0, window_s=0.5), given), Load(qps=0.0))
    asked = [int(line) for line in (tmp_path / "asked").read_text().split()]
    assert asked[0] == 1000, "nobody knows better at first"
    assert found.requests == asked[-1]
    assert 300 <= asked[-1] <= 1000
    assert found.offered_qps == found.achieved_qps, "a closed loop offers what is answered"


def test_a_report_is_in_the_loop_s_own_terms() -> None:
    told = {"achieved_qps": 90.0, "window_seconds": 2.0, "misses": 3.0, "update_p99_us": 5.0, "bytes_sent": 8.0}
    given = options()
    found = report(told, given, Load(qps=100), t0_s=10.0, t1_s=12.5)
    assert (found.t1_s, found.requests, found.achieved_qps, found.offered_qps) == (12.0, 180, 90, 100)
    assert (found.misses, found.update_us, found.metrics) == (3, {"p99": 5.0}, {"bytes_sent": 8.0})
    closed = msgspec.structs.replace(given, loop="closed")
    assert report(told, closed, Load(qps=100), t0_s=10.0, t1_s=12.5).offered_qps == 90
    with pytest.raises(LoadError, match="loaded for 0 s"):
        report({**told, "window_seconds": 0.0}, given, Load(qps=100), t0_s=10.0, t1_s=12.5)


def test_a_latency_that_outlasts_the_run_is_in_another_unit() -> None:
    found = {"requests": 100.0, "read_p99_us": 4.1e6}
    with pytest.raises(LoadError, match=r"read_p99_us of 4\.1 s is longer than the whole run of 2 s: .*another unit"):
        report(found, options(), LOAD, t0_s=5.0, t1_s=7.0)
    assert report(found | {"read_p99_us": 3.9e6}, options(), LOAD, t0_s=5.0, t1_s=7.0).read_us == {"p99": 3.9e6}


def test_what_is_the_same_of_all_its_loads_follows_its_options() -> None:
    raw = json.loads(msgspec.json.encode(options()))
    assert registry.traits_of("command", raw).open_loop
    assert registry.traits_of("command", raw).whole_seconds
    closed = {**raw, "loop": "closed", "command": ["x", "{requests}"]}
    assert not registry.traits_of("command", closed).open_loop
    assert not registry.traits_of("command", closed).whole_seconds
    assert registry.declares("command", raw) == {"queue_length": "less"}
    assert registry.declares("command", {"metrics": 5}) == {}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"command": ["x"]}, "command: nothing says how long it loads: it needs {seconds} or {requests}"),
        ({"command": ["x", "{secs}"]}, "command: {secs} means nothing here"),
        ({"command": ["x", "{seconds}"], "loop": "open"}, "loop: an open loop is told how many requests a second"),
        (
            {"metrics": {"read_p99_us": {"at": "x"}}},
            "metrics: how much was answered is needed; allowed: requests or ach",
        ),
        ({"metrics": {"requests": {"at": "x", "unit": "ms"}}}, "metrics.requests: requests: unit 'ms' is none of"),
        (
            {"metrics": {"requests": {"column": "x"}}},
            "metrics.requests: object contains unknown field `column`; allowed: at, row",
        ),
        ({"metrics": {"Requests": {"at": "x"}}}, "metrics"),
        ({"results": "xml"}, "results"),
        ({"begins": "("}, "begins: '(' is no pattern"),
        ({"prepare": [["x", "{seconds}"]]}, "prepare[0]: {seconds} means nothing here: there are {host}, {port}"),
        ({"warm_up": ["x", "{wat}"]}, "warm_up: {wat} means nothing here"),
    ],
)
def test_what_can_be_no_load_is_refused_with_its_place(given: dict[str, Any], said: str) -> None:
    raw = {"command": ["x", "{seconds}"], "results": "json", "metrics": METRICS, **given}
    with pytest.raises(OptionError) as caught:
        registry.check(plugin(LOADS, "command"), raw)
    assert said in str(caught.value)


@pytest.mark.process
def test_what_a_load_started_ends_with_it_in_a_session_of_its_own_too(tmp_path: Path) -> None:
    file = tmp_path / "helpers"
    # A helper beside it, and one that `setsid` has taken out of its group.
    text = f"sleep 1000 & a=$!; setsid sleep 1000 & echo $a $! > {file}.new; mv {file}.new {file}; wait"
    job = LocalHost().start(["sh", "-c", text])
    until(file.exists)
    helpers = [int(pid) for pid in file.read_text().split()]
    assert [len(tree.members(pid)) for pid in helpers] == [1, 1]
    job.end()
    until(lambda: not any(tree.members(pid) for pid in helpers))
