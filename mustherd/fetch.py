"""Pages over HTTP(S) from a server that may be slow, broken or hostile: within a time, and no longer than so much.

A socket's own timeout is one of each receipt: a server that sends a byte every few seconds holds whoever asks it for
days. Here all that comes over a connection has that time together. And what a server says of lengths is not believed:
http.client reads all that ever comes of a chunk whose length is told as -1.
"""

import http.client
import socket
import ssl
import time
import urllib.request
from typing import Any

PART_BYTES = 65_536


class _Timed:
    """Of a socket: its timeout, from the first receipt on, is that of all receipts together."""

    until: float | None = None

    def no_longer(self, sock: socket.socket) -> None:
        """Before a receipt. Raises TimeoutError."""
        if self.until is None:
            self.until = time.monotonic() + (sock.gettimeout() or 0.0)
        if (left := self.until - time.monotonic()) <= 0:
            raise TimeoutError("timed out")
        sock.settimeout(left)


class TimedSocket(socket.socket):
    """As its parent, within its timeout as a whole."""

    def recv_into(self, *args: Any, **more: Any) -> int:
        self.__dict__.setdefault("timed", _Timed()).no_longer(self)
        return super().recv_into(*args, **more)


class _TlsSocket(ssl.SSLSocket):
    def recv_into(self, *args: Any, **more: Any) -> int:
        self.__dict__.setdefault("timed", _Timed()).no_longer(self)
        return super().recv_into(*args, **more)


class PlainConnection(http.client.HTTPConnection):
    """As its parent, within its timeout as a whole."""

    def connect(self) -> None:
        super().connect()
        timeout = self.sock.gettimeout()
        self.sock = TimedSocket(fileno=self.sock.detach())
        self.sock.settimeout(timeout)


def timed(context: ssl.SSLContext) -> ssl.SSLContext:
    """The context, whose connections are within their timeout as a whole."""
    context.sslsocket_class = _TlsSocket
    return context


class _Plain(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(PlainConnection, req)


def opened(url: str, timeout: float) -> http.client.HTTPResponse:
    """As urllib.request.urlopen, within `timeout` seconds as a whole for each place that it is sent to."""
    encrypted = urllib.request.HTTPSHandler(context=timed(ssl.create_default_context()))
    answer: http.client.HTTPResponse = urllib.request.build_opener(_Plain, encrypted).open(url, timeout=timeout)
    return answer


def content(answer: http.client.HTTPResponse, most: int) -> bytes:
    """What an answer holds, or of more than `most` bytes the first `most` + 1. Raises OSError and HTTPException."""
    parts: list[bytes] = []
    left = most + 1
    while left > 0 and (part := answer.read1(min(left, PART_BYTES))):
        parts.append(part[:left])
        left -= len(parts[-1])
    if left > 0 and answer.length:
        raise http.client.IncompleteRead(b"".join(parts), answer.length)
    return b"".join(parts)
