"""A trial's window under a load that comes from outside the node, as one interval of one clock.

The load begins first: its records are stored, it ramps up, and when its leader begins to measure, the muster is told to
open its window. When the muster says that it has, the shepherd knows to within that round trip when, on its own clock,
the window began; by that the load's times are put on the node's clock. The gate `window-mismatch` holds what may lie
between the two windows, that uncertainty included, to the definition's tolerance.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from mustherd.definition.workload import Workload
from mustherd.extras import PROVISION, need
from mustherd.load import registry
from mustherd.load.address import Address
from mustherd.load.base import BuildsTold, LoadSource, Site, WatchedLoad
from mustherd.load.error import LoadError
from mustherd.load.host import Host, LocalHost
from mustherd.load.placement import Layout, Place, Team, teams
from mustherd.node.node import RunningLoad
from mustherd.plugins import PluginError
from mustherd.reasons import Reason
from mustherd.shepherd.shepherd import Shepherd
from mustherd.store.errors import StoreError
from mustherd.terms import Load, LoadReport
from mustherd.wire.messages import Measured, MusterView

OPEN_WAIT_S = 5.0
"""For a muster to say that its window is open; usually some milliseconds."""

LOOK_S = 1.0
"""Between two looks at a load while its window lasts: what prints without an end fills no disk in that."""

OUTPUTS = "load"
"""In an experiment's folder: what the load's programs printed, by window."""

MUTILATE = "mutilate"
"""What loads where the layout has a leader and the definition names no generator."""


class _Crew:
    """A team at work: whom it loads, and how its last window ended."""

    def __init__(self, team: Team) -> None:
        self.team = team
        self.muster = ""
        self.servers: tuple[Address, ...] = ()
        self.source: LoadSource | None = None
        self.spoilt = False
        """The last window ended badly: its agents may still wait for their leader."""

    def close(self) -> None:
        """End the load and everything that was started for it; the next window starts anew."""
        source, self.source, self.muster = self.source, None, ""
        if source is not None:
            source.stop()


class OutsideLoad:
    """Loads the servers of several musters at the same time, each by a team of its own: a leader and its agents.

    Where there are fewer teams than musters, and where two musters share a server, they wait for one another. Methods
    may be called from several threads.
    """

    def __init__(
        self,
        workload: Workload,
        layout: Layout,
        *,
        musters: int = 1,
        host_of: Callable[[Place], Host] | None = None,
        logs: str = "",
    ) -> None:
        """`host_of` makes the machines that programs run on; without it this one, and others by ssh.

        `logs` is the folder that keeps what they print; without it nobody does.
        """
        self._logs = logs
        self.ahead_s: dict[str, float] = {}
        """Of each muster loaded so far, how far its node's clock was ahead of this machine's."""
        self._workload = workload
        self._layout = layout
        self._host_of = host_of or _host
        self._crews = [_Crew(team) for team in teams(layout, musters)]
        self._at_work: dict[int, frozenset[Address]] = {}
        """Crews that make a load, by number, and the servers that it goes to."""
        self._freed = threading.Condition()
        self._hosts: dict[Place, Host] = {}

    @property
    def teams(self) -> tuple[Team, ...]:
        """The loads that can be made at the same time."""
        return tuple(crew.team for crew in self._crews)

    def check(self, muster: str) -> Sequence[str]:
        """What keeps a muster that the layout names from being loaded, each in a sentence. LoadError."""
        servers = self._layout.servers[muster]
        with self._crew(muster, frozenset(servers)) as crew:
            return self._source_for(crew, muster, servers).check()

    def builds(self, view: MusterView) -> dict[str, str]:
        """What loads a muster and what is loaded, with their builds, as far as they tell."""
        servers = self._servers(view)
        with self._crew(view.name, frozenset(servers)) as crew:
            source = self._source_for(crew, view.name, servers)
            told = dict(source.builds()) if isinstance(source, BuildsTold) else {}
        name, _ = self._workload.offered_by or (MUTILATE, {})
        return {"load": name, "agents": str(len(crew.team.agents)), **told}

    def measure(
        self,
        shepherd: Shepherd,
        view: MusterView,
        load: Load,
        *,
        seed: int,
        settle_s: float,
        reading_s: float = 0.0,
        label: str,
        slack_s: float,
        on_open: Callable[[], object] | None = None,
    ) -> Measured:
        """One window on a muster. Where knobs are set within it, `on_open` is called once it is open.

        `reading_s`: how long the muster may take to read its knobs, once settled, before it can open a window.

        LoadError; HerdError; TimeoutError.
        """
        window_s = self._workload.window_seconds
        servers = self._servers(view)
        with self._crew(view.name, frozenset(servers)) as crew:
            source = self._source_for(crew, view.name, servers)
            window = shepherd.window(
                view.name, settle_s=settle_s, window_s=window_s, label=label, changing=on_open is not None
            )
            try:
                time.sleep(settle_s + reading_s)
                running = source.start(load, seed)
                running.open_window()
                asked = time.monotonic()
                opened = window.open().result(OPEN_WAIT_S)
                answered = time.monotonic()
                if on_open is not None:
                    on_open()
                _wait(running, asked + window_s)
                report = running.close_window()
                measured = window.measured.result(slack_s)
            except BaseException:
                window.cancel()
                crew.close()
                crew.spoilt = True
                raise
        self.ahead_s[view.name] = ahead_s(opened.t0_s, asked, answered)
        return msgspec.structs.replace(measured, load=on_node_clock(report, opened.t0_s, asked, answered))

    def close(self) -> None:
        """End every load and everything that was started for it; the next windows start anew."""
        for crew in self._crews:
            crew.close()

    def leave(self) -> None:
        """End it for good: log out everywhere."""
        self.close()
        for host in self._hosts.values():
            host.close()

    @contextlib.contextmanager
    def _crew(self, muster: str, servers: frozenset[Address]) -> Iterator[_Crew]:
        """A crew that nobody else uses meanwhile, and servers that nobody else loads."""
        with self._freed:
            while (number := self._free(muster, servers)) is None:
                self._freed.wait()
            self._at_work[number] = servers
        try:
            yield self._crews[number]
        finally:
            with self._freed:
                del self._at_work[number]
                self._freed.notify_all()

    def _free(self, muster: str, servers: frozenset[Address]) -> int | None:
        """A crew that may load the muster now, best the one that did so before; None: not yet."""
        if any(servers & busy for busy in self._at_work.values()):
            return None
        group = self._layout.group_of(muster)
        idle = [k for k, c in enumerate(self._crews) if k not in self._at_work and c.team.group == group]
        return min(idle, key=lambda k: (self._crews[k].muster != muster, self._crews[k].muster != "", k), default=None)

    def _source_for(self, crew: _Crew, muster: str, servers: Sequence[Address]) -> LoadSource:
        # A muster that was killed comes back with a server of its own at another port.
        if crew.source is not None and (crew.muster, crew.servers) == (muster, tuple(servers)):
            return crew.source
        crew.close()
        source = self._make(crew, servers)
        try:
            source.prepare()
        except LoadError:
            source.stop()
            raise
        crew.spoilt, crew.muster, crew.servers, crew.source = False, muster, tuple(servers), source
        return source

    def _servers(self, view: MusterView) -> Sequence[Address]:
        if view.name in self._layout.servers:
            return self._layout.servers[view.name]
        if view.facts.address is None:
            raise LoadError(
                Reason.SERVER_UNREACHABLE, f"it is not known where the server of muster {view.name} listens"
            )
        return [Address(*view.facts.address)]

    def _make(self, crew: _Crew, servers: Sequence[Address]) -> LoadSource:
        load, layout = self._workload, self._layout
        name, options = load.offered_by or (MUTILATE, load.options_of(MUTILATE))
        site = Site(
            servers=tuple(servers),
            leader=self._machine(layout.leader),
            agents=tuple(self._machine(place) for place in crew.team.agents),
            start_agents=layout.start_agents,
            qps=load.load().qps,
            ramp_s=load.ramp_seconds,
            window_s=load.window_seconds,
            spoilt=crew.spoilt,
            logs=self._logs,
        )
        try:
            return registry.make(name, site, options)
        except (ValueError, PluginError) as error:
            raise LoadError(Reason.TOOL_MISSING, str(error)) from None

    def _machine(self, place: Place) -> Host:
        with self._freed:
            if place not in self._hosts:
                self._hosts[place] = self._host_of(place)
            return self._hosts[place]


def _wait(running: RunningLoad, until: float) -> None:
    """Let a window last, and look after its load, where that can be looked after. LoadError."""
    while (left_s := until - time.monotonic()) > LOOK_S:
        time.sleep(LOOK_S)
        if isinstance(running, WatchedLoad):
            running.look()
    # No look at the end: it would make the window longer.
    time.sleep(max(0.0, left_s))


def ahead_s(node_t0_s: float, asked: float, answered: float) -> float:
    """How far a node's clock is ahead of this machine's, which is negative where it is behind; pure."""
    return node_t0_s - (asked + answered) / 2


def on_node_clock(report: LoadReport, node_t0_s: float, asked: float, answered: float) -> LoadReport:
    """A report of this machine's clock on the node's; pure.

    The node's window began at `node_t0_s` of its clock, which was between `asked` and `answered` of this one's.
    """
    ahead = ahead_s(node_t0_s, asked, answered)
    return msgspec.structs.replace(
        report,
        t0_s=report.t0_s + ahead,
        t1_s=report.t1_s + ahead,
        counters={**report.counters, "clock_uncertainty_s": (answered - asked) / 2},
    )


def outside_load(workload: Workload, layout: Layout | None, folder: Path, musters: int) -> OutsideLoad | None:
    """The load from outside that the experiment in `folder` has, if any. StoreError when its layout is missing.

    `musters`: how many are loaded, at the same time where there are machines enough.
    """
    if layout is None and workload.offered_by is not None:
        raise StoreError("it is not known which machines make the load: start the experiment by `experiment start`")
    return None if layout is None else OutsideLoad(workload, layout, musters=musters, logs=str(folder / OUTPUTS))


def _host(place: Place) -> Host:
    if not place.host:
        return LocalHost(place.address)
    need(PROVISION, "paramiko")
    # Who loads from this machine alone needs no ssh.
    from mustherd.load.ssh import SshHost  # noqa: PLC0415

    return SshHost(place)
