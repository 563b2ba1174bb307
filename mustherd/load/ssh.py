"""A machine of the load that is reached by ssh: the login, and the programs that run there."""

import contextlib
import getpass
import itertools
import logging
import shlex
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko
from paramiko.pkey import UnknownKeyType

from mustherd import programs
from mustherd.errors import UserError
from mustherd.load.error import LoadError
from mustherd.load.host import within_bound
from mustherd.load.placement import Place
from mustherd.load.ssh_config import Route, SshConfigError, route
from mustherd.reasons import Reason

log = logging.getLogger(__name__)

CONNECT_S = 15.0
KEEPALIVE_S = 15
HINTS = {
    "known_hosts": "log in once by hand to learn its key, or between a herd's nodes: provision with --tags ssh_mesh",
    "No authentication methods": "there is no key here to log in with: correct ansible_user, provision with --tags"
    " ssh_mesh, or have one in ~/.ssh or an agent",
}
"""What to do, by what the ssh library says."""
ANSWER_S = 30.0
"""For a small command there."""
DIGEST = 'sha256sum "$(command -v "$0")"'
"""For a shell there, which gets the program's name as an argument."""


class ChannelError(UserError):
    """A node cannot be reached or refuses; the message names it and the fix."""


@dataclass(frozen=True)
class Target:
    """Where to log in. Without a key those of ssh's configuration, the agent and the account are tried.

    What ssh's configuration says of the host holds, bastions too (mustherd.load.ssh_config). Host keys are
    always checked.
    """

    host: str
    user: str
    port: int = 22
    key: Path | None = None
    known_hosts: Path | None = None
    options: tuple[str, ...] = ()


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
            log.debug("ssh %s: %s", self._target.host, shlex.join(command))
            channel.exec_command(shlex.join(command))
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise ChannelError(f"{self._target.host}: lost while starting {command[0]}: {error}") from None
        return channel


@contextlib.contextmanager
def connect(target: Target) -> Iterator[Channel]:
    """Log in; raises ChannelError, never accepting a host key that is not known."""
    try:
        way = route(target.host, target.user, target.port, target.key, target.options)
    except SshConfigError as error:
        raise ChannelError(str(error)) from None
    with contextlib.ExitStack() as opened:
        socket_to: Any = None
        if way.command:
            socket_to = opened.enter_context(contextlib.closing(paramiko.ProxyCommand(way.command)))
        for hop, then in itertools.pairwise((*way.jumps, way)):
            through = _login(hop, None if hop is way.jumps[0] else socket_to, target, opened).get_transport()
            try:
                if through is None:
                    raise EOFError("not connected")
                socket_to = through.open_channel(
                    "direct-tcpip", (then.host, then.port), ("127.0.0.1", 0), int(CONNECT_S)
                )
            except (paramiko.SSHException, EOFError, OSError) as error:
                raise ChannelError(
                    f"{then.host}:{then.port} can't be reached through {hop.host}: {error}; fix: see that"
                    " the bastion lets you through (AllowTcpForwarding)"
                ) from None
        client = _login(way, socket_to, target, opened)
        transport = client.get_transport()
        if transport is not None:
            transport.set_keepalive(KEEPALIVE_S)
        yield Channel(target, client)


def _login(way: Route, through: Any, target: Target, opened: contextlib.ExitStack) -> paramiko.SSHClient:
    """One host of a route; raises ChannelError."""
    client = opened.enter_context(paramiko.SSHClient())
    for file in (target.known_hosts,) if target.known_hosts else way.known_hosts:
        with contextlib.suppress(FileNotFoundError):
            client.load_host_keys(str(file)) if target.known_hosts else client.load_system_host_keys(str(file))
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    where = f"{way.user}@{way.host}:{way.port}"
    given = target.key is not None and way.keys == (target.key,)
    log.debug("ssh: logging in as %s", where)
    try:
        client.connect(
            way.host,
            port=way.port,
            username=way.user,
            pkey=_private_key(target.key) if given and target.key is not None else None,
            key_filename=None if given else [str(key) for key in way.keys] or None,  # type: ignore[arg-type]
            look_for_keys=not given,
            allow_agent=not given,
            timeout=CONNECT_S,
            banner_timeout=CONNECT_S,
            auth_timeout=CONNECT_S,
            sock=through,
        )
    except paramiko.BadHostKeyException:
        forget = way.host if way.port == 22 else f"[{way.host}]:{way.port}"
        raise ChannelError(
            f"{where}: its host key has changed; fix: compare it with the node's console or portal; if the node was"
            f" installed anew: ssh-keygen -R {forget}"
        ) from None
    except paramiko.AuthenticationException:
        raise ChannelError(f"{where}: refused the login; fix: give the account and the key that it knows") from None
    except (paramiko.SSHException, socket.gaierror, EOFError, OSError) as error:
        hint = next((fix for words, fix in HINTS.items() if words in str(error)), "see that it is up")
        raise ChannelError(f"{where}: {error}; fix: {hint}") from None
    return client


