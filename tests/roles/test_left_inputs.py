"""What decides what a role does is what it compares with an earlier run: its options, its files, and what it names."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from jinja2 import Environment, nodes

from tests.ansible_yaml import load
from tests.roles.scripts import ROLES

APART = {
    "restore", "purge", "put_back", "stop", "start", "keep", "keep_end", "experiment", "experiment_look", "inventory",
    "written",
}  # fmt: skip
"""Tasks that other playbooks than provision.yml run, or that run whatever was left."""

OF_THE_RUN = {
    "ansible_check_mode", "ansible_diff_mode", "ansible_failed_result", "ansible_failed_task", "ansible_play_batch",
    "ansible_play_hosts",
    "ansible_run_tags", "ansible_skip_tags", "inventory_hostname", "item", "lookup", "omit", "role_path",
}  # fmt: skip
"""What says nothing of what a node is to be."""

OF_EXPERIMENTS = {"ansible_user", "experiment_definition", "experiment_name"}

DECIDES = {
    "common": {
        "ansible_facts.os_family": "family",
        "groups": "names, host_keys",
        "hostvars": "names, host_keys",
        "ansible_facts.distribution_release": "release",
        "ansible_facts.service_mgr": "what other roles give",
        "ansible_facts.ssh_host_key_ed25519_public": "host_keys",
        "ansible_facts.virtualization_type": "container",
    },
    "kernel_ixgbe": {
        "herd_nic_driver": "card, driver",
        "hostvars": "what others of its kind want built: a build is due by itself",
        "ansible_facts.kernel": "watched",
        "ansible_facts.service_mgr": "service_mgr",
    },
    "dvfs": {
        "ansible_facts.architecture": "registers",
        "ansible_facts.os_family": "family",
        "ansible_facts.service_mgr": "service_mgr",
    },
    "memcached_mutilate": {
        "ansible_facts.architecture": "repositories",
        "ansible_facts.distribution": "repositories",
        "ansible_facts.distribution_major_version": "repositories",
        "ansible_facts.os_family": "family",
        "group_names": "serves, loads, agent",
        "ansible_facts.distribution_release": "release",
        "ansible_facts.processor_nproc": "servers",
        "ansible_facts.service_mgr": "service_mgr",
    },
    "mustherd": {
        "ansible_facts.os_family": "family",
        "group_names": "members, shepherd",
        "groups": "keys, that of each muster",
        "hostvars": "keys, package",
        "herd_address": "members",
        "ansible_facts.architecture": "package",
        "ansible_facts.service_mgr": "service_mgr",
    },
}
"""Names from outside a role that its steps use, and by what of ROLE_given (or common's own) the comparison has them.

A new one is to be put there first. Options of the role count by themselves, and what follows from them.
"""

UNQUOTED = {"when", "that", "until", "changed_when", "failed_when"}


def expressions(content: Any, key: str = "") -> Iterator[str]:
    """Every template in a file of tasks or variables; some keywords take one without braces."""
    if isinstance(content, dict):
        for name, inner in content.items():
            yield from expressions(inner, name)
    elif isinstance(content, list):
        for inner in content:
            yield from expressions(inner, key)
    elif isinstance(content, str):
        yield f"{{{{ {content} }}}}" if key in UNQUOTED else content


def names(text: str) -> set[str]:
    """Variables that a template reads, facts each by its own name."""
    tree = Environment(autoescape=True).parse(text)
    found = {node.name for node in tree.find_all(nodes.Name) if node.ctx == "load"}
    found -= {node.name for node in tree.find_all(nodes.Name) if node.ctx == "store"}
    facts = set(re.findall(r"ansible_facts\.\w+", text)) - {"ansible_facts.python"}
    return (found - {"ansible_facts"}) | facts


@pytest.mark.parametrize("role", DECIDES)
def test_nothing_decides_what_a_role_does_that_is_not_compared(role: str) -> None:
    folder = ROLES / role
    files = [file for file in folder.glob("tasks/*.yml") if file.stem not in APART]
    texts = [
        text
        for file in (*files, *folder.glob("handlers/*.yml"), folder / "vars/main.yml")
        for text in expressions(load(file.read_text()))
    ]
    texts += [file.read_text() for file in folder.glob("templates/*")]
    used = set.union(*map(names, texts)) - OF_THE_RUN - OF_EXPERIMENTS
    foreign = {name for name in used if not name.startswith((f"{role}_", "common_", "kernel_build", "mustherd_"))}
    assert foreign == set(DECIDES[role])


@pytest.mark.parametrize("role", DECIDES)
def test_a_role_s_options_are_those_of_its_defaults(role: str) -> None:
    """The comparison takes the options' names from there."""
    specs = load((ROLES / role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    lines = (ROLES / role / "defaults/main.yml").read_text()
    assert set(specs) == set(re.findall(r"(?m)^(\w+):", lines))
