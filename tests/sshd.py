"""A small SSH server on loopback that runs what it is asked to: the real protocol, without a system's sshd."""

import contextlib
import os
import pty
import shlex
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paramiko
import paramiko.common


@dataclass
class Sshd:
    """Where it listens, and which key it takes."""

    port: int
    key: Path
    commands: list[list[str]] = field(default_factory=list)
    forwarded: list[tuple[str, int]] = field(default_factory=list)
    """Where connections went that jumped through it."""


class _Server(paramiko.ServerInterface):
    def __init__(self, key: paramiko.PKey, found: Sshd) -> None:
        self._key = key
        self._commands = found.commands
        self._forwarded = found.forwarded
        self.jumps: dict[int, tuple[str, int]] = {}

    def check_channel_direct_tcpip_request(
        self, chanid: int, origin: tuple[str, int], destination: tuple[str, int]
    ) -> int:
        self._forwarded.append(destination)
        self.jumps[chanid] = destination
        return paramiko.common.OPEN_SUCCEEDED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.common.OPEN_SUCCEEDED

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.common.AUTH_SUCCESSFUL if key == self._key else paramiko.common.AUTH_FAILED

    def check_channel_pty_request(self, *_: object) -> bool:
        return True

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self._commands.append(shlex.split(command.decode()))
        threading.Thread(target=_run, args=(channel, command.decode()), daemon=True).start()
        return True


def _run(channel: paramiko.Channel, command: str) -> None:
    """As sshd does it: the account's shell on a terminal, hung up when the channel closes."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["/bin/sh", "-c", command], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)

    def hang_up() -> None:
        with contextlib.suppress(OSError, EOFError):
            while channel.recv(1024):
                pass
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGHUP)

    threading.Thread(target=hang_up, daemon=True).start()
    with contextlib.suppress(OSError):
        while data := os.read(ours, 65536):
            channel.sendall(data)
    os.close(ours)
    with contextlib.suppress(OSError, EOFError):
        channel.send_exit_status(process.wait() & 0xFF)
        channel.close()


def _forward(transport: paramiko.Transport, server: _Server) -> None:
    """Joins channels that are to go on with what they are to go to."""
    while transport.is_active():
        channel = transport.accept(0.2)
        if channel is not None and channel.get_id() in server.jumps:
            there = socket.create_connection(server.jumps[channel.get_id()])
            for source, sink in ((channel, there), (there, channel)):
                threading.Thread(target=_copy, args=(source, sink), daemon=True).start()


def _copy(source: Any, sink: Any) -> None:
    with contextlib.suppress(OSError, EOFError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.close()


@contextmanager
def listening(folder: Path, home: Path) -> Iterator[Sshd]:
    """A server whose key `home`'s known hosts name; its own files are in `folder`."""
    host_key, user_key = paramiko.RSAKey.generate(2048), paramiko.RSAKey.generate(2048)
    user_key.write_private_key_file(str(folder / "id"))
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    (home / ".ssh").mkdir(parents=True, exist_ok=True)
    with (home / ".ssh" / "known_hosts").open("a") as known:
        known.write(f"[127.0.0.1]:{port} {host_key.get_name()} {host_key.get_base64()}\n")
    found = Sshd(port, folder / "id")
    transports: list[paramiko.Transport] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # the listener was closed
            # One client that goes away, at whatever moment, is not the next one's fault.
            with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
                transport = paramiko.Transport(connection)
                transports.append(transport)
                transport.add_server_key(host_key)
                server = _Server(user_key, found)
                transport.start_server(server=server)
                threading.Thread(target=_forward, args=(transport, server), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)
        for transport in transports:
            transport.close()
