"""Herds for tests: shepherds and musters on loopback, in threads or in processes of their own."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from mustherd.muster.config import Config, ConfigError
from mustherd.muster.journal import Journal
from mustherd.muster.muster import Muster
from mustherd.muster.pasture import Pasture
from mustherd.node.ranges import Range
from mustherd.shepherd.shepherd import Shepherd
from mustherd.wire.endpoints import MusterEndpoint
from mustherd.wire.keys import Keys
from mustherd.wire.ports import Ports
from mustherd.wire.shepherd_endpoint import ShepherdEndpoint
from tests.fakes import FakeNode

RANGES = {"itr-delay": Range(values=(1,), low=2, high=400), "dvfs": Range(low=1200, high=2800)}
ANY = Ports(0, 0, 0, 0)
PATIENCE_S = 20.0


@contextmanager
def shepherd(ports: Ports = ANY, keys: Keys | None = None, **options: Any) -> Iterator[tuple[Shepherd, Ports]]:
    """A running shepherd and its ports."""
    end = ShepherdEndpoint(ports=ports, keys=keys)
    running = Shepherd(end, **options)
    running.start()
    try:
        yield running, end.ports
    finally:
        running.stop()


@contextmanager
def muster(
    ports: Ports, state: Path, *, name: str = "muster-1", node: Any = None, keys: Keys | None = None, **options: Any
) -> Iterator[Muster]:
    """A muster in a thread of its own."""
    node = node or FakeNode()
    config = Config(muster=name, state=str(state), ranges=RANGES, **options)
    pasture = Pasture(node.knobs, config.ranges, Journal(state))
    end = MusterEndpoint(name, "127.0.0.1", ports, keys)
    try:
        running = Muster(config, node, pasture, end)
    except ConfigError:
        end.close()
        pasture.close()
        raise
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        yield running
    finally:
        running.stop()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


SERVE = """
import signal, sys
from pathlib import Path
from mustherd.muster.service import serve
sys.exit(serve(Path(sys.argv[1]), lambda stop: [signal.signal(s, lambda *_: stop()) for s in (2, 15)]))
"""


@dataclass
class MusterProcess:
    """A muster with a twin node in a process of its own, and what its node's registers hold."""

    folder: Path
    ports: Ports
    name: str = "muster-1"
    process: "subprocess.Popen[bytes] | None" = None

    def write(self) -> Path:
        """Its configuration."""
        state = self.folder / self.name
        state.mkdir(parents=True, exist_ok=True)
        file = self.folder / f"{self.name}.toml"
        p = self.ports
        file.write_text(
            f'muster = "{self.name}"\nstate = "{state}"\n'
            f"[ports]\npulse = {p.pulse}\nlog = {p.log}\ncontrol = {p.control}\ncoordinate = {p.coordinate}\n"
            "[ranges]\nitr-delay = {values = [1], low = 2, high = 400}\ndvfs = {low = 1200, high = 2800}\n"
            "[twin]\nspeed = 100\n"
        )
        return file

    def start(self) -> "MusterProcess":
        self.process = subprocess.Popen([sys.executable, "-c", SERVE, str(self.write())])
        return self

    def send(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    @property
    def guardian(self) -> int:
        """The process that watches over the muster."""
        assert self.process is not None
        [guardian] = psutil.Process(self.process.pid).children()
        return guardian.pid

    def kill(self) -> None:
        """As a crash does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def kill_both(self) -> None:
        """As the end of a whole control group does: nobody is left to put the node back."""
        self.send(signal.SIGSTOP)
        os.kill(self.guardian, signal.SIGKILL)
        self.kill()

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.send(signal.SIGCONT)
            self.kill()

    @property
    def registers(self) -> dict[str, int]:
        """What the node holds; empty before anything was written."""
        import json

        file = self.folder / self.name / "registers.json"
        return json.loads(file.read_text()) if file.exists() else {}
