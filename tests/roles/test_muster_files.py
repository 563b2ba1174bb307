"""A muster's configuration and its unit, as the role writes them of what people write in inventories."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
                "ansible.builtin.template": {
                    "src": str(ROLE / "templates" / template),
                    "dest": str(folder) + "/" + name,
                },
                "loop": "{{ mustherd_members }}",
            }
            for template, name in (
                ("muster.toml.j2", "{{ item.config | basename }}"),
                ("mustherd-muster.service.j2", "{{ item.config | basename | replace('toml', 'service') }}"),
            )
        ],
    }
    (folder / "hosts.json").write_text(json.dumps(inventory))
    # Over the role's defaults, which the play gives as its own.
    (folder / "given.json").write_text(json.dumps(variables))
    (folder / "play.yml").write_text(json.dumps([play]))
    done = subprocess.run(
        [
            Path(sys.executable).with_name("ansible-playbook"),
            folder / "play.yml",
            "-i",
            folder / "hosts.json",
            "-e",
            f"@{folder / 'given.json'}",
        ],
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


def test_what_a_knob_needs_its_unit_may(tmp_path: Path) -> None:
    """Control groups were read-only to every muster's unit, so that cpuset and cpu-quota could not be set."""
    _, unit = written(tmp_path, mustherd_linux={"cgroup": "system.slice/app.service", "idle_latency": "system"})
    assert "\nDeviceAllow=/dev/cpu_dma_latency rw\n" in unit
    assert "\nProtectControlGroups=no\n" in unit
    (tmp_path / "other").mkdir()
    _, unit = written(tmp_path / "other")
    assert "\nProtectControlGroups=yes\n" in unit


def test_knobs_that_the_inventory_declares_are_the_muster_s(tmp_path: Path) -> None:
    """They came out as JSON's braces once, which TOML doesn't read."""
    own = {
        "swappiness": {"sysctl": "vm.swappiness", "unit": "%", "high": 200},
        "mode": {"file": "/sys/kernel/mm/x", "texts": ["a", "b"]},
    }
    file, _ = written(
        tmp_path, mustherd_linux_more={"own": own}, mustherd_ranges_more={"swappiness": {"low": 0, "high": 100}}
    )
    config = load(file)
    nodes.check(config, file)
    assert config.nodes["linux"]["own"] == own
    assert config.nodes["linux"]["interface"] == "10.10.1.0/24"
    assert config.ranges["swappiness"].high == 100
    assert config.ranges["itr-delay"].modes


@pytest.mark.parametrize(
    ("twin", "second"), [({}, []), ({"seed": 1}, ["dvfs", "itr-delay"])], ids=["real", "simulated"]
)
def test_of_several_musters_on_a_real_machine_the_first_has_its_knobs(
    tmp_path: Path, twin: dict[str, int], second: list[str]
) -> None:
    """All had the same ranges: the second found them held, ended, and was started again for ever."""
    file, _ = written(tmp_path, herd_musters=[0, 1], mustherd_twin=twin)
    assert sorted(load(file).ranges) == ["dvfs", "itr-delay"]
    assert sorted(load(file.with_name("muster-1.toml")).ranges) == second
