"""A herd on this machine: one shepherd and its musters, as processes of their own on loopback."""

import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import tomli_w

from mustherd import files
from mustherd.daemon import how_ended
from mustherd.definition.errors import Finding
from mustherd.errors import UserError
from mustherd.experiment.left_behind import CONFIG, HERD
from mustherd.experiment.running import ADDRESS
from mustherd.load.registry import server_kind
from mustherd.load.server import local_options
from mustherd.machine import need_shepherds_files
from mustherd.node.catalog import packages_knobs
from mustherd.node.linux import own_file
from mustherd.node.twin.faults import MAX_SEED
from mustherd.plugins import SERVERS, plugin
from mustherd.wire.ports import Ports

if TYPE_CHECKING:
    from mustherd.definition import Experiment

log = logging.getLogger(__name__)

START_S = 60.0
"""How long a shepherd may take to say where it listens."""

RESTARTS = 5
"""How often a muster that died is started again."""

REFUSALS = (2, 3)
"""Exit codes of a muster that won't begin, or whose server is gone, and says why in the last line of its log."""
SAYS = "mustherd: "
LAST_BYTES = 65_536
"""Of a process's log, to find its last line in."""

RESTART_S = 2.0
"""Pause before a muster that died is started again."""

KEYS = "keys"
"""The folder of the run's keys, beside those of the musters."""

END_S = 10.0
"""How long a daemon may take to end in good order before it is killed."""

ENDING_S = 900.0
"""How long a shepherd that was told to end may wait for its musters, whose knobs may take their time."""

COMMANDS_AT_END = 9
"""Of each knob by command, one after the other, to set it and put it back: a muster that is asked to end in the middle
of the first."""


FREE_PORTS = Ports(0, 0, 0, 0)
"""A herd on this machine takes any free ports, so that two experiments can run beside each other."""


class LocalHerdError(UserError):
    """A process of the herd could not be started or ended badly; the message names it and its log."""

    exit_code = 3


class Operator(msgspec.Struct, frozen=True, kw_only=True):
    """What the person who starts an experiment says of this run of it, which is no part of its definition."""

    listen: str = "127.0.0.1"
    """Where the shepherd listens; beyond loopback only with keys."""
    keys: Path | None = None
    """Key folder."""
    ports: Ports = FREE_PORTS
    musters: int | None = None
    """How many musters of an inventory to wait for."""


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How the shepherd's process ended."""

    code: int
    """Its exit code, as mustherd.experiment.loop has them; negative: the signal that killed it."""
    words: str
    """The last line of its log; where a signal killed it, or it said nothing, how it ended, too."""


def run_here(
    folder: Path,
    experiment: "Experiment",
    operator: Operator,
    watch: Callable[[Path, Callable[[], bool]], None],
    stop: threading.Event,
) -> Ending:
    """Run the experiment in `folder` with processes on this machine, in order to the end.

    `watch(folder, is_over)` is called in this thread, and returns when `is_over()` says so; what it raises ends the
    experiment in good order and is passed on. `stop` set, from any thread, ends it in good order too. LocalHerdError.
    """
    expected = _expected(experiment, operator)
    asked = False

    def is_over() -> bool:
        nonlocal asked
        if stop.is_set() and not asked:
            asked = True
            herd.interrupt()
        return not herd.tend()

    with LocalHerd(folder, experiment, operator) as herd:
        herd.start(expected)
        try:
            watch(folder, is_over)
        except BaseException as error:
            herd.interrupt(signal.SIGINT if type(error) is KeyboardInterrupt else signal.SIGTERM)
            # One that never ends is killed at the end of this block.
            with contextlib.suppress(subprocess.TimeoutExpired):
                herd.result(ENDING_S)
            raise
        code = herd.result()
    # Only now: a server that ended under the last trial is told by its muster, which has ended since. Where everything
    # was asked to end, its end is no news.
    if not asked and (refusal := herd.refused()):
        raise LocalHerdError(refusal)
    return Ending(code=code, words=herd.last_words())


