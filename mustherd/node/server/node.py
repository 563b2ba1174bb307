"""A node whose sheep is one server process on this machine."""

import contextlib
import hashlib
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from mustherd.node.clock import MonotonicClock
from mustherd.node.energy import EnergyMeter
from mustherd.node.knob import Knob
from mustherd.node.node import RunningLoad
from mustherd.node.server import tree
from mustherd.node.server.group import CpuGroup, GroupError
from mustherd.node.server.knobs import BusyPoll, BusyRead, CpuQuota, ServerCores, ServerThreads
from mustherd.node.server.process import Server, ServerError, WorkerServer
from mustherd.programs import BUILD_DIGITS
from mustherd.terms import LACKS, Facts, Load

CPU_INFO = Path("/proc/cpuinfo")
GROUP = "mustherd"

NO_METER = "none found: the objective is the server's CPU time (server_cpu_seconds)"


class EndableLoad(RunningLoad, Protocol):
    """A load that can be ended early."""

    def stop(self) -> None:
        """End it; harmless when it has ended."""
        ...


Loader = Callable[[Load, int], EndableLoad]


class ProcessNode:
    """Keeps the contract of mustherd.node.node.Node for a server that already runs and a load that `loader` starts.

    Without a loader its load comes from elsewhere.
    Without a meter the load's report carries what the server cost: `server_cpu_seconds`. `close` ends the load and the
    server.
    """

    def __init__(
        self,
        server: Server,
        loader: Loader | None,
        cores: Sequence[int] = (),
        meter: EnergyMeter | None = None,
        address: tuple[str, int] | None = None,
        *,
        packages: Sequence[Knob] = (),
        missing: Mapping[str, str] = {},
    ) -> None:
        """`cores` are those that the server may be given; none: all that it may use now. Raises ServerError.

        `address` is told among the facts, for who loads it from elsewhere. `packages` are knobs of this machine that
        other packages add; `missing` are facts that say why it lacks others.
        """
        self._server = server
        self._loader = loader
        self._meter = meter
        self._clock = MonotonicClock()
        self._load: EndableLoad | None = None
        cores = tuple(cores) or tuple(sorted(os.sched_getaffinity(server.pid)))
        knobs: list[Knob] = [ServerCores(server, cores)]
        if isinstance(server, WorkerServer):
            knobs.append(ServerThreads(server, len(cores), self._adopt))
        self._group: CpuGroup | None = None
        try:
            self._group = CpuGroup(f"{GROUP}-{os.getpid()}-{server.pid}")
            _sweep(self._group.path.parent)
            with contextlib.suppress(GroupError):
                self._group.prefer()
            self._adopt()
            knobs.append(CpuQuota(self._group, len(cores)))
            quota = {CpuQuota.kind.name: str(self._group.path)}
        except GroupError as error:
            self._leave_group()
            quota = {f"{LACKS}{CpuQuota.kind.name}": f"it takes root, or a control group that is yours: {error}"}
        knobs += [knob() for knob in (BusyPoll, BusyRead) if knob.is_there()]
        self._knobs = (*knobs, *packages)
        self._facts = Facts(
            kind="process",
            cpu=_cpu(),
            cores=len(cores),
            kernel=platform.release(),
            unmetered=meter is None,
            address=address,
            text={
                "server": server.version,
                "server_build": _build(server.pid),
                **quota,
                **missing,
                "energy": NO_METER if meter is None else ", ".join(zone.name for zone in meter.zones),
            },
        )

    @property
    def facts(self) -> Facts:
        return self._facts

    @property
    def clock(self) -> MonotonicClock:
        return self._clock

    @property
    def knobs(self) -> Sequence[Knob]:
        return self._knobs

    @property
    def meter(self) -> EnergyMeter | None:
        return self._meter

    @property
    def loggers(self) -> tuple[()]:
        return ()

    @property
    def text_loggers(self) -> tuple[()]:
        return ()

    def start_load(self, load: Load, seed: int) -> EndableLoad | None:
        """Start `load` in place of any other; returns before it is up."""
        self.stop_load()
        if self._loader is None:
            return None
        self._load = self._loader(load, seed)
        return self._load

    def stop_load(self) -> None:
        load, self._load = self._load, None
        if load is not None:
            load.stop()

    def close(self) -> None:
        """End the load and the server, and remove the control group."""
        self.stop_load()
        self._server.close()
        self._leave_group()

    def ended(self) -> str:
        """How the server ended by itself; '' as long as it runs."""
        return self._server.ended()

    def counts(self) -> dict[str, float]:
        """`server_cpu_seconds` of the server and what it started, since it was started; nothing where it is gone."""
        counted = self._group.cpu_seconds() if self._group is not None else None
        try:
            found = tree.cpu_seconds(tree.members(self._server.pid)) if counted is None else counted
        except ServerError:
            return {}
        return {"server_cpu_seconds": found}

    def _adopt(self) -> None:
        if self._group is not None:
            self._group.adopt(self._server.pid)
            for member in tree.members(self._server.pid):
                # One that it started may have ended meanwhile.
                with contextlib.suppress(GroupError):
                    self._group.adopt(member)

    def _leave_group(self) -> None:
        group, self._group = self._group, None
        if group is not None:
            group.close()


def _sweep(folder: Path) -> None:
    """Remove groups whose owner was killed before it could."""
    for group in folder.glob(f"{GROUP}-*-*"):
        owner = group.name.split("-")[1]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            # Where a process is still in it the kernel refuses.
            with contextlib.suppress(OSError):
                group.rmdir()


def _build(pid: int) -> str:
    """A digest of the program that a process runs; equal for equal builds."""
    try:
        with Path(f"/proc/{pid}/exe").open("rb") as program:
            return hashlib.file_digest(program, "sha256").hexdigest()[:BUILD_DIGITS]
    except OSError as error:
        return f"unknown: {error.strerror}"


def _cpu() -> str:
    try:
        for line in CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    except OSError:
        pass
    return platform.machine()
