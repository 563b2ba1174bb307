"""A herd of three containers and what it is provisioned from: inventory, the project copied, upstreams stood in for."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import yaml

from mustherd.provision import wheelhouse
from mustherd.testbed.bed import Bed
from mustherd.testbed.hosts import CORES, NETWORK
from mustherd.testbed.images import RELEASES, cache, run

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
RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)

SERVER = """
import socket, sys
if "--version" in sys.argv:
    print("memcached 9.9.9")
    sys.exit()
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
server = socket.create_server((given["-l"], int(given["-p"])))
while True:
    server.accept()[0].close()
"""
CONFIGURE = """#!/bin/sh
cat > Makefile <<'END'
memcached: memcached.py
	printf '#!/usr/bin/python3\\n' > memcached && cat memcached.py >> memcached && chmod 755 memcached
test: memcached
	./memcached --version
install: memcached
	install -m 755 memcached /usr/local/bin/memcached
END
"""
SCONSTRUCT = """#!/usr/bin/python
import os
env = Environment(ENV = os.environ)
print "Checking for gengetopt...",
if env.Execute("@which gengetopt &> /dev/null"):
    print "not found (required)"
    Exit(1)
else: print "found"
env.Program(target='mutilate', source=['mutilate.cc', 'Generator.cc'])
"""
GENERATOR = """#include <cstring>
#include <cstdlib>
double parameters(char *a_ptr) {
  char *saveptr = NULL;
  char *s1 = strtok_r(a_ptr, ",", &saveptr);
  char *s2 = strtok_r(NULL, ",", &saveptr);
  char *s3 = strtok_r(NULL, ",", &saveptr);
  return (s1 ? atof(s1) : 0) + (s2 ? atof(s2) : 0) + (s3 ? atof(s3) : 0);
}
"""
MUTILATE = """#include <cstdio>
#include <cstring>
#include <unistd.h>
double parameters(char *a_ptr);
int main(int count, char **words) {
  if (count > 1 && !strcmp(words[1], "--version")) { printf("mutilate 0.1 %g\\n", parameters(NULL)); return 0; }
  pause();
}
"""


class Outcome:
    """What a playbook's run printed."""

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        self.text = text
        found = RECAP.findall(text)
        # Checks that run on the control machine alone, and change nothing there, are no host's.
        self.changed = {host: int(changed) for host, _, changed, _, _ in found if host != "localhost" or int(changed)}
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
        self.server_sum = self.tarball("memcached-9.9.9", {"configure": CONFIGURE, "memcached.py": SERVER})
        self.revision = self._generator_repository()
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

    def tarball(self, name: str, files: dict[str, str]) -> str:
        """Serve NAME.tar.gz with these files, all executable; gives its SHA-256."""
        tree = self.bed.folder / name
        for path, text in files.items():
            file = tree / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            file.chmod(0o755)
        served = self.bed.files / f"{name}.tar.gz"
        with tarfile.open(served, "w:gz") as tar:
            tar.add(tree, arcname=name)
        return hashlib.sha256(served.read_bytes()).hexdigest()

    def _generator_repository(self) -> str:
        tree = self.bed.folder / "mutilate"
        tree.mkdir()
        for name, text in {"SConstruct": SCONSTRUCT, "Generator.cc": GENERATOR, "mutilate.cc": MUTILATE}.items():
            (tree / name).write_text(text)
        git = ("git", "-C", str(tree), "-c", "user.name=t", "-c", "user.email=t@example.org")
        run(*git, "init", "--quiet")
        run(*git, "add", ".")
        run(*git, "commit", "--quiet", "--message", "A stand-in")
        bare = self.bed.files / "mutilate.git"
        run("git", "clone", "--quiet", "--bare", str(tree), str(bare))
        run("git", "-C", str(bare), "update-server-info")
        return run(*git, "rev-parse", "HEAD").stdout.strip()

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
            "memcached_mutilate_repository": f"{self.bed.mirror.url}/mutilate.git",
            "memcached_mutilate_revision": self.revision,
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
