"""A host that is dead from the start is told, and does not keep the others from being done."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mustherd.provision.project import find
from mustherd.provision.runner import run

ROOT = Path(__file__).resolve().parents[2]


def inventory(folder: Path, dead_port: int) -> Path:
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    common = {
        "ansible_become": False,
        "ansible_user": "alice",
        "herd_network": "10.10.1.0/24",
        "kernel_ixgbe_enabled": False,
        "dvfs_enabled": False,
    }
    away = {"ansible_host": "127.0.0.1", "ansible_port": dead_port}
    hosts = {"node0": here | {"herd_address": "10.10.1.1"}, "node1": away | {"herd_address": "10.10.1.2"}}
    groups = {"shepherd": ["node0"], "musters": ["node0", "node1"], "generic": ["node0", "node1"]}
    children = {name: {"hosts": {host: hosts[host] for host in members}} for name, members in groups.items()}
    file = folder / "hosts.yml"
    file.write_text(yaml.safe_dump({"all": {"vars": common, "children": children}}))
    return file


def closed_port() -> int:
    """One that nobody listens on: it was free a moment ago."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def test_a_host_that_is_dead_from_the_start_does_not_stop_the_others(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            Path(sys.executable).with_name("ansible-playbook"),
            *("playbooks/check.yml", "-i", inventory(tmp_path, closed_port())),
            *("-e", "ansible_ssh_retries=0"),
        ],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    recap = dict(re.findall(r"^(node\d)\s+: (.*)$", done.stdout, re.MULTILINE))
    assert done.returncode == 4, done.stdout + done.stderr
    assert "unreachable=0    failed=0" in recap["node0"], done.stdout
    assert "unreachable=1" in recap["node1"]
    # It got as far as the last of the checks.
    assert "TASK [Check the cores]" in done.stdout


def test_its_message_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "mustherd")
    outcome = run(
        "playbooks/check.yml", inventory(tmp_path, closed_port()), project=find(ROOT), artifacts=tmp_path / "a"
    )
    assert [failure.host for failure in outcome.failures] == ["node1"]
    assert "the host cannot be reached: " in outcome.failures[0].message
    assert "refused" in outcome.failures[0].message
    assert "the other hosts went on" in outcome.failures[0].fix
    said = [record.getMessage() for record in caplog.records if record.name == "mustherd.provision.runner"]
    assert any(re.match(r"ansible: .*: Check the cores: node0 (ok|skipped)$", line) for line in said), said
