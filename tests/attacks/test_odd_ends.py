"""Clones of one muster, a search that is killed, a flood of refusals, a pipe for a journal, four starts at once."""

import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import msgspec
import pytest
import zmq

from mustherd.client import HerdClient
from mustherd.definition.problem import problem
from mustherd.learn.base import Observation
from mustherd.learn.worker import SearchProcess
from mustherd.muster import muster as muster_module
from mustherd.muster.journal import Journal, JournalError
from mustherd.policy.base import PolicyError
from mustherd.policy.tune import RESTARTS, Tune
from mustherd.shepherd.intake import GONE_LOGGED, Intake
from mustherd.shepherd.roster import LIVES_MOST, REFUSALS_LOGGED
from mustherd.shepherd.session import MusterSession
from mustherd.store.store import Store
from mustherd.wire import codec
from mustherd.wire import messages as m
from mustherd.wire.endpoints import MusterEndpoint, WireError, new_session
from mustherd.wire.keys import create
from tests.experiment.simulated import defined
from tests.herding import muster, shepherd
from tests.running import begin, definition
from tests.waiting import PATIENCE_S, until
from tests.wire.test_codec import HELLO


@pytest.mark.herd
def test_of_two_clones_the_one_that_joined_last_stays_and_it_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(muster_module, "REFUSED_PERIOD_S", 0.1)
    refusals: list[m.Refusal] = []
    handle = muster_module.Muster.handle

    def counted(self: muster_module.Muster, message: m.Down | m.Credit | m.Decision) -> None:
        if isinstance(message, m.Refusal):
            refusals.append(message)
        handle(self, message)

    monkeypatch.setattr(muster_module.Muster, "handle", counted)
    with shepherd() as (running, ports), muster(ports, tmp_path / "a"):
        until(running.musters)
        first = running.musters()["muster-1"].muster_epoch
        with muster(ports, tmp_path / "b"):
            until(lambda: running.musters()["muster-1"].muster_epoch != first)
            stays = running.musters()["muster-1"].muster_epoch
            until(lambda: len(refusals) > 10)
            assert running.musters()["muster-1"].muster_epoch == stays
            assert running.musters()["muster-1"].presence == "alive"
        # With it gone the other one may join.
        until(lambda: running.musters()["muster-1"].muster_epoch != stays)
        until(lambda: running.musters()["muster-1"].presence == "alive")
    said = [record.message for record in caplog.records if "two processes call themselves muster-1" in record.message]
    # Once by the shepherd, once by the muster.
    assert len(said) == 2


MEASURED = {"energy_joules": 1.0, "read_p99_us": 100.0, "achieved_ratio": 1.0}


def kill_search(policy: Tune) -> None:
    assert isinstance(policy._search, SearchProcess)
    os.kill(policy._search.pid, signal.SIGKILL)


@pytest.mark.process
def test_a_search_that_is_killed_is_begun_again_and_told_everything() -> None:
    experiment = defined(search='{"method":"grid"}')
    policy = Tune(experiment, problem(experiment))
    try:
        tried = []
        for _ in range(3):
            point = policy.propose([])
            assert point is not None
            tried.append(dict(point))
            policy.observe([Observation(point=point, metrics=MEASURED)])
            kill_search(policy)
        assert len({str(sorted(point.items())) for point in tried}) == 3
        # Twice so far; the third kill of before is among these.
        for _ in range(RESTARTS - 2):
            kill_search(policy)
            assert policy.propose([]) is not None
        kill_search(policy)
        with pytest.raises(PolicyError, match="the process of the search 'grid' was killed by signal 9"):
            policy.propose([])
    finally:
        policy.close()


@pytest.mark.herd
def test_a_flood_of_refusals_fills_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        with shepherd() as (_, ports):
            for number in range(3 * REFUSALS_LOGGED):
                socket = context.socket(zmq.DEALER)
                socket.setsockopt(zmq.ROUTING_ID, b"m-%d;x" % number)
                socket.connect(f"tcp://127.0.0.1:{ports.pulse}")
                socket.send(codec.encode(m.Stranger(version=99)))
                assert socket.poll(20_000)
                assert isinstance(codec.down(socket.recv()), m.Refusal)
                socket.close(linger=0)
    finally:
        context.destroy(linger=0)
    said = [record.message for record in caplog.records if "refus" in record.message]
    assert len(said) == REFUSALS_LOGGED + 1
    assert said[-1].startswith("further refusals are not logged for ")


