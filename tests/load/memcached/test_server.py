import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from mustherd.load.error import LoadError
from mustherd.load.memcached import counters
from mustherd.load.memcached.server import Memcached, MemcachedOptions, check
from mustherd.reasons import Reason
from tests.load.stand import served
from tests.typed import some


def test_the_reference_experiments_command() -> None:
    options = MemcachedOptions(
        listen="10.10.1.2",
        threads=16,
        memory_mb=32768,
        connections=8192,
        backlog=8192,
        protocol="binary",
        cores=tuple(range(16)),
    )
    assert " ".join(options.argv()) == (
        "taskset -c 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15 memcached -u nobody -l 10.10.1.2 -p 11211 -t 16 -m 32768 "
        "-c 8192 -b 8192 -B binary"
    )


def test_a_program_that_is_not_there() -> None:
    server = Memcached(MemcachedOptions(program="no-such-memcached"))
    with pytest.raises(LoadError) as caught:
        server.start()
    assert caught.value.reason == Reason.TOOL_MISSING
    server.close()


@pytest.mark.memcached
@pytest.mark.parametrize("protocol", ["auto", "ascii", "binary"])
def test_it_is_what_it_was_asked_to_be(protocol: str) -> None:
    with served(protocol=protocol, threads=3) as server:
        assert server.check() == []
        assert server.check(version="0.0.1")[0].endswith("asked for 0.0.1")
        before = server.counters()
        assert before.cmd_get == 0
        assert server.counters().since(before).cmd_get == 0


@pytest.mark.memcached
def test_what_is_not_as_asked_is_said() -> None:
    with served(threads=2) as server:
        wrong = MemcachedOptions(port=server.address.port, threads=5, connections=77)
        problems = check(wrong)
    assert any("2 threads, asked for 5" in p for p in problems)
    assert any("asked for 77" in p for p in problems)
    assert server.check()[0].startswith("memcached does not run")


@pytest.mark.memcached
def test_all_its_threads_are_pinned_and_stay_so_over_a_restart() -> None:
    core = max(os.sched_getaffinity(0))
    with served() as server:
        server.pin([core])
        assert {frozenset(os.sched_getaffinity(t)) for t in server.threads()} == {frozenset({core})}
        port = server.address.port
        server.restart(3)
        assert server.address.port == port
        assert {frozenset(os.sched_getaffinity(t)) for t in server.threads()} == {frozenset({core})}
        assert counters.stats(server.address, "settings")["num_threads"] == "3"
        with pytest.raises(LoadError, match="can't be pinned"):
            server.pin([])


@pytest.mark.memcached
def test_a_port_that_another_one_has() -> None:
    with served() as first:
        second = Memcached(MemcachedOptions(port=first.address.port))
        with pytest.raises(LoadError, match="already listens"):
            second.start()
        second.close()


@pytest.mark.memcached
def test_one_that_ends_at_its_start_leaves_its_last_words() -> None:
    server = Memcached(MemcachedOptions(port=0, threads=1, memory_mb=1, listen="127.0.0.1", protocol="auto"))
    broken = Memcached(MemcachedOptions(port=0, connections=1_000_000_000))
    with pytest.raises(LoadError) as caught:
        broken.start()
    assert caught.value.reason == Reason.SERVER_FAILED
    broken.close()
    server.close()


@pytest.mark.memcached
def test_one_that_was_killed_is_missed() -> None:
    with served() as server:
        os.kill(some(server.pid), signal.SIGKILL)
        some(server._process).wait()
        assert server.pid is None
        with pytest.raises(LoadError, match="does not run"):
            server.threads()
        with pytest.raises(LoadError) as caught:
            server.counters()
        assert caught.value.reason == Reason.SERVER_UNREACHABLE
        server.start()
        assert server.check() == []


OWNER = """
import os, signal
from mustherd.load.memcached.server import Memcached, MemcachedOptions
server = Memcached(MemcachedOptions(port=0))
server.start()
print(server.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.memcached
@pytest.mark.process
def test_it_ends_with_its_owner_however_that_ends() -> None:
    owner = subprocess.run([sys.executable, "-c", OWNER], capture_output=True, text=True, timeout=30, check=False)
    assert owner.returncode == -signal.SIGKILL
    server = psutil.Process(int(owner.stdout)) if psutil.pid_exists(int(owner.stdout)) else None
    deadline = time.monotonic() + 10
    while server is not None and server.is_running() and server.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "memcached outlived its owner"
        time.sleep(0.01)
