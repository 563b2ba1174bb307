"""The server under load: what is known of a kind of servers, and one as a process of this machine."""

import contextlib
import os
import pwd
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol, runtime_checkable

import msgspec

from mustherd.daemon import how_ended
from mustherd.load.address import Address
from mustherd.load.error import LoadError
from mustherd.plugins import option_names
from mustherd.programs import last_words
from mustherd.reasons import Reason

MEMCACHED = "memcached"
"""The server where none is named."""

START_TIMEOUT_S = 15.0
"""Usually some milliseconds; a machine that others keep busy may need seconds."""
POLL_S = 0.005
CONNECT_TIMEOUT_S = 1.0
PORTS = range(20_000, 32_000)
"""Where free ports are looked for: below those that connections going out take, so that a port is still free when a
server that was stopped wants it back."""
PORT_TRIES = 5
MOST_PRINTED = 1 << 20
IN_USE = "Address already in use"


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """A mix of requests that a server is asked under one name; a kind of servers may know more of its own."""

    meaning: str
    update_ratio: float = 0.0
    """Share of requests that write."""


class ServerKind(Protocol):
    """A server of one kind on this machine: what an entry point of `mustherd.servers` names, a class.

    Made as `kind(options)`, where `options` is its `Options`, a dataclass or msgspec struct; without that there are
    none, and `options` is None. Where Options has a field `port`, `cores` or `threads`, a definition's local herd fills
    it in: 0, which means any free one, and its own `server_cores` and `server_threads`. Every method raises LoadError.
    """

    @property
    def presets(self) -> Mapping[str, Preset]:
        """The mixes of requests that loads know for it, by name, the usual one first. An attribute of the class."""
        ...

    @property
    def load(self) -> str:
        """The load that it is put under where a definition names none (`mustherd.loads`); '': its own node loads it. An
        attribute of the class."""
        ...

    @property
    def address(self) -> Address:
        """Where it listens, once it was started."""
        ...

    @property
    def version(self) -> str:
        """Name and version, as it says itself."""
        ...

    def start(self) -> None:
        """Start it and wait until it answers; harmless when it runs."""
        ...

    def threads(self) -> tuple[int, ...]:
        """Ids of its threads, the process's own first."""
        ...

    def pin(self, cores: Sequence[int]) -> None:
        """Let all its threads run on `cores` alone, also after a restart."""
        ...

    def close(self) -> None:
        """End it for good."""
        ...


@runtime_checkable
class WorkerKind(Protocol):
    """A server whose number of worker threads can be set, by a restart: it then is a knob of its node."""

    def asked_workers(self) -> int:
        """Worker threads that it was told to have."""
        ...

    def workers(self) -> int:
        """Worker threads that it says it has."""
        ...

    def restart(self, workers: int) -> None:
        """Start it again with another number of worker threads, on the same port and cores."""
        ...


