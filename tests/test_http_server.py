"""Strangers at a page or at /metrics: what they make a process hold is bounded, and none of them stays for ever."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.request import urlopen

import pytest

from mustherd import http_server
from mustherd.scrape import served
from tests.waiting import until


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(http_server, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(http_server.BoundedHandler, "timeout", 0.5)
    monkeypatch.setattr(http_server, "WAIT_SECONDS", 0.02)
    with served("0", lambda: [("up", "It is.", [({}, 1.0)])]) as address:
        yield int(address.split(":")[2].partition("/")[0])


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def said(one: socket.socket, what: bytes) -> bool:
    """Whether it could be said to a server that still listens."""
    time.sleep(0.05)  # fixed: it says little
    try:
        one.sendall(what)
    except OSError:
        return False
    return True


def test_a_crowd_that_says_nothing_takes_few_threads_and_descriptors(port: int) -> None:
    threads, open_ones = threading.active_count(), descriptors()
    with ExitStack() as crowd:
        for _ in range(150):
            crowd.enter_context(socket.create_connection(("127.0.0.1", port)))
        counts: list[int] = []
        while len(counts) < 50:
            time.sleep(0.01)
            counts.append(threading.active_count())
        assert threads < max(counts) <= threads + http_server.MOST_AT_ONCE
        assert descriptors() <= open_ones + 150 + http_server.MOST_AT_ONCE + 1
    until(lambda: threading.active_count() <= threads)
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        assert b"up 1.0" in answer.read()


def test_who_says_a_byte_now_and_then_is_not_heard_for_days(port: int) -> None:
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port)) as slow:
        until(lambda: not said(slow, b"G"))
    assert time.monotonic() - began < 10


def test_a_page_that_is_none_is_said(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as one:
        one.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert one.makefile("rb").readline() == b"HTTP/1.0 404 Not Found\r\n"
