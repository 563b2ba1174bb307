"""A herd by hand: a shepherd that writes logs, four musters behind networks that can be cut, all as processes.

`muster-1` and `muster-2` are simulated nodes, `muster-3` and `muster-4` Linux nodes whose files lie in a folder and
whose drivers' logs are FIFOs that are fed all the while. Nothing here touches the machine's own knobs.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import psutil
import pyarrow.parquet as pq

from mustherd.client import HerdClient
from mustherd.errors import UserError
from mustherd.herd.timing import MISSING_AFTER_S
from mustherd.locks import locked_by
from mustherd.muster.journal import LOCK_NAME
from mustherd.rowlog.ledger import Ledger
from mustherd.wire.endpoints import WireError
from mustherd.wire.keys import create
from mustherd.wire.messages import MusterView
from mustherd.wire.ports import Ports
from tests.faults import stall
from tests.faults.disks import Disk
from tests.faults.history import Seen, Watch
from tests.faults.member import CORES, FED, MUSTERS, Member, Network, make_tree, unasked_end
from tests.faults.network import Cable
from tests.herding import shepherd
from tests.log_herd import Wire, render, rows
from tests.typed import some
from tests.waiting import until

ELSEWHERE, AHEAD_S = "muster-2", "1000000"
"""As root on a machine of its own: its network, and its clock, which is not the shepherd's by so much."""
ODD = "odd"
"""A muster whose key is accepted, and that keeps to nothing."""
ROWS_PER_S = 300
"""Of each core that is fed."""
JOIN_S = 40.0
"""How long a herd may take to be whole again; a muster that was refused comes again after 5 s."""
LABEL = "by-hand"
ROOT = Path(__file__).parents[2]