def _expected(experiment: "Experiment", operator: Operator) -> int:
    """How many musters take part."""
    simulated = experiment.herd.simulated
    return simulated.musters if simulated else 1 if experiment.herd.local else operator.musters or 1


def enough_files(experiment: "Experiment", operator: Operator) -> None:
    """See that the herd's shepherd may open as many files as it needs. Raises MachineError."""
    need_shepherds_files(_expected(experiment, operator))


class LocalHerd:
    """The processes of one run; a context manager that ends those still running. Logs lie in the folder."""

    def __init__(self, folder: Path, experiment: "Experiment", operator: Operator) -> None:
        self.folder = folder
        self._experiment = experiment
        self._operator = operator
        self._shepherd: subprocess.Popen[bytes] | None = None
        self._musters: dict[str, subprocess.Popen[bytes]] = {}
        self._restarts: dict[str, tuple[int, float]] = {}
        self._refusals: dict[str, str] = {}
        self._end_within_s = end_within_s(experiment)
        self._log_begins = 0
        """Where this run's part of the shepherd's log begins."""
        self._begins: dict[Path, int] = {}
        """Up to where each log was there before this run, or has been passed on."""
        self._keys = folder / HERD / KEYS
        """Of this run alone: other users of the machine can reach its ports, too."""

    def start(self, musters: int) -> None:
        """Start the shepherd, wait until it listens, then start the musters, unless they are an inventory's."""
        address = self.folder / ADDRESS
        address.unlink(missing_ok=True)
        command = ["shepherd", "run", "--experiment", str(self.folder), "--musters", str(musters)]
        command += ["--listen", self._operator.listen, "--ports", str(self._operator.ports)]
        names = [f"muster-{number}" for number in range(1, musters + 1)]
        if self._experiment.herd.inventory is None:
            self._forget_keys()
            command += ["--keys", str(self._keys), *(word for name in names for word in ("--make-key", name))]
        elif self._operator.keys is not None:
            command += ["--keys", str(self._operator.keys)]
        self._begins = {path: path.stat().st_size for path in self.folder.glob("*.log")}
        if log.isEnabledFor(logging.DEBUG):
            command.append("--verbose")
        self._log_begins = self._begins.get(self.folder / "shepherd.log", 0)
        self._shepherd = spawn(self.folder / "shepherd.log", "mustherd", command)
        where = self._wait_for(address)
        if self._experiment.herd.inventory is not None:
            return
        for number, name in enumerate(names, 1):
            configure(self.folder / HERD / name, where, self._experiment, number)
            self._spawn_muster(name)

    def running(self) -> bool:
        """Whether the shepherd still runs."""
        return self._shepherd is not None and self._shepherd.poll() is None

    def tend(self) -> bool:
        """Start musters that died again, as a node's service manager would; gives whether the shepherd still runs."""
        now = time.monotonic()
        self._pass_on()
        for name, process in self._musters.items():
            if process.poll() is None:
                continue
            if said := self._refusal(name):
                # What it objects to will be there when it is started again, too.
                self._refusals[name] = said
                if len(self._refusals) == len(self._musters):
                    self.interrupt()
                continue
            tries, again_at = self._restarts.get(name, (0, now + RESTART_S))
            self._restarts[name] = (tries, again_at)
            if tries < RESTARTS and now >= again_at:
                self._restarts[name] = (tries + 1, now + RESTART_S)
                self._spawn_muster(name)
        return self.running()

    def _pass_on(self) -> None:
        """Say what the processes have logged since, to whoever asks for steps."""
        if not log.isEnabledFor(logging.DEBUG):
            return
        for name in ("shepherd", *self._musters):
            path = self.folder / f"{name}.log"
            with path.open("rb") as file:
                file.seek(self._begins.get(path, 0))
                # A line that isn't whole yet is for the next time.
                whole, newline, _ = file.read().rpartition(b"\n")
                self._begins[path] = self._begins.get(path, 0) + len(whole + newline)
            for line in whole.decode(errors="replace").splitlines():
                log.debug("%s: %s", name, line)

    def interrupt(self, number: int = signal.SIGTERM) -> None:
        """Ask the shepherd to end in good order, by the signal that says who wants it."""
        if self._shepherd is not None and self._shepherd.poll() is None:
            self._shepherd.send_signal(number)

    def result(self, within_s: float | None = None) -> int:
        """Wait for the shepherd and give its exit code; negative for a signal. Raises subprocess.TimeoutExpired."""
        code = self._shepherd.wait(within_s) if self._shepherd is not None else 0
        self._pass_on()
        return code

    def refused(self) -> str:
        """Why no muster would begin, or go on; empty unless that is so."""
        said = [self._refusals.get(name) or self._refusal(name) for name in self._musters]
        return "; ".join(said) if all(said) else ""

    def _refusal(self, name: str) -> str:
        """Why a muster that has ended won't begin, or go on; '' where it didn't say."""
        code = self._musters[name].poll()
        said = self._last_line(name) if code in REFUSALS else ""
        return self._in_the_users_words(name, said.removeprefix(SAYS)) if said.startswith(SAYS) else ""

    def _in_the_users_words(self, name: str, said: str) -> str:
        """What a muster says against the configuration that we wrote for it, with its place in the definition; of
        anything else, such as a server that ended, how to go on."""
        problem = said.removeprefix(f"{self.folder / HERD / name / CONFIG}: process: ")
        if problem == said:
            return f"{said}; go on once that is mended: mustherd experiment resume {self.folder}"
        at = ("herd", "local") if problem.startswith("[process") else ("workload", "server")
        return self._experiment.source.error([Finding(at, problem)]).sentence()

    def last_words(self) -> str:
        """Why the shepherd ended: what it said itself, without the name that a command puts before it, else how it
        did and the last line of its log."""
        said = last_line(self.folder / "shepherd.log", self._log_begins)
        code = None if self._shepherd is None else self._shepherd.poll()
        if not code or (code > 0 and said.startswith(SAYS)):
            return said.removeprefix(SAYS)
        return f"the shepherd {how_ended(code)}; its log ends with: {said or 'nothing'}"

    def _last_line(self, name: str) -> str:
        return last_line(self.folder / f"{name}.log")

    def __enter__(self) -> "LocalHerd":
        return self

    def __exit__(self, *_: object) -> None:
        # The shepherd first, so that it can still tell its musters to put their nodes back.
        self.interrupt()
        shepherd = [self._shepherd] if self._shepherd is not None else []
        end([*shepherd, *self._musters.values()], self._end_within_s)
        self._forget_keys()

    def _forget_keys(self) -> None:
        shutil.rmtree(self._keys, ignore_errors=True)

    def _spawn_muster(self, name: str) -> None:
        self._musters[name] = spawn_muster(self.folder / HERD / name, self.folder / f"{name}.log")

    def _wait_for(self, address: Path) -> dict[str, int | str]:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if address.exists():
                where: dict[str, int | str] = json.loads(address.read_text())
                return where
            if not self.running():
                raise LocalHerdError(f"the shepherd did not start: {self.last_words()}")
            time.sleep(0.02)
        raise LocalHerdError(f"the shepherd did not listen within {START_S:g} s: see {self.folder / 'shepherd.log'}")


