"""The order of provisioning: a host that fails holds up none of the others, though it be the only one of its kind."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.roles.scripts import ROLES

ROLES_OF_IT = ("common", "kernel_ixgbe", "dvfs", "memcached_mutilate", "mustherd")
GROUPS = {
    "shepherd": ["boss"],
    "musters": ["target", "both"],
    "loadgen_leader": ["load"],
    "loadgen_agents": ["both"],
}
EVERY = ["common", "kernel_ixgbe", "dvfs", "memcached_mutilate", "mustherd", "start"]
TARGETS = ("target", "both")
WHOLE = {
    **dict.fromkeys(TARGETS, EVERY),
    "load": ["common", "memcached_mutilate", "start"],
    "boss": ["common", "mustherd", "start"],
}


def done_parts(folder: Path, fails: str, *words: str, limit: str = "") -> dict[str, list[str]]:
    """Host to the roles that came to their end there; `fails` says of each role where it doesn't."""
    shutil.copy(ROLES.parent / "playbooks/provision.yml", folder / "provision.yml")
    (folder / "check.yml").write_text("[{hosts: localhost, gather_facts: false}]")
    for role in ROLES_OF_IT:
        tasks = folder / "roles" / role / "tasks"
        tasks.mkdir(parents=True)
        one = [
            {
                "name": "Fail",
                "ansible.builtin.fail": {"msg": "as asked"},
                "when": f"'{role}@' ~ inventory_hostname in fails",
            },
            {"name": f"done {role}", "ansible.builtin.debug": {"msg": "done"}, "tags": ["inner", "kernel"]},
        ]
        (tasks / "main.yml").write_text(yaml.safe_dump(one))
        (tasks / "begin.yml").write_text(yaml.safe_dump([{**one[0], "when": "'begin@' ~ inventory_hostname in fails"}]))
    start = {"hosts": "all", "gather_facts": False, "tasks": [{"name": "done start", "ansible.builtin.debug": {}}]}
    (folder / "start_units.yml").write_text(yaml.safe_dump([start]))
    names = ("boss", "target", "both", "load")
    own = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    tree: dict[str, object] = {"hosts": {name: dict(own) for name in names}}
    tree["vars"] = {"fails": fails.split(), "kernel_ixgbe_needs_kernel": True}
    tree["children"] = {group: {"hosts": {key: {} for key in hosts}} for group, hosts in GROUPS.items()}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": tree}, default_flow_style=False))
    program = Path(sys.executable).with_name("ansible-playbook")
    limited = ["--limit", limit] if limit else []
    done = subprocess.run(
        [program, folder / "provision.yml", "-i", folder / "hosts.yml", *limited, *words],
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (2 if fails else 0), done.stdout + done.stderr
    found: dict[str, list[str]] = {name: [] for name in names}
    for task in re.split(r"^TASK ", done.stdout, flags=re.MULTILINE):
        if said := re.match(r"\[(?:\w+ : )?done (\w+)\]", task):
            for host in re.findall(r"^ok: \[(\w+)\]", task, re.MULTILINE):
                found[host].append(said[1])
    return found


@pytest.mark.long
def test_every_host_has_its_roles_in_order(tmp_path: Path) -> None:
    assert done_parts(tmp_path, "") == WHOLE


def test_load_nodes_hold_up_no_target_node(tmp_path: Path) -> None:
    """The only load node failed in a play of its own once, and Ansible ended every later play."""
    assert done_parts(tmp_path, "memcached_mutilate@load") == WHOLE | {"load": ["common"]}


@pytest.mark.parametrize(
    ("role", "parts"),
    [
        pytest.param("begin", [], marks=pytest.mark.long),
        pytest.param("kernel_ixgbe", [], marks=pytest.mark.long),
        ("memcached_mutilate", ["kernel_ixgbe", "dvfs"]),
    ],
)
def test_target_nodes_hold_up_neither_load_nor_the_shepherd(tmp_path: Path, role: str, parts: list[str]) -> None:
    found = done_parts(tmp_path, " ".join(f"{role}@{host}" for host in TARGETS))
    assert found == WHOLE | {key: ["common", *parts] for key in TARGETS}


@pytest.mark.long
def test_a_tag_of_a_task_and_a_limit_choose_as_before(tmp_path: Path) -> None:
    found = done_parts(tmp_path, "", "--tags", "inner", limit="load,target")
    assert found == {
        "boss": [],
        "both": [],
        "target": EVERY[:-1],
        "load": ["common", "memcached_mutilate"],
    }


FILTERS = """import os
with open({file!r}, "a") as file:
    print(os.getpid(), file=file)


class FilterModule:
    def filters(self):
        return {{}}
"""


def test_filters_are_loaded_once_and_not_by_every_task(tmp_path: Path) -> None:
    """Each task is a process of Ansible's, which would load every filter there is for itself."""
    (tmp_path / "plugins").mkdir()
    loaded = tmp_path / "loaded"
    (tmp_path / "plugins/own.py").write_text(FILTERS.format(file=str(loaded)))
    hosts = tmp_path / "hosts.yml"
    hosts.write_text("shepherd: {hosts: {one: {herd_address: 10.10.1.1}}}")
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "playbooks/check_inventory.yml", "-i", hosts],
        cwd=ROLES.parent,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FILTER_PLUGINS": str(tmp_path / "plugins")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ok: [localhost]" in done.stdout, done.stdout + done.stderr
    assert len(loaded.read_text().split()) == 1