@dataclass
class Herd:
    """All of it. `faults` are sentences that say what was not as promised."""

    home: Path
    seconds: float
    """For how long rows are fed at most."""
    disks: dict[str, Disk] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.keys = self.home / "keys"
        create(self.keys, ["shepherd", "operator", ODD, *MUSTERS])
        # As another machine, which was not started when this one was.
        ahead = ["unshare", "--net", "--time", "--monotonic", AHEAD_S, "--boottime", AHEAD_S, "--fork", "--kill-child"]
        self.elsewhere = subprocess.Popen([*ahead, "sleep", "infinity"]) if self.disks else None
        with shepherd() as (_, self.ports):
            self.members = {name: self._member(name) for name in MUSTERS}
        self.logs = (self.disks["logs"].folder if "logs" in self.disks else self.home) / "experiment"
        self.clock = self.home / "clock"
        self.clock.write_text("0")
        self.process: subprocess.Popen[bytes] | None = None
        self.client = HerdClient(f"127.0.0.1:{self.ports.coordinate}", self.keys)
        self.lives = 0
        self.starved: list[str] = []
        """What is no fault of ours, since the machine had no time for it."""
        self.written = 0
        self.watch = Watch(
            {name: one.value for name, one in self.members.items()},
            {name: one.original for name, one in self.members.items()},
        )
        self.watch.start()

    def _member(self, name: str) -> Member:
        home = self.home / name
        home.mkdir(mode=0o700)
        disk = self.disks.get("spool") if name == FED[-1] else None
        one = Member(name, home, self._network(name), disk.folder / "spool" if disk else None)
        one.state.mkdir(mode=0o700)
        if not one.is_twin:
            make_tree(one.tree)
        one.write()
        return one

    def _network(self, name: str) -> Network:
        return Cable(self._there(), self.ports) if name == ELSEWHERE and self.elsewhere else Wire(self.ports)

    def _there(self) -> int:
        """Who holds the namespaces of the other machine."""
        [holder] = until(lambda: psutil.Process(some(self.elsewhere).pid).children())
        return holder.pid

    # --- processes ---

    def spawn(self, log: str, *arguments: str | Path, within: Sequence[str] = ()) -> "subprocess.Popen[bytes]":
        """A Python of ours, its output in a file."""
        with (self.home / log).open("ab") as out:
            return subprocess.Popen(
                [*within, sys.executable, "-m", *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=environment(self.clock),
                cwd=self.home,
            )

    def start_shepherd(self) -> None:
        self.lives += 1
        ports = ",".join(map(str, msgspec.structs.astuple(self.ports)))
        listen = "0.0.0.0" if self.elsewhere else "127.0.0.1"  # noqa: S104 (in a network of its own)
        words: list[str | Path] = ["--listen", listen, "--ports", ports, "--logs", self.logs, "--keys", self.keys]
        self.process = self.spawn("shepherd.log", "mustherd", "shepherd", "run", *words)

    def start(self, member: Member) -> None:
        within: tuple[str, ...] = ()
        if member.name == ELSEWHERE and self.elsewhere is not None:
            there = f"/proc/{self._there()}/ns"
            within = ("nsenter", f"--time={there}/time", f"--net={there}/net")
        member.process = self.spawn(f"{member.name}.log", "mustherd.muster", "--config", member.config, within=within)
        member.guardian, member.over = 0, member.life

    def find_guardian(self, member: Member) -> int:
        """The process beside a muster."""
        if not member.guardian:
            found = stall.wait(lambda: _children(some(member.process).pid), JOIN_S)
            if not found:
                raise AssertionError(f"{member.name} has no guardian")
            member.guardian = found[0]
        return member.guardian

    def unasked_end(self, member: Member, since: float) -> list[str]:
        """What there is to say where a muster has ended that nobody ended."""
        return unasked_end(member, self.home / f"{member.name}.log", since, self.starved)

    def complete(self) -> bool:
        """Whether every process is there."""
        return not any(some_ended(p) for p in (self.process, *(one.process for one in self.members.values())))

    @staticmethod
    def send(process: "subprocess.Popen[bytes] | None", number: int) -> None:
        """A signal to a process that we started."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(some(process).pid, number)

    # --- what the herd says ---

    def views(self) -> dict[str, MusterView]:
        """The musters as the shepherd sees them; none where it doesn't answer."""
        try:
            return {view.name: view for view in self.client.musters()}
        except WireError:
            return {}

    def alive(self, *names: str) -> bool:
        views = self.views()
        return all(name in views and views[name].presence == "alive" for name in names)

    def whole(self) -> bool:
        """Whether every muster is there, those that were started again with their new lives."""
        views = self.views()
        for one in self.members.values():
            view = views.get(one.name)
            if view is None or view.presence != "alive" or view.muster_epoch == one.over:
                return False
            one.life = view.muster_epoch
        return True

    def seen(self, name: str) -> Seen:
        return self.watch.seen[name]

    # --- bringing it to the state in which attacks begin ---

    def settle(self) -> list[str]:
        """Start again what is gone, and let every muster do something new; gives what doesn't come about."""
        faults: list[str] = []
        for disk in self.disks.values():
            disk.empty()
        if some_ended(self.process):
            self.start_shepherd()
        for one in self.members.values():
            one.wire.heal()
            if some_ended(one.process):
                self.start(one)
        if not stall.wait(self.whole, JOIN_S):
            views = {name: view.presence for name, view in self.views().items()}
            return [*faults, f"the herd is not whole after {JOIN_S:g} s: {views}"]
        for one in self.members.values():
            faults += self._work(one)
        return faults

    def _work(self, one: Member) -> list[str]:
        """Rows are read, and its knob is set to a value that is read back."""
        life = (one.life, self.lives)
        began = time.monotonic()
        while True:
            asked_at = time.monotonic()
            try:
                if one.logged != life and not one.is_twin:
                    self.client.start_logs(one.name, label=LABEL)
                    one.logged = life
                value = one.next_value()
                self.seen(one.name).asked.append((time.monotonic(), value))
                self.client.set(one.name, {one.knob: value})
                break
            except UserError as error:
                # Before, too: a muster that is missed was silent until now.
                lost = stall.worst_s(asked_at - MISSING_AFTER_S, MISSING_AFTER_S)
                if lost < MISSING_AFTER_S / 2 or time.monotonic() - began > JOIN_S:
                    return [f"{one.name} can't be set: {error} (the machine took {lost:.1f} s from it)"]
                self.starved.append(f"{one.name}: {error}")
                stall.wait(lambda: self.alive(one.name), JOIN_S)
        if one.value() != value:
            return [f"{one.name} was set to {value} and is at {one.value()}"]
        return []

    # --- what holds at any time ---

    def rows_written(self) -> int:
        """Rows that are durable."""
        try:
            with Ledger(self.logs / "logs") as ledger:
                return sum(part.rows for part in ledger.parts())
        except UserError:
            return 0

    def check(self, since: float) -> list[str]:
        """What has to hold between two attacks, once the herd has settled; the last one began then."""
        faults = [f"{name}: {fault}" for name, seen in self.watch.seen.items() for fault in seen.faults()]
        written = self.rows_written()
        if written <= self.written and self.written:
            stall.wait(lambda: self.rows_written() > self.written, JOIN_S)
            written = self.rows_written()
            if written <= self.written:
                faults.append(f"no row became durable since the attack before: still {written}")
        self.written = written
        faults += [f"the shepherd's log: {line}" for line in new_tracebacks(self.home / "shepherd.log")]
        for one in self.members.values():
            faults += [f"the log of {one.name}: {line}" for line in new_tracebacks(self.home / f"{one.name}.log")]
            try:
                allowed = (0, some(one.process).pid, self.find_guardian(one))
            except AssertionError:
                if stall.poll(some(one.process)) is None:
                    raise
            else:
                owner = locked_by(one.state / LOCK_NAME)
                if owner not in allowed and stall.poll(some(one.process)) is None:
                    faults.append(f"{one.name}: process {owner} has its state folder, not one of {allowed}")
            faults += self.unasked_end(one, since)
        return faults

    def finish(self, fed: dict[str, list[bytes]]) -> tuple[list[str], dict[str, float]]:
        """End it all in good order; gives faults and figures about rows, memory and descriptors."""
        faults, figures = [], resources(some(self.process).pid)
        figures["rows"] = float(self.rows_written())
        for name in FED:
            with contextlib.suppress(UserError):
                self.client.stop_logs(name)
        # What a muster has read and is not durable yet lies in its spool, for a next life: here there is none.
        stall.wait(lambda: self._all_durable(fed), JOIN_S)
        for one in self.members.values():
            self.send(one.process, signal.SIGTERM)
        for one in self.members.values():
            code = stall.ended(some(one.process), JOIN_S)
            if code != 0 or one.value() != one.original or one.journal():
                faults.append(f"{one.name} ended with {code}, its knob at {one.value()}, to put back {one.journal()}")
        self.send(self.process, signal.SIGTERM)
        if code := stall.ended(some(self.process), JOIN_S):
            faults.append(f"the shepherd ended with exit code {code}")
        return faults, figures

    def _all_durable(self, fed: dict[str, list[bytes]]) -> bool:
        try:
            return not check_rows(self.logs, fed)
        except (UserError, OSError):  # a file gets its last name just after it counts
            return False

    def close(self) -> None:
        """End what still runs, by the pids that we started."""
        self.watch.end()
        for process in [self.process, *(one.process for one in self.members.values())]:
            if process is not None and process.poll() is None:
                self.send(process, signal.SIGCONT)
                process.kill()
                process.wait()
        for one in self.members.values():
            one.wire.close()
        if self.elsewhere is not None:
            self.elsewhere.kill()
            self.elsewhere.wait()


def check_rows(logs: Path, fed: dict[str, list[bytes]]) -> list[str]:
    """What was fed is what was written, once each and in order; what is missing is counted as lost."""
    faults = []
    with Ledger(logs / "logs") as ledger:
        for name, texts in fed.items():
            for core, text in enumerate(texts):
                stream = f"ixgbe-log-core-{core}"
                tables = [pq.ParquetFile(ledger.file(p)).read() for p in ledger.parts(LABEL, name, stream) if p.rows]
                numbers = [v for t in tables for v in t.column("i").to_pylist()]
                booked = [b.account for b in ledger.accounts(LABEL, name) if b.stream == stream]
                lost = sum(account.rows_lost for account in booked)
                expected = text.count(b"\n")
                if numbers != sorted(set(numbers)):
                    faults.append(f"{name} {stream}: rows are doubled or out of order")
                if len(numbers) + lost != expected:
                    faults.append(f"{name} {stream}: {len(numbers)} written and {lost} lost of {expected}")
    return faults


def environment(clock: Path) -> dict[str, str]:
    """A clock that can be set, and threads as few as a daemon has."""
    return {
        **os.environ,
        "PYTHONPATH": f"{Path(__file__).parent / 'clock'}:{ROOT}",
        "FAULTS_CLOCK": str(clock),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


def some_ended(process: "subprocess.Popen[bytes] | None") -> bool:
    """Whether it has to be started."""
    return process is None or stall.poll(process) is not None


def _children(pid: int) -> list[int]:
    """Of a process that may be gone."""
    try:
        return [child.pid for child in psutil.Process(pid).children()]
    except psutil.NoSuchProcess:
        return []


_read: dict[Path, int] = {}


def new_tracebacks(log: Path) -> list[str]:
    """Last lines of tracebacks that a log has got since it was looked at."""
    with log.open("rb") as file:
        file.seek(_read.get(log, 0))
        text = file.read()
    _read[log] = _read.get(log, 0) + len(text)
    found = text.decode(errors="replace").split("Traceback (most recent call last)")[1:]
    return [next((line for line in part.splitlines()[1:] if line and not line.startswith(" ")), "?") for part in found]


def resources(pid: int) -> dict[str, float]:
    """Memory and descriptors of a process."""
    process = psutil.Process(pid)
    return {"shepherd_rss_mib": process.memory_info().rss / 2**20, "shepherd_descriptors": float(process.num_fds())}


def texts(seconds: float, seed: int) -> dict[str, list[bytes]]:
    """Rows for every core that is fed, for so many seconds at ROWS_PER_S."""
    count = int(seconds * ROWS_PER_S)
    return {name: [render(rows(count, core, seed=seed + n)) for core in range(CORES)] for n, name in enumerate(FED)}


__all__ = ["Herd", "Ports", "check_rows", "texts"]
