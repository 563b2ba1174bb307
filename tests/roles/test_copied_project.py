"""The roles find the repository that they are in, also where a copy followed the link `playbooks/roles`."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.roles.scripts import program

ROOT = Path(__file__).resolve().parents[2]
SHOW = """- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {name: mustherd, tasks_from: show}
    - ansible.builtin.include_role: {name: kernel_ixgbe, tasks_from: show}
"""
TASKS = {
    "mustherd": '- ansible.builtin.debug: {msg: "={{ mustherd_project }}= ={{ mustherd_archives }}="}\n',
    "kernel_ixgbe": '- ansible.builtin.debug: {msg: "={{ kernel_ixgbe_archives }}="}\n',
}


def test_a_copied_project_is_found_from_its_roles(tmp_path: Path) -> None:
    project = (tmp_path / "project").resolve()
    for place in (project, project / "playbooks"):
        for role, tasks in TASKS.items():
            shutil.copytree(ROOT / "roles" / role, place / "roles" / role)
            (place / "roles" / role / "tasks/show.yml").write_text(tasks)
        (place / "show.yml").write_text(SHOW)
    (project / "pyproject.toml").touch()
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), project / "show.yml", project / "playbooks/show.yml"],
        cwd=tmp_path,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    # As folders are written, without `..`: they are handed to other programs.
    expected = [str(project), f"{project}/build/nodes", f"{project}/build/kernels"]
    assert re.findall(r"=(/[^=\n]+)=", done.stdout) == expected * 2, done.stdout + done.stderr


ONE_FILE = """- hosts: localhost
  gather_subset: "!all"
  tasks:
    - ansible.builtin.import_role: {name: common, tasks_from: show}
    - ansible.builtin.include_role: {name: dvfs, tasks_from: way}
"""
COPY = """- ansible.builtin.copy:
    content: "{{ common_node_tool }}"
    dest: "{{ playbook_dir }}/mustherd-node"
    mode: "0755"
"""


def test_the_node_s_tool_comes_as_one_file_that_stays_the_same(tmp_path: Path) -> None:
    """By the variable that all roles take it from, from Python's stdin as well as copied, where modules are no file."""
    for role in ("common", "dvfs"):
        shutil.copytree(ROOT / "roles" / role, tmp_path / "roles" / role)
    (tmp_path / "roles/common/tasks/show.yml").write_text(COPY)
    (tmp_path / "play.yml").write_text(ONE_FILE)

    def play() -> str:
        return subprocess.run(
            [Path(sys.executable).with_name("ansible-playbook"), "-i", "localhost,", "-c", "local", "-v",
             "-e", f"ansible_python_interpreter={sys.executable}", tmp_path / "play.yml"],
            cwd=tmp_path, env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_INJECT_FACT_VARS": "false"},
            capture_output=True, text=True, check=False,
        ).stdout  # fmt: skip

    first, second = play(), play()
    assert re.search(r"ok=\d+ +changed=1 .*failed=0", first), first
    assert re.search(r"ok=\d+ +changed=0 .*failed=0", second), second
    assert re.search(r'"stdout": "(userspace|bounds|none)"', first), first
    assert (tmp_path / "mustherd-node").read_text() == program("common/files/mustherd_node")