def _private_key(file: Path) -> paramiko.PKey:
    """The key in a file, of whichever kind; named as a file it would be tried as every kind, and the last one's error
    told instead of the login's. Raises ChannelError."""
    try:
        return paramiko.PKey.from_path(file.expanduser())
    except (paramiko.SSHException, UnknownKeyType, OSError, ValueError, TypeError) as error:
        raise ChannelError(
            f"key {file}: {error}; fix: name the file of a private key without a passphrase, or none and use an agent"
        ) from None


def reach(place: Place) -> str:
    """Log in on a machine of the load and out again; gives who was let in. Raises ChannelError."""
    with connect(_target(place)):
        return f"logged in as {place.user or getpass.getuser()}"


def _target(place: Place) -> Target:
    key = Path(place.key) if place.key else None
    return Target(place.host, place.user, place.port, key, options=place.options)


class SshHost:
    """Keeps the contract of mustherd.load.host.Host. One login serves all its programs; a lost one is renewed."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._login = contextlib.ExitStack()
        self._channel: Channel | None = None
        self._digests: dict[str, str] = {}
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return self._place.address

    @property
    def is_here(self) -> bool:
        return False

    def start(self, argv: Sequence[str]) -> "SshJob":
        try:
            return SshJob(self._connected().open(argv), self.name)
        except ChannelError as error:
            self.close()
            raise LoadError(Reason.LOAD_FAILED, str(error)) from None

    def digest(self, program: str) -> str:
        if program not in self._digests:
            code, text = self._run(["sh", "-c", DIGEST, program])
            if code:
                # A shell without a terminal of its own reads no profile: what is in ~/mutilate is not found.
                _, path = self._run(["sh", "-c", 'printf %s "$PATH"'])
                raise LoadError(
                    Reason.TOOL_MISSING,
                    f"{program} is not installed on {self.name}, or not on the path of a non-interactive ssh"
                    f" ({path.strip()}); fix: link it into a folder of that path, or name it by its whole path"
                    " (workload.mutilate.program)",
                )
            self._digests[program] = text.split()[0]
        return self._digests[program]

    def new_file(self) -> str:
        code, text = self._run(["mktemp", "--tmpdir", "mustherd-XXXXXXXX.samples"])
        if code:
            raise LoadError(Reason.LOAD_FAILED, f"no file for samples can be made on {self.name}: {text.strip()}")
        return text.strip()

    def take(self, file: str, called: str = "") -> str:
        called = f"{called or file} on {self.name}"
        try:
            code, text = self._run(["head", "-c", str(programs.MOST_PRINTED + 1), "--", file], called)
        finally:
            self._run(["rm", "-f", "--", file])
        if code:
            why = text.strip()[:200].rpartition(": ")[2]
            raise LoadError(Reason.LOAD_FAILED, f"{called} can't be read: {why}")
        return text

    def close(self) -> None:
        """Log out; what still runs there ends."""
        with self._lock:
            self._channel = None
            self._login.close()

    def _connected(self) -> Channel:
        with self._lock:
            if self._channel is None or not self._channel.alive:
                self._login.close()
                target = _target(self._place)
                try:
                    self._channel = self._login.enter_context(connect(target))
                except ChannelError:
                    # A busy sshd drops some who knock at the same time (MaxStartups).
                    self._channel = self._login.enter_context(connect(target))
            return self._channel

    def _run(self, argv: Sequence[str], called: str = "") -> tuple[int, str]:
        """A small command's exit code and what it printed, which errors call `called`. LoadError."""
        job = self.start(argv)
        try:
            code = job.wait(ANSWER_S)
            within_bound(job, called or argv[0])
            return code, job.output()
        finally:
            job.end()


class SshJob:
    """A program on another machine. It has a terminal there, so that it ends when its connection does."""

    def __init__(self, channel: paramiko.Channel, where: str) -> None:
        self._channel = channel
        self._where = where
        self._said: list[bytes] = []
        self._length = 0
        self._code: int | None = None
        self._reader = threading.Thread(target=self._listen, name=f"ssh-{where}", daemon=True)
        self._reader.start()

    def ended(self) -> int | None:
        return None if self._reader.is_alive() else self._code

    def output(self) -> str:
        return b"".join(self._said).decode("utf-8", "replace").replace("\r\n", "\n")

    def length(self) -> int:
        return self._length

    def wait(self, seconds: float) -> int:
        """Its exit code. LoadError when it takes longer."""
        self._reader.join(seconds)
        code = self.ended()
        if code is None:
            raise LoadError(Reason.LOAD_TIMEOUT, f"a command on {self._where} takes longer than {seconds:g} s")
        return code

    def end(self) -> None:
        self._channel.close()
        self._reader.join(ANSWER_S)

    def _listen(self) -> None:
        code = -1
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            while data := self._channel.recv(65536):
                if self._length <= programs.MOST_PRINTED:
                    self._said.append(data)
                # The terminal there puts a \r before each \n.
                self._length += len(data) - data.count(b"\n")
            code = self._channel.recv_exit_status()
        self._code = code
