"""Inventories that are wrong in one place give one message, before any node is contacted; what is meant is understood.

Read by Ansible's own code, in this process, as its YAML 1.1 makes values of what people write.
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.roles.scripts import load

PROJECT = Path(__file__).parents[2]
check = load("common/filter_plugins/mustherd_inventory.py")
values = load("common/filter_plugins/mustherd_values.py")

HOSTS = """
all:
  vars:
    ansible_user: alice
    herd_network: 10.10.1.0/24
    herd_musters: [0]
  children:
    shepherd: {hosts: {node0: {ansible_host: a.example.org, herd_address: 10.10.1.1}}}
    musters: {hosts: {node1: {ansible_host: b.example.org, herd_address: 10.10.1.2}}}
    loadgen_leader: {hosts: {node0: }}
    loadgen_agents: {hosts: {node2: {ansible_host: c.example.org, herd_address: 10.10.1.3}}}
    c6220: {hosts: {node0: , node1: , node2: }}
"""


@cache
def plugins_found() -> None:
    """Once in a process."""
    from ansible.plugins.loader import init_plugin_loader  # type: ignore[import-untyped]

    init_plugin_loader([])


def problems(folder: Path, everywhere: str = "", *, hosts: str = HOSTS) -> list[str]:
    """What the check says of an inventory with these lines in its group_vars/all.yml."""
    # Slow to import.
    from ansible.inventory.manager import InventoryManager  # type: ignore[import-untyped]
    from ansible.parsing.dataloader import DataLoader  # type: ignore[import-untyped]
    from ansible.vars.hostvars import HostVars  # type: ignore[import-untyped]
    from ansible.vars.manager import VariableManager  # type: ignore[import-untyped]

    plugins_found()
    (folder / "group_vars").mkdir()
    (folder / "hosts.yml").write_text(hosts)
    (folder / "group_vars/all.yml").write_text(f"---\n{everywhere}\n")
    kind = (PROJECT / "inventory/cloudlab/group_vars/c6220.yml").read_text()
    # What is given for all hosts wins here over what is known of their kind.
    given = set(yaml.safe_load(everywhere) or {})
    lines = [line for line in kind.splitlines() if line.partition(":")[0] not in given]
    (folder / "group_vars/c6220.yml").write_text("\n".join(lines) + "\n")
    loader = DataLoader()
    inventory = InventoryManager(loader, sources=[str(folder / "hosts.yml")])
    hostvars = HostVars(inventory, VariableManager(loader, inventory), loader)
    found: list[str] = check.herd_problems(inventory.get_groups_dict(), hostvars)
    return found


BAD = {
    # Names.
    "kernel_ixgbe_turob: off": "no variable is called kernel_ixgbe_turob. Where: hosts node0, node1, node2. "
    "Fix: write kernel_ixgbe_turbo",
    "mustherd_lease: 10": "no variable is called mustherd_lease. .* Fix: write mustherd_lease_s",
    "herd_reserved_core: [7, 15]": "no variable is called herd_reserved_core. .*write herd_reserved_cores",
    "dvfs_zzz: 1": "no variable is called dvfs_zzz. .*take it out; the roles' README files list their variables",
    # What YAML makes of words that are not in quotes.
    "kernel_ixgbe_version: 5.10": r"kernel_ixgbe_version is 5.1, and may be a kernel's version in quotes",
    "herd_mac: 10:20:30:40:50:01": r"herd_mac is \d+, and may be a MAC address in quotes",
    "memcached_mutilate_revision: 12.5e+3": "memcached_mutilate_revision is 12500.0, and may be a revision of the ",
    "kernel_ixgbe_smt: maybe": "kernel_ixgbe_smt is 'maybe', and may be on or off or leave",
    "kernel_ixgbe_driver: sometimes": "kernel_ixgbe_driver is 'sometimes', and may be true or false",
    "kernel_ixgbe_checksum:": "kernel_ixgbe_checksum is None, and may be a value; write '' for an empty one",
    "dvfs_governor: no": "dvfs_governor is False, and may be a governor's name, or '' to leave it, in quotes",
    "kernel_ixgbe_localversion: 2024-01-02": "kernel_ixgbe_localversion is datetime.date",
    # Numbers.
    "memcached_mutilate_port: 70000": "memcached_mutilate_port is 70000, and may be 1 to 65535",
    "memcached_mutilate_threads: -1": "memcached_mutilate_threads is -1, and may be 0 to 4096",
    "memcached_mutilate_memory_mib: 32G": "memcached_mutilate_memory_mib is '32G', and may be a whole number",
    "kernel_ixgbe_jobs: 2.5": "kernel_ixgbe_jobs is 2.5, and may be a whole number",
    "dvfs_reboot_timeout: yes": "dvfs_reboot_timeout is True, and may be a whole number",
    "mustherd_lease_s: 0.1": "mustherd_lease_s is 0.1, and may be 1 to 600",
    "memcached_mutilate_instances: 3": "memcached_mutilate_instances is 3, and herd_sockets names 2 sockets",
    "herd_dvfs_low_mhz: 2.4 GHz": "herd_dvfs_low_mhz is '2.4 GHz', and may be a whole number",
    "herd_dvfs_low_mhz: 2800": "frequency range 2800..2600 MHz makes no sense",
    "herd_cores: -1": "herd_cores is -1, and may be 0 to 4096",
    "memcached_mutilate_port: 65535\nmemcached_mutilate_instances: 2": "port 65535 leaves no port for 2 servers",
    # Cores.
    'herd_reserved_cores: "7;15"': "herd_reserved_cores is '7;15', and may be cores like 7.*'7;15' is not a core",
    "herd_reserved_cores: [6, 15]": "cores 6 are both memcached's and left alone for the system. Where: host node1",
    'herd_reserved_cores: "0,8"': "cores 0, 8 are both memcached's and left alone",
    "memcached_mutilate_cores: 0-7": "cores 7 are both memcached's and left alone",
    "herd_reserved_cores: 16": "herd_reserved_cores 16 names core 16, herd_cores is 16",
    "mustherd_cores: [7, 99]": "mustherd_cores 7,99 names core 99, herd_cores is 16",
    "kernel_ixgbe_affinity: 'list:0-20'": "kernel_ixgbe_affinity list:0-20 names core 20",
    "kernel_ixgbe_affinity: near": "kernel_ixgbe_affinity is 'near', and may be all, local",
    'herd_sockets: ["0-7", "7-15"]': "herd_sockets is .*none of them twice",
    "memcached_mutilate_instances: 2\nherd_sockets: []": "instances is 2, and herd_sockets names no sockets",
    "memcached_mutilate_instances: 2\nherd_memcached_cores: 0-6": "none of memcached's cores is on the socket 8-15",
    # What goes together.
    "kernel_ixgbe_version: '6.15.1'": "kernel_ixgbe_checksum is still that of kernel 5.15.89",
    "mustherd_ports: {pulse: 1, log: 1, control: 2, coordinate: 3}": "mustherd_ports is .* a port of its own for each",
    "mustherd_ranges: {dvfs: {low: 3, high: 1}}": "mustherd_ranges is .* for dvfs some of values",
    "mustherd_groups: web": "mustherd_groups is 'web', and may be a list",
    "mustherd_linux: eth0": "mustherd_linux is 'eth0', and may be a mapping",
    "dvfs_kernel_arguments: ['a b']": "dvfs_kernel_arguments is .*one argument of the kernel's command line",
    'memcached_mutilate_user: "nobody\\nExecStart=/bin/x"': "memcached_mutilate_user is .* one line of text",
    "mustherd_prefix: opt": "mustherd_prefix is 'opt', and may be an absolute path",
}


@pytest.mark.parametrize("lines", BAD)
def test_a_bad_value_is_one_message(lines: str, tmp_path: Path) -> None:
    found = problems(tmp_path, lines)
    assert len(found) == 1, found
    assert re.search(BAD[lines], found[0]), found
    assert re.search(r"[.] Where: .*[.] Fix: ", found[0]), found


GOOD = {
    "herd_reserved_cores: 15": [15],
    'herd_reserved_cores: "7,15"': [7, 15],
    "herd_reserved_cores: 7,15": [7, 15],
    "herd_reserved_cores: ['7', 15]": [7, 15],
    "herd_reserved_cores: ['15-15']": [15],
    "herd_reserved_cores: []": [],
    "herd_reserved_cores: ''": [],
}


@pytest.mark.parametrize("lines", GOOD)
def test_cores_may_be_written_in_every_way(lines: str, tmp_path: Path) -> None:
    assert problems(tmp_path, lines) == []
    assert values.cores(yaml.safe_load(lines)["herd_reserved_cores"]) == GOOD[lines]


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "kernel_ixgbe_turbo: off",
        "kernel_ixgbe_turbo: on\nkernel_ixgbe_smt: leave",
        "kernel_ixgbe_driver: 'no'",
        "kernel_ixgbe_version: '6.15'\nkernel_ixgbe_checksum: sha256:" + "0" * 64,
        "herd_cores: '16'\nmemcached_mutilate_port: '11211'",
        "herd_mac: 3c:fd:fe:00:00:02",
        "mustherd_cores: 7",
        "memcached_mutilate_instances: 2",
        "memcached_mutilate_memcached: none\nmemcached_mutilate_instances: 2\nherd_sockets: []",
        "herd_cores: \"{{ lookup('ansible.builtin.pipe', 'false') }}\"",
        "mustherd_twin: {profile: c6220, speed: 100}",
        "mustherd_ranges: {dvfs: {modes: true, low: 1200, high: 2600}, epp: {low: '0', high: 255}}",
    ],
)
def test_what_is_meant_is_understood(lines: str, tmp_path: Path) -> None:
    assert problems(tmp_path, lines) == []


def test_a_host_without_a_part_is_named_unless_it_builds_kernels(tmp_path: Path) -> None:
    hosts = HOSTS + "    machines: {hosts: {node9: {ansible_host: d.example.org}}}\n"
    (tmp_path / "a").mkdir()
    assert problems(tmp_path / "a", hosts=hosts) == [
        "it has no part in the herd. Where: host node9. Fix: put it into one of the groups shepherd, musters,"
        " loadgen_leader, loadgen_agents, or take it out"
    ]
    (tmp_path / "b").mkdir()
    assert problems(tmp_path / "b", "kernel_ixgbe_build_host: node9", hosts=hosts) == []


def test_every_variable_of_every_role_is_known_with_its_kind() -> None:
    known: Mapping[str, Mapping[str, Any]] = values.specification()
    for role in values.ROLES:
        defaults = yaml.safe_load((PROJECT / "roles" / role / "defaults/main.yml").read_text())
        assert set(defaults) <= set(known), set(defaults) - set(known)
        for name, value in defaults.items():
            assert known[name].get("type", "str") in values.TYPES
            if "{{" not in str(value):
                assert values.wrong(name, value) == "", (name, value)
    assert set(values.RANGES) | set(values.FORMS) | set(values.ELEMENTS) | set(values.DEEPER) <= set(known)


@pytest.mark.parametrize("kind", ["c6220", "c8220", "generic"])
def test_what_is_known_of_each_kind_of_machine_is_right(kind: str) -> None:
    variables = yaml.safe_load((PROJECT / f"inventory/cloudlab/group_vars/{kind}.yml").read_text())
    assert {name: values.wrong(name, value) for name, value in variables.items() if values.wrong(name, value)} == {}
