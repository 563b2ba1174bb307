"""Knobs of a server process."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from mustherd.node.knob import BaseKnob, Site
from mustherd.node.server.group import UNLIMITED, CpuGroup, GroupError
from mustherd.node.server.process import Server, ServerError, WorkerServer
from mustherd.terms import KnobInfo, KnobKind

SETTLE_S = 0.2
"""For threads to move to other cores, and a restarted server to be listening."""
MIN_QUOTA, QUOTA_STEP = 20, 5
"""Percent of a core; the smallest quota that a kernel takes is 1 ms in each period of 5 ms."""
US_PER_PERCENT = 10_000
MAX_POLL_US = 1000
SYSCTL = Path("/proc/sys/net/core")
WORKERS_PER_CORE = 2


class ServerCores(BaseKnob):
    """`server-cores`: how many cores all threads of the server may run on, the first ones of a list."""

    kind = KnobKind(name="server-cores", unit="cores")
    gone_with_muster = True

    @classmethod
    def offer(cls, cores: int) -> KnobInfo:
        """What it allows where the server may be given so many cores."""
        return cls.kind.offer(low=1, high=cores, settle_seconds=SETTLE_S)

    def __init__(self, server: Server, cores: Sequence[int]) -> None:
        """`cores` are those that the server may be given, in that order."""
        super().__init__(self.offer(len(cores)))
        self._server = server
        self._cores = tuple(cores)

    def read(self) -> int:
        """Cores that its first thread may run on."""
        return len(self._masks()[0])

    def running(self) -> int:
        """Cores that any of its threads may run on."""
        return len(set().union(*self._masks()))

    def write(self, value: int) -> None:
        self._refuse(value)
        try:
            self._server.pin(self._cores[:value])
        except ServerError as error:
            raise self._error(error) from None

    def _masks(self) -> list[set[int]]:
        masks = []
        try:
            for thread in self._server.threads():
                try:
                    masks.append(os.sched_getaffinity(thread))
                except ProcessLookupError:
                    continue  # it ended meanwhile
        except (ServerError, OSError) as error:
            raise self._error(error) from None
        if not masks:
            raise self._error("the server has no threads")
        return masks


class ServerThreads(BaseKnob):
    """`memcached-threads`: worker threads of the server, which is started again to change them."""

    kind = KnobKind(name="memcached-threads", unit="threads")
    gone_with_muster = True

    @classmethod
    def offer(cls, cores: int) -> KnobInfo:
        """What it allows where the server may be given so many cores."""
        return cls.kind.offer(low=1, high=max(8, WORKERS_PER_CORE * cores), settle_seconds=SETTLE_S)

    def __init__(self, server: WorkerServer, cores: int, restarted: Callable[[], None]) -> None:
        """`restarted` is called after each restart: limits hold for a process, not for its successor."""
        super().__init__(self.offer(cores))
        self._server = server
        self._restarted = restarted

    def read(self) -> int:
        """As its command line says."""
        try:
            return self._server.asked_workers()
        except ServerError as error:
            raise self._error(error) from None

    def running(self) -> int:
        """As it says itself."""
        try:
            return self._server.workers()
        except ServerError as error:
            raise self._error(error) from None

    def write(self, value: int) -> None:
        """Restart the server, unless it has that many already; what it held is lost."""
        self._refuse(value)
        try:
            if self._server.asked_workers() != value:
                self._server.restart(value)
                self._restarted()
        except (ServerError, GroupError) as error:
            raise self._error(error) from None


class CpuQuota(BaseKnob):
    """`cpu-quota`: time on cores that the server may use, in percent of one core; all cores' worth is no limit."""

    kind = KnobKind(name="cpu-quota", unit="%", range_step=QUOTA_STEP)

    @classmethod
    def offer(cls, cores: int) -> KnobInfo:
        """What it allows where the server may be given so many cores."""
        most = 100 * cores
        return cls.kind.offer(
            low=MIN_QUOTA, high=most, step=QUOTA_STEP, names={most: "unlimited"}, settle_seconds=SETTLE_S
        )

    def __init__(self, group: CpuGroup, cores: int) -> None:
        super().__init__(self.offer(cores))
        self._unlimited = self.info.high
        self._group = group

    def read(self) -> int:
        try:
            quota = self._group.quota_us()
        except GroupError as error:
            raise self._error(error) from None
        return self._unlimited if quota == UNLIMITED else quota // US_PER_PERCENT

    def running(self) -> None:
        """The kernel keeps to its quota or not at all: nothing else can be asked."""
        return

    def write(self, value: int) -> None:
        self._refuse(value)
        try:
            self._group.limit(UNLIMITED if value == self._unlimited else value * US_PER_PERCENT)
        except GroupError as error:
            raise self._error(error) from None


class Sysctl(BaseKnob):
    """A number of microseconds under /proc/sys: how long sockets poll a network card.

    On loopback there is no card to poll, and they have no effect.
    """

    kind: ClassVar[KnobKind]
    file: ClassVar[Path]

    def __init__(self, file: Path | None = None) -> None:
        """`file` stands in for the kernel's own."""
        super().__init__(self.offer())
        self._file = file or self.file
        if file is None:
            self.site = Site(Path("/"), self.kind.name)

    @classmethod
    def offer(cls) -> KnobInfo:
        """What it allows."""
        return cls.kind.offer(low=0, high=MAX_POLL_US)

    @classmethod
    def is_there(cls) -> bool:
        """Whether this process may set it."""
        return os.access(cls.file, os.R_OK | os.W_OK)

    def read(self) -> int:
        try:
            return int(self._file.read_text(encoding="ascii"))
        except (OSError, ValueError) as error:
            raise self._error(f"{self._file}: {error}") from None

    def running(self) -> int:
        return self.read()

    def write(self, value: int) -> None:
        self._refuse(value)
        try:
            self._file.write_text(f"{value}\n", encoding="ascii")
        except OSError as error:
            raise self._error(f"{self._file}: {error.strerror}") from None


class BusyPoll(Sysctl):
    """`busy-poll`: in poll and select."""

    kind = KnobKind(name="busy-poll", unit="us")
    file = SYSCTL / "busy_poll"


class BusyRead(Sysctl):
    """`busy-read`: in reads."""

    kind = KnobKind(name="busy-read", unit="us")
    file = SYSCTL / "busy_read"


def offers(cores: int) -> tuple[KnobInfo, ...]:
    """What the knobs of a server that may be given so many cores allow; a machine may lack some of them."""
    return (
        ServerCores.offer(cores),
        ServerThreads.offer(cores),
        CpuQuota.offer(cores),
        BusyPoll.offer(),
        BusyRead.offer(),
    )
