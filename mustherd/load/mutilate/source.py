"""Loads offered by mutilate: agents that load, a leader that leads them and measures."""

import contextlib
import logging
import math
import socket
import time
from collections.abc import Callable, Sequence
from typing import ClassVar

import msgspec

from mustherd.load import saturation
from mustherd.load.base import LoadTraits, Site
from mustherd.load.error import LoadError
from mustherd.load.host import AS_ROOT, Host, Job, within_bound
from mustherd.load.memcached.counters import Counters, build, read, total, unreachable
from mustherd.load.mutilate import command, output
from mustherd.load.mutilate.command import MutilateOptions
from mustherd.load.mutilate.output import Output
from mustherd.programs import BUILD_DIGITS, last_words
from mustherd.reasons import Reason
from mustherd.terms import Load, LoadReport

log = logging.getLogger(__name__)

AGENT_START_TIMEOUT_S = 15.0
"""For agents to be up; usually well below a second."""
RESTART_AGENT = (*AS_ROOT, "systemctl", "restart", "mustherd-mutilate-agent.service")
"""The unit that the memcached_mutilate role installs."""
REACH_TIMEOUT_S = 1.0
PRELOAD_TIMEOUT_S = 60.0
SYNC_S = 1.5
"""How long a leader sleeps once it has spoken to its agents."""
CHANCE_DEVIATIONS = 3.0
"""Of a Poisson count, as far as a leader's load may fall short of what was asked without meaning anything."""
SLACK_S = 10.0
"""After a run should be over: for connections to open and close, and requests to drain."""
POLL_S = 0.005
MOST_SAVED = 2_000_000
"""Samples that are worth fetching for exact percentiles."""

FAILURES = {
    "Connection refused": Reason.SERVER_UNREACHABLE,
    "Unexpected EOF": Reason.SERVER_UNREACHABLE,
    "Connection reset": Reason.SERVER_UNREACHABLE,
    "out of sync": Reason.VERSION_MISMATCH,
    ": not found": Reason.TOOL_MISSING,
    "command not found": Reason.TOOL_MISSING,
    "No such file or directory": Reason.TOOL_MISSING,
}
"""What mutilate says when it gives up, and what that means."""


