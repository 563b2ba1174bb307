"""Servers of values that trickle, lie about lengths or never end: an error within the time, and no memory."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mustherd.load import application
from mustherd.load.application import ApplicationMetric, value_now
from mustherd.meters import web
from mustherd.sampling import UnreadableError
from tests.meters.devices import certificate

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def trickle(connection: socket.socket, begin: bytes) -> None:
    connection.sendall(begin)
    for _ in range(200):
        connection.sendall(b"x")
        time.sleep(0.05)  # fixed: that is how it trickles


def flood(connection: socket.socket, begin: bytes) -> None:
    connection.sendall(begin)
    for _ in range(200):
        connection.sendall(bytes(1 << 20))


def say(connection: socket.socket, begin: bytes) -> None:
    connection.sendall(begin)


Way = Callable[[socket.socket, bytes], None]


class Server:
    """Answers each connection in one way."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.way: Way = trickle
        self.begin = b""
        self.sent = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._socket = context.wrap_socket(self._socket, server_side=True)
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.recv(65_536)
                    self.way(connection, self.begin)
                except OSError:
                    pass

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["http", "https"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Server, Callable[[], object]]]:
    """A server, and asking it: as an application's, and as a meter's."""
    if request.param == "http":
        found = Server()
        metric = ApplicationMetric(endpoint=f"http://127.0.0.1:{found.port}/", series="x")
        yield found, lambda: value_now("x_bytes", metric)
    else:
        file, digest = certificate(tmp_path)
        found = Server(file)
        site = web.Site(f"https://127.0.0.1:{found.port}/", certificate_sha256=digest)
        yield found, site.page
    found.close()


@pytest.mark.parametrize("begin", [HEAD + b"X: ", HEAD + b"\r\n", CHUNKED + b"ffff\r\n", CHUNKED])
def test_one_that_trickles_is_given_up(server: tuple[Server, Any], begin: bytes, monkeypatch: Any) -> None:
    monkeypatch.setattr(application, "ANSWER_S", 0.3)
    monkeypatch.setattr(web, "ANSWER_S", 0.3)
    slow, ask = server
    slow.way, slow.begin = trickle, begin
    began = time.monotonic()
    with pytest.raises(UnreadableError, match="timed out"):
        ask()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("begin", [HEAD + b"\r\n", CHUNKED + b"-1\r\n", CHUNKED + b"ffffffff\r\n"])
def test_of_one_without_an_end_no_more_is_read_than_is_allowed(server: tuple[Server, Any], begin: bytes) -> None:
    endless, ask = server
    endless.way, endless.begin = flood, begin
    with pytest.raises(UnreadableError, match=r"more than \d MiB"):
        ask()


def test_one_that_sends_less_than_it_says_is_an_error(server: tuple[Server, Any]) -> None:
    short, ask = server
    short.way, short.begin = say, HEAD + b"Content-Length: 100\r\n\r\nx 1\n"
    with pytest.raises(UnreadableError, match="IncompleteRead"):
        ask()
