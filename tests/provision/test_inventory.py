"""Inventories from CloudLab's manifest and from lists of hosts."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from mustherd.cli.app import app
from mustherd.load.address import Address
from mustherd.load.placement import Layout, Place, teams
from mustherd.provision.inventory import Host, InventoryError, from_names, turns, write
from mustherd.provision.manifest import from_manifest
from tests import ansible_yaml
from tests.provision.inventories import PROJECT, groups_and_variables, problems

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
    nodes = from_manifest(MANIFEST.encode())
    assert nodes.hosts == (
        Host("node0", "ms0001.example.org", "alice", 22, "c6220", "10.10.1.1"),
        Host("node1", "ms0002.example.org", "alice", 2222, "c8220", "10.10.1.2"),
        # The one that has no address gets what its name says, and that is told.
        Host("node2", "ms0003.example.org", "alice", 22, "xl170", "10.10.1.3"),
    )
    assert [note for note in nodes.notes if "node2 10.10.1.3" in note]


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
        (MANIFEST.replace("node1", "node0").encode(), "two hosts are called .node0"),
        (MANIFEST.replace('"node1"', '"{{ x }}"').encode(), "cannot be a host's name"),
        (b" " * (8 * 1024 * 1024 + 1), "no manifest"),
    ],
)
def test_what_is_no_manifest_is_refused(text: bytes, word: str) -> None:
    with pytest.raises(InventoryError, match=word):
        from_manifest(text)


def test_hosts_are_named_by_their_first_label_or_by_hand() -> None:
    nodes = from_names(["node1.example.org", "n7=alice@10.0.0.5:2222", "10.0.0.9"])
    assert nodes.hosts == (
        Host("node1", "node1.example.org", address="10.10.1.2"),
        Host("n7", "10.0.0.5", "alice", 2222, address="10.10.1.8"),
        Host("node2", "10.0.0.9", address="10.10.1.3"),
    )
    assert "node1 10.10.1.2, n7 10.10.1.8, node2 10.10.1.3" in nodes.notes[0]


def test_hosts_reached_in_the_network_named_have_their_addresses_there() -> None:
    nodes = from_names(["a=10.0.0.5", "b=bob@10.0.0.6", "c=c.example.org"], user="carol", network="10.0.0.0/24")
    assert [(host.user, host.address) for host in nodes.hosts] == [
        ("carol", "10.0.0.5"),
        ("bob", "10.0.0.6"),
        ("carol", "10.0.0.3"),
    ]
    assert str(nodes.network) == "10.0.0.0/24"
    with pytest.raises(InventoryError, match="no address left for c"):
        from_names([f"{name}.example.org" for name in "abcde"], network="10.0.0.0/30")


@pytest.mark.parametrize("name", ["shepherd", "all", "generic", "localhost"])
def test_a_host_is_not_called_as_a_group_is(name: str) -> None:
    with pytest.raises(InventoryError, match=f"cannot be called {name}, as a group is; fix: write OTHER="):
        from_names([f"{name}.example.org"])


@pytest.mark.parametrize("word", ["a=b=c", "", "two words", "x=@", "-rf"])
def test_a_word_that_is_no_host_is_refused(word: str) -> None:
    with pytest.raises(InventoryError):
        from_names([word])


def test_what_is_written_passes_the_inventory_check(tmp_path: Path) -> None:
    write(from_manifest(MANIFEST.encode()), tmp_path / "mine", project=PROJECT)
    groups, hostvars = groups_and_variables(tmp_path / "mine")
    assert {name: hosts for name, hosts in groups.items() if name != "all"} == {
        "shepherd": ["node0"],
        "musters": ["node1"],
        "loadgen_leader": ["node0"],
        "loadgen_agents": ["node2"],
        "c6220": ["node0"],
        "c8220": ["node1"],
        "generic": ["node2"],
    }
    assert problems(tmp_path / "mine") == []
    assert hostvars["node2"]["herd_address"] == "10.10.1.3"
    assert hostvars["node1"]["ansible_port"] == 2222


def test_a_host_without_a_part_is_known_all_the_same(tmp_path: Path) -> None:
    nodes = from_names(["a=10.0.0.1", "b=10.0.0.2", "c=10.0.0.3"])
    write(nodes, tmp_path / "mine", project=PROJECT, agents=[])
    groups, hostvars = groups_and_variables(tmp_path / "mine")
    assert (groups["loadgen_agents"], hostvars["c"]["ansible_host"]) == ([], "10.0.0.3")


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


@pytest.mark.parametrize("name", ["manifest.xml", "search.yml", "manifest.txt"])
def test_a_file_that_is_not_there_is_taken_for_no_host(name: str, tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["herd", "inventory", str(tmp_path / name), "--to", str(tmp_path / "mine")])
    assert answer.exit_code == 2
    assert f"{name}: No such file or directory" in answer.output.replace("\n", "")
    here = CliRunner().invoke(app, ["herd", "inventory", name, "--to", str(tmp_path / "mine")])
    assert here.exit_code == 2
    assert not (tmp_path / "mine").exists()


@pytest.mark.process
def test_the_command_takes_parts_by_name_and_runs_the_check(tmp_path: Path) -> None:
    where = ["herd", "inventory", "a=10.0.0.1", "b=10.0.0.2", "c=10.0.0.3", "--to", str(tmp_path / "mine")]
    answer = CliRunner().invoke(
        app, [*where, "--shepherd", "c", "--muster", "a", "--muster", "b", "--agent", "a"], env={"USER": "alice"}
    )
    assert answer.exit_code == 0, answer.output
    assert "follow from their names: a 10.10.1.1, b 10.10.1.2, c 10.10.1.3" in answer.stderr
    children = ansible_yaml.load((tmp_path / "mine/hosts.yml").read_text())["all"]["children"]
    assert [list(children[group]["hosts"]) for group in ("shepherd", "musters", "loadgen_leader")] == [
        ["c"],
        ["a", "b"],
        ["c"],
    ]
    assert "note: 1 host makes load for 2 musters" in answer.stderr
    # Without an account of its own a host is entered as whoever asks.
    assert "USER" in ansible_yaml.load((tmp_path / "mine/group_vars/all.yml").read_text())["ansible_user"]


@pytest.mark.parametrize(
    ("musters", "agents", "said"),
    [
        ("abc", "d", "1 host makes load for 3 musters, so that trials run on 1 at a time"),
        ("abc", "ab", "2 hosts make load for 3 musters, so that trials run on 2 at a time"),
        ("abc", "abc", ""),
        ("a", "bcd", ""),
        # The leader loads each of them, at the same time.
        ("ab", "", "no host is left to make load, so that the leader makes it alone"),
    ],
)
def test_where_hosts_of_the_load_are_few_it_is_said_what_it_means(musters: str, agents: str, said: str) -> None:
    found = turns(musters, agents)
    assert found.startswith(said)
    assert bool(found) == bool(said)
    # As the load itself shares them out.
    layout = Layout(
        agents=tuple(Place(address=name) for name in agents), servers=dict.fromkeys(musters, (Address("s", 1),))
    )
    assert (len(teams(layout, len(musters))) < len(musters)) == ("at a time" in found)


@pytest.mark.process
def test_the_command_says_what_the_inventorys_own_check_says(tmp_path: Path) -> None:
    (tmp_path / "manifest.xml").write_text(MANIFEST.replace("10.10.1.2", "10.10.1.1"))
    where = ["herd", "inventory", str(tmp_path / "manifest.xml"), "--to", str(tmp_path / "mine")]
    answer = CliRunner().invoke(app, where, env={"USER": "alice"})
    assert answer.exit_code == 3, answer.output
    assert "herd_address 10.10.1.1 is also that of node1" in answer.stderr
    assert "is written, and is to be corrected before it is used" in answer.stderr


def test_a_file_that_is_no_manifest_is_no_host_either() -> None:
    answer = CliRunner().invoke(app, ["herd", "inventory", str(PROJECT / "README.md"), "--to", "x"])
    assert isinstance(answer.exception, InventoryError)
    assert str(answer.exception).startswith(f"{PROJECT / 'README.md'}: not XML")


def test_the_profiles_of_all_inventories_say_the_same() -> None:
    for inventory in (PROJECT / "inventory").iterdir():
        for file in (inventory / "group_vars").glob("generic.yml"):
            assert file.read_text() == (PROJECT / "inventory/cloudlab/group_vars/generic.yml").read_text()
