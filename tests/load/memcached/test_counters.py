import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from mustherd.load.address import Address
from mustherd.load.error import LoadError
from mustherd.load.memcached import counters
from mustherd.load.memcached.counters import Counters
from mustherd.reasons import Reason

STATS = {"rusage_user": "1.5", "rusage_system": "0.25", "curr_connections": "3", "cmd_get": "10", "get_hits": "9"}


@pytest.fixture
def answering() -> Iterator[Callable[[bytes], Address]]:
    """Starts a server that sends its answer to whoever says something."""
    listeners = []

    def start(answer: bytes) -> Address:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve() -> None:
            link, _ = listener.accept()
            with link:
                link.recv(4096)
                link.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        return Address("127.0.0.1", listener.getsockname()[1])

    yield start
    for listener in listeners:
        listener.close()


def test_stats_become_counters() -> None:
    found = counters.parse(STATS)
    assert found == Counters(server_cpu_seconds=1.75, cmd_get=10, get_hits=9, curr_connections=3)
    assert found.plain()["server_cpu_seconds"] == 1.75


def test_a_window_is_a_difference_but_for_open_connections() -> None:
    before = Counters(server_cpu_seconds=1, cmd_get=10, get_hits=8, curr_connections=5)
    after = Counters(server_cpu_seconds=3, cmd_get=30, get_hits=27, get_misses=1, curr_connections=2)
    assert after.since(before) == Counters(
        server_cpu_seconds=2, cmd_get=20, get_hits=19, get_misses=1, curr_connections=5
    )


def test_a_server_started_anew_within_a_window_is_an_error() -> None:
    with pytest.raises(LoadError, match="started anew"):
        Counters(cmd_get=5, server_cpu_seconds=9).since(Counters(cmd_get=6))


def test_several_servers_add_up() -> None:
    assert counters.total([Counters(cmd_get=1, curr_connections=2), Counters(cmd_get=5)]) == Counters(
        cmd_get=6, curr_connections=2
    )


@pytest.mark.parametrize("broken", [{}, {**STATS, "rusage_user": "a while"}, {**STATS, "cmd_get": "1.5"}])
def test_stats_that_are_none(broken: dict[str, str]) -> None:
    with pytest.raises(LoadError) as caught:
        counters.parse(broken)
    assert caught.value.reason == Reason.SERVER_MISMATCH


@pytest.mark.parametrize(
    ("answer", "binary", "reason"),
    [
        (b"", False, Reason.SERVER_UNREACHABLE),
        (b"ERROR\r\n", False, Reason.SERVER_MISMATCH),
        (b"SSH-2.0-OpenSSH_9.2\r\n", False, Reason.SERVER_MISMATCH),
        (b"E" * 24, True, Reason.SERVER_MISMATCH),
        (b"\x81" + b"\0" * 10, True, Reason.SERVER_UNREACHABLE),
    ],
)
def test_what_answers_may_be_no_memcached(
    answering: Callable[[bytes], Address], answer: bytes, binary: bool, reason: Reason
) -> None:
    with pytest.raises(LoadError) as caught:
        counters.version(answering(answer), binary)
    assert caught.value.reason == reason


def test_nobody_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(LoadError) as caught:
            counters.read(Address("127.0.0.1", taken.getsockname()[1]))
    assert caught.value.reason == Reason.SERVER_UNREACHABLE
