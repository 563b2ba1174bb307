"""Manifests as CloudLab hands them out: nothing is taken for the user's machine, account or address that is not."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mustherd.provision.inventory import InventoryError, Nodes, write
from mustherd.provision.manifest import from_manifest
from tests.provision.inventories import PROJECT, groups_and_variables, problems

MANIFESTS = Path(__file__).parent / "manifests"


def read(name: str, *, asker: str = "carol", **more: object) -> Nodes:
    return from_manifest((MANIFESTS / f"{name}.xml").read_bytes(), asker=asker, **more)  # type: ignore[arg-type]


SHAPES = {
    "usual": ("10.10.1.0/24", {"node0": "10.10.1.1", "node3": "10.10.1.4"}, []),
    "project-of-five": ("10.10.1.0/24", {"node0": "10.10.1.1", "node2": "10.10.1.3"}, []),
    "dataset-and-switch": (
        "10.10.1.0/24",
        {"nfs": "10.10.1.1", "work": "10.10.1.2"},
        ["'ds' is left out: 'emulab-blockstore'", "'sw' is left out: 'emulab-switch'", "'shaper' is left out: 'delay'"],
    ),
    "wide-network": ("172.16.0.0/16", {"worker-1": "172.16.1.10", "worker-3": "172.16.3.10"}, []),
    "two-networks": ("10.10.1.0/24", {"a": "10.10.1.1", "b": "10.10.1.2", "c": "10.10.1.3"}, []),
    # The one without a netmask is in the network that the other's netmask tells.
    "one-line": ("10.10.1.0/24", {"n1": "10.10.1.7", "n2": "10.10.1.8"}, []),
    "named-like-groups": (
        "10.10.1.0/24",
        {"shepherd-node": "10.10.1.1", "musters-node": "10.10.1.2", "all-node": "10.10.1.3"},
        ["shepherd is called shepherd-node here", "musters is", "all is", "localhost is called localhost-node"],
    ),
    "no-addresses": (
        "10.10.1.0/24",
        {"alpha": "10.10.1.1", "node7": "10.10.1.8", "gamma": "10.10.1.3"},
        ["no address in the experiment's network is given for some hosts"],
    ),
    "containers": ("10.10.1.0/24", {"vm1": "10.10.1.1", "vm2": "10.10.1.2"}, []),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_manifest_of_every_shape_gives_a_good_inventory(shape: str, tmp_path: Path) -> None:
    network, addresses, notes = SHAPES[shape]
    nodes = read(shape)
    found = {host.name: host.address for host in nodes.hosts}
    assert str(nodes.network) == network
    assert addresses.items() <= found.items()
    assert len(nodes.notes) == len(notes), nodes.notes
    assert all(any(part in note for note in nodes.notes) for part in notes), nodes.notes
    assert {host.user for host in nodes.hosts} == {"carol"}
    write(nodes, tmp_path / "mine", project=PROJECT)
    assert problems(tmp_path / "mine") == []
    _, hostvars = groups_and_variables(tmp_path / "mine")
    assert {name: values["herd_address"] for name, values in hostvars.items()} == found


def test_names_as_long_as_names_may_be() -> None:
    nodes = read("long-names")
    assert [len(host.name) > 180 for host in nodes.hosts] == [True, True]
    assert all(len(host.login) > 200 for host in nodes.hosts)
    text = (MANIFESTS / "usual.xml").read_text()
    whole = text.replace('client_id="node0"', f'client_id="{"n" * 253}"')
    assert len(from_manifest(whole.encode()).hosts[0].name) == 253
    with pytest.raises(InventoryError, match="cannot be a host's name"):
        from_manifest(text.replace('client_id="node0"', f'client_id="{"n" * 254}"').encode())


def test_the_second_node_that_is_a_machine_is_the_muster(tmp_path: Path) -> None:
    write(read("dataset-and-switch"), tmp_path / "mine", project=PROJECT)
    groups, hostvars = groups_and_variables(tmp_path / "mine")
    assert (groups["musters"], groups["c8220"]) == (["work"], ["work"])
    assert "ds" not in hostvars


def test_the_port_in_the_network_is_named_by_its_mac(tmp_path: Path) -> None:
    assert [host.mac for host in read("two-networks").hosts] == [
        "a0:36:9f:00:01:01",
        "a0:36:9f:00:02:00",
        "a0:36:9f:00:03:00",
    ]
    assert [host.mac for host in read("one-line").hosts] == ["", "3c:fd:fe:00:00:02"]
    write(read("usual"), tmp_path / "mine", project=PROJECT)
    _, hostvars = groups_and_variables(tmp_path / "mine")
    assert hostvars["node1"]["herd_mac"] == "a0:36:9f:00:02:00"


def test_a_login_is_the_askers_the_one_named_or_the_only_one() -> None:
    def users(name: str, **more: str) -> set[str]:
        return {host.user for host in read(name, **more).hosts}

    assert users("project-of-five", asker="erin") == {"erin"}
    assert users("project-of-five", asker="erin", user="bob") == {"bob"}
    # An account on the control machine need not be called as the one on the nodes.
    only = read("usual", asker="root")
    assert {host.user for host in only.hosts} == {"carol"}
    assert only.notes == ("logins are for carol, the only one of each node",)
    with pytest.raises(InventoryError, match=r"ann, bob, carol, dave, erin, and not for root.*--user"):
        users("project-of-five", asker="root")
    with pytest.raises(InventoryError, match=r"no login for 'zoe' on node0, node1, node2.*ann, bob"):
        users("project-of-five", user="zoe")


def test_a_node_where_the_asker_has_no_login_is_not_entered_as_somebody_else() -> None:
    text = (MANIFESTS / "project-of-five.xml").read_text()
    start = text.index('client_id="node1"')
    text = text[:start] + text[start:].replace('username="carol"', 'username="frank"', 1)
    with pytest.raises(InventoryError, match="not for carol on every node"):
        from_manifest(text.encode(), asker="carol")


def test_networks_are_chosen_and_never_guessed(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match=r"share 2 networks, 10.10.1.0/24, 10.10.3.0/24; fix: .* --network"):
        read("vlans-on-a-card")
    assert [host.address for host in read("vlans-on-a-card", network="10.10.3.0/24").hosts] == [
        "10.10.3.1",
        "10.10.3.2",
        "10.10.3.3",
    ]
    with pytest.raises(
        InventoryError, match=r"b has no address in 10.10.2.0/24; .*10.10.1.0/24 \(a, b, c\).*--without"
    ):
        read("two-networks", network="10.10.2.0/24")
    apart = read("two-networks", network="10.10.2.0/24", without=["b"])
    assert {host.name: host.address for host in apart.hosts} == {"a": "10.10.2.1", "c": "10.10.2.3"}
    with pytest.raises(InventoryError, match=r"--network '10[.]10[.]2' is no IPv4 network"):
        read("two-networks", network="10.10.2")
    with pytest.raises(InventoryError, match=r"^--without: no node is called z; fix: choose of a, b, c$"):
        read("two-networks", without=["z"])
    assert str(read("no-addresses", network="192.168.7.0/28").hosts[1].address) == "192.168.7.8"
    # A chain of links has no network that all are in.
    text = (MANIFESTS / "two-networks.xml").read_text().replace("10.10.1.2", "10.10.4.2")
    with pytest.raises(InventoryError, match=r"no network has all nodes: .*10.10.4.0/24 \(b\)"):
        from_manifest(text.encode(), asker="carol")


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("255.255.255.0", "255.0.255.0", "'255.0.255.0' is no netmask"),
        ("255.255.255.0", "wide", "'wide' is no netmask"),
        ('address="10.10.1.1"', 'address="10.10.1"', "'10.10.1' is no IPv4 address"),
        ('port="22"', 'port="ssh"', "port 'ssh'"),
        ('username="carol"', 'username="{{ x }}"', "cannot be an account"),
        ('client_id="node1"', 'client_id=""', "cannot be a host's name"),
        ('client_id="node1"', 'client_id="node0"', "two hosts are called .node0"),
        ('hostname="c6220-1.example.net"', 'hostname=""', "node node0 has no login"),
        ('type="manifest">', 'type="manifest"><node/>', "has no login"),
        ('<?xml version="1.0"?>', '<?xml version="1.0" encoding="utf-99"?>', "not XML: unknown encoding: utf-99"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(old: str, new: str, word: str) -> None:
    text = (MANIFESTS / "usual.xml").read_text()
    assert old in text
    with pytest.raises(InventoryError, match=word):
        from_manifest(text.replace(old, new, 1).encode())


def test_a_mac_that_is_none_is_not_used() -> None:
    text = (MANIFESTS / "usual.xml").read_text()
    for odd in ("a0369f", "zz369f000100", "{{ x }}", "000000000000"):
        nodes = from_manifest(text.replace("a0369f000100", odd, 1).encode())
        assert nodes.hosts[0].mac == ""
        assert "is no MAC address of a card" in nodes.notes[0]


@pytest.fixture(scope="module", autouse=True)
def _asker() -> Iterator[None]:
    """Where a manifest has no account, whoever runs Ansible logs in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("USER", "carol")
        yield


