"""A herd of real processes on loopback, over an inventory: musters on recorded machines, stand-ins for what loads."""

import contextlib
import signal
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from mustherd.load.server import free_port
from mustherd.wire.ports import Ports
from tests.load.mutilate import pretend
from tests.node.linux.kinds import ACPI
from tests.node.linux.machine import Machine

STATS = "".join(f"STAT {name} {value}\r\n" for name, value in (
    ("rusage_user", "1.5"), ("rusage_system", "0.5"), ("curr_connections", "1"), ("cmd_get", "1"),
))  # fmt: skip


class _Answers(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(STATS.encode() + b"END\r\n" if line.startswith(b"stats") else b"VERSION 1.6\r\n")


@contextlib.contextmanager
def server() -> Iterator[int]:
    """What says of itself what a memcached does; gives its port."""
    with socketserver.ThreadingTCPServer(("", 0), _Answers) as listening:
        listening.daemon_threads = True
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield int(listening.server_address[1])
        finally:
            listening.shutdown()
            thread.join()


class RealHerd:
    """An inventory with so many musters, each on a machine of its own that its kernel froze at different clocks."""

    def __init__(self, folder: Path, servers: list[int]) -> None:
        self.folder = folder
        self.ports = Ports(*(free_port() for _ in range(4)))
        self.names = [f"muster-127.0.0.{k + 2}" for k in range(len(servers))]
        self.mutilate = pretend.install(folder / "mutilate")
        self.inventory = folder / "herd" / "hosts.yml"
        self.files: dict[str, str] = {}
        """More files of each machine's."""
        self.config = ""
        """What else each muster's configuration says."""
        self.lease_s = 5.0
        self.ways: dict[str, Ports] = {}
        """Ports that a muster is told instead of the shepherd's: of what forwards to them."""
        self._servers = servers
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.write()

    def write(self, agents: int = 0, **leader: Any) -> None:
        """The inventory; `leader` are variables of the host that leads the load."""
        here = {"ansible_connection": "local"}
        musters = {
            f"node{k}": {**here, "herd_address": f"127.0.0.{k + 2}", "memcached_mutilate_port": port}
            for k, port in enumerate(self._servers)
        }
        head = {**here, "herd_address": "127.0.0.1", "mustherd_ports": msgspec.structs.asdict(self.ports), **leader}
        groups = {"musters": musters, "shepherd": {"head": head}, "loadgen_leader": {"head": {}}}
        if agents:
            groups["loadgen_agents"] = {
                f"agent{k}": {**here, "herd_address": f"127.0.1.{k + 1}"} for k in range(agents)
            }
        self.inventory.parent.mkdir(exist_ok=True)
        content = {"all": {"children": {name: {"hosts": hosts} for name, hosts in groups.items()}}}
        self.inventory.write_text(yaml.safe_dump(content))

    def root(self, name: str) -> Path:
        return self.folder / f"{name}.root"

    def start(self, *names: str) -> None:
        """Start musters, all of them unless some are named."""
        for name in names or self.names:
            if not self.root(name).exists():
                machine = Machine(ACPI)
                for cpu in range(4):
                    folder = f"sys/devices/system/cpu/cpu{cpu}/cpufreq"
                    machine.tree.file(f"{folder}/scaling_governor", "userspace")
                    machine.tree.file(f"{folder}/scaling_setspeed", str(1_200_000 + cpu * 100_000))
                    # Files don't follow what is written to others.
                    del machine.tree.files[f"{folder}/scaling_cur_freq"]
                for path in [path for path in machine.tree.files if path.startswith("dev/cpu")]:
                    del machine.tree.files[path]
                for path, text in self.files.items():
                    machine.tree.file(path, text)
                machine.unpack(self.root(name))
            config = self.folder / f"{name}.toml"
            way = msgspec.structs.asdict(self.ways.get(name, self.ports))
            ports = "".join(f"{channel} = {port}\n" for channel, port in way.items())
            config.write_text(
                f'muster = "{name}"\nstate = "{self.folder / name}.state"\nlease_s = {self.lease_s}\n[ports]\n{ports}'
                "[ranges.dvfs]\nmodes = true\nlow = 400\nhigh = 6000\n"
                f'[linux]\nroot = "{self.root(name)}"\nidle_seconds = 0.0\nmeter = "none"\nnic_log = "off"\n'
                f"{self.config}"
            )
            with (self.folder / f"{name}.log").open("ab") as log:
                self._running[name] = subprocess.Popen(
                    [sys.executable, "-m", "mustherd.muster", "--config", str(config)], stdout=log, stderr=log
                )

    def kill(self, name: str) -> None:
        """End a muster as kill -9 does; its guardian is left."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def stop(self, *names: str) -> None:
        """End musters in good order, all of them unless some are named."""
        ending = [self._running.pop(name) for name in names or list(self._running)]
        for process in ending:
            process.send_signal(signal.SIGTERM)
        for process in ending:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
            process.wait()

    def clocks(self, name: str) -> list[str]:
        """What the CPUs of a muster's machine are set to."""
        folder = self.root(name) / "sys/devices/system/cpu"
        return [(folder / f"cpu{cpu}/cpufreq/scaling_setspeed").read_text().strip() for cpu in range(4)]

    def definition(self, **changes: Any) -> str:
        """An experiment on this herd that tries every clock once."""
        return yaml.safe_dump(
            {
                "name": "real",
                "herd": {"inventory": str(self.inventory)},
                "workload": {
                    "qps": 1000, "settle_seconds": 0.1, "ramp_seconds": 0, "window_seconds": 1,
                    "mutilate": {"program": str(self.mutilate), "binary": False, "connections": 4},
                },
                "knobs": {"dvfs": [1500, 1800, 2100, 2400]},
                "objective": "read_p99_us",
                "search": {"method": "grid"},
                "trials": 4,
                "repeats": 0,
                "gates": {"window_tolerance": 1, "attempts": 20, "same_failure": 20},
            }
            | changes
        )  # fmt: skip

    def file(self, **changes: Any) -> Path:
        """The same as a file, in the herd's folder; the one of before is written over."""
        made = self.folder / "real.yml"
        made.write_text(self.definition(**changes))
        return made


@contextlib.contextmanager
def herd(folder: Path, musters: int) -> Iterator[RealHerd]:
    """A herd whose musters run unless they are stopped."""
    with contextlib.ExitStack() as servers:
        made = RealHerd(folder, [servers.enter_context(server()) for _ in range(musters)])
        try:
            made.start()
            yield made
        finally:
            made.stop()