@pytest.mark.herd
def test_one_that_makes_up_lives_is_refused_before_it_drowns_all_else(tmp_path: Path) -> None:
    with shepherd() as (running, ports), muster(ports, tmp_path / "a"):
        until(running.musters)
        end = MusterEndpoint("odd", "127.0.0.1", ports)
        answers: list[m.Down | m.Credit | m.Decision] = []

        def told_a_hundred_times() -> bool:
            # Each hello is another life's, as fast as they are answered.
            end.send_pulse(msgspec.structs.replace(HELLO, muster="odd", muster_epoch=new_session(), groups=()))
            answers.extend(end.receive(0.05))
            return sum(isinstance(answer, m.Refusal) for answer in answers) >= 100

        try:
            until(told_a_hundred_times)
        finally:
            end.close()
        assert sum(isinstance(answer, m.Welcome) for answer in answers) == LIVES_MOST
        [reason] = {answer.reason for answer in answers if isinstance(answer, m.Refusal)}
        assert f"it has started more than {LIVES_MOST} times in 60 s" in reason
        events = []
        while not running.events.empty():
            events.append(running.events.get())
        assert len(events) < LIVES_MOST + 10
        assert running.musters()["muster-1"].presence == "alive"


@pytest.mark.long
@pytest.mark.process
def test_whoever_takes_all_descriptors_does_not_end_the_shepherd(tmp_path: Path) -> None:
    """Without a key and without a word: connections are all that it takes, where a process may have few descriptors."""
    create(tmp_path / "keys", ["shepherd", "operator"])
    with shepherd() as (_, ports):
        pass
    words = ",".join(map(str, msgspec.structs.astuple(ports)))
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)); from mustherd.cli import main; main()"
    )
    command = [sys.executable, "-c", program, "shepherd", "run", "--ports", words, "--keys", str(tmp_path / "keys")]
    with (tmp_path / "log").open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    client = HerdClient(f"127.0.0.1:{ports.coordinate}", tmp_path / "keys")
    crowd: list[socket.socket] = []

    def answered() -> bool:
        try:
            client.status()
        except WireError:
            return False
        return True

    try:
        until(answered, 3 * PATIENCE_S)
        for number in range(600):
            port = (ports.pulse, ports.log, ports.control, ports.coordinate)[number % 4]
            crowd.append(socket.create_connection(("127.0.0.1", port), 20))
        # Those that say nothing are ended after HANDSHAKE_MS; then whoever has something to say gets through.
        until(answered, 3 * PATIENCE_S)
        assert process.poll() is None
    finally:
        for one in crowd:
            one.close()
        process.terminate()
    assert process.wait(30) == 0
    assert b"Traceback" not in (tmp_path / "log").read_bytes()


class OneMuster:
    """Of a roster and of its sink what an offer asks for."""

    sessions: ClassVar[dict[str, MusterSession]] = {}
    log = 1

    def watermark(self, muster: str, spool: int) -> int:
        return 0


def test_a_flood_of_spools_with_gaps_fills_no_log(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    intake = Intake(OneMuster(), OneMuster(), OneMuster(), 1, now=lambda: now[0])  # type: ignore[arg-type]
    session = MusterSession(HELLO)
    for minute in range(2):
        now[0] = 60.0 * minute
        for spool in range(1000 * minute, 1000 * minute + 500):
            intake.offer("odd", session, m.Offer(muster_epoch=1, shepherd_epoch=1, spool=spool + 1, first=7))
    said = [record.message for record in caplog.records]
    assert said[0] == "muster odd: blocks 1 to 6 are gone"
    assert len(said) == 2 * (GONE_LOGGED + 1)
    assert said[GONE_LOGGED].startswith("muster odd: further gaps are not logged for ")


@pytest.mark.parametrize("name", ["originals.json", "originals.copy.json", "put-back.json"])
def test_a_pipe_where_a_file_should_be_is_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name, 0o600)
    if name == "put-back.json":
        journal = Journal(tmp_path)
        assert journal.take_word() is None
        journal.close()
        return
    with pytest.raises(JournalError, match="not a regular file"):
        Journal(tmp_path)


@pytest.mark.long
@pytest.mark.process
def test_of_four_starts_in_one_folder_one_runs_and_the_others_are_told(tmp_path: Path) -> None:
    (tmp_path / "x.yml").write_text(definition(musters=1, trials=3, repeats=1))
    where: list[Path | str] = [tmp_path / "x.yml", "--into", tmp_path / "x"]
    runs = [begin("experiment", "start", *where, "--no-report", "--json", folder=tmp_path / "x") for _ in range(4)]
    ended = [run.finish() for run in runs]
    [won] = [code for code, _, _ in ended if code != 2]
    assert won in (0, 1)
    for code, out, err in ended:
        if code == 2:
            assert out == ""
            assert len(err.splitlines()) == 1
            assert str(tmp_path / "x") in err
    with Store.open(tmp_path / "x", read_only=True) as store:
        assert store.experiment().status == "done"