WORDS = st.one_of(
    st.sampled_from(
        ["", "node0", "node1", "a", "shepherd", "all", "localhost", "5", "on", "null", "1e3", "0x1f", "-a"]
    ),
    st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=20),
)
ADDRESSES = st.one_of(
    st.builds("10.10.{}.{}".format, st.integers(0, 3), st.integers(0, 6)),
    st.sampled_from(["", "10.10.1.1", "10.10.1.255", "0.0.0.0", "255.255.255.255", "fd00::1", "1.2.3", "x"]),  # noqa: S104
)
MASKS = st.sampled_from(["255.255.255.0"] * 6 + ["", "255.255.0.0", "255.255.255.255", "0.0.0.0", "0.255.0.0", "24"])  # noqa: S104
NODES = st.fixed_dictionaries(
    {
        "client_id": WORDS,
        "sliver": st.sampled_from(["raw-pc"] * 5 + ["", "emulab-xen", "emulab-blockstore", "delay", "{{ x }}"]),
        "hardware": st.sampled_from(["c6220", "c8220", "d430", "", "blockstore"]),
        "ips": st.lists(st.tuples(ADDRESSES, MASKS, st.sampled_from(["", "a0369f000102", "x"])), max_size=3),
        "logins": st.lists(
            st.tuples(st.sampled_from(["h.example.net", "", "::1", "10.0.0.1"]), WORDS | st.just("carol"), WORDS),
            max_size=3,
        )
        | st.just([("h.example.net", "carol", "22")]),
    }
)


