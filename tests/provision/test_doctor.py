"""All nodes of an inventory examined at once, by Ansible on this machine over recorded ones."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from mustherd.node.linux.doctor import Status
from mustherd.provision.doctor import examine, rows
from mustherd.provision.inventory import InventoryError
from tests import running
from tests.node.linux.kinds import ACPI, PSTATE, Kind
from tests.node.linux.machine import Machine

MUSTHERD = Path(sys.executable).parent / "mustherd"


def node(folder: Path, name: str, kind: Kind, governor: str) -> dict[str, object]:
    machine = Machine(kind)
    for cpu in range(4):
        machine.tree.file(f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor", governor)
    machine.tree.file("proc/1/comm", "tuned" if name == "node2" else "systemd")
    machine.unpack(folder / f"{name}.root")
    etc = folder / f"{name}.etc"
    etc.mkdir()
    (etc / "muster.toml").write_text(
        f'muster = "muster-1"\nstate = "{folder}/state"\n[linux]\nroot = "{folder}/{name}.root"\n'
    )
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    return {**here, "mustherd_command": str(MUSTHERD), "mustherd_etc": str(etc)}


@pytest.mark.process
def test_nodes_are_examined_each_against_its_own_variables(tmp_path: Path) -> None:
    assert shutil.which(str(MUSTHERD))
    off = {"kernel_ixgbe_enabled": False}
    # What inventories of generic machines say, and what one says who wants a role to leave things alone.
    left = {
        "kernel_ixgbe_kernel": False, "kernel_ixgbe_driver": False, "kernel_ixgbe_smt": "leave",
        "kernel_ixgbe_affinity": "leave", "kernel_ixgbe_stop_irqbalance": False,
        "memcached_mutilate_remove_mlx4": False,
    }  # fmt: skip
    musters = {
        "node1": {
            **node(tmp_path, "node1", ACPI, "userspace"),
            **left,
            "herd_nic_driver": "ixgbe",
            "kernel_ixgbe_turbo": True,
        },
        "node2": {**node(tmp_path, "node2", PSTATE, "powersave"), **off, "dvfs_governor": "powersave"},
        "node3": {**node(tmp_path, "node3", ACPI, "userspace"), "mustherd_command": "/no/such/mustherd"},
        "node4": {"ansible_host": "127.0.0.1", "ansible_port": 1, "ansible_user": "nobody"},
    }
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"all": {"children": {"musters": {"hosts": musters}}}}))
    found = {one.node: one for one in examine(inventory, {"energy": True, "programs": []})}
    assert list(found) == ["node1", "node2", "node3", "node4"]
    assert found["node4"].error.startswith("the host cannot be reached: ")
    assert "; fix: see that the host is up and that ssh to it works from here" in found["node4"].error
    first, second = ({c.name: c for c in found[name].checks} for name in ("node1", "node2"))
    assert (first["governor"].wanted, first["governor"].status) == ("userspace", Status.OK)
    assert (second["governor"].wanted, second["governor"].status) == ("powersave", Status.OK)
    assert not {"kernel", "intlog", "smt", "irqbalance", "one CPU per queue"} & first.keys()
    assert not [name for name in first if name.startswith("module ")]
    assert first["turbo"].wanted == "on"
    assert not {"kernel", "smt", "turbo"} & second.keys()
    assert "module mlx4_core" in second
    assert "nic driver" not in second, "no driver is named for it"
    assert second["set by others"].found.startswith("tuned sets governor")
    fix = f"mustherd herd provision -i {inventory}"
    assert found["node3"].error == f"/no/such/mustherd: No such file or directory; fix: {fix}"
    assert next(name for name, _ in rows(list(found.values()))) == "nic driver"
    code, out, err = running.run("herd", "doctor", "-i", inventory, "--json")
    assert code == 1, err
    assert json.loads(out)["node1"]["checks"]


def test_an_inventory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match="no such inventory"):
        examine(tmp_path / "hosts", {})
