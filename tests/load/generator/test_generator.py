"""The generator against a real memcached. What is asserted of times is only which came before which."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from mustherd.load import curve
from mustherd.load.address import Address
from mustherd.load.base import Site
from mustherd.load.error import LoadError
from mustherd.load.generator.generator import Generator, plans
from mustherd.load.generator.options import Frames, GeneratorOptions, Ready, frame
from mustherd.load.generator.source import GeneratorSource
from mustherd.load.generator.worker import take_precedence
from mustherd.load.host import LocalHost
from mustherd.load.memcached.presets import load
from mustherd.load.memcached.server import Memcached
from mustherd.reasons import Reason
from mustherd.terms import LoadReport
from tests.load.stand import served
from tests.typed import some
from tests.waiting import until

pytestmark = [pytest.mark.memcached, pytest.mark.process]

SMALL = GeneratorOptions(records=500, connections=4)


def measured(generator: Generator, ramp_s: float = 0.1, window_s: float = 0.5) -> LoadReport:
    with generator:
        generator.ready()
        time.sleep(ramp_s)
        generator.open_window()
        time.sleep(window_s)
        return generator.close_window()


@pytest.mark.parametrize("protocol", ["binary", "ascii"])
@pytest.mark.parametrize("workers", [1, 2])
def test_what_it_reports_is_what_the_server_counted(protocol: str, workers: int) -> None:
    options = msgspec.structs.replace(SMALL, protocol=protocol, workers=workers)
    with served() as server:
        found = measured(Generator(options, [server.address], load("etc", 2000), seed=1))
    assert found.generator == "builtin"
    counters = found.counters
    # In flight at either end, requests due before the window that were answered in it, and what came between reading
    # the counters and the window's ends.
    slack = 256 + 2 * 2000 * counters["counters_slack_s"]
    assert abs(counters["cmd_get"] + counters["cmd_set"] - found.requests) <= slack
    assert found.misses == counters["get_misses"] == 0
    assert counters["errors"] == 0
    assert counters["get_hits"] == counters["cmd_get"] > 0
    assert counters["cmd_set"] > 0
    assert counters["server_cpu_seconds"] > 0
    assert counters["curr_connections"] >= 4 * workers
    assert found.requests == pytest.approx(found.achieved_qps * (found.t1_s - found.t0_s))
    for latencies in (found.read_us, found.update_us):
        ordered = [latencies[p] for p in ("p50", "p90", "p95", "p99", "p999")]
        assert ordered[0] > 0
        assert ordered == sorted(ordered)


def test_what_was_not_stored_is_missed() -> None:
    options = msgspec.structs.replace(SMALL, preload=False)
    with served() as server:
        found = measured(Generator(options, [server.address], load("etc", 2000, update_ratio=0.0), seed=1))
    assert found.misses == found.requests > 0
    assert found.counters["get_misses"] > 0


def stall(server: Memcached) -> None:
    """Hold the server for 0.4 s, at 1000 requests a second, and wait until it has answered what fell due meanwhile."""
    before = server.counters()
    os.kill(some(server.pid), signal.SIGSTOP)
    time.sleep(0.4)  # fixed: the stall whose requests are counted
    os.kill(some(server.pid), signal.SIGCONT)
    until(lambda: (now := server.counters().since(before)).cmd_get + now.cmd_set > 500)


def test_a_stall_of_the_server_is_in_the_latency_of_all_it_delayed() -> None:
    """Closed-loop generators send nothing meanwhile, and measure one slow request."""
    with served() as server, Generator(SMALL, [server.address], load("etc", 1000, outstanding=8), seed=1) as generator:
        generator.ready()
        generator.open_window()
        stall(server)
        found = generator.close_window()
    # Most of the window's requests fell due during the stall, and waited 200 ms on average.
    assert found.read_us["p90"] > 50_000
    assert found.read_us["p999"] > 300_000


def test_counted_from_when_they_were_sent_what_waited_unsent_is_left_out() -> None:
    options = msgspec.structs.replace(SMALL, count_from="sent")
    with (
        served() as server,
        Generator(options, [server.address], load("etc", 1000, outstanding=8), seed=1) as generator,
    ):
        generator.ready()
        generator.open_window()
        stall(server)
        found = generator.close_window()
    # Counted from when they were due, it is more than 300 ms; now the eight that were in flight show it, and no others.
    assert found.read_us["p90"] < 200_000


def test_a_load_that_changes_with_the_window() -> None:
    levels = curve.steps([(1000, 0.5), (4000, 10)])
    with served() as server:
        found = measured(
            Generator(SMALL, [server.address], curve.under(load("etc", 7), levels), seed=1), ramp_s=0.0, window_s=1.0
        )
    seconds = found.t1_s - found.t0_s
    assert found.offered_qps == pytest.approx(levels.requests(seconds) / seconds, rel=0.2)


def test_values_longer_than_a_buffer() -> None:
    options = msgspec.structs.replace(SMALL, value_size="400000", records=20)
    with served(memory_mb=256) as server:
        found = measured(Generator(options, [server.address], load("etc", 100, update_ratio=0.3), seed=1))
    assert found.requests > 0
    assert found.misses == found.counters["errors"] == 0


def test_more_than_it_can_send_is_no_valid_load() -> None:
    with served() as server:
        found = measured(Generator(SMALL, [server.address], load("etc", 5e6, outstanding=64), seed=1), window_s=0.3)
    assert found.saturated
    assert found.achieved_qps < found.offered_qps / 2


def test_one_that_sleeps_between_requests() -> None:
    options = msgspec.structs.replace(SMALL, blocking=True, cores=(min(os.sched_getaffinity(0)),))
    with served() as server:
        found = measured(Generator(options, [server.address], load("etc", 500), seed=1))
    assert found.requests > 0
    assert found.counters["generator_cpu_seconds"] < 0.9 * (found.t1_s - found.t0_s)


def test_several_servers_share_the_connections() -> None:
    with served() as one, served() as other:
        found = measured(Generator(SMALL, [one.address, other.address], load("etc", 2000), seed=1))
        assert min(one.counters().cmd_get, other.counters().cmd_get) > 0
    assert found.misses == 0


def test_a_server_that_goes_away_under_load() -> None:
    with served() as server, Generator(SMALL, [server.address], load("etc", 2000), seed=1) as generator:
        generator.open_window()
        server.stop()
        with pytest.raises(LoadError) as caught:
            generator.close_window()
    assert caught.value.reason == Reason.SERVER_UNREACHABLE


def test_nobody_to_load() -> None:
    with socket.socket() as taken:
        # Bound and not listened on: nobody else can take it, and it refuses.
        taken.bind(("127.0.0.1", 0))
        with (
            Generator(SMALL, [Address(*taken.getsockname())], load("etc", 10), seed=1) as generator,
            pytest.raises(LoadError) as caught,
        ):
            generator.open_window()
    assert caught.value.reason == Reason.SERVER_UNREACHABLE


@pytest.mark.parametrize("option", ["key_size", "value_size", "arrivals"])
def test_a_distribution_that_cannot_be_read(option: str) -> None:
    options = msgspec.structs.replace(SMALL, **{option: "zipf:1"})
    with (
        served() as server,
        Generator(options, [server.address], load("etc", 10), seed=1) as generator,
        pytest.raises(LoadError, match="zipf:1"),
    ):
        generator.ready()


def test_a_worker_that_was_killed_is_missed_and_none_outlives_the_load() -> None:
    with served() as server, Generator(SMALL, [server.address], load("etc", 1000), seed=1) as generator:
        generator.open_window()
        pids = generator.pids
        os.kill(pids[0], signal.SIGKILL)
        with pytest.raises(LoadError) as caught:
            generator.close_window()
    assert caught.value.reason == Reason.LOAD_FAILED
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_a_worker_that_can_not_say_what_is_wrong_to_anybody_ends_without_a_word() -> None:
    """Whoever made the load was killed, and the server went with it."""
    worker = subprocess.Popen(
        [sys.executable, "-m", "mustherd.load.generator.worker"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    some(worker.stdout).close()
    nobody = Address("127.0.0.1", 1)
    [plan] = plans(msgspec.structs.replace(SMALL, workers=1), [nobody], load("etc", 10), 1, curve.constant(10))
    with some(worker.stdin) as to:
        to.write(frame(plan))
    with some(worker.stderr) as said:
        assert said.read() == b""
    assert worker.wait() == 0


def test_a_window_closes_only_once_it_was_opened() -> None:
    with served() as server, Generator(SMALL, [server.address], load("etc", 10), seed=1) as generator:
        with pytest.raises(RuntimeError):
            generator.close_window()
        generator.stop()
        generator.stop()


def test_its_source_ends_one_load_before_the_next() -> None:
    with served() as server:
        source = GeneratorSource(Site(servers=(server.address,), leader=LocalHost(), window_s=1), SMALL)
        assert not source.check()
        first = source.start(load("etc", 100), 1)
        pids = first.pids
        second = source.start(load("etc", 100), 2)
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
        source.stop()
        assert not second.pids
    assert "no memcached" in source.check()[0]


@pytest.mark.parametrize(("qps", "early_us"), [(1000, 80), (25_000, 80), (50_000, 40), (200_000, 10)])
def test_it_finds_the_time_to_sleep(qps: int, early_us: int) -> None:
    options = GeneratorOptions(workers=2, blocking=True)
    found = plans(options, [], load("etc", qps), 1, curve.constant(qps))
    assert {p.early_us for p in found} == {early_us}


def test_a_load_that_would_fill_every_core_goes_before_nobody() -> None:
    """It never finds the time to sleep, and the server would be left without a core."""
    every = tuple(sorted(os.sched_getaffinity(0)))
    for options in (GeneratorOptions(workers=len(every), blocking=True), GeneratorOptions(cores=every, blocking=True)):
        found = plans(options, [], load("etc", 10), 1, curve.constant(10))
        assert not any(p.leaves_room for p in found)
    assert not take_precedence(blocking=True, alone=False, leaves_room=False)


@pytest.mark.parametrize(
    ("outstanding", "workers", "connections", "depth"),
    [(256, 2, 16, 8), (8, 2, 4, 1), (1, 1, 1, 1), (3, 2, 1, 1), (100, 2, 16, 3)],
)
def test_outstanding_requests_are_shared_out(outstanding: int, workers: int, connections: int, depth: int) -> None:
    options = GeneratorOptions(workers=2, connections=16)
    found = plans(options, [], load("etc", 10, outstanding=outstanding), 1, curve.constant(10))
    assert len(found) == workers
    assert {(p.connections, p.depth) for p in found} == {(connections, depth)}
    cores = len(os.sched_getaffinity(0))
    assert all(p.leaves_room == (workers < cores) for p in found)
    assert [p.worker for p in found] == list(range(workers))


def test_frames_come_out_whole_however_they_are_cut() -> None:
    frames, data = Frames(), frame(Ready()) * 3
    assert [len(frames.feed(data[k : k + 1])) for k in range(len(data))].count(1) == 3
    with pytest.raises(ValueError, match="a frame of"):
        Frames().feed(b"\xff" * 4)
