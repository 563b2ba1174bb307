"""A muster's configuration and its unit, as the role writes them of what people write in inventories."""

import json
import os
import subprocess
import sys
from pathlib import Path

from mustherd.muster import nodes
from mustherd.muster.config import load
from tests.roles.scripts import ROLES

ROLE = ROLES / "mustherd"


def written(folder: Path, **variables: object) -> tuple[Path, str]:
    """The configuration's file, and the unit's text."""
    host = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "herd_network": "10.10.1.0/24",
        "herd_address": "10.10.1.2",
        **variables,
    }
    groups: dict[str, object] = {name: {"hosts": {"node1": {}}} for name in ("shepherd", "musters")}
    inventory = {"all": {"hosts": {"node1": host}, "children": groups}}
    play = {
        "hosts": "node1",
        "gather_facts": False,
        "vars": {"role_path": str(ROLE), "ansible_facts": {"distribution_release": "bookworm"}},
        "vars_files": [str(ROLE / "defaults/main.yml"), str(ROLE / "vars/main.yml")],
        "tasks": [
            {
                "ansible.builtin.template": {"src": str(ROLE / "templates" / template), "dest": str(folder / name)},
                "loop": "{{ mustherd_members }}",
            }
            for template, name in (("muster.toml.j2", "muster.toml"), ("mustherd-muster.service.j2", "muster.service"))
        ],
    }
    (folder / "hosts.json").write_text(json.dumps(inventory))
    (folder / "play.yml").write_text(json.dumps([play]))
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), folder / "play.yml", "-i", folder / "hosts.json"],
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FILTER_PLUGINS": str(ROLE / "filter_plugins")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "muster.toml", (folder / "muster.service").read_text()


def test_cores_in_one_string_are_the_cores_that_it_names(tmp_path: Path) -> None:
    """They were taken letter by letter once, and musters pinned to cores 1, 5 and 7."""
    file, unit = written(tmp_path, herd_reserved_cores="7,15", herd_dvfs_low_mhz="1200", herd_dvfs_turbo_mhz=2800)
    config = load(file)
    nodes.check(config, file)
    assert config.nodes["linux"]["reserved"] == [7, 15]
    assert "\nCPUAffinity=7 15\n" in unit
    assert config.ranges["dvfs"].low == 1200
