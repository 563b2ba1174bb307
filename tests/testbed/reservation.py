"""A reservation as CloudLab gives one, on a test bed: nodes with names of their own, an account, a manifest."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from mustherd.provision import wheelhouse
from mustherd.testbed.bed import Bed
from mustherd.testbed.hosts import CORES, NETWORK
from mustherd.testbed.images import RELEASES, cache
from tests.testbed.rehearsal import copy_project
from tests.testbed.upstreams import Upstreams

MANIFEST = Path(__file__).parents[1] / "provision/manifests/usual.xml"
ACCOUNT = "carol"
SITE = "example.net"

# Homes are where CloudLab has them.
PREPARE = f"""
mkdir /users
useradd --create-home --home-dir /users/{ACCOUNT} --shell /bin/bash {ACCOUNT}
install -d -m 700 -o {ACCOUNT} -g {ACCOUNT} /users/{ACCOUNT}/.ssh
install -m 600 -o {ACCOUNT} -g {ACCOUNT} /root/.ssh/authorized_keys /users/{ACCOUNT}/.ssh/authorized_keys
echo '{ACCOUNT} ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/{ACCOUNT}
"""

WITHIN = 'mount --bind "$1" "$2" && exec bash -euc "$0"'
"""The user's own folder of ssh, in a mount namespace that `ip netns exec` has made."""


class Reservation:
    """Four nodes, and a control machine of their user's that knows them by the names that the site gave them."""

    def __init__(self, bed: Bed) -> None:
        self.bed = bed
        self._upstreams = Upstreams(bed)
        self._ssh = bed.folder / "home/.ssh"
        self._ssh.mkdir(mode=0o700, parents=True)
        shutil.copy(bed.key, self._ssh / "id_ed25519")
        names = "".join(f"{NETWORK}.{k + 1} c6220-{k + 1}.{SITE}\n" for k in range(len(bed.hosts)))
        # What a site's name servers say, to the nodes and to everybody else.
        for host in bed.hosts:
            answer = bed.ssh(host, f"{PREPARE}\ncat >> /etc/hosts <<'END'\n{names}END\n")
            assert answer.returncode == 0, answer.stderr
        self._names = Path("/etc/netns") / bed.namespace
        self._names.mkdir(parents=True)
        (self._names / "hosts").write_text(f"127.0.0.1 localhost\n{names}")
        self.given = {
            # What a container can't have, or would fetch for an hour.
            "common_upgrade": False,
            "herd_cores": CORES,
            "mustherd_linux": {"reserved": []},
            "memcached_mutilate_memory_mib": 64,
            "memcached_mutilate_open_files": 16000,
            "memcached_mutilate_agent_threads": 1,
            "mustherd_archives": str(cache() / "nodes"),
            **self._upstreams.mutilate(),
            **self._upstreams.memcached(),
        }

    def close(self) -> None:
        shutil.rmtree(self._names)

    def folder(self, name: str) -> Path:
        """A checkout of its own, with the manifest that the portal showed."""
        folder = self.bed.folder / name
        copy_project(folder)
        text = MANIFEST.read_text(encoding="utf-8").replace("10.10.1.", f"{NETWORK}.")
        # Here, where a package registry can be reached; from within the bed the role finds them made.
        for whole in (False, True):
            wheelhouse.make(folder, cache() / "nodes", RELEASES["bookworm"].python, "x86_64", whole=whole)
        for k, host in enumerate(self.bed.hosts):
            card = self.bed.ssh(host, "cat /sys/class/net/host0/address").stdout.strip().replace(":", "")
            text = text.replace(f"a0369f000{k + 1}00", card)
        (folder / "manifest.xml").write_text(text.replace('hardware_type="c6220"', 'hardware_type="container"'))
        return folder

    def add(self, folder: Path, inventory: str, variables: Mapping[str, Any] | None = None) -> None:
        """Variables of all hosts that the page's reader would write there too: those of a site's own sources."""
        file = folder / inventory / "group_vars/all.yml"
        file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **self.given, **(variables or {})}))

    def run(self, folder: Path, line: str, timeout: float = 1800) -> subprocess.CompletedProcess[str]:
        """A line as the user types it on the control machine."""
        return subprocess.run(**self._typed(folder, line), check=False, timeout=timeout)

    @contextlib.contextmanager
    def started(self, folder: Path, line: str) -> Iterator["subprocess.Popen[str]"]:
        """The same, while it runs; what is left of it in the end is killed, as when the machine goes away."""
        with subprocess.Popen(**self._typed(folder, line), start_new_session=True) as process:
            try:
                yield process
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def _typed(self, folder: Path, line: str) -> dict[str, Any]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "SSH_"))}
        home = pwd.getpwuid(os.getuid()).pw_dir
        (Path(home) / ".ssh").mkdir(mode=0o700, exist_ok=True)
        own = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": home,
            "USER": ACCOUNT,
            # Kept connections are this bed's alone, and no terminal is written to.
            "ANSIBLE_SSH_CONTROL_PATH_DIR": self.bed.sockets,
            "ANSIBLE_NOCOLOR": "1",
        }
        return {
            "args": self.bed.inside("sh", "-c", WITHIN, line, str(self._ssh), f"{home}/.ssh"),
            "cwd": folder,
            "env": kept | own,
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
        }
