"""What playbooks/experiment.yml says of a definition that it can't run, before anything is done on a node."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.roles.scripts import ROLES

pytestmark = pytest.mark.process

PLAYBOOK = """\
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {name: mustherd, tasks_from: experiment}
"""
LOOKED = "name: search\nherd: {inventory: ../mine}\n"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "an experiment needs its definition, and none was given."),
        ("nosuch.yml", "nosuch.yml: there is no such file on this machine, from "),
        ("up.yml", "inventory ../mine, name search. Where: experiment_definition="),
        # As an operator may mean it.
        ("up.yml", "names the inventory ../mine; measured are the nodes of the one that was given to Ansible, /"),
    ],
)
def test_it_says_whether_none_was_given_or_it_is_not_there(given: str | None, said: str, tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(PLAYBOOK)
    (tmp_path / "up.yml").write_text(LOOKED)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/hosts").write_text("localhost\n")
    extra = {} if given is None else {"experiment_definition": str(tmp_path / given)}
    done = subprocess.run(
        [
            *(
                Path(sys.executable).with_name("ansible-playbook"),
                "-i",
                tmp_path / "theirs/hosts",
                tmp_path / "play.yml",
            ),
            *("-e", json.dumps(extra)),
        ],
        cwd=tmp_path,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_ROLES_PATH": str(ROLES)},
        capture_output=True,
        text=True,
        check=False,
    )
    text = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 2, text
    assert said in text
    assert "changed=0" in text
