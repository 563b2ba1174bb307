"""A thousand musters at one shepherd: all join, are decided for, send rows, lose their shepherd and join its next life.

The shepherd is the real program with logs; the musters are whole ones in two processes (see _crowd). Seconds from the
beginning of each event until the last of them is through. All at once each time, as after a power cut.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import zmq

from mustherd.rowlog.ledger import Ledger
from mustherd.shepherd import operate
from mustherd.terms import NODE, Setting
from mustherd.wire import codec
from mustherd.wire import messages as m
from mustherd.wire.ports import Ports
from mustherd.wire.shepherd_endpoint import ANSWERS_QUEUED
from mustherd.wire.sockets import raise_descriptor_limit
from tests.benchmarks._crowd import BLOCKS, ROWS
from tests.herding import shepherd

COUNT, PROCESSES = 1000, 2
PATIENCE_S = 180.0
LIMIT_MIB = 1024.0
IDLE_S = 10.0
LIMIT_IDLE_PERCENT = 20.0
DECISIONS = 300
CONNECTIONS = 4000
LIMIT_S = {
    "all_joined_s": 60.0,
    "all_set_s": 60.0,
    "all_rows_durable_s": 60.0,
    "all_put_back_s": 10.0,
    "all_back_s": 60.0,
}
"""On two cores that the shepherd and all musters share; a lease is 3 s."""


class Crowd:
    """The musters, and what they said last."""

    def __init__(self, ports: Ports) -> None:
        self.said: list[dict[str, int]] = [{} for _ in range(PROCESSES)]
        self.processes = []
        numbers = [str(n) for n in (ports.pulse, ports.log, ports.control)]
        each = COUNT // PROCESSES
        for place in range(PROCESSES):
            words = ["tests.benchmarks._crowd", str(place * each), str(each), *numbers]
            process = subprocess.Popen([sys.executable, "-m", *words], stdout=subprocess.PIPE, text=True)
            self.processes.append(process)
            threading.Thread(target=self._listen, args=(place, process), daemon=True).start()

    def _listen(self, place: int, process: "subprocess.Popen[str]") -> None:
        if process.stdout is not None:
            for line in process.stdout:
                self.said[place] = json.loads(line)

    def count(self, what: str) -> int:
        return sum(said.get(what, 0) for said in self.said)

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


def run() -> dict[str, Any]:
    """Figures, and whether they are within their limits."""
    with tempfile.TemporaryDirectory() as made:
        home = Path(made)
        with shepherd() as (_, ports):
            pass
        process = _start(home, ports)
        crowd = Crowd(ports)
        try:
            return _figures(home, ports, process, crowd)
        finally:
            crowd.end()
            for child in psutil.Process().children():
                child.kill()
                child.wait()


def _start(home: Path, ports: Ports) -> "subprocess.Popen[bytes]":
    words = f"{ports.pulse},{ports.log},{ports.control},{ports.coordinate}"
    command = [sys.executable, "-m", "mustherd", "shepherd", "run", "--ports", words, "--logs", str(home)]
    log_file = home / "shepherd.log"
    log_file.touch()
    told = log_file.read_bytes().count(b"listening on")
    with log_file.open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})
    _until(lambda: log_file.read_bytes().count(b"listening on") > told)
    return process


def _figures(home: Path, ports: Ports, process: "subprocess.Popen[bytes]", crowd: Crowd) -> dict[str, Any]:
    found: dict[str, Any] = {"musters": COUNT, "musters_in": f"{PROCESSES} processes"}
    found["all_joined_s"] = _until(lambda: crowd.count("joined") == COUNT)
    began = time.monotonic()
    status = operate.status(f"127.0.0.1:{ports.coordinate}")
    found["status_s"], found["status_musters"] = round(time.monotonic() - began, 2), len(status.musters)
    found["all_set_s"] = _set_all(ports)
    # They say it once a second.
    _until(lambda: crowd.count("in_force") == COUNT)
    found["idle_cpu_percent"] = _cpu_percent(process.pid, IDLE_S)
    found |= _one_by_one(ports)
    for one in crowd.processes:
        one.send_signal(signal.SIGUSR1)
    found["all_rows_durable_s"] = _until(lambda: crowd.count("acknowledged") == COUNT)
    watched = psutil.Process(process.pid)
    found |= _connected(watched, ports)
    found["shepherd_rss_mib"] = round(watched.memory_info().rss / 2**20, 1)
    found["shepherd_descriptors"] = watched.num_fds()
    found["still_in_force"] = crowd.count("in_force")
    process.kill()
    process.wait()
    found["all_put_back_s"] = _until(lambda: crowd.count("as_found") == COUNT)
    # Counted from when it listens: how long a Python takes to start is another figure.
    process = _start(home, ports)
    found["all_back_s"] = _until(lambda: crowd.count("joined") == COUNT and _alive(ports) == COUNT)
    process.terminate()
    found["shepherd_exit_code"] = process.wait(PATIENCE_S)
    with Ledger(home / "logs") as ledger:
        found["rows"] = sum(booked.account.written for booked in ledger.accounts())
    found["rows_expected"] = COUNT * BLOCKS * ROWS
    found["limits"] = {**LIMIT_S, "shepherd_rss_mib": LIMIT_MIB, "idle_cpu_percent": LIMIT_IDLE_PERCENT}
    found["within_limits"] = (
        all(found[name] <= limit for name, limit in found["limits"].items())
        and found["rows"] == found["rows_expected"]
        and found["shepherd_exit_code"] == 0
    )
    return found


def _cpu_percent(pid: int, seconds: float) -> float:
    """Of one core, over `seconds`: only beats and leases go back and forth."""
    watched = psutil.Process(pid)
    before, began = sum(watched.cpu_times()[:2]), time.monotonic()
    time.sleep(seconds)
    return round(100 * (sum(watched.cpu_times()[:2]) - before) / (time.monotonic() - began), 1)


def _alive(ports: Ports) -> int:
    try:
        musters = operate.status(f"127.0.0.1:{ports.coordinate}").musters
    except Exception:
        return 0
    return sum(view.presence == "alive" for view in musters)


def _until(what: Callable[[], bool]) -> float:
    began = time.monotonic()
    while not what():
        if time.monotonic() - began > PATIENCE_S:
            raise RuntimeError(f"it did not come about within {PATIENCE_S:g} s")
        time.sleep(0.05)
    return round(time.monotonic() - began, 2)


def _one_by_one(ports: Ports) -> dict[str, float]:
    """Milliseconds from a decision for one of all musters to its answer, at an operator's, one decision at a time."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    took = []
    try:
        socket = context.socket(zmq.DEALER)
        socket.connect(f"tcp://127.0.0.1:{ports.coordinate}")
        for number in range(DECISIONS):
            ask = m.KnobsAsk(muster=f"muster-{number * 7 % COUNT}", settings=(Setting(NODE, "itr-delay", 200),))
            began = time.perf_counter()
            socket.send(codec.encode(m.Call(number=number + 1, body=ask)))
            if not socket.poll(int(PATIENCE_S * 1000)) or not isinstance(codec.answer(socket.recv()).body, m.Done):
                raise RuntimeError("a decision was not carried out")
            took.append((time.perf_counter() - began) * 1000)
    finally:
        context.destroy(linger=0)
    cut = statistics.quantiles(took, n=100)
    return {"one_set_p50_ms": round(cut[49], 2), "one_set_p99_ms": round(cut[98], 2)}


