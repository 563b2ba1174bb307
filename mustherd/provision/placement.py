"""A herd and who loads it, read from an inventory by Ansible; no node is contacted."""

import os
import shlex
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from mustherd.extras import PROVISION, need
from mustherd.load.address import Address
from mustherd.load.placement import Layout, Place
from mustherd.provision.inventory import InventoryError
from mustherd.provision.runner import signals_given_back
from mustherd.wire.ports import Ports

LEADER, AGENTS, MUSTERS, SHEPHERD = "loadgen_leader", "loadgen_agents", "musters", "shepherd"

ASKED = {
    "groups": "group_names",
    "address": "herd_address | default(inventory_hostname)",
    "host": "ansible_host | default(inventory_hostname)",
    "user": "ansible_user | default('')",
    "port": "ansible_port | default(22) | int",
    "key": "ansible_ssh_private_key_file | default('')",
    "options": "[ansible_ssh_common_args | default(''), ansible_ssh_extra_args | default('')] | join(' ')",
    "connection": "ansible_connection | default('ssh')",
    "indexes": "herd_musters | default([0])",
    "first_port": "memcached_mutilate_port | default(11211) | int",
    "servers": "memcached_mutilate_instances | default(1) | int",
    "service_manager": "memcached_mutilate_agent_units | default(true) | bool",
    "group": "herd_load_group | default('')",
    "listens": "mustherd_shepherd | default('')",
    "ports": "mustherd_ports | default({})",
    "etc": "mustherd_etc | default('/etc/mustherd')",
}
"""What is asked of each host, as expressions over its variables; the defaults are those of the roles."""


class InventoryHerd(msgspec.Struct, frozen=True, kw_only=True):
    """What an experiment has to know of an inventory."""

    musters: tuple[str, ...] = ()
    """Their names."""
    shepherd: str = ""
    """Where the shepherd listens; empty where the inventory has none."""
    ports: Ports = Ports()
    keys: tuple[str, ...] = ()
    """Folders in which the shepherd's keys may lie; the first one that has them counts."""
    layout: Layout | None = None
    """Who makes the load; None where nobody leads one."""


def read(inventory: Path) -> InventoryHerd:
    """The herd of an inventory. InventoryError; KeyboardInterrupt at Ctrl-C."""
    hosts = _variables(inventory)
    leaders = [name for name, told in hosts.items() if LEADER in told["groups"]]
    if len(leaders) > 1:
        raise InventoryError(f"{inventory}: one host leads the load, found {', '.join(leaders)}; fix: keep one of them")
    servers: dict[str, tuple[Address, ...]] = {}
    groups: dict[str, str] = {}
    for told in hosts.values():
        if MUSTERS in told["groups"]:
            listening = tuple(Address(told["address"], told["first_port"] + k) for k in range(told["servers"]))
            for index in told["indexes"]:
                name = f"muster-{told['address']}" + (f"-{index}" if index else "")
                servers[name] = listening
                if told["group"]:
                    groups[name] = told["group"]
    shepherd = next((told for told in hosts.values() if SHEPHERD in told["groups"]), None)
    agents = [told for told in hosts.values() if AGENTS in told["groups"]]
    return InventoryHerd(
        musters=tuple(servers),
        shepherd=next((told["listens"] for told in hosts.values() if told["listens"]), "")
        or (shepherd["address"] if shepherd is not None else ""),
        ports=_ports(inventory, shepherd["ports"] if shepherd is not None else {}),
        # On the shepherd's own machine where the roles put them, for root and for the services; on a control machine
        # where the roles made them.
        keys=()
        if shepherd is None
        else (f"{shepherd['etc']}/conductor", f"{shepherd['etc']}/keys", f"keys/{_herd_of(inventory)}"),
        layout=Layout(
            leader=_place(hosts[leaders[0]]),
            agents=tuple(map(_place, agents)),
            start_agents=bool(agents) and not all(told["service_manager"] for told in agents),
            servers=servers,
            groups=groups,
        )
        if leaders
        else None,
    )


def _place(told: Mapping[str, Any]) -> Place:
    if told["connection"] == "local":
        return Place(address=told["address"], group=told["group"])
    return Place(
        address=told["address"],
        host=told["host"],
        user=told["user"],
        port=told["port"],
        key=told["key"],
        options=_split(told),
        group=told["group"],
    )


def _split(told: Mapping[str, Any]) -> tuple[str, ...]:
    """Words for ssh, split as a shell does."""
    try:
        return tuple(shlex.split(told["options"]))
    except ValueError as error:
        raise InventoryError(
            f"host {told['host']}: ansible_ssh_common_args can't be read: {error}; fix: close its quotes"
        ) from None


def _ports(inventory: Path, told: object) -> Ports:
    try:
        # Ansible gives numbers that a template made as text.
        return msgspec.convert(told, Ports, strict=False)
    except msgspec.ValidationError as error:
        raise InventoryError(f"{inventory}: mustherd_ports: {error}") from None


def _herd_of(inventory: Path) -> str:
    """The name of an inventory's folder, after which the role names the folder of its keys."""
    folder = inventory.resolve()
    return (folder if folder.is_dir() else folder.parent).name


def _variables(inventory: Path) -> dict[str, dict[str, Any]]:
    """Variables of every host of the load, by name."""
    need(PROVISION, "ansible", "ansible_runner")
    # It takes a while to import, and signals are its to take only during a run.
    import ansible_runner  # type: ignore[import-untyped]  # noqa: PLC0415

    if not inventory.exists():
        raise InventoryError(f"{inventory}: no such inventory; fix: give its path from the current folder")
    found: dict[str, dict[str, Any]] = {}
    errors: list[str] = []

    def handle(event: dict[str, Any]) -> bool:
        data = event.get("event_data", {})
        if event.get("event") == "runner_on_ok":
            found[data["host"]] = data["res"]["told"]
        elif event.get("event") in ("runner_on_failed", "runner_on_unreachable"):
            errors.append(f"{data.get('host')}: {data.get('res', {}).get('msg', '')}")
        return True

    told = ", ".join(f"'{name}': {expression}" for name, expression in ASKED.items())
    with signals_given_back(), tempfile.TemporaryDirectory(prefix="mustherd-") as private:
        play = [
            {
                "hosts": f"{MUSTERS}:{LEADER}:{AGENTS}:{SHEPHERD}",
                "gather_facts": False,
                "tasks": [{"ansible.builtin.debug": {"var": "told"}, "vars": {"told": "{{ {" + told + "} }}"}}],
            }
        ]
        answer = ansible_runner.run(
            private_data_dir=private,
            playbook=play,
            inventory=str(inventory.resolve()),
            envvars={"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"},
            event_handler=handle,
            quiet=True,
        )
        said = answer.stdout.read() if answer.rc else ""
    if answer.status == "canceled":
        raise KeyboardInterrupt
    if errors or answer.rc:
        why = errors[0] if errors else " ".join(line.strip() for line in said.splitlines() if "ERROR" in line)[:500]
        raise InventoryError(f"{inventory} can't be read: {why or 'ansible-playbook failed without a word'}")
    return found
