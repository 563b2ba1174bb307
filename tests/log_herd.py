"""A muster that reads intlog rows from FIFOs and a shepherd that writes them, as processes that can be killed.

A FIFO stands for the driver's file: reading takes rows away, and what nobody has read outlives its reader.
"""

import contextlib
import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
import pyarrow.parquet as pq

from mustherd.node.intlog import COLUMNS
from mustherd.rowlog.ledger import Booked, Ledger
from mustherd.wire.ports import Ports
from tests.herding import SERVE, shepherd
from tests.waiting import until

LABEL = "0001-1"
TSC_KHZ = 2_899_999
ROW_BYTES = 148
F_SETPIPE_SZ = 1031

FIRST = (10_000_000, 1_000, 100_000, 1_000, 100_000, 3 * 10**17, 5 * 10**17, 4 * 10**17, 10**15)
WIDTHS = (8, 4, 6, 4, 6, 18, 18, 18, 16, 1, 1, 1, 1, 1, 1, 10, 17)
"""Digits of each column: 148 bytes a row, as the reference's have on a machine that has been up for weeks."""


def rows(count: int, core: int, start: int = 0, seed: int = 1) -> "np.ndarray":
    """Rows as a matrix of 17 columns, with the spread that a loaded server's have; `start` numbers the first."""
    r = np.random.default_rng([seed, core, start])
    table = np.zeros((count, len(COLUMNS)), dtype=np.int64)
    table[:, 0] = FIRST[0] + start + np.arange(count)
    for column, least in ((1, 180), (3, 200)):
        packets = r.poisson(6, count)
        table[:, column] = FIRST[column] + packets
        table[:, column + 1] = FIRST[column + 1] + packets * r.integers(least, 3 * least, count)
    for column, low, high in (
        (5, 200_000, 1_200_000),
        (6, 400_000, 2_000_000),
        (7, 400_000, 2_000_000),
        (8, 200, 6_000),
    ):
        table[:, column] = FIRST[column] + start * high + np.cumsum(r.integers(low, high, count))
    table[:, 15] = 1_000_000_000 + (start * 7_000 + np.cumsum(r.integers(2000, 7000, count))) % 3_000_000_000
    table[:, 16] = 2 * 10**16 + start * 3_000_000 + np.cumsum(2_600_000 + r.integers(0, 400_000, count))
    return table


def render(table: "np.ndarray") -> bytes:
    """Rows as intlog prints them; every number has its column's width."""
    width = sum(WIDTHS) + len(WIDTHS)
    text = np.full((len(table), width), ord(" "), dtype=np.uint8)
    at = 0
    for column, digits in enumerate(WIDTHS):
        left = table[:, column].copy()
        for place in range(at + digits - 1, at - 1, -1):
            left, digit = np.divmod(left, 10)
            text[:, place] = digit + ord("0")
        at += digits + 1
    text[:, -1] = ord("\n")
    return text.tobytes()


SHEPHERD = """
import signal, sys, threading, time
from pathlib import Path
from mustherd.rowlog.writer import LogWriter
from mustherd.rowlog.allocator import keep_pages
from mustherd.log_lines import log_to_stderr
from mustherd.shepherd.events import HerdError
from mustherd.shepherd.shepherd import Shepherd
from mustherd.wire.ports import Ports
from mustherd.wire.shepherd_endpoint import ShepherdEndpoint
from mustherd.wire.messages import LogAction
log_to_stderr(30)
keep_pages()
over = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: over.set())
ports = Ports(*map(int, sys.argv[2:6]))
with LogWriter(Path(sys.argv[1])) as logs:
    for left in reversed(range(100)):
        try:
            end = ShepherdEndpoint(ports=ports)
            break
        except Exception:
            if not left:
                raise
            time.sleep(0.05)
    herd = Shepherd(end, sink=logs)
    herd.start()
    started = {}
    while not over.wait(0.02):
        for name, view in herd.musters().items():
            if view.presence == "alive" and started.get(name) != view.muster_epoch:
                try:
                    if not herd.log(name, LogAction(action="start", label=sys.argv[6])).result(5).error:
                        started[name] = view.muster_epoch
                        print("started", flush=True)
                except (HerdError, TimeoutError):
                    pass
    for name in started:
        try:
            print("stopped", herd.log(name, LogAction(action="stop", label=sys.argv[6])).result(20), flush=True)
        except (HerdError, TimeoutError):
            pass
    herd.stop()
"""


