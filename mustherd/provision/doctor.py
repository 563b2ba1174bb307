"""All nodes of an inventory examined by their own doctors, each held to its own variables. Changes nothing."""

import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from mustherd.extras import PROVISION, need
from mustherd.node.linux.doctor import Check
from mustherd.provision.failures import failure_of
from mustherd.provision.inventory import InventoryError
from mustherd.provision.runner import signals_given_back

TASK = "Examine"

_ROLE = "kernel_ixgbe_enabled | default(true) | bool"
_WORD = "{'leave': '', 'False': 'off', 'True': 'on'}.get(%s | default('off') | string, %s | default('off') | string)"
"""A switch's word; YAML takes an unquoted one for true or false."""

WANTED = {
    "kernel": f"kernel_ixgbe_version | default('5.15.89')"
    f" if {_ROLE} and kernel_ixgbe_kernel | default(true) | bool else ''",
    "driver": "herd_nic_driver | default('')",
    "intlog": f"{_ROLE} and kernel_ixgbe_driver | default(true) | bool",
    "governor": "dvfs_governor | default('userspace') if dvfs_enabled | default(true) | bool else ''",
    "smt": f"({_WORD % (('kernel_ixgbe_smt',) * 2)}) if {_ROLE} else ''",
    "turbo": f"({_WORD % (('kernel_ixgbe_turbo',) * 2)}) if {_ROLE} else ''",
    "irqbalance": f"'stopped' if {_ROLE} and kernel_ixgbe_stop_irqbalance | default(true) | bool else ''",
    "one_cpu_per_queue": f"{_ROLE} and kernel_ixgbe_affinity | default('all') == 'all'",
    "absent_modules": "['mlx4_ib', 'mlx4_en', 'mlx4_core'] if memcached_mutilate_enabled | default(true) | bool"
    " and memcached_mutilate_remove_mlx4 | default(true) | bool else []",
}
"""What a node is held to by its own variables; the defaults are those of the roles."""


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """What a node's doctor found, or why it could not look."""

    node: str
    checks: tuple[Check, ...] = ()
    error: str = ""


def examine(inventory: Path, needs: Mapping[str, Any]) -> list[Examined]:
    """Every muster's node; `needs` are keys of Wanted beyond the node's own variables. InventoryError."""
    need(PROVISION, "ansible", "ansible_runner")
    # It takes a while to import, and signals are its to take only during a run.
    import ansible_runner  # type: ignore[import-untyped]  # noqa: PLC0415

    if not inventory.exists():
        raise InventoryError(f"{inventory}: no such inventory; fix: give its path from the current folder")
    found: dict[str, Examined] = {}

    def handle(event: dict[str, Any]) -> bool:
        data = event.get("event_data", {})
        result, node = data.get("res", {}), data.get("host", "")
        if event.get("event") == "runner_on_unreachable" and (failure := failure_of(event)) is not None:
            found[node] = Examined(node=node, error=f"{failure.message}; fix: {failure.fix}")
        elif data.get("task") == TASK and event.get("event") in ("runner_on_ok", "runner_on_failed"):
            found[node] = _examined(node, result, inventory)
        return True

    own = ", ".join(f"'{name}': ({expression})" for name, expression in WANTED.items())
    command = ["{{ mustherd_command | default('/usr/local/bin/mustherd') }}", "herd", "doctor", "--json"]
    command += ["--config", "{{ mustherd_etc | default('/etc/mustherd') }}/muster.toml", "--wanted", "-"]
    # JSON values are TOML's.
    toml = "{% for name, value in wanted.items() %}{{ name }} = {{ value | to_json }}\n{% endfor %}"
    play = {
        "hosts": "musters",
        "gather_facts": False,
        "vars": {"wanted": "{{ {" + own + "} | combine(needs) }}", "needs": dict(needs)},
        "tasks": [
            {
                "name": TASK,
                "ansible.builtin.command": {"argv": command, "stdin": toml},
                "changed_when": False,
                "failed_when": False,
            }
        ],
    }
    with signals_given_back(), tempfile.TemporaryDirectory(prefix="mustherd-") as private:
        answer = ansible_runner.run(
            private_data_dir=private,
            playbook=[play],
            inventory=str(inventory.resolve()),
            envvars={"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"},
            event_handler=handle,
            quiet=True,
        )
    if answer.status == "canceled":
        raise KeyboardInterrupt
    if not found:
        raise InventoryError(f"{inventory}: nobody was examined; fix: put the nodes into the group musters")
    return [found[node] for node in sorted(found)]


def _examined(node: str, result: Mapping[str, Any], inventory: Path) -> Examined:
    try:
        return Examined(node=node, checks=tuple(msgspec.convert(json.loads(result["stdout"]), list[Check])))
    except (KeyError, ValueError, msgspec.ValidationError):
        said = str(result.get("stderr") or "").strip().splitlines()
        command = result.get("cmd", "")
        program = command[0] if isinstance(command, list) and command else str(command).split(" ", 1)[0]
        if str(result.get("msg")).startswith("Error executing command"):
            # Ansible's word for a program that could not be started; the code is the kernel's errno.
            why = os.strerror(int(result.get("rc") or 0))
        else:
            why = said[-1] if said else str(result.get("msg") or "it said nothing")
        return Examined(node=node, error=f"{program}: {why}; fix: mustherd herd provision -i {inventory}")


def rows(nodes: Sequence[Examined]) -> list[tuple[str, dict[str, Check]]]:
    """Each check's name, and what it found on every node that has it; in the order of the first node that has it."""
    names = dict.fromkeys(check.name for node in nodes for check in node.checks)
    return [(name, {node.node: c for node in nodes for c in node.checks if c.name == name}) for name in names]
