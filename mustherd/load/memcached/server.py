"""memcached: run on this machine, pinned, checked and stopped."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import msgspec

from mustherd.load.address import Address
from mustherd.load.error import LoadError
from mustherd.load.memcached import counters
from mustherd.load.memcached.counters import Counters
from mustherd.load.memcached.presets import PRESETS, MemcachedPreset
from mustherd.load.server import ServerProcess
from mustherd.reasons import Reason

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


class Memcached(ServerProcess):
    """One memcached that this process started and ends."""

    Options = MemcachedOptions
    presets: ClassVar[Mapping[str, MemcachedPreset]] = PRESETS
    load: ClassVar[str] = ""

    def __init__(self, options: MemcachedOptions) -> None:
        super().__init__("memcached", options.listen, options.port, user=options.user)
        self._options = options

    @property
    def options(self) -> MemcachedOptions:
        """How it runs, its port included once it was started."""
        return msgspec.structs.replace(self._options, port=self.address.port)

    @property
    def binary(self) -> bool:
        """Whether it refuses the ASCII protocol."""
        return self._options.protocol == "binary"

    @property
    def version(self) -> str:
        """Name and version, as it says itself. LoadError."""
        return f"memcached {counters.version(self.address, self.binary)}"

    @property
    def program(self) -> str:
        return self._options.program

    def argv(self) -> list[str]:
        return self.options.argv()

    def answers(self) -> bool:
        # Whoever answers says who it is: another one may have taken the port in between.
        return self.pid is not None and _pid_of(self.options) == self.pid

    def is_taken(self) -> bool:
        return bool(_pid_of(self.options))

    def asked_workers(self) -> int:
        """Worker threads of its command line. LoadError."""
        try:
            words = Path(f"/proc/{self.threads()[0]}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            return int(words[words.index("-t") + 1])
        except (OSError, ValueError, IndexError) as error:
            raise LoadError(Reason.SERVER_FAILED, f"memcached's command line can't be read: {error}") from None

    def workers(self) -> int:
        """Worker threads that it says it has. LoadError."""
        settings = counters.stats(self.address, "settings", self.binary)
        try:
            return int(settings["num_threads"])
        except (KeyError, ValueError) as error:
            raise LoadError(Reason.SERVER_FAILED, f"memcached's settings can't be read: {error}") from None

    def restart(self, workers: int) -> None:
        """Stop it and start it on the same port with another number of threads; what it held is lost. LoadError."""
        self.stop()
        self._options = msgspec.structs.replace(self._options, threads=workers)
        self.start()

    def pin(self, cores: Sequence[int]) -> None:
        super().pin(cores)
        self._options = msgspec.structs.replace(self._options, cores=tuple(cores))

    def counters(self) -> Counters:
        """Its counters now. LoadError."""
        return counters.read(self.address, self.binary)

    def check(self, version: str = "") -> list[str]:
        """What is not as it was asked for, in sentences; `version` is checked where it is given."""
        if self.pid is None:
            return [f"memcached does not run: {self._last_words()}"]
        return check(self.options, version)


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


def _pid_of(options: MemcachedOptions) -> int:
    """The process id that the memcached at the options' address gives; 0 where none answers."""
    try:
        return int(counters.stats(options.address, binary=options.protocol == "binary").get("pid", "0"))
    except (LoadError, ValueError):
        return 0