def tag(name: str, /, **attributes: object) -> str:
    return f"<{name} {' '.join(f'{key}={quoteattr(str(value))}' for key, value in attributes.items())}>"


def manifest(nodes: list[dict[str, Any]]) -> bytes:
    text = '<rspec xmlns="http://www.geni.net/resources/rspec/3">'
    for node in nodes:
        text += tag("node", client_id=node["client_id"]) + tag("sliver_type", name=node["sliver"]) + "</sliver_type>"
        text += tag("hardware_type", name=node["hardware"]) + "</hardware_type>"
        for address, mask, mac in node["ips"]:
            text += tag("interface", mac_address=mac) + tag("ip", address=address, netmask=mask) + "</ip></interface>"
        for host, account, port in node["logins"]:
            text += tag("login", hostname=host, username=account, port=port) + "</login>"
        text += "</node>"
    return (text + "</rspec>").encode()


def test_a_name_of_signs_that_nobody_sees_is_shown_as_escapes() -> None:
    node = {"client_id": "\xa0", "sliver": "raw-pc", "hardware": "d430", "ips": [], "logins": [("h", "carol", "on")]}
    with pytest.raises(InventoryError, match=r"xa0") as caught:
        from_manifest(manifest([node]), asker="carol")
    assert str(caught.value).isprintable()


@settings(max_examples=30, deadline=None)
@given(nodes=st.lists(NODES, max_size=4), asker=st.sampled_from(["carol", "", "node0"]))
def test_every_manifest_gives_a_good_inventory_or_one_refusal(nodes: list[dict[str, Any]], asker: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "mine"
        refusal = None
        try:
            read = from_manifest(manifest(nodes), asker=asker)
            write(read, folder, project=PROJECT)
        except InventoryError as error:
            refusal = str(error)
        if refusal is not None:
            assert "; fix: " in refusal
            assert refusal.isprintable()
            assert list(Path(name).iterdir()) == []
            return
        groups, hostvars = groups_and_variables(folder)
        given_addresses = {address for node in nodes for address, _, _ in node["ips"]}
        offered = {account for node in nodes for _, account, _ in node["logins"]}
        assert set(groups["all"]) == {host.name for host in read.hosts}
        assert not set(groups["all"]) & set(groups)
        for values in hostvars.values():
            # Nothing is invented in silence.
            assert values["herd_address"] in given_addresses or any(values["herd_address"] in n for n in read.notes)
            assert values.get("ansible_user", "").startswith("{{ lookup") or values["ansible_user"] in offered
        found = problems(folder)
        # What two nodes claim at once, or what is no host's address, the check says.
        assert all("is also that of" in p or "is not a host's address" in p for p in found), found
