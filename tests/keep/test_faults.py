"""Kills and cuts of a keeper's herd of real processes: no node is at learnt settings unguarded beyond its lease.

A keeper, musters on machines of files, each behind a network that can be cut, and a latency source that can die. Who
is killed is killed by SIGKILL, who is cut off hears nothing, and the source answers nobody, or with an error, or not at
all. A thread looks at the machines' registers all the while.
"""

import contextlib
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.faults import stall
from tests.log_herd import Wire
from tests.real_herd import RealHerd, herd
from tests.waiting import until

pytestmark = [pytest.mark.long, pytest.mark.process]

LEASE_S = 3.0
LATE_S = 0.5
"""A muster looks at its lease, and the watcher at the registers, a moment after it has ended."""
LOW, HIGH = "1800000", "2400000"
LOADS = {"800": LOW, "60 k": HIGH}
"""What is in force under which load."""
TABLE = "table:\n- {qps: 1000, settings: {dvfs: 1800}}\n- {qps: 100000, settings: {dvfs: 2400}}\n"
KEEP = """\
keeper: {{limit: 500, safe: {{dvfs: 2700}}, settle_s: 0.5, first_settle_s: 0.5, controls: 0, retune: false, changed: 1,
  jump: 100}}
sources:
- {{kind: application, signal: load, file: "{folder}/load-{{muster}}"}}
- {{kind: application, signal: latency, endpoint: "http://127.0.0.1:{port}/metrics", series: p99_us}}
"""
PATIENCE_S = 90.0


class Probe:
    """What tells a latency, over HTTP; it may be gone, fail, or leave who asks without an answer."""

    def __init__(self) -> None:
        probe = self

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if probe.way == "hang":
                    probe.heal.wait(60)
                self.send_response(500 if probe.way == "fail" else 200)
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(b"p99_us 200\n")

            def log_message(self, format: str, *words: object) -> None:
                pass

        self.way = ""
        self.heal = threading.Event()
        self._answers = Answers
        self._server = self._listen(0)
        self.port = int(self._server.server_address[1])

    def _listen(self, port: int) -> ThreadingHTTPServer:
        server = ThreadingHTTPServer(("127.0.0.1", port), self._answers)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server

    def die(self, way: str) -> None:
        self.way = way
        self.heal.clear()
        if way == "gone":
            self.close()

    def live(self) -> None:
        way, self.way = self.way, ""
        self.heal.set()
        if way == "gone":
            self._server = self._listen(self.port)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Watcher(threading.Thread):
    """Looks at every node's registers all the while, and adds up how long one was at learnt settings without a guard.

    A node has none from the moment that something is done to it until that is healed, or it was seen elsewhere.
    """

    def __init__(self, one: RealHerd) -> None:
        super().__init__(daemon=True)
        self._herd = one
        self._since: dict[str, float] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._what = ""
        self.held: dict[tuple[str, str, float], float] = {}
        """What was done, to whom and when: how many seconds it was at learnt settings since."""

    def lose(self, what: str, *names: str) -> None:
        with self._lock:
            self._what = what
            self._since = dict.fromkeys(names, time.monotonic())

    def heal(self) -> None:
        with self._lock:
            self._since = {}

    def unguarded(self) -> bool:
        """Whether some node hasn't been seen elsewhere yet."""
        with self._lock:
            return bool(self._since)

    def run(self) -> None:
        while not self._over.wait(0.005):
            with self._lock:
                for name, since in list(self._since.items()):
                    if {LOW, HIGH} & set(self._herd.clocks(name)):
                        self.held[self._what, name, since] = time.monotonic() - since
                    else:
                        del self._since[name]

    def beyond(self) -> dict[str, float]:
        """By what was done the longest, without what the machine kept our processes from running."""
        found: dict[str, float] = {}
        for (what, _, since), seconds in self.held.items():
            found[what] = max(found.get(what, 0.0), round(seconds - stall.lost_s(since, since + seconds), 2))
        return found

    def close(self) -> None:
        self._over.set()
        self.join()


