"""The outside world of the containers: a proxy, caching for Debian's packages, and a server of local files.

It listens inside the test bed's network namespace and fetches from outside of it: a socket belongs to the namespace
that it was made in, whoever uses it.
"""

import contextlib
import ctypes
import hashlib
import os
import select
import shutil
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Container
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CLONE_NEWNET = 0x40000000
CONNECT_S = 20.0
IDLE_S = 120.0


class Mirror:
    """`http://ADDRESS:PORT` as a proxy, and `http://ADDRESS:PORT/PATH` for what is below `files`.

    `tunnels` are the ports that a host may be connected to beyond, unread, as https asks for.
    """

    def __init__(
        self, namespace: str, address: str, port: int, *, cache: Path, files: Path, tunnels: Container[int] = (443,)
    ) -> None:
        cache.mkdir(parents=True, exist_ok=True)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                try:
                    if self.path.startswith("http://"):
                        self._forward()
                    else:
                        self._serve()
                except (BrokenPipeError, ConnectionResetError):
                    pass

            def do_HEAD(self) -> None:
                """As a client asks that wants to know whether a file is there."""
                if self.path.startswith("http://"):
                    self.send_error(501)
                else:
                    self._serve()

            def do_CONNECT(self) -> None:
                host, _, number = self.path.rpartition(":")
                if not (number.isdecimal() and int(number) in tunnels):
                    self.send_error(403, "only https goes beyond")
                    return
                try:
                    beyond = socket.create_connection((host, int(number)), timeout=CONNECT_S)
                except OSError as error:
                    self.send_error(502, str(error))
                    return
                self.send_response(200)
                self.end_headers()
                self.close_connection = True
                with beyond:
                    _splice(self.connection, beyond)

            def _serve(self) -> None:
                path = (files / self.path.partition("?")[0].lstrip("/")).resolve()
                if path.is_relative_to(files.resolve()) and path.is_file():
                    self._send(path)
                else:
                    self.send_error(404)

            def _forward(self) -> None:
                key = cache / hashlib.sha256(self.path.encode()).hexdigest()
                keep = self.path.endswith(".deb")
                if not (keep and key.exists()):
                    part = cache / f"{key.name}.{threading.get_ident()}"
                    try:
                        with urllib.request.urlopen(self.path, timeout=60) as answer, part.open("wb") as file:  # noqa: S310
                            shutil.copyfileobj(answer, file)
                    except urllib.error.HTTPError as error:
                        self.send_error(error.code)
                        return
                    except OSError as error:
                        self.send_error(502, str(error))
                        return
                    part.replace(key)
                self._send(key)
                if not keep:
                    key.unlink(missing_ok=True)

            def _send(self, path: Path) -> None:
                with path.open("rb") as file:
                    self.send_response(200)
                    self.send_header("Content-Length", str(os.fstat(file.fileno()).st_size))
                    self.end_headers()
                    if self.command == "GET":
                        shutil.copyfileobj(file, self.wfile)

            def log_message(self, format: str, *args: object) -> None:
                pass

        listener = _listen(namespace, address, port)
        self.url = f"http://{address}:{listener.getsockname()[1]}"
        self._server = ThreadingHTTPServer((address, port), Handler, bind_and_activate=False)
        self._server.daemon_threads = True
        self._server.socket.close()
        self._server.socket = listener
        self._thread = threading.Thread(target=self._server.serve_forever, name="mirror", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _splice(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until both sides have ended or nothing has moved for a while."""
    open_ends = {one: other, other: one}
    with contextlib.suppress(OSError):
        while open_ends:
            ready, _, _ = select.select(list(open_ends), [], [], IDLE_S)
            if not ready:
                return
            for source in ready:
                data = source.recv(65536)
                if data:
                    open_ends[source].sendall(data)
                else:
                    open_ends.pop(source).shutdown(socket.SHUT_WR)


def _listen(namespace: str, address: str, port: int) -> socket.socket:
    """A listening socket in the network namespace; an empty name is the one that we are in."""
    if not namespace:
        return socket.create_server((address, port))
    made: list[socket.socket] = []
    failed: list[BaseException] = []

    def make() -> None:
        # Only this thread moves there, and it ends with the function.
        try:
            with Path(f"/run/netns/{namespace}").open("rb") as file:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.setns(file.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), f"cannot enter the namespace {namespace}")
            made.append(socket.create_server((address, port), backlog=64))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]
