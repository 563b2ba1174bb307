"""The variables of an inventory that made its nodes: those of the roles, as they are written, no template filled in."""

import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mustherd.programs import ProgramError, printed
from mustherd.provision.inventory import InventoryError

ROLES = ("common", "dvfs", "herd", "kernel_ixgbe", "memcached_mutilate", "mustherd", "node")
"""What the names of variables that make a node begin with: the roles, and what they share."""

SECRET = re.compile("pass|secret|token|private|vault|credential", re.IGNORECASE)
"""In the name of a variable: it is left out, be it empty."""

ANSIBLE_S = 60.0
MOST_CHARACTERS = 500
"""Of a value; a longer one is cut."""


def variables(inventory: Path) -> dict[str, str]:
    """`HOST VARIABLE` to its value as JSON, for every host of the inventory. InventoryError."""
    beside = Path(sys.executable).parent
    try:
        listed = printed(
            [str(beside / "ansible-inventory"), "-i", str(inventory.resolve()), "--list"],
            ANSIBLE_S,
            environment={"PATH": f"{beside}{os.pathsep}{os.environ.get('PATH', os.defpath)}"},
        )
        hosts = json.loads(listed)["_meta"]["hostvars"]
    except (ProgramError, ValueError, LookupError) as error:
        raise InventoryError(f"{inventory}: its variables can't be listed: {error}") from None
    return of_roles(hosts)


def of_roles(hosts: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Of all hosts' variables those of the roles that are no secrets; pure."""
    return {
        f"{host} {name}": json.dumps(_told(value), sort_keys=True)[:MOST_CHARACTERS]
        for host, told in sorted(hosts.items())
        for name, value in sorted(told.items())
        if name.startswith(tuple(f"{role}_" for role in ROLES)) and not SECRET.search(name)
    }


def _told(value: Any) -> Any:
    """A value without what is secret inside it."""
    if isinstance(value, Mapping):
        return {name: _told(inner) for name, inner in value.items() if not SECRET.search(str(name))}
    return [_told(inner) for inner in value] if isinstance(value, list) else value
