"""How a test bed's hosts reach beyond, and how they are reached; here over loopback."""

import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mustherd.testbed.mirror import Mirror


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(65536):
            self.request.sendall(data)


@pytest.fixture
def echo() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@contextmanager
def serving(folder: Path, *tunnels: int) -> Iterator[tuple[str, int]]:
    (folder / "files").mkdir()
    mirror = Mirror("", "127.0.0.1", 0, cache=folder / "cache", files=folder / "files", tunnels=tunnels)
    try:
        yield "127.0.0.1", int(mirror.url.rpartition(":")[2])
    finally:
        mirror.close()


def asked(where: tuple[str, int], request: str) -> bytes:
    with socket.create_connection(where, timeout=10) as client:
        client.sendall(f"{request} HTTP/1.0\r\n\r\n".encode())
        return b"".join(iter(lambda: client.recv(65536), b""))


def test_the_mirror_serves_its_files_and_nothing_beside_them(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret")
    with serving(tmp_path) as where:
        (tmp_path / "files/a.tar").write_text("content")
        assert asked(where, "GET /a.tar").endswith(b"content")
        assert asked(where, "HEAD /a.tar").endswith(b"Content-Length: 7\r\n\r\n")
        for request in ("GET /b.tar", "GET /../key", "GET //../key"):
            answer = asked(where, request)
            assert b" 404 " in answer
            assert b"secret" not in answer


def test_a_tunnel_carries_bytes_both_ways_until_both_have_ended(tmp_path: Path, echo: int) -> None:
    with serving(tmp_path, echo) as where, socket.create_connection(where, timeout=10) as client:
        client.sendall(f"CONNECT 127.0.0.1:{echo} HTTP/1.1\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += client.recv(1)
        assert b" 200 " in head
        sent = bytes(range(256)) * 4000

        def send() -> None:
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)

        writer = threading.Thread(target=send)
        writer.start()
        assert b"".join(iter(lambda: client.recv(65536), b"")) == sent
        writer.join()


def test_a_tunnel_leads_to_the_ports_of_https_alone(tmp_path: Path, echo: int) -> None:
    with serving(tmp_path, 443) as where:
        assert b" 403 " in asked(where, f"CONNECT 127.0.0.1:{echo}")
        assert b" 403 " in asked(where, "CONNECT nothing")


@pytest.mark.process
def test_a_dialled_host_is_joined_to_standard_input_and_output(echo: int) -> None:
    command = [sys.executable, "-m", "mustherd.testbed.proxy_command", "127.0.0.1", str(echo)]
    sent = b"x" * 300_000
    answer = subprocess.run(command, input=sent, capture_output=True, check=False, timeout=30)
    assert (answer.returncode, answer.stdout) == (0, sent)


@pytest.mark.process
def test_a_host_that_does_not_answer_is_named(free_ports: tuple[int, int, int, int]) -> None:
    command = [sys.executable, "-m", "mustherd.testbed.proxy_command", "127.0.0.1", str(free_ports[0])]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert answer.returncode == 1
    assert answer.stderr.startswith(f"127.0.0.1 port {free_ports[0]}: ")
    assert answer.stderr.count("\n") == 1