class MutilateSource:
    """Keeps the contract of mustherd.load.base.LoadSource.

    A run of mutilate has its length from the start, so it is given here: `ramp_s` of warm-up, then `window_s` that are
    measured, both rounded up to whole seconds. `open_window` returns when the leader begins to measure, which is not
    before its warm-up is over, and `close_window` when it has ended: the window is the leader's own, whatever the time
    between the two calls. After a leader had to be ended, agents wait for it for ever: `prepare` starts them anew.
    """

    Options = MutilateOptions
    traits: ClassVar[LoadTraits] = LoadTraits(
        servers=("memcached",), open_loop=True, whole_seconds=True, overhead_s=SYNC_S + 0.5
    )

    def __init__(self, site: Site, options: MutilateOptions) -> None:
        """Exact percentiles of the leader's reads are fetched where its samples are few enough.

        Agents that run as units are started anew by `prepare`: all of them when the run before ended badly, be it
        another source's, else those that don't answer.
        """
        self._options = options
        self._servers = site.servers
        self._leader = site.leader
        self._agents = site.agents
        self._ramp_s, self._window_s = math.ceil(site.ramp_s), max(1, math.ceil(site.window_s))
        self._start_agents = site.start_agents
        self._save = (options.measure_qps if site.agents else site.qps) * self._window_s <= MOST_SAVED
        self._jobs: list[Job] = []
        self._running: MutilateLoad | None = None
        self._spoilt = site.spoilt

    def prepare(self) -> None:
        """Start the agents that are not units, and wait for all of them. LoadError."""
        if beyond := self._beyond():
            raise LoadError(Reason.SERVER_UNREACHABLE, beyond[0])
        self._spoilt |= self._running is not None and not self._running.ended_well
        self.stop()
        if not self._start_agents:
            # After a bad end each of them waits for a leader that is no more; without one, some may have died.
            for host in [h for h in self._agents if self._spoilt or not self._reached(h)]:
                _restart(host)
        self._spoilt = False
        if self._start_agents:
            self._jobs = [host.start(command.agent(self._options)) for host in self._agents]
        deadline = time.monotonic() + AGENT_START_TIMEOUT_S
        while silent := [host.name for host in self._agents if not self._reached(host)]:
            if time.monotonic() > deadline:
                self.stop()
                raise LoadError(
                    Reason.AGENT_DEAD, f"no mutilate agent on {', '.join(silent)}, port {self._options.agent_port}"
                )
            time.sleep(POLL_S)

    def preload(self, load: Load) -> None:
        """Store every record. LoadError."""
        job = self._leader.start(command.preload(self._options, self._servers, load))
        try:
            _wait(job, PRELOAD_TIMEOUT_S, "storing the records")
        finally:
            job.end()

    def start(self, load: Load, seed: int) -> "MutilateLoad":  # noqa: ARG002 - the port's
        """Store the records and start a leader; `seed` has no meaning to mutilate. LoadError, for a curve too."""
        if load.curve:
            raise LoadError(Reason.LOAD_FAILED, "mutilate's load is constant: it follows no curve within a window")
        return self._launch(load, self._ramp_s, self._window_s)

    def stop(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.end()
        jobs, self._jobs = self._jobs, []
        for job in jobs:
            job.end()

    def check(self) -> Sequence[str]:
        """Servers and agents that don't answer, programs that are missing, and builds that differ."""
        problems = self._beyond() or unreachable(self._servers, binary=self._options.binary)
        problems += [f"no mutilate agent answers on {name}" for name in self.dead_agents()]
        try:
            self.same_build()
        except LoadError as error:
            problems.append(error.message)
        return problems

    def _beyond(self) -> list[str]:
        """Servers whose addresses mutilate can't read: it takes what is behind the first colon for the port."""
        return [f"mutilate reaches servers by IPv4 alone, and {s} is IPv6" for s in self._servers if ":" in s.host]

    def builds(self) -> dict[str, str]:
        """Of mutilate, which is the same on all its machines, and of each server. LoadError."""
        found = {"mutilate": self._leader.digest(self._options.program)[:BUILD_DIGITS]}
        return found | {f"memcached at {s}": build(s, self._options.binary) for s in self._servers}

    def same_build(self) -> None:
        """Raise LoadError where an agent's mutilate is not the leader's."""
        wanted = self._leader.digest(self._options.program)
        others = [host.name for host in self._agents if host.digest(self._options.program) != wanted]
        if others:
            raise LoadError(
                Reason.VERSION_MISMATCH,
                f"mutilate on {', '.join(others)} is another build than the leader's on {self._leader.name}",
            )

    def dead_agents(self) -> list[str]:
        """Agents that take no connection."""
        return [host.name for host in self._agents if not self._reached(host)]

    def _reached(self, host: Host) -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection((host.name, self._options.agent_port), timeout=REACH_TIMEOUT_S).close()
            return True
        return False

    def _launch(self, load: Load, ramp_s: int, window_s: int) -> "MutilateLoad":
        if self._running is not None:
            self._running.end()
        if dead := self.dead_agents():
            raise LoadError(Reason.AGENT_DEAD, f"no mutilate agent answers on {', '.join(dead)}")
        self.same_build()
        self.preload(load)
        save = self._leader.new_file() if self._save else ""
        argv = command.leader(
            self._options,
            self._servers,
            load,
            seconds=window_s,
            warmup_s=ramp_s,
            agents=[a.name for a in self._agents],
            save=save,
        )
        self._running = MutilateLoad(
            job=self._leader.start(argv),
            host=self._leader,
            options=self._options,
            load=load,
            agents=len(self._agents),
            seconds=(ramp_s, window_s),
            counters=lambda: total(read(s, self._options.binary) for s in self._servers),
            dead_agents=self.dead_agents,
            save=save,
        )
        return self._running


class MutilateLoad:
    """A leader that runs; keeps the contract of mustherd.node.node.RunningLoad."""

    def __init__(
        self,
        *,
        job: Job,
        host: Host,
        options: MutilateOptions,
        load: Load,
        agents: int,
        seconds: tuple[int, int],
        counters: Callable[[], Counters],
        dead_agents: Callable[[], list[str]],
        save: str,
    ) -> None:
        self._job = job
        self._host = host
        self._options = options
        self._load = load
        self._agents = agents
        self._ramp_s, self._window_s = seconds
        self._counters = counters
        self._dead_agents = dead_agents
        self._save = save
        self._begun = time.monotonic()
        self._before: Counters | None = None
        self._t0 = 0.0
        self._slack_s = 0.0
        self.ended_well = False
        """Whether it has ended by itself, which lets its agents go."""

    def open_window(self) -> None:
        """Wait until the leader measures. LoadError."""
        deadline = self._begun + self._ramp_s + SYNC_S + SLACK_S
        while (unix_s := output.started_at(self._job.output())) is None:
            _alive(self._job)
            if time.monotonic() > deadline:
                self._give_up("mutilate's leader does not begin")
            time.sleep(POLL_S)
        now = time.monotonic()
        # The leader's own word where its clock is ours; else when it was heard, which is later by the way here.
        self._t0 = min(now, now - (time.time() - unix_s)) if self._host.is_here else now
        self._before = self._counters()
        self._slack_s = time.monotonic() - self._t0

    def close_window(self) -> LoadReport:
        """Wait until the leader ends, and report. LoadError; RuntimeError when the window isn't open."""
        if self._before is None:
            raise RuntimeError("close_window without open_window")
        try:
            left = self._t0 + self._window_s - time.monotonic()
            text = _wait(self._job, max(0.0, left) + SLACK_S, "mutilate's leader", self._dead_agents)
            self.ended_well = True
            counted = self._counters().since(self._before)
            ended = time.monotonic()
            found = output.parse(text, self._load.qps * self._window_s)
            exact = self._exact()
        finally:
            self.end()
        return report(
            found,
            self._options,
            self._load,
            agents=self._agents,
            t0_s=self._t0,
            exact=exact,
            counters={
                **counted.plain(),
                "counters_slack_s": self._slack_s + max(0.0, ended - self._t0 - found.seconds),
            },
        )

    def _exact(self) -> dict[str, float]:
        if not self._save:
            return {}
        save, self._save = self._save, ""
        try:
            saved = self._host.take(save)
        except LoadError as error:
            if error.reason != Reason.OUTPUT_UNREADABLE:
                raise
            # More than is read of any file: what it prints itself has to do.
            log.warning("exact percentiles are left out: %s", error.message)
            return {}
        return output.exact(saved.splitlines())

    def end(self) -> None:
        """End the leader; harmless when it has ended."""
        self._before = None
        self._job.end()
        save, self._save = self._save, ""
        if save:
            with contextlib.suppress(LoadError):
                self._host.take(save)

    def _give_up(self, what: str) -> None:
        dead = self._dead_agents()
        self.end()
        if dead:
            raise LoadError(Reason.AGENT_DEAD, f"{what}: no agent answers on {', '.join(dead)}")
        raise LoadError(Reason.LOAD_TIMEOUT, what)


def report(
    found: Output,
    options: MutilateOptions,
    load: Load,
    *,
    agents: int,
    t0_s: float,
    exact: dict[str, float],
    counters: dict[str, float],
) -> LoadReport:
    """A run as a report; pure. LoadError when no latency was sampled.

    Latencies that the build doesn't print are not in it. `samples` is exact for saved ones, else what the leader says
    it sent itself. `saturated` when the leader fell short of its own load while its connections had room (Little's
    law: busy connections = rate x latency), by the usual limits of mustherd.load.saturation.
    """
    if not found.read_us and not found.update_us:
        raise LoadError(Reason.NO_SAMPLES, "mutilate measured no latency: its rows are zeros")
    own_qps = found.local_qps if agents and found.local_qps is not None else found.qps
    wanted = float(options.measure_qps) if agents else load.qps
    slots = options.threads * (
        options.measure_connections * options.measure_depth
        if agents
        else options.connections * command.depth(options, load, 0)
    )
    sampled = {**found.update_us, **found.read_us}
    in_use = own_qps * sampled.get("avg", 0.0) / 1e6 / slots
    # A few thousand random arrivals fall short of their mean by some percent, one time in two.
    by_chance = CHANCE_DEVIATIONS / math.sqrt(max(1.0, wanted * found.seconds))
    own = found.local_requests if agents and found.local_requests is not None else found.requests
    made = LoadReport(
        generator="mutilate",
        t0_s=t0_s,
        t1_s=t0_s + found.seconds,
        offered_qps=load.qps,
        achieved_qps=found.qps,
        requests=found.requests,
        misses=found.misses,
        samples=round(exact["count"]) if exact else own,
        read_us={k: v for k, v in exact.items() if k != "count"} or found.read_us,
        update_us=found.update_us,
        counters={
            **counters,
            "leader_qps": own_qps,
            saturation.LEADER_SHORTFALL: max(0.0, 1 - own_qps / wanted - by_chance),
            saturation.LEADER_IN_USE: in_use,
            "skipped": float(found.skipped),
        },
    )
    return msgspec.structs.replace(made, saturated=bool(saturation.why(made)))


def _restart(host: Host) -> None:
    """Have a machine start its agent's unit anew. LoadError."""
    job = host.start(RESTART_AGENT)
    try:
        _wait(job, AGENT_START_TIMEOUT_S, f"restarting the agent on {host.name}")
    except LoadError as error:
        if error.reason == Reason.LOAD_TIMEOUT:
            raise
        words = f"the agent on {host.name} can't be started: {last_words(job.output())}"
        raise LoadError(Reason.AGENT_DEAD, words) from None
    finally:
        job.end()


def _wait(job: Job, seconds: float, what: str, dead_agents: Callable[[], list[str]] = list) -> str:
    deadline = time.monotonic() + seconds
    while job.ended() is None:
        within_bound(job, f"stdout of {what}")
        if time.monotonic() > deadline:
            dead = dead_agents()
            if dead:
                raise LoadError(Reason.AGENT_DEAD, f"{what}: no agent answers on {', '.join(dead)}")
            raise LoadError(Reason.LOAD_TIMEOUT, f"{what} takes longer than {seconds:.0f} s")
        time.sleep(POLL_S)
    _alive(job)
    return job.output()


def _alive(job: Job) -> None:
    """Raise LoadError for a mutilate that ended with an error."""
    code = job.ended()
    if not code:
        return
    text = job.output()
    reason = next((reason for words, reason in FAILURES.items() if words in text), Reason.LOAD_FAILED)
    raise LoadError(reason, f"mutilate ended with {code}: {last_words(text)}")