def _connected(watched: psutil.Process, ports: Ports) -> dict[str, int]:
    """Connections at a time, with as many more as make CONNECTIONS, and musters that are alive meanwhile."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.set(zmq.MAX_SOCKETS, 2 * CONNECTIONS)
    raise_descriptor_limit()

    def there() -> int:
        return sum(one.status == psutil.CONN_ESTABLISHED for one in watched.net_connections("tcp"))

    try:
        # Operators and strangers that say nothing; each is there for as long as somebody has it.
        silent = [context.socket(zmq.DEALER) for _ in range(CONNECTIONS - there())]
        for number, socket in enumerate(silent):
            socket.connect(f"tcp://127.0.0.1:{(ports.coordinate, ports.pulse)[number % 2]}")
        _until(lambda: there() >= CONNECTIONS)
        return {"connections": there(), "alive_beside_them": _alive(ports)}
    finally:
        context.destroy(linger=0)


def _set_all(ports: Ports) -> float:
    """A decision for every muster, all asked for at once: each operator has as many calls open as it gets answers."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    operators = []
    began = time.monotonic()
    refused = 0
    try:
        for first in range(0, COUNT, ANSWERS_QUEUED):
            socket = context.socket(zmq.DEALER)
            socket.connect(f"tcp://127.0.0.1:{ports.coordinate}")
            numbers = range(first, min(first + ANSWERS_QUEUED, COUNT))
            for number in numbers:
                ask = m.KnobsAsk(muster=f"muster-{number}", settings=(Setting(NODE, "itr-delay", 100),))
                socket.send(codec.encode(m.Call(number=number + 1, body=ask)))
            operators.append((socket, len(numbers)))
        for socket, calls in operators:
            for _ in range(calls):
                if not socket.poll(int(PATIENCE_S * 1000)):
                    raise RuntimeError("not every decision was answered")
                refused += not isinstance(codec.answer(socket.recv()).body, m.Done)
        if refused:
            raise RuntimeError(f"{refused} decisions were refused")
    finally:
        context.destroy(linger=0)
    return round(time.monotonic() - began, 2)
