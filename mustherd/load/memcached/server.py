"""memcached as a process: started, pinned, checked and stopped."""

import contextlib
import os
import pwd
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from mustherd.load.errors import LoadError
from mustherd.load.memcached import counters
from mustherd.load.memcached.counters import Address, Counters
from mustherd.reasons import Reason

START_TIMEOUT_S = 15.0
"""Usually some milliseconds; a machine that others keep busy may need seconds."""
POLL_S = 0.005
PORTS = range(20_000, 32_000)
"""Where free ports are looked for: below those that connections going out take, so that a port is still free when a
server that was stopped wants it back."""
PORT_TRIES = 5
IN_USE = "Address already in use"

Whole = Annotated[int, msgspec.Meta(ge=1)]
Core = Annotated[int, msgspec.Meta(ge=0, le=4095)]


class MemcachedOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one memcached is run. Its defaults suit one machine; the reference experiment's are in facts of its nodes."""

    program: str = "memcached"
    listen: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 11211
    """0: any free one."""
    threads: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 4
    memory_mb: Whole = 64
    connections: Whole = 1024
    backlog: Whole = 1024
    protocol: Literal["auto", "ascii", "binary"] = "auto"
    cores: tuple[Core, ...] = ()
    """Cores that it may use; none: all that its parent may."""
    socket: int | None = None
    """NUMA node for its cores and its memory."""
    user: str = "nobody"
    """Who it becomes when it is started by root."""

    @property
    def address(self) -> Address:
        """Where it listens."""
        return Address(self.listen, self.port)

    def argv(self) -> list[str]:
        """The command that runs it, to be given to a process or written into a unit; never a shell's."""
        argv: list[str] = []
        if self.socket is not None:
            argv += ["numactl", f"--cpunodebind={self.socket}", f"--membind={self.socket}"]
        if self.cores:
            argv += ["taskset", "-c", ",".join(map(str, self.cores))]
        argv += [self.program, "-u", self.user, "-l", self.listen, "-p", str(self.port), "-t", str(self.threads)]
        argv += ["-m", str(self.memory_mb), "-c", str(self.connections), "-b", str(self.backlog)]
        if self.protocol != "auto":
            argv += ["-B", self.protocol]
        return argv