def spawn(log_file: Path, module: str, arguments: Sequence[str]) -> "subprocess.Popen[bytes]":
    """Start a daemon of this herd, which adds to `log_file` and ends with this process.

    The kernel tells a child when the *thread* ends that started it: that thread has to stay until the herd's end.
    """
    with files.added_to(log_file) as file:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments, "--parent", str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            # Ctrl-C is for the command that the user sees; it passes the wish on in order.
            process_group=0,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        )


def spawn_muster(home: Path, log_file: Path) -> "subprocess.Popen[bytes]":
    """Start the muster that was configured in the folder `home`."""
    return spawn(log_file, "mustherd.muster", ["--config", str(home / CONFIG)])


def end_within_s(experiment: "Experiment") -> float:
    """How long the musters of an experiment here may take to end: one that is killed leaves its knobs to its guardian,
    which nobody awaits."""
    local, server = experiment.herd.local, experiment.workload.server
    if local is None:
        return END_S
    stops_within_s = server.options.get("stop_seconds", 0.0) if server is not None else 0.0
    end_s = END_S + (stops_within_s if isinstance(stops_within_s, int | float) else 0.0)
    if local.own is None:
        return end_s
    try:
        own = own_file.read(Path(local.own)).own.values()
    except UserError:
        return end_s
    return end_s + sum(
        knob.settle_seconds + (COMMANDS_AT_END * knob.timeout_seconds if knob.read else 0.0) for knob in own
    )


