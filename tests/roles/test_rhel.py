"""Nodes of RHEL and its kin: what roles take for them, and grubby's arguments, as far as can be seen without one.

`grubby` here keeps the arguments of two kernels in files, and takes and tells them as the real one does.
"""

import fnmatch
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.ansible_yaml import load
from tests.roles.scripts import ROLES

SCRIPT = ROLES / "dvfs/files/kernel_arguments.sh"
GRUBBY = """\
#!/bin/sh
# Two kernels, each with a file of its arguments.
cd "$KERNELS" || exit 1
cat > /dev/null  # it may read what it is given
for word in "$@"; do
  case $word in
    --info=ALL) for k in one two; do printf 'kernel="/boot/%s"\\nargs="%s"\\n' $k "$(cat $k)"; done ;;
    --update-kernel=ALL) ;;
    --args=*) for k in one two; do
        case " $(cat $k) " in *" ${word#--args=} "*) ;; *) echo "$(cat $k) ${word#--args=}" > $k ;; esac
      done ;;
    --remove-args=*) for k in one two; do
        sed "s/.*/ & /; s| ${word#--remove-args=} | |; s/^ //; s/ $//" $k > $k.new && mv $k.new $k
      done ;;
    *) exit 2 ;;
  esac
done
"""
FOUND = {"one": "ro quiet", "two": "ro quiet cpufreq.off=1"}


class Loader:
    """A machine's kernels."""

    def __init__(self, folder: Path) -> None:
        self.kernels = folder / "kernels"
        self.record = folder / "state/dvfs.arguments"
        self.programs = folder / "bin"
        self.kernels.mkdir()
        self.programs.mkdir()
        (self.programs / "grubby").write_text(GRUBBY)
        (self.programs / "grubby").chmod(0o755)
        for name, arguments in FOUND.items():
            (self.kernels / name).write_text(arguments + "\n")

    def ask(self, *arguments: str) -> str:
        environment = {"PATH": f"{self.programs}:{os.environ['PATH']}", "KERNELS": str(self.kernels)}
        command = ["sh", "-s", str(self.record), *arguments]
        done = subprocess.run(
            command, input=SCRIPT.read_text(), capture_output=True, text=True, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def there(self) -> dict[str, str]:
        return {name: (self.kernels / name).read_text().strip() for name in FOUND}


@pytest.fixture
def loader(tmp_path: Path) -> Loader:
    return Loader(tmp_path)


def test_arguments_come_to_every_kernel_once_and_go_again(loader: Loader) -> None:
    assert loader.ask("intel_pstate=disable", "cpufreq.off=1").count("changed") == 2
    assert loader.there == {
        "one": "ro quiet intel_pstate=disable cpufreq.off=1",
        "two": "ro quiet cpufreq.off=1 intel_pstate=disable",
    }
    assert loader.ask("intel_pstate=disable", "cpufreq.off=1") == ""
    assert "without cpufreq.off=1" in loader.ask("intel_pstate=disable")
    assert "intel_pstate" in loader.there["one"]
    loader.ask()
    assert loader.there["one"] == FOUND["one"]
    assert not loader.record.exists()
    assert loader.ask() == ""


def test_several_arguments_go_at_once(loader: Loader) -> None:
    """A grubby that reads took the rest of the record, or of the script."""
    loader.ask("idle=poll", "nosmt", "mitigations=off")
    loader.ask()
    assert loader.there == FOUND


def test_what_somebody_else_put_there_stays(loader: Loader) -> None:
    assert loader.ask("quiet") == ""
    assert not loader.record.exists()
    loader.ask("idle=poll")
    loader.ask()
    assert loader.there == FOUND


ROCKY9 = {
    "os_family": "RedHat", "distribution": "Rocky", "distribution_version": "9.6", "distribution_major_version": "9",
    "distribution_release": "Blue Onyx", "pkg_mgr": "dnf", "architecture": "aarch64", "service_mgr": "systemd",
}  # fmt: skip
ALMA10 = ROCKY9 | {
    "distribution": "AlmaLinux", "distribution_version": "10.1", "distribution_major_version": "10",
    "distribution_release": "Heliotrope Lion", "architecture": "x86_64",
}  # fmt: skip
RHEL10 = ALMA10 | {"distribution": "RedHat", "distribution_release": "Coughlan"}
CENTOS8 = ROCKY9 | {"distribution": "CentOS", "distribution_version": "8", "distribution_major_version": "8"}
DEBIAN = {
    "os_family": "Debian", "distribution": "Debian", "distribution_version": "12.12", "pkg_mgr": "apt",
    "distribution_major_version": "12", "distribution_release": "bookworm", "architecture": "x86_64",
    "service_mgr": "systemd",
}  # fmt: skip


def condition(file: str, name: str) -> str:
    """What a task makes sure of."""
    tasks = [task for part in load((ROLES.parent / file).read_text()) for task in part.get("tasks", [part])]
    [found] = [task["ansible.builtin.assert"]["that"] for task in tasks if task["name"] == name]
    return str(found)


ASKED = {
    "taken": condition("playbooks/check.yml", "Check the operating system"),
    "builds": condition("playbooks/check.yml", "Check that this system's kernels can be built"),
    "packages": "common_packages", "query": "common_query", "python": "mustherd_python",
    "of python": "mustherd_python_packages", "server": "memcached_mutilate_server_packages",
    "generator": "memcached_mutilate_generator_packages", "repositories": "memcached_mutilate_repositories",
    "registers": "dvfs_registers", "holds": "dvfs_watched.holds",
}  # fmt: skip


def playbook(folder: Path, facts: dict[str, str], tasks: list[Any], *more: str) -> subprocess.CompletedProcess[str]:
    """Tasks on this machine, told these facts, with the variables of all roles."""
    roles = ("common", "dvfs", "mustherd", "memcached_mutilate", "kernel_ixgbe")
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "herd_address": "10.10.1.2"}
    groups: dict[str, object] = {name: {"hosts": {"node1": {}}} for name in ("shepherd", "musters")}
    play = {
        "hosts": "node1", "gather_facts": False,
        "vars": {"ansible_facts": facts, "role_path": str(ROLES / "common")},
        "vars_files": [str(ROLES / role / part / "main.yml") for role in roles for part in ("defaults", "vars")],
        "tasks": tasks,
    }  # fmt: skip
    (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": {"node1": host}, "children": groups}}))
    (folder / "play.yml").write_text(json.dumps([play]))
    filters = ":".join(str(ROLES / role / "filter_plugins") for role in ("common", *roles))
    return subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), folder / "play.yml", "-i", folder / "hosts.json", *more],
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FILTER_PLUGINS": filters},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def variables(folder: Path, facts: dict[str, str]) -> dict[str, Any]:
    asked = {name: "{{ " + variable + " }}" for name, variable in ASKED.items()}
    file = folder / "told.json"
    done = playbook(folder, facts, [{"ansible.builtin.copy": {"dest": str(file), "content": asked}}])
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(file.read_text()))