class ServerProcess:
    """A server that this process starts and ends: what servers of most kinds have in common.

    It ends with this process where setpriv (util-linux) is there to arrange it, however this process ends.
    """

    def __init__(
        self,
        name: str,
        listen: str = "127.0.0.1",
        port: int = 0,
        *,
        cores: Sequence[int] = (),
        user: str = "",
        log: str = "",
        start_s: float = START_TIMEOUT_S,
    ) -> None:
        """`name` is what messages call it. Port 0: any free one; no `cores`: all that this process may use.

        `user` is who it becomes when it is started by root; '': nobody else. `log` is the file that keeps what it
        prints; '': nobody keeps it. `start_s` is how long it may take to answer. LoadError.
        """
        self._name = name
        self._address = Address(listen, port)
        self._cores = tuple(cores)
        self._user = user
        self._start_s = start_s
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        try:
            # It lives as long as the server.
            self._said: IO[bytes] = Path(log).open("a+b") if log else tempfile.TemporaryFile()  # noqa: SIM115
        except OSError as error:
            raise LoadError(Reason.SERVER_FAILED, f"{name}'s log {log}: {error.strerror}") from None
        self._said_from = 0
        self._ended = False
        """Whether its last start failed since it ended by itself."""

    def argv(self) -> list[str]:
        """The command that runs it on its address; never a shell's."""
        raise NotImplementedError

    @property
    def program(self) -> str:
        """The program that must be installed."""
        return self.argv()[0]

    def answers(self) -> bool:
        """Whether it is up, once its process was started: by default, whether it takes connections."""
        with contextlib.suppress(OSError):
            socket.create_connection((self._address.host, self._address.port), CONNECT_TIMEOUT_S).close()
            return True
        return False

    def missing(self) -> str:
        """What it still lacked when it was last asked whether it answers, and what it printed."""
        return f"nothing listens at {self._address}: {self._last_words()}"

    def is_taken(self) -> bool:
        """Whether another server answers on its address, before its own process is started."""
        return self.answers()

    @property
    def address(self) -> Address:
        """Where it listens, once it was started."""
        return self._address

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        if self._process is None or self._process.poll() is not None:
            return None
        return self._process.pid

    def ended(self) -> str:
        """How it ended by itself, and where it says why; '' while it runs, before its start and once it was stopped."""
        if self._process is None or (code := self._process.poll()) is None:
            return ""
        how = how_ended(code)
        return f"the server {self._name} {how}: {self._last_words()}" + (f"; its log: {self._log}" if self._log else "")

    def start(self) -> None:
        """Start it and wait until it answers. LoadError; harmless when it runs."""
        if self.pid is not None:
            return
        if shutil.which(self.program) is None:
            raise LoadError(Reason.TOOL_MISSING, f"{self.program} is not installed, or not executable")
        if self._address.port:
            if self.is_taken():
                raise LoadError(Reason.SERVER_FAILED, f"another {self._name} already listens on {self._address}")
            self._run()
            return
        for tries_left in reversed(range(PORT_TRIES)):
            try:
                self._address = Address(self._address.host, free_port(self._address.host))
            except OSError as error:
                raise LoadError(
                    Reason.SERVER_FAILED, f"{self._name} can't listen on {self._address.host}: {error.strerror}"
                ) from None
            try:
                self._run()
            except LoadError:
                # Between looking for a port and taking it somebody else may have.
                if tries_left and self._ended and IN_USE in self.printed():
                    continue
                self._address = Address(self._address.host, 0)
                raise
            return

    def _run(self) -> None:
        """Start it on its port and wait until it answers there. LoadError."""
        self._ended = False
        self.before()
        self._said_from = self._said.seek(0, os.SEEK_END)
        argv = [*self.leash(), *self._on_cores(), *self.argv()]
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=self._said,
                cwd="/",
                env=self.environment,
                process_group=0,
            )
        except OSError as error:
            raise LoadError(Reason.TOOL_MISSING, f"cannot run {argv[0]}: {error.strerror}") from None
        self._process = process
        try:
            self._wait_for(process)
        except BaseException:
            self.stop()
            raise

    def _wait_for(self, process: "subprocess.Popen[bytes]") -> None:
        """Wait until it answers. LoadError when it ends first, or takes too long."""
        deadline = time.monotonic() + self._start_s
        while process.poll() is not None or not self.answers():
            if process.poll() is not None:
                self._ended = True
                said = f"ended with {process.returncode} at its start: {self._last_words()}"
                raise LoadError(Reason.SERVER_FAILED, f"{self._name} {said}")
            if time.monotonic() > deadline:
                said = f"is not ready after {self._start_s:g} s: {self.missing()}"
                raise LoadError(Reason.SERVER_FAILED, f"{self._name} {said}")
            time.sleep(POLL_S)

    @property
    def end_signal(self) -> str:
        """The signal that it gets when this process ends, and by which it ends what it started itself."""
        return "KILL"

    def before(self) -> None:
        """What its program needs before it is started; nothing by default. LoadError."""

    @property
    def environment(self) -> dict[str, str] | None:
        """Its environment; None: this process's."""
        return None

    def leash(self) -> list[str]:
        """The prefix that makes a process end with this one, as the server's user. It must change user itself: doing so
        later undoes it.
        """
        return _leash(self._user, self.end_signal)

    def printed(self) -> str:
        """What it printed since it was started, up to a mebibyte."""
        # The file's position is the process's as well: reading must not move it.
        return os.pread(self._said.fileno(), MOST_PRINTED, self._said_from).decode("utf-8", "replace")

    def _on_cores(self) -> list[str]:
        return ["taskset", "-c", ",".join(map(str, self._cores))] if self._cores else []

    def threads(self) -> tuple[int, ...]:
        """Ids of its threads, the first one first. LoadError when it doesn't run."""
        pid = self.pid
        try:
            found = sorted(int(p.name) for p in Path(f"/proc/{pid}/task").iterdir()) if pid is not None else []
        except OSError:
            found = []
        if not found:
            raise LoadError(Reason.SERVER_FAILED, f"{self._name} does not run: {self._last_words()}")
        return tuple(found)

    def pin(self, cores: Sequence[int]) -> None:
        """Let all its threads run on `cores` alone, also after a restart. LoadError."""
        try:
            for thread in self.threads():
                # A thread that ends meanwhile needs no cores.
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(thread, cores)
        except (OSError, ValueError) as error:
            raise LoadError(Reason.SERVER_FAILED, f"{self._name} can't be pinned to {list(cores)}: {error}") from None
        self._cores = tuple(cores)

    def stop(self) -> None:
        """End it; harmless when it doesn't run."""
        process, self._process = self._process, None
        if process is None:
            return
        # It has nothing to lose, and its own way out may wait a second or two for threads that sleep.
        process.kill()
        process.wait()

    def close(self) -> None:
        """End it for good."""
        self.stop()
        self._said.close()

    def _last_words(self) -> str:
        if self._said.closed:
            return "it was stopped"
        return last_words(self.printed())


def local_options(kind: Any, **given: object) -> dict[str, object]:
    """Of what a local herd has to say, `port`, `cores` and `threads`, that for which a kind has a field."""
    names = option_names(kind)
    return {name: value for name, value in given.items() if name in names}


def free_port(host: str = "127.0.0.1") -> int:
    """A port of `host`, in its own family of addresses, that nobody listened on a moment ago. OSError."""
    family, *_, where = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
    for port in random.sample(PORTS, 50):
        with contextlib.suppress(OSError):
            return _bound(family, (where[0], port, *where[2:]))
    return _bound(family, where)


def _bound(family: int, where: tuple[Any, ...]) -> int:
    """The port at which a socket could be bound."""
    with socket.socket(family) as probe:
        probe.bind(where)
        found: int = probe.getsockname()[1]
        return found


def _leash(user: str, signal: str) -> list[str]:
    if shutil.which("setpriv") is None:
        return []
    prefix = ["setpriv", "--pdeathsig", signal]
    if os.geteuid() == 0 and user:
        try:
            entry = pwd.getpwnam(user)
        except KeyError:
            return []
        prefix += [f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]
    return prefix
