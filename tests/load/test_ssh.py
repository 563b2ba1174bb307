"""A machine that runs programs of the load: this one, and one that is reached by ssh."""

import getpass
import hashlib
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from mustherd.load.address import Address
from mustherd.load.base import Site
from mustherd.load.command.source import CommandSource, LoadCommand
from mustherd.load.error import LoadError
from mustherd.load.host import Host, Job, LocalHost
from mustherd.load.memcached.counters import Counters
from mustherd.load.memcached.presets import load
from mustherd.load.mutilate import source
from mustherd.load.mutilate.command import MutilateOptions
from mustherd.load.placement import Place
from mustherd.load.server import free_port
from mustherd.load.ssh import SshHost
from mustherd.reasons import Reason
from mustherd.terms import Load
from tests.load.mutilate import pretend
from tests.sshd import Sshd, listening
from tests.waiting import until

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Iterator[Sshd]:
    with listening(tmp_path_factory.mktemp("sshd"), home) as server:
        yield server


def place(sshd: Sshd) -> Place:
    return Place(address="10.9.8.7", host="127.0.0.1", user=getpass.getuser(), port=sshd.port, key=str(sshd.key))


@pytest.fixture(params=["here", "ssh"])
def host(request: pytest.FixtureRequest, sshd: Sshd, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setenv("HOME", str(home))
    if request.param == "here":
        yield LocalHost("10.9.8.7")
        return
    far = SshHost(place(sshd))
    yield far
    far.close()


def ended(job: Job) -> int | None:
    until(lambda: job.ended() is not None)
    return job.ended()


def test_its_name_is_its_address_in_the_herd(host: Host) -> None:
    assert host.name == "10.9.8.7"
    assert host.is_here == isinstance(host, LocalHost)


def test_arguments_arrive_as_they_are_and_both_outputs_come_back(host: Host) -> None:
    words = ["two words", "$HOME", "*", "'", ""]
    job = host.start(["sh", "-c", 'for word; do echo "<$word>"; done; echo oh >&2; exit 7', "sh", *words])
    assert ended(job) == 7
    assert job.output().splitlines() == [*(f"<{word}>" for word in words), "oh"]
    job.end()
    job.end()


def test_what_it_says_is_heard_while_it_runs_and_it_ends_when_told(host: Host, tmp_path: Path) -> None:
    mark = tmp_path / "ended"
    job = host.start(["sh", "-c", f"trap 'echo > {mark}; exit' HUP TERM; echo begun; while :; do sleep 0.05; done"])
    until(lambda: "begun" in job.output())
    assert job.ended() is None
    job.end()
    until(mark.exists)


def test_equal_programs_have_equal_digests(host: Host) -> None:
    found = shutil.which("sh")
    assert found is not None
    assert host.digest("sh") == host.digest("sh") == hashlib.sha256(Path(found).read_bytes()).hexdigest()
    with pytest.raises(LoadError) as caught:
        host.digest("no-such-program; true")
    assert caught.value.reason == Reason.TOOL_MISSING


def test_a_file_is_filled_there_and_taken_away(host: Host) -> None:
    file = host.new_file()
    job = host.start(["sh", "-c", 'seq 1 3000 > "$0"', file])
    assert ended(job) == 0
    job.end()
    assert host.take(file).splitlines() == [str(k) for k in range(1, 3001)]
    assert not Path(file).exists()
    with pytest.raises(LoadError):
        host.take(file)


def test_no_more_is_read_than_an_answer_may_have(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    # Half of it would fit, so that what a terminal adds to each line's end is no reason.
    monkeypatch.setattr("mustherd.programs.MOST_PRINTED", 300_000)
    file = host.new_file()
    job = host.start(["sh", "-c", 'yes | head -c 300000 | tee "$0"', file])
    assert ended(job) == 0
    assert (job.length(), job.output()) == (300_000, "y\n" * 150_000)
    job.end()
    assert host.take(file, "results") == "y\n" * 150_000
    file = host.new_file()
    job = host.start(["sh", "-c", 'yes | head -c 3000000 | tee "$0"', file])
    assert ended(job) == 0
    assert job.length() == 3_000_000
    assert len(job.output()) < 700_000
    job.end()
    with pytest.raises(LoadError, match=r"results.*: the load prints too much; allowed: 0 MiB"):
        host.take(file, "results")
    assert not Path(file).exists()


def test_a_connection_that_was_lost_is_made_again(
    sshd: Sshd, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HOME", str(home))
    caplog.set_level("DEBUG", "mustherd")
    far = SshHost(place(sshd))
    try:
        assert ended(far.start(["true"])) == 0
        far.close()
        assert ended(far.start(["true"])) == 0
    finally:
        far.close()
    said = [record.getMessage() for record in caplog.records if record.name == "mustherd.load.ssh"]
    assert said == [f"ssh: logging in as {getpass.getuser()}@127.0.0.1:{sshd.port}", "ssh 127.0.0.1: true"] * 2


def test_who_is_not_let_in_says_so(sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(LoadError, match="log in once by hand") as caught:
        SshHost(place(sshd)).start(["true"])
    assert caught.value.reason == Reason.LOAD_FAILED


def test_a_leader_by_ssh_leads_an_agent_here(
    sshd: Sshd, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(source, "total", lambda _: Counters(cmd_get=5))
    monkeypatch.setattr(source, "SLACK_S", 20.0)
    monkeypatch.setattr(source, "AGENT_START_TIMEOUT_S", 20.0)
    program = str(pretend.install(tmp_path / "mutilate"))
    options = MutilateOptions(program=program, agent_port=free_port(), agent_threads=1)
    leader = SshHost(place(sshd))
    site = Site(servers=(), leader=leader, agents=(LocalHost(),), window_s=1)
    loads = source.MutilateSource(site, options)
    try:
        loads.prepare()
        assert loads.check() == []
        running = loads.start(load("etc", 20_000), 1)
        running.open_window()
        report = running.close_window()
    finally:
        loads.stop()
        leader.close()
    assert report.achieved_qps == 20_000
    assert (report.samples, report.read_us["p999"]) == (1000, 998.5), "fetched from where the leader ran"
    assert report.t1_s - report.t0_s == 1


@pytest.mark.long
def test_a_load_by_command_runs_where_its_leader_is(
    sshd: Sshd, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(home))
    leader = SshHost(place(sshd))
    noted = tmp_path / "calls"
    # What it prints goes to a file where it runs, and is fetched; a word with blanks and quotes stays one word.
    script = (
        "import sys, time; "
        "open(sys.argv[1], 'a').write(sys.argv[5] + chr(10)); time.sleep(float(sys.argv[2])); "
        "open(sys.argv[3], 'w').write('count 90, p99 1.5 ms')"
    )
    command = (sys.executable, "-c", script, str(noted), "{seconds}", "{results}", "{qps}", 'it\'s "one" $HOME word')
    options = msgspec.convert(
        {
            "command": command, "loop": "open", "results": "regex", "prepare": [["true"]],
            "metrics": {"requests": {"at": r"count (\d+)"}, "read_p99_us": {"at": r"p99 ([\d.]+) (ms)"}},
        },
        LoadCommand,
    )  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = Address("127.0.0.1", server.getsockname()[1])
        site = Site(servers=(where,), leader=leader, ramp_s=0.2, window_s=1.0, logs=str(tmp_path / "load"))
        loads = CommandSource(site, options)
        try:
            loads.prepare()
            running = loads.start(Load(qps=90), 1)
            running.open_window()
            report = running.close_window()
            nobody = CommandSource(msgspec.structs.replace(site, servers=(Address("127.0.0.1", free_port()),)), options)
            with pytest.raises(LoadError, match=r"from 10\.9\.8\.7 nothing is reached at 127\.0\.0\.1"):
                nobody.prepare()
        finally:
            loads.stop()
            leader.close()
    assert (report.requests, report.read_us) == (90, {"p99": 1500.0})
    assert noted.read_text().splitlines() == ['it\'s "one" $HOME word'] * 2, "the ramp, and the window"
    assert "count 90" in next((tmp_path / "load").glob("*.txt")).read_text()
    assert not list(home.glob("*mustherd*")), "nothing is left where it ran"
