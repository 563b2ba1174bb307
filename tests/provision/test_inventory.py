"""Inventories from CloudLab's manifest and from lists of hosts."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from mustherd.cli.app import app
from mustherd.provision.inventory import Host, InventoryError, from_manifest, from_names, write
from tests import ansible_yaml
from tests.roles.scripts import load

PROJECT = Path(__file__).parents[2]

MANIFEST = """<?xml version="1.0"?>
<rspec xmlns="http://www.geni.net/resources/rspec/3" type="manifest"
       xmlns:emulab="http://www.protogeni.net/resources/rspec/ext/emulab/1">
  <node client_id="node0" component_id="urn:publicid:IDN+utah.cloudlab.us+node+ms0001">
    <hardware_type name="c6220"/>
    <interface client_id="node0:if0"><ip address="10.10.1.1" netmask="255.255.255.0" type="ipv4"/></interface>
    <emulab:vnode name="ms0001" hardware_type="c6220"/>
    <services><login authentication="ssh-keys" hostname="ms0001.example.org" port="22" username="alice"/></services>
  </node>
  <node client_id="node1">
    <interface client_id="node1:if0"><ip address="10.10.1.2" netmask="255.255.255.0" type="ipv4"/></interface>
    <emulab:vnode name="ms0002" hardware_type="c8220"/>
    <services><login authentication="ssh-keys" hostname="ms0002.example.org" port="2222" username="alice"/></services>
  </node>
  <node client_id="node2">
    <emulab:vnode name="ms0003" hardware_type="xl170"/>
    <services><login authentication="ssh-keys" hostname="ms0003.example.org" port="22" username="alice"/></services>
  </node>
  <link client_id="lan"/>
</rspec>
"""


def test_a_manifest_gives_every_node() -> None:
    assert from_manifest(MANIFEST.encode()) == [
        Host("node0", "ms0001.example.org", "alice", 22, "c6220", "10.10.1.1"),
        Host("node1", "ms0002.example.org", "alice", 2222, "c8220", "10.10.1.2"),
        Host("node2", "ms0003.example.org", "alice", 22, "xl170", ""),
    ]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (b"", "not XML"),
        (b"<rspec", "not XML"),
        (b"<rspec/>", "names no node"),
        (b"<profile/>", "not <rspec>"),
        (b'<rspec><node client_id="node0"/></rspec>', "has no login"),
        (b'<!DOCTYPE rspec [<!ENTITY a "aaaa">]><rspec>&a;</rspec>', "document type"),
        (b'<!DOCTYPE rspec SYSTEM "file:///etc/passwd"><rspec/>', "document type"),
        ('<!DOCTYPE rspec [<!ENTITY a "a">]><rspec/>'.encode("utf-16"), "document type"),
        (MANIFEST.replace("node1", "node0").encode(), "two hosts are called node0"),
        (MANIFEST.replace('"node1"', '"{{ x }}"').encode(), "cannot be a host's name"),
        (b" " * (8 * 1024 * 1024 + 1), "no manifest"),
    ],
)
def test_what_is_no_manifest_is_refused(text: bytes, word: str) -> None:
    with pytest.raises(InventoryError, match=word):
        from_manifest(text)


def test_hosts_are_named_by_their_first_label_or_by_hand() -> None:
    assert from_names(["node1.example.org", "n7=alice@10.0.0.5:2222", "10.0.0.9"]) == [
        Host("node1", "node1.example.org"),
        Host("n7", "10.0.0.5", "alice", 2222),
        Host("node2", "10.0.0.9"),
    ]


@pytest.mark.parametrize("word", ["a=b=c", "", "two words", "x=@", "-rf"])
def test_a_word_that_is_no_host_is_refused(word: str) -> None:
    with pytest.raises(InventoryError):
        from_names([word])


def test_what_is_written_passes_the_inventory_check(tmp_path: Path) -> None:
    file = write(from_manifest(MANIFEST.encode()), tmp_path / "mine", project=PROJECT)
    children = ansible_yaml.load(file.read_text())["all"]["children"]
    groups = {name: list(group["hosts"]) for name, group in children.items()}
    assert groups == {
        "shepherd": ["node0"],
        "musters": ["node1"],
        "loadgen_leader": ["node0"],
        "loadgen_agents": ["node2"],
        "c6220": ["node0"],
        "c8220": ["node1"],
        "generic": ["node2"],
    }
    shared = ansible_yaml.load((tmp_path / "mine/group_vars/all.yml").read_text())
    hostvars = {}
    for group in ("shepherd", "musters", "loadgen_agents"):
        for name, values in children[group]["hosts"].items():
            kind = next(profile for profile in ("c6220", "c8220", "generic") if name in groups[profile])
            hostvars[name] = shared | ansible_yaml.load((tmp_path / f"mine/group_vars/{kind}.yml").read_text()) | values
    check = load("common/filter_plugins/mustherd_inventory.py")
    assert [problem for name in hostvars for problem in check.inventory_problems(groups, hostvars, name)] == []
    assert hostvars["node2"]["herd_address"] == "10.10.1.3"
    assert hostvars["node1"]["ansible_port"] == 2222


def test_nothing_is_overwritten_and_unknown_names_are_refused(tmp_path: Path) -> None:
    hosts = from_names(["node0", "node1"])
    with pytest.raises(InventoryError, match="no host is called node9"):
        write(hosts, tmp_path / "mine", project=PROJECT, musters=["node9"])
    write(hosts, tmp_path / "mine", project=PROJECT)
    with pytest.raises(InventoryError, match="is there already"):
        write(hosts, tmp_path / "mine", project=PROJECT)


def test_one_host_is_shepherd_and_muster(tmp_path: Path) -> None:
    file = write(from_names(["node0"]), tmp_path / "mine", project=PROJECT)
    children = ansible_yaml.load(file.read_text())["all"]["children"]
    assert list(children["musters"]["hosts"]) == ["node0"]
    assert children["loadgen_agents"]["hosts"] == {}


def test_the_command_takes_parts_by_name(tmp_path: Path) -> None:
    where = ["herd", "inventory", "a=10.0.0.1", "b=10.0.0.2", "c=10.0.0.3", "--to", str(tmp_path / "mine")]
    answer = CliRunner().invoke(app, [*where, "--shepherd", "c", "--muster", "a", "--muster", "b"])
    assert answer.exit_code == 0, answer.output
    children = ansible_yaml.load((tmp_path / "mine/hosts.yml").read_text())["all"]["children"]
    assert [list(children[group]["hosts"]) for group in ("shepherd", "musters", "loadgen_leader")] == [
        ["c"],
        ["a", "b"],
        ["c"],
    ]
    # Without an account of its own a host is entered as whoever asks.
    assert "USER" in ansible_yaml.load((tmp_path / "mine/group_vars/all.yml").read_text())["ansible_user"]


def test_a_file_that_is_no_manifest_is_no_host_either() -> None:
    answer = CliRunner().invoke(app, ["herd", "inventory", str(PROJECT / "README.md"), "--to", "x"])
    assert isinstance(answer.exception, InventoryError)
    assert "not XML" in str(answer.exception)


def test_the_profiles_of_all_inventories_say_the_same() -> None:
    for inventory in (PROJECT / "inventory").iterdir():
        for file in (inventory / "group_vars").glob("generic.yml"):
            assert file.read_text() == (PROJECT / "inventory/cloudlab/group_vars/generic.yml").read_text()
