"""An inventory that was written, read again as Ansible merges it."""

from pathlib import Path
from typing import Any

from tests import ansible_yaml
from tests.roles.scripts import load

PROJECT = Path(__file__).parents[2]


def groups_and_variables(folder: Path) -> tuple[dict[str, list[str]], dict[str, dict[str, Any]]]:
    """Group to hosts, and host to all its variables."""
    children = ansible_yaml.load((folder / "hosts.yml").read_text())["all"]["children"]
    groups = {name: list(group["hosts"] or ()) for name, group in children.items()}
    shared = ansible_yaml.load((folder / "group_vars/all.yml").read_text())
    hostvars: dict[str, dict[str, Any]] = {}
    for group, content in children.items():
        file = folder / "group_vars" / f"{group}.yml"
        common = shared | (ansible_yaml.load(file.read_text()) if file.exists() else {})
        for host, own in (content["hosts"] or {}).items():
            hostvars[host] = common | hostvars.get(host, {}) | (own or {})
    return {**groups, "all": list(hostvars)}, hostvars


def problems(folder: Path) -> list[str]:
    """What the inventory's own check says."""
    found: list[str] = load("common/filter_plugins/mustherd_inventory.py").herd_problems(*groups_and_variables(folder))
    return found
