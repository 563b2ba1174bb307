"""The load `command`: any program that loads a server, for some time or with some requests, and prints what came."""

import contextlib
import math
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Literal, TypeAlias

import msgspec

from mustherd import files, metrics, programs
from mustherd.load.address import Address
from mustherd.load.base import ANY, LoadTraits, Site
from mustherd.load.command import results, words
from mustherd.load.command.results import Format, Result, Results
from mustherd.load.command.server import Command, Seconds
from mustherd.load.error import LoadError
from mustherd.load.host import Host, Job, too_much, within_bound
from mustherd.plugins import METRICS, OptionError, plugins
from mustherd.programs import BUILD_DIGITS, last_words
from mustherd.reasons import Reason
from mustherd.terms import Load, LoadReport

WORDS = ("host", "port", "seconds", "requests", "qps", "outstanding", "seed", "results")
"""What may stand in braces in the load's commands."""
POLL_S = 0.005
REACH_S = 2.0
KNOCK = ("timeout", f"{REACH_S:g}", "bash", "-c", "exec 3<>/dev/tcp/$0/$1")
"""Connects to a host and port, with what every node has."""
FIRST_REQUESTS = 1000
"""Of the ramp's first run, where nobody knows how fast they are answered."""
MOST_FASTER = 50
"""As many times more requests a next run of the ramp gets at most: the start of a short one looks slow."""
OUTPUTS_KEPT = 2000
"""Outputs kept of one run: enough for any search, and no more files than a folder likes."""

MOST_RUNS = 2
"""So many times as long as its run no answer takes, however that is timed; units are further apart."""
LATENCY = re.compile(r"(read|update)_(avg|p[1-9][0-9]{0,4})_us")
"""Metrics that are a report's own latencies."""
OF_REPORT = ("requests", "achieved_qps", "misses", "samples", "window_seconds")
"""And its other parts."""
Better: TypeAlias = Literal["less", "more"]
Loop: TypeAlias = Literal["open", "closed"]


