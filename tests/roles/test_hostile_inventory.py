"""Text from elsewhere is text: no template in it is run, by what writes inventories or by what checks them."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mustherd.provision.inventory import Host, InventoryError, Nodes, from_names, write
from mustherd.provision.manifest import from_manifest
from tests import ansible_yaml
from tests.provision.test_inventory import MANIFEST
from tests.roles.scripts import load

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = "{{ lookup('ansible.builtin.pipe', 'touch %s') }}"

check = load("common/filter_plugins/mustherd_inventory.py")


def playbook(inventory: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "playbooks/check_inventory.yml", "-i", inventory, *more],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "USER": "alice"},
        capture_output=True,
        text=True,
        check=False,
    )


ODD = [
    "{{ 1 }}",
    "{% if 1 %}a{% endif %}",
    "$(id)",
    "`id`",
    "a b",
    "a;id",
    "-oProxyCommand=id",
    "a\nb",
    "../../x",
    "#",
    "!vault x",
    "é",
    "'",
    "a:b",
    "a" * 300,
]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("field", ["username", "hostname", "client_id", "address", "port", "name"])
def test_no_field_of_a_manifest_takes_anything_but_what_it_is(field: str, odd: str) -> None:
    quoted = odd.replace("&", "&amp;").replace("<", "&lt;").replace("'", "&apos;").replace("\n", "&#10;")
    before = {
        "username": 'username="alice"',
        "hostname": 'hostname="ms0001.example.org"',
        "client_id": 'client_id="node0" ',
        "address": 'address="10.10.1.1"',
        "port": 'port="22"',
        "name": 'name="c6220"',
    }[field]
    text = MANIFEST.replace(before, f'{field}="{quoted}" ', 1)
    assert text != MANIFEST
    with pytest.raises(InventoryError, match="fix: "):
        from_manifest(text.encode())


@pytest.mark.parametrize(
    "word", ["{{x}}@10.0.0.5", "n={{x}}", "{{x}}=10.0.0.5", "10.0.0.5:99999", "10.0.0.5:٣", "a@-b"]
)
def test_no_word_for_a_host_takes_anything_else(word: str) -> None:
    with pytest.raises(InventoryError, match="fix: "):
        from_names([word])


def test_what_came_from_elsewhere_is_written_as_no_template(tmp_path: Path) -> None:
    """Should a pattern ever let one through."""
    hosts = [
        Host("node0", TEMPLATE, TEMPLATE, 22, "c6220", TEMPLATE),
        Host("node1", "10.0.0.6", "bob", address="10.10.1.2"),
    ]
    file = write(Nodes(tuple(hosts)), tmp_path / "mine", project=ROOT)
    found = ansible_yaml.load(file.read_text())["all"]["children"]["shepherd"]["hosts"]["node0"]
    assert {name: type(value) for name, value in found.items()} == dict.fromkeys(
        ("ansible_host", "ansible_user", "herd_address"), ansible_yaml.Unsafe
    )


def test_the_check_runs_no_template_of_an_inventory(tmp_path: Path) -> None:
    hit = tmp_path / "hit"
    template = TEMPLATE % hit
    (tmp_path / "hosts.yml").write_text(
        "all:\n  children:\n"
        f'    shepherd: {{hosts: {{node0: {{ansible_host: 10.0.0.1, ansible_user: "{template}"}}}}}}\n'
        f'    musters: {{hosts: {{node1: {{ansible_host: "{template}", ansible_user: a, herd_address: "{template}",\n'
        f'      herd_musters: "{template}", herd_cores: "{template}"}}}}}}\n'
        "    generic: {hosts: {node0: {}, node1: {}}}\n"
        "  vars: {herd_network: 10.10.1.0/24}\n"
    )
    done = playbook(tmp_path / "hosts.yml")
    assert not hit.exists(), done.stdout
    # What is written out is checked all the same.
    assert "herd_address '' is no address. Where: host node0" in done.stdout
    assert done.returncode == 2


def test_a_manifest_s_inventory_passes_the_check(tmp_path: Path) -> None:
    write(from_manifest(MANIFEST.encode()), tmp_path / "mine", project=ROOT)
    done = playbook(tmp_path / "mine")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_inventory_that_comes_with_it_is_checked_as_before() -> None:
    for more in ((), ("--limit", "node1")):
        done = playbook(ROOT / "inventory/cloudlab", *more)
        assert done.returncode == 2
        assert "still holds EXPERIMENT, PROJECT. Where: group_vars/all.yml" in done.stdout
        assert "no address" not in done.stdout


def written(**variables: Any) -> Any:
    return check.Written("node3", variables)


def test_names_are_followed_and_nothing_else() -> None:
    found = written(a="{{ b }}.{{b}}", b="{{ c }}", c="x", d=["{{ a }}"], n=16)
    assert (found["a"], found["d"], found["n"]) == ("x.x", ["x.x"], 16)
    assert written(a="{{ inventory_hostname }}")["a"] == "node3"
    assert written(herd_network="10.10.1.0/24", a=check.ADDRESS_TEMPLATE)["a"] == "10.10.1.4"
    for odd in ("{{ a }}", "{{ nowhere }}", "{{ b | upper }}", "{% raw %}", "{# #}", "{{ b }} {{ lookup('x') }}"):
        with pytest.raises(check.UnknownError):
            written(a=odd, b="x")["a"]
    with pytest.raises(KeyError):
        written()["a"]