def end(processes: Sequence["subprocess.Popen[bytes]"], within_s: float = END_S) -> None:
    """Ask all to end in good order, in this order, and wait until they have; one that takes too long is killed.

    A Ctrl-C meanwhile is passed on once they have ended.
    """
    for process in processes:
        process.terminate()
    try:
        _await(processes, within_s)
    except BaseException:
        _await(processes, within_s)
        raise


def _await(processes: Sequence["subprocess.Popen[bytes]"], within_s: float) -> None:
    for process in processes:
        try:
            process.wait(within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def last_line(log: Path, begins: int = 0) -> str:
    """The last line of a process's log, of which the end alone is read, and nothing before the byte `begins`; "" where
    it is empty. Raises OSError."""
    with log.open("rb") as file:
        file.seek(max(begins, file.seek(0, os.SEEK_END) - LAST_BYTES))
        lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def configure(home: Path, where: Mapping[str, int | str], experiment: "Experiment", number: int) -> None:
    """Write the configuration of the `number`-th muster of a herd on this machine, named as its folder `home` is.

    `where` is the shepherd's address: its `host` and the port of each channel.
    """
    herd = experiment.herd
    named = (*experiment.knobs, *experiment.baseline.settings)
    table: dict[str, Any] = {
        "muster": home.name,
        "shepherd": where["host"],
        "keys": str(home.parent / KEYS),
        # It stays there when the folder is moved.
        "state": "state",
        "ports": {channel: where[channel] for channel in Ports.__struct_fields__},
        # Nothing on this machine but what the experiment itself started is at stake, and knobs of packages that its
        # definition names: whatever is offered of these may be set.
        "ranges": {key.partition("@")[0]: {"low": 0, "high": 2**31} for key in named},
    }
    if herd.simulated is not None:
        options = msgspec.to_builtins(herd.simulated)
        del options["musters"]
        table["twin"] = {**options, "seed": (herd.simulated.seed * 1000 + number) % (MAX_SEED + 1)}
    elif herd.local is not None:
        local = herd.local
        server = experiment.workload.server
        given = local_options(
            server_kind(plugin(SERVERS, experiment.workload.server_name)),
            port=0,
            threads=local.server_threads,
            cores=list(local.server_cores),
            log=str(home / "server.log"),
        )
        table["process"] = {
            experiment.workload.server_name: {**given, **(server.options if server is not None else {})},
            "generator": {
                "workers": local.generator_processes,
                "connections": local.connections,
                "cores": list(local.generator_cores),
                "blocking": local.blocking,
            },
        }
        if packages := packages_knobs(named):
            table["process"]["knobs"] = list(packages)
        if local.own is not None:
            names = {key.partition("@")[0] for key in named}
            table["process"]["own"], ranges = own_file.table(own_file.read(Path(local.own)), names)
            table["ranges"] |= ranges
    files.folder(home)
    files.replace(home / CONFIG, tomli_w.dumps(table), mode=0o644)