class LoadCommand(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a load is made. In commands {host} and {port} stand for the server's, {seconds} for how long to load, {qps}
    and {outstanding} for the definition's, {requests} for so many as fill the time, {seed} for a number that differs
    from window to window, and {results} for a file that the results are read from instead of what is printed.
    """

    command: Command
    results: Format = "regex"
    metrics: Results
    """By name: where in the results each stands. `requests` or `achieved_qps` is needed; read_*_us, update_*_us,
    misses, samples and window_seconds are the report's own, and any other is a metric of its own."""
    loop: Loop = "closed"
    """`open`: it sends {qps} requests a second, answered or not. `closed`: it waits for answers, so that it offers what
    is answered."""
    prepare: tuple[Command, ...] = ()
    """Commands that run once, before the first window, such as one that stores records."""
    warm_up: Command = ()
    """What runs for the ramp; without it the command itself."""
    begins: str = ""
    """A pattern that it prints when it begins to load; without it, it begins when it is started."""
    slack_seconds: Seconds = 10.0
    """For how much longer than its time it may run."""
    prepare_seconds: Seconds = 300.0
    """How long each command of `prepare` may take."""


class ProgramSource:
    """Keeps the contract of mustherd.load.base.LoadSource, by a program that knows its own length.

    The ramp is a run of its own whose output nobody reads. Where the command is told {requests} and not {seconds}, and
    sends them as fast as they are answered, the ramp finds out how many fill the window.
    """

    def __init__(self, site: Site, options: LoadCommand) -> None:
        self._site = site
        self._options = options
        self._running: CommandLoad | None = None
        self._runs = 0

    def prepare(self) -> None:
        """Reach the servers, and run what is to run once. LoadError."""
        self.stop()
        if silent := self.check():
            raise LoadError(Reason.SERVER_UNREACHABLE, silent[0])
        for command in self._options.prepare:
            job = self._site.leader.start(words.filled(command, self._where()))
            try:
                ended(job, self._options.prepare_seconds, f"prepare: {command[0]}")
            finally:
                job.end()

    def start(self, load: Load, seed: int) -> "CommandLoad":
        """Begin the ramp. LoadError, for a curve too."""
        self.stop()
        if load.curve:
            raise LoadError(Reason.LOAD_FAILED, "a command's load is constant: it follows no curve within a window")
        self._runs += 1
        known = {**self._where(), "qps": round(load.qps), "outstanding": load.outstanding, "seed": seed}
        kept = self._site.logs and self._runs <= OUTPUTS_KEPT
        output = Path(self._site.logs) / f"{self._runs:04}.txt" if kept else None
        self._running = CommandLoad(self._options, self._site, known, load, kept=output)
        return self._running

    def stop(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.end()

    def check(self) -> Sequence[str]:
        """Servers that take no connection, from where the load runs."""
        return [problem for server in self._site.servers if (problem := self._unreached(server))]

    def _unreached(self, server: Address) -> str:
        if self._site.leader.is_here:
            try:
                socket.create_connection((server.host, server.port), timeout=REACH_S).close()
            except OSError as error:
                return f"nothing listens at {server}: {error.strerror or error}"
            return ""
        # This machine need not reach the network that the load runs in.
        job = self._site.leader.start([*KNOCK, server.host, str(server.port)])
        try:
            ended(job, REACH_S + self._options.slack_seconds, KNOCK[0])
        except LoadError as error:
            return f"from {self._site.leader.name} nothing is reached at {server}: {error.message}"
        finally:
            job.end()
        return ""

    def builds(self) -> dict[str, str]:
        """Of the program. LoadError."""
        program = self._options.command[0]
        return {program: self._site.leader.digest(program)[:BUILD_DIGITS]}

    def _where(self) -> dict[str, object]:
        """The first server's place: a program of its own loads one."""
        if not self._site.servers:
            raise LoadError(Reason.SERVER_UNREACHABLE, "no server is known")
        return {"host": self._site.servers[0].host, "port": self._site.servers[0].port}


class CommandSource(ProgramSource):
    """One that a definition describes."""

    Options = LoadCommand

    @staticmethod
    def declares(options: Mapping[str, object]) -> dict[str, Better]:
        """Its own metrics, by options as a definition writes them; nothing of what can't be read."""
        try:
            return own_metrics(msgspec.convert(options.get("metrics"), Results))
        except msgspec.ValidationError:
            return {}

    traits: ClassVar[LoadTraits] = LoadTraits(servers=(ANY,), open_loop=True)

    @staticmethod
    def traits_of(options: LoadCommand) -> LoadTraits:
        """What is the same of all loads of these options."""
        open_loop = options.loop == "open"
        return LoadTraits(servers=(ANY,), open_loop=open_loop, whole_seconds=bounded_by_time(options))

    @staticmethod
    def latencies(options: LoadCommand) -> list[str]:
        """Those that its reports hold."""
        return told_latencies(options)

    @staticmethod
    def check_options(options: LoadCommand) -> None:
        """Raise OptionError for commands or metrics that can't be."""
        for name, commands in (
            ("command", (options.command,)),
            ("warm_up", (options.warm_up,) * bool(options.warm_up)),
        ):
            for command in commands:
                with _refused(name):
                    words.check(command, WORDS)
        for number, command in enumerate(options.prepare):
            with _refused("prepare", number):
                words.check(command, WORDS[:2])
        used = words.used([options.command])
        with _refused("command"):
            if not used & {"seconds", "requests"}:
                raise ValueError("nothing says how long it loads: it needs {seconds} or {requests}")
        if options.loop == "open" and "qps" not in used:
            raise OptionError("an open loop is told how many requests a second: the command has no {qps}", ("loop",))
        for name, result in options.metrics.items():
            with _refused("metrics", name):
                results.check(options.results, name, result)
        if not options.metrics.keys() & {"requests", "achieved_qps"}:
            raise OptionError("how much was answered is needed", ("metrics",), allowed="requests or achieved_qps")
        with _refused("begins"):
            words.pattern(options.begins)


class CommandLoad:
    """A run of the program; keeps the contract of mustherd.node.node.RunningLoad."""

    def __init__(
        self, options: LoadCommand, site: Site, known: dict[str, object], load: Load, *, kept: Path | None
    ) -> None:
        """Begin the ramp. `kept` is where the output goes, `known` what the commands' words stand for. LoadError."""
        self._options = options
        self._site = site
        self._known = known
        self._load = load
        self._kept = kept
        self._file = ""
        self._t0: float | None = None
        self._by_requests = not options.warm_up and options.loop == "closed" and not bounded_by_time(options)
        self._requests = max(1, round(load.qps * site.window_s))
        self._begun = self._run_at = time.monotonic()
        self._count = max(1, round(load.qps * site.ramp_s)) if load.qps else FIRST_REQUESTS
        self._job: Job | None = None
        self._ramp_by = f"warm_up: {options.warm_up[0]}" if options.warm_up else f"ramp: {options.command[0]}"
        if site.ramp_s > 0:
            self._job = self._launch(options.warm_up or options.command, site.ramp_s, self._count)

    def open_window(self) -> None:
        """End the ramp and begin to measure. LoadError."""
        self._end_ramp()
        self._job = self._launch(self._options.command, self._site.window_s, self._requests)
        begun = time.monotonic()
        while self._options.begins and not re.search(self._options.begins, self._job.output(), re.MULTILINE):
            alive(self._job, self._options.command[0])
            within_bound(self._job, f"stdout of {self._options.command[0]}")
            if self._job.ended() is not None or time.monotonic() - begun > self._options.slack_seconds:
                late = f"{self._options.command[0]} does not print {self._options.begins!r}, by which it begins"
                raise LoadError(Reason.LOAD_TIMEOUT, f"{late}: {last_words(self._job.output())}")
            time.sleep(POLL_S)
        self._t0 = time.monotonic() if self._options.begins else begun

    def look(self) -> None:
        """Raise LoadError where it has printed too much by now, on stdout or, on this machine, into {results}."""
        if self._job is None:
            return
        within_bound(self._job, f"stdout of {self._options.command[0]}")
        if self._file and self._site.leader.is_here:
            with contextlib.suppress(OSError):  # it makes the file anew
                if Path(self._file).stat().st_size > programs.MOST_PRINTED:
                    raise too_much(f"{{results}} of {self._options.command[0]}")

    def close_window(self) -> LoadReport:
        """Wait until the program ends, and report. LoadError; RuntimeError when no window is open."""
        if self._t0 is None or self._job is None:
            raise RuntimeError("close_window without open_window")
        try:
            left = max(0.0, self._t0 + self._site.window_s - time.monotonic()) + self._options.slack_seconds
            printed = ended(self._job, left, self._options.command[0], self.look)
            t1 = time.monotonic()
            file, self._file = self._file, ""
            text = self._site.leader.take(file, f"{{results}} of {self._options.command[0]}") if file else printed
            self._keep(printed + (f"\n--- results\n{text}" if file else ""))
            found = results.read(self._options.results, text, self._options.metrics)
        finally:
            self.end()
        return report(found, self._options, self._load, t0_s=self._t0, t1_s=t1)

    def end(self) -> None:
        """End the program; harmless when it has ended."""
        job, self._job = self._job, None
        if job is not None:
            job.end()
        file, self._file = self._file, ""
        if file:
            _forget(self._site.leader, file)

    def _end_ramp(self) -> None:
        """Wait for the ramp's run, and learn from it how many requests fill the window.

        Where only requests bound a run, and nobody knows how fast they are answered, it takes some runs to find out.
        """
        while self._job is not None:
            started, count = self._run_at, self._count
            try:
                ended(self._job, self._site.ramp_s + self._options.slack_seconds, self._ramp_by, self.look)
            finally:
                self.end()
            now = time.monotonic()
            speed = count / max(now - started, POLL_S)
            if not self._by_requests:
                return
            self._requests = max(1, round(speed * self._site.window_s))
            left = self._begun + self._site.ramp_s - now
            if now - started >= self._site.ramp_s / 4 or left <= 0:
                return
            self._count = max(1, min(round(speed * left), MOST_FASTER * count))
            self._run_at = now
            self._job = self._launch(self._options.command, left, self._count)

    def _launch(self, command: Command, seconds: float, requests: int) -> Job:
        known = {**self._known, "seconds": max(1, math.ceil(seconds)), "requests": requests}
        if "results" in words.used([command]):
            self._file = self._site.leader.new_file()
            known["results"] = self._file
        return self._site.leader.start(words.filled(command, known))

    def _keep(self, text: str) -> None:
        if self._kept is not None:
            try:
                self._kept.parent.mkdir(parents=True, exist_ok=True)
                files.replace(self._kept, text.encode())
            except OSError as error:
                raise LoadError(Reason.LOAD_FAILED, f"{self._kept}: {error.strerror}") from None


def report(found: dict[str, float], options: LoadCommand, load: Load, *, t0_s: float, t1_s: float) -> LoadReport:
    """What a run printed as a report; pure. LoadError where it answered nothing, or was over before it began.

    A closed loop offers what is answered. `window_seconds`, where the program says it, ends the window.
    """
    rest = dict(found)
    seconds = rest.pop("window_seconds", t1_s - t0_s)
    if seconds <= 0:
        raise LoadError(Reason.OUTPUT_UNREADABLE, f"{options.command[0]} says that it loaded for {seconds:g} s")
    requests, qps = rest.pop("requests", None), rest.pop("achieved_qps", None)
    achieved = qps if qps is not None else (requests or 0.0) / seconds
    answered = round(requests if requests is not None else achieved * seconds)
    latencies: dict[str, dict[str, float]] = {"read": {}, "update": {}}
    for name in list(rest):
        if match := LATENCY.fullmatch(name):
            if rest[name] > MOST_RUNS * 1e6 * (t1_s - t0_s):
                told = f"{name} of {rest[name] / 1e6:.6g} s is longer than the whole run of {t1_s - t0_s:.3g} s"
                raise LoadError(Reason.OUTPUT_UNREADABLE, f"{told}: it is given in another unit; say it by `unit`")
            latencies[match[1]][match[2]] = rest.pop(name)
    return LoadReport(
        generator=Path(options.command[0]).name,
        t0_s=t0_s,
        t1_s=t0_s + seconds,
        offered_qps=load.qps if options.loop == "open" else achieved,
        achieved_qps=achieved,
        requests=answered,
        misses=round(rest.pop("misses", 0.0)),
        samples=round(rest.pop("samples", answered)),
        read_us=latencies["read"],
        update_us=latencies["update"],
        metrics=rest,
    )


def bounded_by_time(options: LoadCommand) -> bool:
    """Whether the command is told how long to load; else it is told how many requests."""
    return "seconds" in words.used([options.command])


def own_metrics(metrics: Mapping[str, Result]) -> dict[str, Better]:
    """Which of a load's metrics are its own, and which way each is better."""
    return {
        name: result.better for name, result in metrics.items() if not LATENCY.fullmatch(name) and name not in OF_REPORT
    }


def told_latencies(options: LoadCommand) -> list[str]:
    """The metrics that are latencies of a load's reports, and can be asked for."""
    known = {*metrics.OURS, *plugins(METRICS)}
    return [name for name in options.metrics if LATENCY.fullmatch(name) and name in known]


def ended(job: Job, seconds: float, what: str, look: Callable[[], None] = lambda: None) -> str:
    """Wait for a program and give what it printed. LoadError when it fails, takes longer or prints too much.

    `look` is called as long as it runs, and may raise another LoadError.
    """
    deadline = time.monotonic() + seconds
    while job.ended() is None:
        within_bound(job, f"stdout of {what}")
        look()
        if time.monotonic() > deadline:
            raise LoadError(Reason.LOAD_TIMEOUT, f"{what} takes longer than {seconds:.0f} s")
        time.sleep(POLL_S)
    alive(job, what)
    within_bound(job, f"stdout of {what}")
    return job.output()


def alive(job: Job, what: str) -> None:
    """Raise LoadError for a program that ended with an error."""
    if code := job.ended():
        raise LoadError(Reason.LOAD_FAILED, f"{what} ended with {code}: {last_words(job.output())}")


def _forget(host: Host, file: str) -> None:
    try:
        host.take(file)
    except LoadError:
        return  # nobody reads it any more


@contextmanager
def _refused(*path: str | int) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise OptionError(str(error), path) from None