class Memcached:
    """One memcached that this process started and ends.

    It ends with this process where setpriv (util-linux) is there to arrange it, however this process ends.
    """

    def __init__(self, options: MemcachedOptions) -> None:
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the server

    @property
    def options(self) -> MemcachedOptions:
        """How it runs, its port included once it was started."""
        return self._options

    @property
    def address(self) -> Address:
        """Where it listens."""
        return self._options.address

    @property
    def binary(self) -> bool:
        """Whether it refuses the ASCII protocol."""
        return self._options.protocol == "binary"

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        if self._process is None or self._process.poll() is not None:
            return None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers. LoadError; harmless when it runs."""
        if self.pid is not None:
            return
        if shutil.which(self._options.program) is None:
            raise LoadError(Reason.TOOL_MISSING, f"{self._options.program} is not installed (Debian: memcached)")
        if self._options.port:
            if _pid_of(self._options):
                raise LoadError(Reason.SERVER_FAILED, f"another memcached already listens on {self.address}")
            self._run()
            return
        any_port = self._options
        for tries_left in reversed(range(PORT_TRIES)):
            self._options = msgspec.structs.replace(any_port, port=free_port(any_port.listen))
            try:
                self._run()
            except LoadError as error:
                # Between looking for a port and taking it somebody else may have.
                if tries_left and IN_USE in error.message:
                    continue
                self._options = any_port
                raise
            return

    def _run(self) -> None:
        """Start it on its port and wait until it answers there. LoadError."""
        self._said.seek(0)
        self._said.truncate()
        argv = [*_leash(self._options.user), *self._options.argv()]
        try:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self._said, stderr=self._said, cwd="/")
        except OSError as error:
            raise LoadError(Reason.TOOL_MISSING, f"cannot run {argv[0]}: {error.strerror}") from None
        self._process = process
        deadline = time.monotonic() + START_TIMEOUT_S
        while _pid_of(self._options) != process.pid:
            if process.poll() is not None:
                raise LoadError(Reason.SERVER_FAILED, f"memcached ended at its start: {self._last_words()}")
            if time.monotonic() > deadline:
                self.stop()
                raise LoadError(Reason.SERVER_FAILED, f"memcached does not answer after {START_TIMEOUT_S:g} s")
            time.sleep(POLL_S)

    def restart(self, threads: int) -> None:
        """Stop it and start it on the same port with another number of threads; what it held is lost. LoadError."""
        self.stop()
        self._options = msgspec.structs.replace(self._options, threads=threads)
        self.start()

    def pin(self, cores: Sequence[int]) -> None:
        """Let all its threads run on `cores` alone, also after a restart. LoadError."""
        try:
            for thread in self.threads():
                # A thread that ends meanwhile needs no cores.
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(thread, cores)
        except (OSError, ValueError) as error:
            raise LoadError(Reason.SERVER_FAILED, f"memcached can't be pinned to {list(cores)}: {error}") from None
        self._options = msgspec.structs.replace(self._options, cores=tuple(cores))

    def threads(self) -> tuple[int, ...]:
        """Ids of its threads, the first one first. LoadError when it doesn't run."""
        pid = self.pid
        try:
            found = sorted(int(p.name) for p in Path(f"/proc/{pid}/task").iterdir()) if pid is not None else []
        except OSError:
            found = []
        if not found:
            raise LoadError(Reason.SERVER_FAILED, f"memcached does not run: {self._last_words()}")
        return tuple(found)

    def counters(self) -> Counters:
        """Its counters now. LoadError."""
        return counters.read(self.address, self.binary)

    def check(self, version: str = "") -> list[str]:
        """What is not as it was asked for, in sentences; `version` is checked where it is given."""
        if self.pid is None:
            return [f"memcached does not run: {self._last_words()}"]
        return check(self._options, version)

    def stop(self) -> None:
        """End it; harmless when it doesn't run."""
        process, self._process = self._process, None
        if process is None:
            return
        # It has nothing to lose, and its own way out waits a second or two for threads that sleep.
        process.kill()
        process.wait()

    def close(self) -> None:
        """End it for good."""
        self.stop()
        self._said.close()

    def _last_words(self) -> str:
        if self._said.closed:
            return "it was stopped"
        # The file's position is the process's as well: reading must not move it.
        words = os.pread(self._said.fileno(), 2000, 0).decode("utf-8", "replace").strip()[-500:]
        return words or "it said nothing"


def check(options: MemcachedOptions, version: str = "") -> list[str]:
    """What is not as it was asked for of the memcached at the options' address, wherever it runs."""
    binary = options.protocol == "binary"
    try:
        found = counters.version(options.address, binary)
        settings = counters.stats(options.address, "settings", binary)
        now = counters.stats(options.address, binary=binary)
    except LoadError as error:
        return [error.message]
    problems = []
    if version and found != version:
        problems.append(f"memcached at {options.address} is version {found}, asked for {version}")
    for what, name, wanted in (
        ("threads", "num_threads", options.threads),
        ("port", "tcpport", options.port),
        ("connections at most", "maxconns", options.connections),
    ):
        if settings.get(name) != str(wanted):
            problems.append(f"memcached at {options.address} has {settings.get(name)} {what}, asked for {wanted}")
    if now.get("accepting_conns") == "0":
        problems.append(f"memcached at {options.address} accepts no more connections")
    return problems


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listened on a moment ago."""
    for port in random.sample(PORTS, 50):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((host, port))
            return port
    with socket.socket() as probe:
        probe.bind((host, 0))
        found: int = probe.getsockname()[1]
        return found


def _pid_of(options: MemcachedOptions) -> int:
    """The process id that the memcached at the options' address gives; 0 where none answers."""
    try:
        return int(counters.stats(options.address, binary=options.protocol == "binary").get("pid", "0"))
    except (LoadError, ValueError):
        return 0


def _leash(user: str) -> list[str]:
    """The prefix that makes a process end with its parent. It must change user itself: doing so later undoes it."""
    if shutil.which("setpriv") is None:
        return []
    prefix = ["setpriv", "--pdeathsig", "KILL"]
    if os.geteuid() == 0:
        try:
            entry = pwd.getpwnam(user)
        except KeyError:
            return []
        prefix += [f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]
    return prefix
