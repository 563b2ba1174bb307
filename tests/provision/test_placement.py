"""Who makes the load, read from an inventory by Ansible: in whatever thread, and no node is contacted."""

import signal
import threading
from pathlib import Path

import pytest

from mustherd.load.address import Address
from mustherd.load.placement import Layout, Place, teams
from mustherd.provision.inventory import InventoryError
from mustherd.provision.placement import InventoryHerd, read

HOSTS = """[musters]
node1 ansible_host=192.0.2.1
[loadgen_leader]
node2 ansible_host=192.0.2.2 ansible_user=me
[shepherd]
node2
[loadgen_agents]
node3 herd_load_group=a
[musters:vars]
herd_load_group=a
"""


def test_a_layout_is_read_in_any_thread_and_the_signals_stay(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text(HOSTS)
    held = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    found = [read(tmp_path / "hosts")]
    assert {number: signal.getsignal(number) for number in held} == held
    thread = threading.Thread(target=lambda: found.append(read(tmp_path / "hosts")))
    thread.start()
    thread.join()
    expected = InventoryHerd(
        musters=("muster-node1",),
        shepherd="node2",
        keys=("/etc/mustherd/conductor", "/etc/mustherd/keys", f"keys/{tmp_path.name}"),
        layout=Layout(
            leader=Place(address="node2", host="192.0.2.2", user="me"),
            agents=(Place(address="node3", host="node3", group="a"),),
            servers={"muster-node1": (Address("node1", 11211),)},
            groups={"muster-node1": "a"},
        ),
    )
    assert found == [expected, expected]


def test_an_inventory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match="hosts: no such inventory"):
        read(tmp_path / "hosts")


def test_a_herd_without_load_has_no_layout(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("[musters]\nnode1 herd_musters='[0, 1]'\n[shepherd]\nnode0\n")
    found = read(tmp_path / "hosts")
    assert (found.layout, found.shepherd) == (None, "node0")
    assert found.musters == ("muster-node1", "muster-node1-1")


def place(name: str, group: str = "") -> Place:
    return Place(address=name, host=name, group=group)


@pytest.mark.parametrize(
    ("agents", "musters", "shares"),
    [
        ("abcd", 1, ["abcd"]),
        ("abcd", 2, ["ab", "cd"]),
        # What is left over makes no load, so that all teams are equally strong.
        ("abcde", 2, ["ab", "cd"]),
        ("abc", 3, ["a", "b", "c"]),
        # Musters take turns.
        ("ab", 3, ["a", "b"]),
        ("", 3, ["", "", ""]),
        ("a", 1, ["a"]),
    ],
)
def test_agents_are_shared_out_equally(agents: str, musters: int, shares: list[str]) -> None:
    servers: dict[str, tuple[Address, ...]] = {f"muster-{k}": (Address("s", 11211 + k),) for k in range(musters)}
    found = teams(Layout(agents=tuple(map(place, agents)), servers=servers), musters)
    assert ["".join(agent.address for agent in team.agents) for team in found] == shares
    unnamed = teams(Layout(agents=tuple(map(place, agents))), musters)
    assert unnamed == found, "nodes that say by themselves where their servers are count, too"


def test_a_group_loads_its_own_musters() -> None:
    servers: dict[str, tuple[Address, ...]] = {name: (Address(name, 11211),) for name in ("m1", "m2", "m3")}
    agents = (place("a", "x"), place("b", "y"), place("c", "y"), place("d", "y"), place("e"))
    found = teams(Layout(agents=agents, servers=servers, groups={"m1": "x", "m2": "y", "m3": "y"}), 3)
    assert [(t.group, [a.address for a in t.agents]) for t in found] == [("x", ["a"]), ("y", ["b"]), ("y", ["c"])]
