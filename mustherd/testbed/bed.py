"""Real hosts on one machine: containers on a bridge in a network namespace of their own, and what reaches them."""

import itertools
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mustherd.testbed.hosts import NETWORK, PREFIX, Host, Surroundings
from mustherd.testbed.images import BedError, cache, root_file_system, run
from mustherd.testbed.mirror import Mirror

CONTROL = 254
PORT = 3142
TOOLS = ("systemd-nspawn", "mmdebstrap", "apt-get", "ip", "ssh", "git")
DEPENDENCIES = ("systemd-container", "mmdebstrap", "openssh-client", "iproute2", "git")
"""Packages of Debian and Ubuntu that bring them."""
COUNT = itertools.count()


def refuse_without_means() -> None:
    """Raises BedError where this machine or this account cannot hold a bed."""
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        raise BedError(f"{', '.join(missing)}: not installed; fix: sudo apt-get install {' '.join(DEPENDENCIES)}")
    if os.geteuid():
        raise BedError("a test bed needs root, for network and containers; fix: run it with sudo")


def login(key: str, known_hosts: str, address: str) -> list[str]:
    """The words of ssh to a host, but for what it is to do there."""
    options = [f"UserKnownHostsFile={known_hosts}", "StrictHostKeyChecking=yes", "ConnectTimeout=3"]
    return [
        *("ssh", "-F", "none", "-i", key, "-o", "BatchMode=yes"),
        *(word for option in options for word in ("-o", option)),
        f"root@{address}",
    ]


class Bed:
    """A bridge, its hosts, the mirror, and what reaches them: a key and the hosts' keys."""

    def __init__(
        self,
        folder: Path,
        hosts: int = 3,
        *,
        releases: Sequence[str] = ("bookworm",),
        namespace: str = "",
        sockets: Path | None = None,
    ) -> None:
        """Hosts take `releases` in turn."""
        refuse_without_means()
        self.folder = folder
        self.files = folder / "files"
        self.files.mkdir(parents=True)
        self.namespace = namespace or f"mh{os.getpid()}-{next(COUNT)}"
        self.key = folder / "id_ed25519"
        self.known_hosts = folder / "known_hosts"
        self.control = f"{NETWORK}.{CONTROL}"
        around = Surroundings(folder, self.namespace, self.key, self.control, f"http://{self.control}:{PORT}")
        kinds = zip(range(hosts), itertools.cycle(releases), strict=False)
        self.hosts = {f"node{number}": Host(around, f"node{number}", number, kind) for number, kind in kinds}
        # Sockets cross network namespaces: another bed's kept connection would lead to another bed's host of the same
        # address. Their paths must be short.
        self.sockets = str(sockets or tempfile.mkdtemp(prefix="mh-"))
        Path(self.sockets).mkdir(mode=0o700, exist_ok=True)
        self.mirror: Mirror

    def __enter__(self) -> "Bed":
        releases = {host.release for host in self.hosts.values()}
        with ThreadPoolExecutor() as pool:
            list(pool.map(root_file_system, releases))
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key))
        run("ip", "netns", "add", self.namespace)
        try:
            for step in (
                "link set lo up",
                "link add br0 type bridge",
                f"address add {self.control}/{PREFIX} dev br0",
                "link set br0 up",
            ):
                run("ip", "-n", self.namespace, *step.split())
            self.mirror = Mirror(self.namespace, self.control, PORT, cache=cache() / "packages", files=self.files)
            for host in self.hosts.values():
                host.up()
            self.known_hosts.write_text(
                "".join(
                    f"{host.address} {(host.root / 'etc/ssh/ssh_host_ed25519_key.pub').read_text()}"
                    for host in self.hosts.values()
                )
            )
            for host in self.hosts.values():
                self.wait(host)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        closers = [threading.Thread(target=host.down) for host in self.hosts.values() if host.root.exists()]
        for closer in closers:
            closer.start()
        for closer in closers:
            closer.join()
        if hasattr(self, "mirror"):
            self.mirror.close()
        subprocess.run(["ip", "netns", "delete", self.namespace], capture_output=True, check=False)
        shutil.rmtree(self.sockets, ignore_errors=True)

    def inside(self, *command: str) -> list[str]:
        """The command as it runs on the control machine within the bed's network."""
        return ["ip", "netns", "exec", self.namespace, *command]

    def ssh(self, name: str, command: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """A shell command on a host; the answer whatever its exit code."""
        return subprocess.run(
            self.inside(*login(str(self.key), str(self.known_hosts), self.hosts[name].address), command),
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )

    def wait(self, host: Host, boots: int = 0, patience: float = 90) -> None:
        """Until a host answers after at least `boots` boots."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            if host.boots >= boots and self.ssh(host.name, "systemctl is-system-running --wait").returncode in (0, 1):
                return
            time.sleep(0.3)
        log = (self.folder / host.name / "console.log").read_text(errors="replace")
        raise BedError(f"{host.name} does not answer within {patience} s; its console: {log[-2000:]}")

    def reboot(self) -> None:
        """Reboot every host and wait until all answer again."""
        before = {name: host.boots for name, host in self.hosts.items()}
        for name in self.hosts:
            self.ssh(name, "systemctl reboot")
        for name, host in self.hosts.items():
            self.wait(host, before[name] + 1)
