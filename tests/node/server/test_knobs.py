"""The knobs of a process keep the contract of a knob: on a memcached, on a file, and on a made-up server."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mustherd.load.local_server import WorkerServer
from mustherd.load.memcached.server import Memcached
from mustherd.node.knob import Knob, KnobError, check
from mustherd.node.server.knobs import BusyPoll, CpuQuota, ServerCores, ServerThreads
from mustherd.node.server.process import ServerError
from mustherd.testing.knob import KnobContract
from tests.load.stand import served
from tests.node.server.test_group import Machine

TITLE = "server 'memcached'"
CORES = tuple(sorted(os.sched_getaffinity(0)))


class OnMemcached:
    @pytest.fixture
    def memcached(self) -> Iterator[Memcached]:
        with served() as memcached:
            yield memcached

    @pytest.fixture
    def settle(self) -> Callable[[], None]:
        return lambda: None


@pytest.mark.memcached
@pytest.mark.skipif(len(CORES) < 2, reason="a choice of cores needs two")
class TestServerCores(OnMemcached, KnobContract):
    @pytest.fixture
    def knob(self, memcached: Memcached) -> ServerCores:
        return ServerCores(WorkerServer(memcached, TITLE), CORES)

    @pytest.fixture
    def same_knob(self, memcached: Memcached) -> ServerCores:
        return ServerCores(WorkerServer(memcached, TITLE), CORES)

    @pytest.fixture
    def overwrite(self, memcached: Memcached) -> Callable[[int], object]:
        def write(value: int) -> None:
            for thread in memcached.threads():
                os.sched_setaffinity(thread, CORES[:value])

        return write

    def test_one_thread_that_strayed_is_seen_in_what_runs(self, knob: Knob, memcached: Memcached) -> None:
        knob.write(1)
        os.sched_setaffinity(memcached.threads()[-1], CORES[:2])
        reading = check(knob, 1)
        assert (reading.applied, reading.running, reading.held) == (1, 2, False)

    def test_it_outlives_a_restart(self, knob: Knob, memcached: Memcached) -> None:
        knob.write(1)
        memcached.restart(3)
        assert check(knob, 1).held


@pytest.mark.memcached
class TestServerThreads(OnMemcached, KnobContract):
    @pytest.fixture
    def knob(self, memcached: Memcached) -> ServerThreads:
        return ServerThreads(WorkerServer(memcached, TITLE), 2, lambda: None)

    @pytest.fixture
    def same_knob(self, memcached: Memcached) -> ServerThreads:
        return ServerThreads(WorkerServer(memcached, TITLE), 2, lambda: None)

    @pytest.fixture
    def overwrite(self, memcached: Memcached) -> Callable[[int], object]:
        return memcached.restart

    def test_it_restarts_only_for_a_change_and_says_so(self, memcached: Memcached) -> None:
        restarts = []
        knob = ServerThreads(WorkerServer(memcached, TITLE), 2, lambda: restarts.append(memcached.pid))
        first = memcached.pid
        knob.write(2)
        assert restarts == []
        knob.write(3)
        assert restarts == [memcached.pid]
        assert first != memcached.pid


class TestSysctl(KnobContract):
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        file = tmp_path / "busy_poll"
        file.write_text("0\n")
        return file

    @pytest.fixture
    def knob(self, file: Path) -> BusyPoll:
        return BusyPoll(file)

    @pytest.fixture
    def same_knob(self, file: Path) -> BusyPoll:
        return BusyPoll(file)

    @pytest.fixture
    def settle(self) -> Callable[[], None]:
        return lambda: None

    @pytest.fixture
    def overwrite(self, file: Path) -> Callable[[int], object]:
        return lambda value: file.write_text(f"{value}\n")

    def test_a_file_that_went_away(self, knob: Knob, file: Path) -> None:
        file.unlink()
        file.mkdir()
        assert not check(knob, 5).held
        with pytest.raises(KnobError, match="busy-poll"):
            knob.write(5)


class TestCpuQuota(KnobContract):
    @pytest.fixture(params=[True, False], ids=["v2", "v1"])
    def machine(self, request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
        machine = Machine(tmp_path / "cgroup", request.param)
        machine.offer(machine.home)
        return machine

    @pytest.fixture
    def knob(self, machine: Machine) -> CpuQuota:
        return CpuQuota(machine.group(), 2)

    @pytest.fixture
    def same_knob(self, machine: Machine) -> CpuQuota:
        return CpuQuota(machine.group(), 2)

    @pytest.fixture
    def settle(self) -> Callable[[], None]:
        return lambda: None

    @pytest.fixture
    def overwrite(self, machine: Machine) -> Callable[[int], object]:
        return lambda value: machine.group().limit(value * 10_000)

    def test_all_cores_worth_is_no_limit(self, knob: Knob, machine: Machine) -> None:
        knob.write(200)
        assert machine.group().quota_us() == -1
        assert knob.info.names == {200: "unlimited"}

    def test_a_group_that_went_away(self, knob: Knob, machine: Machine) -> None:
        path = machine.group().path
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
        assert "herd" in check(knob, 40).error
        with pytest.raises(KnobError, match="cpu-quota"):
            knob.write(40)


class Gone:
    """A server that has ended."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        def fail(*_: object) -> None:
            raise ServerError("it has ended")

        return fail


def test_knobs_of_a_server_that_ended_are_errors() -> None:
    gone: Any = Gone()
    for knob in (ServerCores(gone, (0, 1)), ServerThreads(gone, 2, lambda: None)):
        reading = check(knob, 1)
        assert not reading.held
        assert "it has ended" in reading.error
        with pytest.raises(KnobError, match="it has ended"):
            knob.write(1)
