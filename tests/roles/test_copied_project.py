"""The roles find the repository that they are in, also where a copy followed the link `playbooks/roles`."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

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
