"""A herd of three containers and what it is provisioned from: inventory, the project copied, upstreams stood in for."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from mustherd.provision import wheelhouse
from mustherd.testbed.bed import Bed
from mustherd.testbed.hosts import CORES, NETWORK
from mustherd.testbed.images import RELEASES, cache
from tests.testbed.upstreams import CONFIGURE, SERVER, Upstreams

PROJECT = Path(__file__).parents[2]
PARTS = (
    "ansible.cfg",
    "provision.yml",
    "playbooks",
    "roles",
    "inventory/cloudlab",
    "inventory/local",
    "mustherd",
    "pyproject.toml",
    "requirements.lock",
    "README.md",
    "LICENSE",
    "examples",
    "hatch_build.py",
)
OPEN_FILES = 16000
CPU = "/sys/devices/system/cpu"
FILES = f"{CPU}/smt/control {CPU}/cpufreq/boost {CPU}/cpu*/cpufreq/scaling_governor"
FOUND = f"grep -h . {FILES}; systemctl is-enabled irqbalance"
AS_FOUND = ["on", "1", *["schedutil"] * CORES, "enabled"]
AS_SET = ["off", "0", *["userspace"] * CORES, "masked"]
RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)


class Outcome:
    """What a playbook's run printed."""

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        self.text = text
        found = RECAP.findall(text)
        # Checks that run on the control machine alone, and change nothing there, are no host's.
        self.changed = {host: int(changed) for host, _, changed, _, _ in found if host != "localhost" or int(changed)}
        self.executed = {host: int(ok) for host, ok, *_ in found if host != "localhost"}
        """Tasks that ran, and not those that were skipped: Ansible counts what changed among what is ok."""
        self.failed = {host: int(failed) + int(lost) for host, _, _, lost, failed in found}

    def changes(self) -> str:
        """The tasks that changed something, as text for a failed assertion."""
        task, lines = "", []
        for line in self.text.splitlines():
            if line.startswith("TASK ["):
                task = line
            elif line.startswith("changed:"):
                lines.append(f"{task} {line}")
        return "\n".join(lines)


def copy_project(to: Path) -> None:
    """What provisioning needs of the project, and nothing that a user has made beside it."""
    to.mkdir()
    for part in PARTS:
        source = PROJECT / part
        (to / part).parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, to / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, to / part)


class Rehearsal:
    """Playbooks run against a bed."""

    def __init__(self, bed: Bed) -> None:
        self.bed = bed
        self.folder = bed.folder / "project"
        copy_project(self.folder)
        self.inventory = self.folder / "inventory/testbed"
        self.upstreams = Upstreams(bed)
        self.tarball = self.upstreams.tarball
        self.server_sum = self.tarball("memcached-9.9.9", {"configure": CONFIGURE, "memcached.py": SERVER})
        # Here, where a package registry can be reached; from within the bed the role finds it made.
        for python in {RELEASES[host.release].python for host in bed.hosts.values()}:
            wheelhouse.make(self.folder, cache() / "nodes", python, "x86_64", whole=False)
        self._write_inventory()

    def playbook(self, name: str, *arguments: str) -> Outcome:
        """Run a playbook from the copy of the project, inside the bed's network."""
        with subprocess.Popen(**self.command(name, *arguments)) as process:
            text, _ = process.communicate(timeout=1500)
        return Outcome(process.returncode, text)

    def mustherd(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command of ours, as a user of the control machine gives it inside the bed's network."""
        return subprocess.run(
            self.bed.inside(sys.executable, "-m", "mustherd", *words),
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def command(self, name: str, *arguments: str) -> dict[str, Any]:
        """What subprocess.Popen needs to run a playbook."""
        tool = str(Path(sys.executable).parent / "ansible-playbook")
        return {
            "args": self.bed.inside(tool, name, "-i", str(self.inventory), *arguments),
            "cwd": self.folder,
            "env": self.environment(),
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
            "text": True,
        }

    def break_the_server(self) -> None:
        """From now on the server's tarball does not build."""
        broken = CONFIGURE.replace("cat memcached.py", "echo this does not compile >&2; exit 1")
        self.server_sum = self.tarball("memcached-9.9.9", {"configure": broken, "memcached.py": SERVER})

    def environment(self) -> dict[str, str]:
        """For Ansible: none of the user's settings, and connections that are kept are this bed's alone."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        return kept | {
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_FORCE_COLOR": "0",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": self.bed.sockets,
        }

    def _write_inventory(self) -> None:
        names = list(self.bed.hosts)
        groups = {
            "shepherd": names[:1],
            "musters": names[1:],
            "loadgen_leader": names[:1],
            "loadgen_agents": names[-1:],
            "generic": names,
        }
        common = {
            "ansible_host": "{{ herd_address }}",
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.bed.key),
            "ansible_ssh_common_args": f"-F none -o UserKnownHostsFile={self.bed.known_hosts}",
            "herd_network": f"{NETWORK}.0/24",
            "herd_address": f"{NETWORK}." + "{{ (inventory_hostname | regex_search('[0-9]+') | int) + 1 }}",
            "herd_cores": CORES,
            "herd_reserved_cores": [CORES - 1],
            "herd_memcached_cores": "0",
            "common_upgrade": False,
            "common_ssh_mesh": True,
            "memcached_mutilate_version": "9.9.9",
            "memcached_mutilate_url": f"{self.bed.mirror.url}/memcached-9.9.9.tar.gz",
            "memcached_mutilate_checksum": f"sha256:{self.server_sum}",
            "memcached_mutilate_memory_mib": 64,
            # Hosts cannot raise the limit of the machine that holds them; nothing here has this number by itself.
            "memcached_mutilate_open_files": OPEN_FILES,
            **self.upstreams.mutilate(),
            "mustherd_archives": str(cache() / "nodes"),
            # The control machine conducts experiments.
            "mustherd_shepherd": self.bed.control,
            "mustherd_shepherd_service": False,
            "mustherd_twin": {"profile": "c6220", "speed": 100},
            "mustherd_whole": False,
        }
        members = {group: {"hosts": dict.fromkeys(hosts)} for group, hosts in groups.items()}
        members["musters"]["hosts"] = {
            names[1]: {"herd_musters": [0, 1]},
            **{name: {"memcached_mutilate_memcached": "package"} for name in names[2:]},
        }
        (self.inventory / "group_vars").mkdir(parents=True)
        (self.inventory / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": members}}))
        (self.inventory / "group_vars/all.yml").write_text(yaml.safe_dump(common))
        shutil.copy(PROJECT / "inventory/cloudlab/group_vars/generic.yml", self.inventory / "group_vars/generic.yml")
        # What is written for this bed wins over its kind of machine.
        for host in names:
            folder = self.inventory / "host_vars"
            folder.mkdir(exist_ok=True)
            own = {key: value for key, value in common.items() if key.startswith("herd_") and key != "herd_address"}
            (folder / f"{host}.yml").write_text(yaml.safe_dump(own))


def said(herd: Rehearsal, host: str, command: str) -> list[str]:
    """The words that a command prints on a host."""
    return herd.bed.ssh(host, command).stdout.split()
