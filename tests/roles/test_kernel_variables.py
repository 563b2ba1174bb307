"""Another kernel is a matter of the kernel_ixgbe role's variables, and another architecture of the node's facts."""

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROLE = Path(__file__).parents[2] / "roles/kernel_ixgbe"
SHOWN = ("release", "url", "tree", "driver_path", "where", "with_driver", "with_card")
HOSTS: dict[str, dict[str, object]] = {
    "reference": {},
    "newer": {
        "kernel_ixgbe_version": "6.15.1",
        "kernel_ixgbe_checksum": f"sha256:{'0' * 64}",
        "kernel_ixgbe_driver_repository": "https://git.example.org/ixgbe.git",
        "kernel_ixgbe_driver_path": "ixgbe-6.15",
        "kernel_ixgbe_build_host": "node0",
    },
    "other_card": {"herd_nic_driver": "igb"},
    "no_card": {"herd_nic_driver": "", "kernel_ixgbe_version": "6.15"},
}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """The role's variables on each host, as Ansible works them out."""
    folder = tmp_path_factory.mktemp("variables")
    common = {"herd_profile": "c6220", "herd_address": "10.10.1.2", "herd_network": "10.10.1.0/24"}
    names = {name: f"{{{{ kernel_ixgbe_{name} }}}}" for name in SHOWN}
    # A task's own variables rank above the role's, as a playbook's -e do.
    plays = [
        {
            "hosts": host,
            "gather_facts": False,
            "vars": {"role_path": str(ROLE), "answer": names},
            "vars_files": [str(ROLE / "defaults/main.yml"), str(ROLE / "vars/main.yml")],
            "tasks": [
                {
                    "ansible.builtin.debug": {"msg": "={{ inventory_hostname }} {{ answer | to_json | b64encode }}="},
                    "vars": common | given,
                }
            ],
        }
        for host, given in HOSTS.items()
    ]
    (folder / "play.yml").write_text(yaml.safe_dump(plays))
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": dict.fromkeys(HOSTS)}}))
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "hosts.yml", "play.yml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    answers = {
        host: json.loads(base64.b64decode(told + "=="))
        for host, told in re.findall(r'"=(\w+) ([\w+/=]+?)=+"', done.stdout)
    }
    assert set(answers) == set(HOSTS), done.stdout + done.stderr
    return answers


def test_the_reference_kernel_is_the_default(shown: dict[str, dict[str, object]]) -> None:
    assert shown["reference"] == {
        "release": "5.15.89",
        "url": "https://cdn.kernel.org/pub/linux/kernel/v5.x/linux-5.15.89.tar.xz",
        "tree": "/usr/local/src/mustherd/linux-5.15.89",
        "driver_path": "linux/linux-5.15.89/drivers/net",
        "where": "reference",
        "with_driver": True,
        "with_card": True,
    }


def test_the_newer_variant_is_a_version_a_checksum_and_a_driver_tree(shown: dict[str, dict[str, object]]) -> None:
    assert shown["newer"] == {
        "release": "6.15.1",
        "url": "https://cdn.kernel.org/pub/linux/kernel/v6.x/linux-6.15.1.tar.xz",
        "tree": "/usr/local/src/mustherd/linux-6.15.1-c6220",
        "driver_path": "ixgbe-6.15",
        "where": "node0 (builds for newer)",
        "with_driver": True,
        "with_card": True,
    }


def test_a_card_of_another_driver_gets_the_rest(shown: dict[str, dict[str, object]]) -> None:
    assert (shown["other_card"]["with_driver"], shown["other_card"]["with_card"]) == (False, True)
    assert (shown["no_card"]["with_driver"], shown["no_card"]["with_card"]) == (False, False)
    assert shown["no_card"]["release"] == "6.15.0"


@pytest.mark.process
@pytest.mark.long
@pytest.mark.parametrize(
    ("architecture", "asked", "done"), [("x86_64", True, True), ("aarch64", True, False), ("x86_64", False, False)]
)
def test_registers_are_for_machines_that_have_them(architecture: str, asked: bool, done: bool, tmp_path: Path) -> None:
    told = tmp_path / "told"
    tasks = [{"ansible.builtin.copy": {"dest": str(told), "content": "{{ dvfs_registers | bool }}", "mode": "0644"}}]
    files = [str(ROLE.parent / f"dvfs/{folder}/main.yml") for folder in ("defaults", "vars")]
    play = tmp_path / "play.yml"
    play.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "vars_files": files, "tasks": tasks}]))
    given = {
        "ansible_python_interpreter": sys.executable,
        "dvfs_msr": asked,
        "ansible_facts": {"architecture": architecture},
    }
    ran = subprocess.run(
        [
            Path(sys.executable).parent / "ansible-playbook",
            "-i",
            "localhost,",
            "-c",
            "local",
            "-e",
            json.dumps(given),
            play,
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "ANSIBLE_LOCALHOST_WARNING": "False", "ANSIBLE_HOME": str(tmp_path)},
        cwd=tmp_path,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert told.read_text() == str(done)