def test_packages_are_called_as_the_system_calls_them(tmp_path: Path) -> None:
    rocky, alma, debian, old = (variables(tmp_path, facts) for facts in (ROCKY9, ALMA10, DEBIAN, CENTOS8))
    assert [told["taken"] for told in (rocky, alma, debian, old)] == [True, True, True, False]
    assert [told["builds"] for told in (rocky, alma, debian)] == [False, False, True]
    assert {"iproute", "procps-ng"} <= set(rocky["packages"])
    assert {"iproute2", "procps"} <= set(debian["packages"])
    # RHEL 9 has Python 3.9 as python3.
    assert [told["python"] for told in (rocky, alma, debian)] == ["python3.11", "python3", "python3"]
    assert rocky["of python"] == ["python3.11"]
    assert debian["of python"] == ["python3", "python3-venv"]
    assert "libevent-devel" in alma["server"]
    assert "libevent-dev" in debian["server"]
    assert "zeromq-devel" in rocky["generator"]
    assert "cppzmq-dev" in debian["generator"]
    assert rocky["query"] == r"rpm --query --queryformat '%{NAME} %{VERSION}-%{RELEASE}\n'"
    assert debian["query"].startswith("dpkg-query --show")
    # arm64 has no such registers, and RHEL no msr-tools.
    assert [told["registers"] for told in (rocky, alma, debian)] == [False, True, True]
    assert any("/dev/cpu/0/msr" in line for line in alma["holds"])
    assert any("rdmsr" in line for line in debian["holds"])


def test_the_builder_s_packages_come_from_the_repositories_that_the_system_has(tmp_path: Path) -> None:
    """RHEL itself has no package epel-release and no repository crb."""
    alma, rhel = (variables(tmp_path, facts)["repositories"] for facts in (ALMA10, RHEL10))
    assert alma == "dnf -q -y install epel-release dnf-plugins-core && dnf -q config-manager --set-enabled crb"
    assert "/epel-release-latest-10.noarch.rpm && {" in rhel
    assert "subscription-manager repos --enable codeready-builder-for-rhel-10-x86_64-rpms || dnf" in rhel
    assert "crb" not in rhel
    # As Amazon's, Microsoft's and Google's images call it, and what goes with it.
    [pattern] = re.findall(r"--set-enabled '(.*)'", rhel)
    named = "codeready-builder-for-rhel-10-{}rhui-{}rpms"
    clouds = [named.format("", ""), named.format("x86_64-", ""), "rhui-" + named.format("x86_64-", "")]
    assert fnmatch.filter([*clouds, named.format("", "debug-"), named.format("x86_64-", "source-")], pattern) == clouds
    for command in (alma, rhel):
        assert subprocess.run(["sh", "-n", "-c", command], check=False).returncode == 0


@pytest.mark.parametrize(
    "role",
    [
        "common/tasks/time.yml",
        pytest.param("common/tasks/packages.yml", marks=pytest.mark.long),
        pytest.param("mustherd/tasks/package.yml", marks=pytest.mark.long),
    ],
)
def test_packages_are_asked_of_dnf(tmp_path: Path, role: str) -> None:
    """Which isn't here: it says so itself, having taken what it was told."""
    tasks = [{"ansible.builtin.import_tasks": str(ROLES / role)}]
    done = playbook(tmp_path, ROCKY9, tasks, "--check", "-e", "{common_upgrade: false}")
    assert done.returncode != 0
    assert "Could not import the dnf python module" in done.stdout + done.stderr
    assert "Unsupported parameters" not in done.stdout + done.stderr
