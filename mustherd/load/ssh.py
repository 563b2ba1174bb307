"""One node by ssh, for what needs a live channel: a command whose output is followed, and files fetched with resume."""

import shlex
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import paramiko  # type: ignore[import-untyped]

from mustherd.errors import UserError

CONNECT_S = 15.0
KEEPALIVE_S = 15
BLOCK = 256 * 1024
"""Bytes read at once; large enough to fill a fast link, small enough for progress to be seen."""


class ChannelError(UserError):
    """A node cannot be reached or refuses; the message names it and the fix."""


@dataclass(frozen=True)
class Target:
    """Where to log in. Without a key the agent's and the account's own keys are tried; host keys are always checked."""

    host: str
    user: str
    port: int = 22
    key: Path | None = None
    known_hosts: Path | None = None


class Channel:
    """A login on a node."""

    def __init__(self, target: Target, client: paramiko.SSHClient) -> None:
        self._target = target
        self._client = client

    @property
    def alive(self) -> bool:
        """Whether the connection still stands."""
        transport = self._client.get_transport()
        return transport is not None and bool(transport.is_active())

    def open(self, command: Sequence[str]) -> paramiko.Channel:
        """Start a command with a terminal, so that it ends when its channel or the connection does."""
        try:
            transport = self._client.get_transport()
            if transport is None:
                raise EOFError("not connected")
            channel = transport.open_session(timeout=CONNECT_S)
            channel.get_pty(width=1000)
            channel.exec_command(shlex.join(command))
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise ChannelError(f"{self._target.host}: lost while starting {command[0]}: {error}") from None
        return channel

    def run(self, command: list[str], on_line: Callable[[str], None] = lambda _line: None) -> int:
        """Run a command, its output handed over line by line as it comes; returns its exit code.

        The command gets a terminal, so that it ends when the connection does.
        """
        try:
            _, output, _ = self._client.exec_command(shlex.join(command), get_pty=True)
            for line in output:
                on_line(line.rstrip("\r\n"))
            return int(output.channel.recv_exit_status())
        except (paramiko.SSHException, OSError) as error:
            raise ChannelError(f"{self._target.host}: lost while running {command[0]}: {error}") from None

    def fetch(self, remote: str, local: Path, on_bytes: Callable[[int, int], None] = lambda _have, _of: None) -> None:
        """Fetch a file; an interrupted fetch goes on where it stopped. `on_bytes` gets bytes had and in all.

        What has come so far is beside `local` with `.part` appended; `local` itself is whole or not there.
        """
        part = local.with_name(local.name + ".part")
        try:
            with self._client.open_sftp() as sftp, sftp.open(remote, "rb") as source:
                whole = source.stat().st_size or 0
                have = part.stat().st_size if part.exists() else 0
                if have > whole:
                    part.unlink()
                    have = 0
                source.seek(have)
                with part.open("ab") as file:
                    while have < whole:
                        block = source.read(BLOCK)
                        if not block:
                            break
                        file.write(block)
                        have += len(block)
                        on_bytes(have, whole)
        except FileNotFoundError:
            raise ChannelError(f"{self._target.host}: {remote}: no such file") from None
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise ChannelError(f"{self._target.host}: {remote}: {error}; fix: fetch again, it goes on") from None
        if have != whole:
            raise ChannelError(f"{self._target.host}: {remote}: {have} of {whole} bytes; fix: fetch again, it goes on")
        part.replace(local)


@contextmanager
def connect(target: Target) -> Iterator[Channel]:
    """Log in; raises ChannelError, never accepting a host key that is not known."""
    with paramiko.SSHClient() as client:
        if target.known_hosts is None:
            client.load_system_host_keys()
        else:
            client.load_host_keys(str(target.known_hosts))
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        where = f"{target.user}@{target.host}:{target.port}"
        try:
            client.connect(
                target.host,
                port=target.port,
                username=target.user,
                key_filename=str(target.key) if target.key else None,
                look_for_keys=target.key is None,
                allow_agent=target.key is None,
                timeout=CONNECT_S,
                banner_timeout=CONNECT_S,
                auth_timeout=CONNECT_S,
            )
        except paramiko.BadHostKeyException:
            raise ChannelError(
                f"{where}: its host key has changed; fix: if the node was installed anew: ssh-keygen -R {target.host}"
            ) from None
        except paramiko.AuthenticationException:
            raise ChannelError(f"{where}: refused the login; fix: give the account and the key that it knows") from None
        except (paramiko.SSHException, socket.gaierror, OSError) as error:
            hint = "log in once by hand to learn its key" if "known_hosts" in str(error) else "see that it is up"
            raise ChannelError(f"{where}: {error}; fix: {hint}") from None
        transport = client.get_transport()
        if transport is not None:
            transport.set_keepalive(KEEPALIVE_S)
        yield Channel(target, client)