class Wire:
    """The network between muster and shepherd, one forwarded port for each of the shepherd's, that can be cut.

    What is sent into a cut waits there, as it does in the kernel's own queues, and comes late.
    """

    host = "127.0.0.1"

    def __init__(self, ports: Ports) -> None:
        self._up, self._down = threading.Event(), threading.Event()
        """To the shepherd, and from it: whether anything gets through."""
        self.heal()
        self._over = threading.Event()
        self._sockets: list[socket.socket] = []
        self._instead: dict[int, int] = {}
        self._wired = ports
        self.ports = Ports(*(self._forward(port) for port in (ports.pulse, ports.log, ports.control, ports.coordinate)))

    def cut(self, seconds: float) -> None:
        """Nothing arrives for so long, and nobody is told."""
        self.cut_off()
        time.sleep(seconds)
        self.heal()

    def cut_off(self, *, up: bool = True, down: bool = True) -> None:
        """From now on nothing gets through, these ways."""
        if up:
            self._up.clear()
        if down:
            self._down.clear()

    def heal(self) -> None:
        """Everything gets through again."""
        self._up.set()
        self._down.set()

    def turn(self, ports: Ports) -> None:
        """From now on another shepherd has the address, whether or not the one before still lives."""
        old, new = (msgspec.structs.astuple(one) for one in (self._wired, ports))
        self._instead = dict(zip(old, new, strict=True))
        for end in [one for one in self._sockets if one.fileno() >= 0]:
            with contextlib.suppress(OSError):
                end.getpeername()  # a listener has none
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._over.set()
        self.heal()
        for end in self._sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _forward(self, port: int) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        self._sockets.append(listener)
        threading.Thread(target=self._accept, args=(listener, port), daemon=True).start()
        return int(listener.getsockname()[1])

    def _accept(self, listener: socket.socket, port: int) -> None:
        while not self._over.is_set():
            try:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", self._instead.get(port, port)))
            except OSError:
                # The shepherd isn't there just now: the muster finds its connection closed and comes again.
                if self._over.is_set():
                    return
                near.close()
                continue
            self._sockets += [near, far]
            for a, b, gate in ((near, far, self._up), (far, near, self._down)):
                threading.Thread(target=self._pump, args=(a, b, gate), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, gate: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                gate.wait()
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


@dataclass
class LogHerd:
    """One muster with `cores` FIFOs, one shepherd, and the folders that outlive them."""

    home: Path
    cores: int
    spool: Path | None = None
    spool_mib: int = 64
    wired: bool = True
    """Whether muster and shepherd talk through `wire`, which can be cut and whose forwarding takes CPU time."""
    ports: Ports = field(default_factory=Ports)
    muster: "subprocess.Popen[bytes] | None" = None
    shepherd: "subprocess.Popen[bytes] | None" = None

    def __post_init__(self) -> None:
        # While the ports are taken, or a listener could be given one of them.
        with shepherd() as (_, self.ports):
            self.wire = Wire(self.ports)
        self.tree = self.home / "tree"
        self.experiment = self.home / "experiment"
        (self.tree / "proc/ixgbe_stats/core").mkdir(parents=True)
        (self.tree / "sys/devices/system/cpu/cpu0").mkdir(parents=True)
        (self.tree / "sys/devices/system/cpu/cpu0/tsc_freq_khz").write_text(f"{TSC_KHZ}\n")
        for core in range(self.cores):
            os.mkfifo(self.fifo(core))
        p = self.wire.ports if self.wired else self.ports
        spool = f'spool = "{self.spool}"\n' if self.spool else ""
        (self.home / "muster.toml").write_text(
            f'muster = "muster-1"\nstate = "{self.home / "state"}"\n'
            f"[ports]\npulse = {p.pulse}\nlog = {p.log}\ncontrol = {p.control}\ncoordinate = {p.coordinate}\n"
            f"[logs]\nspool_mib = {self.spool_mib}\n{spool}"
            f'[linux]\nroot = "{self.tree}"\nidle_seconds = 0.0\n'
        )

    def fifo(self, core: int) -> Path:
        return self.tree / f"proc/ixgbe_stats/core/{core}"

    def start_muster(self) -> None:
        self.muster = subprocess.Popen([sys.executable, "-c", SERVE, str(self.home / "muster.toml")])

    def start_shepherd(self) -> None:
        numbers = [str(n) for n in (self.ports.pulse, self.ports.log, self.ports.control, self.ports.coordinate)]
        self.shepherd = subprocess.Popen(
            [sys.executable, "-c", SHEPHERD, str(self.experiment), *numbers, LABEL],
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )

    def wait_started(self) -> None:
        """Until the muster reads."""
        assert self.shepherd is not None
        assert self.shepherd.stdout is not None
        assert self.shepherd.stdout.readline() == b"started\n"

    def kill_muster(self) -> None:
        assert self.muster is not None
        self.muster.kill()
        self.muster.wait()

    def kill_shepherd(self) -> None:
        assert self.shepherd is not None
        self.shepherd.kill()
        self.shepherd.communicate()

    def end(self) -> None:
        """Both end, in good order where they can."""
        for process in (self.shepherd, self.muster):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
                try:
                    process.communicate(timeout=30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.communicate()

        self.wire.close()

    def written(self) -> int:
        """Rows that are durable."""
        try:
            with Ledger(self.experiment / "logs") as ledger:
                return sum(part.rows for part in ledger.parts())
        except Exception:
            return 0

    def accounts(self) -> list[Booked]:
        """Of all streams, as far as they are durable."""
        with Ledger(self.experiment / "logs") as ledger:
            return ledger.accounts()

    def check(self, count: int, texts: list[bytes]) -> None:
        """Byte for byte what was fed, and the books agree."""
        with Ledger(self.experiment / "logs") as ledger:
            for core, text in enumerate(texts):
                stream = f"ixgbe-log-core-{core}"
                tables = [pq.ParquetFile(ledger.file(p)).read() for p in ledger.parts(stream=stream) if p.rows]
                i = [v for t in tables for v in t.column("i").to_pylist()]
                assert len(i) == count
                assert i == list(range(i[0], i[0] + count))
                assert (
                    b"\n".join(
                        b" ".join(b"%d" % v for v in r)
                        for t in tables
                        for r in zip(*(t.column(n).to_pylist() for n in COLUMNS), strict=True)
                    )
                    + b"\n"
                    == text
                )
            for booked in ledger.accounts():
                account = booked.account
                assert (account.written, account.produced) == (count, count)
                assert (account.lost, account.malformed, account.repeated) == ({}, {}, 0)

    def wait_for(self, count: int, patience_s: float = 60.0) -> None:
        until(lambda: self.written() >= count, patience_s)


class Fifos(Protocol):
    """What is fed."""

    @property
    def cores(self) -> int: ...

    def fifo(self, core: int) -> Path: ...


class Feeder(threading.Thread):
    """Writes every core's text into its FIFO, as fast as it is taken or at a pace."""

    def __init__(self, herd: Fifos, texts: list[memoryview], bytes_per_s: float = float("inf")) -> None:
        super().__init__(daemon=True)
        self._texts = texts
        self._pace = bytes_per_s
        # For reading too, so that it has a reader between two lives of the muster.
        self._pipes = [os.open(herd.fifo(core), os.O_RDWR | os.O_NONBLOCK) for core in range(herd.cores)]
        for pipe in self._pipes:
            fcntl.fcntl(pipe, F_SETPIPE_SZ, 1 << 20)
        self._over = threading.Event()
        self.sent = 0
        self._at = [0] * len(texts)

    def run(self) -> None:
        at = self._at
        began = time.monotonic()
        poller = select.poll()
        owners = {pipe: core for core, pipe in enumerate(self._pipes)}
        for pipe in self._pipes:
            poller.register(pipe, select.POLLOUT)
        left = len(self._pipes)
        while left and not self._over.is_set():
            for pipe, _ in poller.poll(100):
                core = owners[pipe]
                text = self._texts[core]
                try:
                    done = os.write(pipe, text[at[core] : at[core] + (1 << 19)])
                except BlockingIOError:
                    continue
                at[core] += done
                self.sent += done
                if at[core] == len(text):
                    poller.unregister(pipe)
                    left -= 1
            ahead = self.sent / self._pace - (time.monotonic() - began)
            if ahead > 0:
                self._over.wait(ahead)

    def end(self) -> None:
        self.stop()
        for pipe in self._pipes:
            os.close(pipe)

    def stop(self) -> None:
        """Write no more; the pipes stay, with what nobody has read."""
        self._over.set()
        if self.ident is not None:
            self.join()

    def end_lines(self, patience_s: float = 30.0) -> list[bytes]:
        """After `stop`: write every line that was begun to its end; gives what was fed to each."""
        for core, pipe in enumerate(self._pipes):
            text = bytes(self._texts[core])
            end = text.find(b"\n", self._at[core] - 1) + 1 if self._at[core] else 0
            deadline = time.monotonic() + patience_s
            while self._at[core] < end and time.monotonic() < deadline:
                with contextlib.suppress(BlockingIOError):
                    self._at[core] += os.write(pipe, text[self._at[core] : end])
                select.select([], [pipe], [], 0.1)
        return [bytes(text[:at]) for text, at in zip(self._texts, self._at, strict=True)]