class Kept:
    """A keeper of two musters, and what can be done to them."""

    def __init__(self, folder: Path, one: RealHerd, probe: Probe) -> None:
        self.one, self.probe, self._folder = one, probe, folder
        self.watcher = Watcher(one)
        (folder / "table.yml").write_text(TABLE)
        (folder / "keep.yml").write_text(KEEP.format(folder=folder, port=probe.port))
        self.load("800")
        self.wires = {name: Wire(one.ports) for name in one.names}
        one.ways = {name: wire.ports for name, wire in self.wires.items()}
        self.keeper = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        words = ["herd", "keep", "table.yml", "--to", "kept", "--config", "keep.yml", "-i", str(self.one.inventory)]
        with (self._folder / "keep.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "mustherd", *words], cwd=self._folder, stdout=log, stderr=log
            )

    def load(self, qps: str) -> None:
        for name in self.one.names:
            (self._folder / f"load-{name}").write_text(f"{qps}\n")

    def at(self, clock: str) -> bool:
        assert self.keeper.poll() is None, (self._folder / "keep.log").read_text()
        return all(self.one.clocks(name) == [clock] * 4 for name in self.one.names)

    def kill_keeper(self, draw: random.Random, seconds: float) -> None:
        self.watcher.lose("keeper", *self.one.names)
        self.keeper.send_signal(signal.SIGKILL)
        self.keeper.wait()
        self._off(seconds)
        self.keeper = self._start()
        # A new shepherd is nobody's guard before it has said so: each node has to go once.
        until(lambda: not self.watcher.unguarded())

    def kill_muster(self, draw: random.Random, seconds: float) -> None:
        name = draw.choice(self.one.names)
        self.watcher.lose("muster", name)
        self.one.kill(name)
        until(lambda: not self.watcher.unguarded())
        self.one.start(name)

    def cut(self, draw: random.Random, seconds: float) -> None:
        name = draw.choice(self.one.names)
        self.watcher.lose("partition", name)
        self.wires[name].cut_off()
        self._off(seconds)
        self.watcher.heal()
        self.wires[name].heal()

    def mute(self, draw: random.Random, seconds: float) -> None:
        self.watcher.lose("latency", *self.one.names)
        self.probe.die(draw.choice(["gone", "fail", "hang"]))
        self._off(seconds)
        self.watcher.heal()
        self.probe.live()

    def _off(self, seconds: float) -> None:
        """Wait so long, or where that is beyond the lease until nobody is at learnt settings."""
        if seconds < LEASE_S:
            time.sleep(seconds)
        else:
            until(lambda: not self.watcher.unguarded())

    def close(self) -> None:
        self.watcher.close()
        for wire in self.wires.values():
            wire.close()
        self.keeper.kill()
        self.keeper.wait()


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    probe = Probe()
    stall.watch()
    with herd(tmp_path, 2) as one:
        one.stop()
        one.lease_s = LEASE_S
        made = Kept(tmp_path, one, probe)
        one.start()
        made.watcher.start()
        yield made
        made.close()
    probe.close()


@pytest.mark.parametrize("moments", [4, pytest.param(50, marks=[pytest.mark.night, pytest.mark.timeout(1700)])])
def test_no_node_is_at_learnt_settings_unguarded_beyond_its_lease(kept: Kept, moments: int) -> None:
    draw = random.Random(moments)
    kinds: list[Callable[[random.Random, float], None]] = [kept.kill_keeper, kept.kill_muster, kept.cut, kept.mute]
    loads = list(LOADS.items())
    for number in range(moments):
        load, clock = loads[number % 2]
        kept.load(load)
        until(partial(kept.at, clock), PATIENCE_S)
        time.sleep(draw.uniform(0, 1.5))
        # Half of them for longer than the lease.
        kinds[number % 4](draw, draw.choice([draw.uniform(0.2, LEASE_S), 2 * LEASE_S]))
        # What the machine held up is known for some minutes only.
        assert {what: s for what, s in kept.watcher.beyond().items() if s > LEASE_S + LATE_S} == {}
    assert kept.watcher.held, "nobody was at learnt settings when something was done"
