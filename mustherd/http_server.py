"""A small HTTP server that strangers may reach: what all of them together make a process hold is bounded.

The standard library's has a thread for every connection, however many there are, and a timeout for each receipt: who
opens a thousand connections and says nothing takes a daemon's descriptors, who sends a byte now and then a thread for
days. Here few requests are heard at a time, and each has one time to be said in.
"""

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Any

from mustherd.fetch import TimedSocket

MOST_AT_ONCE = 32
"""Requests that are heard or answered at the same time; who comes then waits for a moment and is refused."""
WAIT_SECONDS = 1.0
PATIENCE_SECONDS = 10.0
"""For a client to say what it wants, as a whole, and again to take the answer."""


class BoundedServer(ThreadingHTTPServer):
    """Serves until it is shut down."""

    daemon_threads = True
    request_queue_size = 128
    """Connections that the kernel holds for it meanwhile."""

    def __init__(self, address: str, port: int, handler: type["BoundedHandler"]) -> None:
        """Raises ValueError for what is no address, OSError where it can't listen there."""
        self.address_family = socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET
        self._slots = threading.BoundedSemaphore(MOST_AT_ONCE)
        super().__init__((address, port), handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        request, client = super().get_request()
        return TimedSocket(fileno=request.detach()), client

    def process_request(self, request: Any, client_address: Any) -> None:
        """Before a thread is made: those that wait have none."""
        if not self._slots.acquire(timeout=WAIT_SECONDS):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._slots.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nobody's business."""


class BoundedHandler(BaseHTTPRequestHandler):
    """One request."""

    timeout = PATIENCE_SECONDS

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        """Without saying which Python this is."""
        self.connection.settimeout(PATIENCE_SECONDS)
        self.send_response_only(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads a log of who looked; an address may have a token in it."""
