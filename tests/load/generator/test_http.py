"""HTTP/1.1 by the built-in generator: answers in any pieces, and a load on a real server."""

import http.server
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mustherd.load.address import Address
from mustherd.load.base import LoadSource, LoadTraits, Site
from mustherd.load.generator.answers import ProtocolError
from mustherd.load.generator.http import HttpOptions, HttpSource, answers, request
from mustherd.load.generator.tally import Tally
from mustherd.load.host import LocalHost
from mustherd.terms import Load
from mustherd.testing.load import LoadContract

WHOLE = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n",
    b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno",
]


def counted(tally: Tally) -> tuple[int, int]:
    return len(tally.reads.values), len(tally.errors.values)


@given(st.lists(st.sampled_from(range(len(WHOLE))), max_size=12), st.lists(st.integers(1, 40), min_size=1, max_size=60))
def test_answers_are_counted_once_however_they_come_in_pieces(which: list[int], pieces: list[int]) -> None:
    text = b"".join(WHOLE[number] for number in which)
    tally, pending = Tally(), deque([0.5] * len(which))
    buffer, at = bytearray(), 0
    while at < len(text):
        size = pieces[at % len(pieces)]
        buffer += text[at : at + size]
        at += size
        used = answers(buffer, len(buffer), pending, 1.0, tally)
        del buffer[:used]
    assert counted(tally) == (len(which), which.count(4))
    assert (len(pending), len(buffer)) == (0, 0)
    assert set(tally.reads.values) <= {0.5}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"SSH-2.0-OpenSSH\r\n\r\n", "no answer"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "without Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "must keep them alive"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "no size of a chunk"),
        (b"x" * 70_000, "longer than 64 KiB"),
    ],
)
def test_what_is_no_answer_is_an_error(text: bytes, said: str) -> None:
    with pytest.raises(ProtocolError, match=said):
        answers(bytearray(text), len(text), deque([0.1]), 1.0, Tally())


@given(st.binary(max_size=300))
def test_any_bytes_are_answers_or_one_kind_of_error(content: bytes) -> None:
    for text in (content, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + content):
        try:
            assert 0 <= answers(bytearray(text), len(text), deque([0.1] * 400), 1.0, Tally()) <= len(text)
        except ProtocolError:
            continue


def test_a_request_names_its_host() -> None:
    assert request(Address("::1", 8080), "/a?b=c").startswith(b"GET /a?b=c HTTP/1.1\r\nHost: [::1]:8080\r\n")
    assert b"Host: 10.0.0.1\r\n" in request(Address("10.0.0.1", 80), "/")


class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/" else 404)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[Address]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield Address("127.0.0.1", made.server_address[1])
        made.shutdown()


@pytest.mark.process
@pytest.mark.long
class TestHttp(LoadContract):
    @pytest.fixture
    def traits(self) -> LoadTraits:
        return HttpSource.traits

    @pytest.fixture
    def load(self) -> Load:
        return Load(qps=100, preset="", outstanding=8)

    @pytest.fixture
    def source(self, server: Address) -> Iterator[LoadSource]:
        made = HttpSource(Site(servers=(server,), leader=LocalHost(), ramp_s=0.1, window_s=1.0), HttpOptions())
        yield made
        made.stop()

    @pytest.fixture
    def lost(self) -> LoadSource:
        return HttpSource(Site(servers=(Address("127.0.0.1", 1),), leader=LocalHost(), window_s=1.0), HttpOptions())

    def test_pages_that_fail_are_a_metric_and_nothing_is_said_of_the_server_s_time(
        self, server: Address, load: Load
    ) -> None:
        site = Site(servers=(server,), leader=LocalHost(), ramp_s=0.1, window_s=0.5)
        made = HttpSource(site, HttpOptions(path="/nowhere"))
        made.prepare()
        running = made.start(load, 1)
        running.open_window()
        threading.Event().wait(0.5)
        report = running.close_window()
        made.stop()
        assert report.metrics["failed_requests"] > 10
        assert "server_cpu_seconds" not in report.counters
        assert "generator_busy" in report.counters
