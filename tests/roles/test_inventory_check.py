"""The inventory check: every problem with where it is and the fix, before any node is contacted."""

from typing import Any

import pytest

from tests.roles.scripts import load

check = load("common/filter_plugins/mustherd_inventory.py")

GROUPS = {
    "all": ["node0", "node1", "node2"],
    "shepherd": ["node0"],
    "musters": ["node1"],
    "loadgen_leader": ["node0"],
    "loadgen_agents": ["node2"],
    "c6220": ["node0", "node1", "node2"],
}


def host(number: int, **more: Any) -> dict[str, Any]:
    return {
        "ansible_host": f"node{number}.example.org",
        "ansible_user": "alice",
        "herd_network": "10.10.1.0/24",
        "herd_address": f"10.10.1.{number + 1}",
        "herd_cores": 16,
        "herd_reserved_cores": [7, 15],
        "herd_memcached_cores": "0-6,8-14",
        "herd_sockets": ["0-7", "8-15"],
        "herd_musters": [0],
        "herd_dvfs_low_mhz": 1200,
        "herd_dvfs_high_mhz": 2600,
        **more,
    }


def problems(groups: dict[str, list[str]] | None = None, **changes: dict[str, Any]) -> list[str]:
    hosts = {f"node{number}": host(number) for number in range(3)}
    for name, change in changes.items():
        hosts[name].update(change)
    groups = {**GROUPS, **(groups or {})}
    return [problem for name in hosts for problem in check.inventory_problems(groups, hosts, name)]


def test_a_good_inventory_has_no_problem() -> None:
    assert problems() == []
    assert problems(node1={"herd_musters": [0, 1]}) == []


@pytest.mark.parametrize(
    ("groups", "word"),
    [
        ({"shepherd": []}, "found no host"),
        ({"shepherd": ["node0", "node1"]}, "found node0, node1"),
        ({"musters": []}, "no target node"),
        ({"loadgen_leader": ["node0", "node2"]}, "one host leads the load"),
        ({"loadgen_leader": []}, "agents without a leader"),
        ({"c6220": ["node0", "node1"]}, "what kind of machine"),
        ({"c8220": ["node1"]}, "two kinds of machine"),
    ],
)
def test_groups_are_checked(groups: dict[str, list[str]], word: str) -> None:
    found = problems(groups)
    assert len(found) == 1
    assert word in found[0]
    assert "Where: " in found[0]
    assert "Fix: " in found[0]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"ansible_host": "node1.EXPERIMENT.PROJECT.utah.cloudlab.us"}, "still holds EXPERIMENT, PROJECT"),
        ({"ansible_user": ""}, "no account"),
        ({"herd_address": "10.10.1"}, "is no address"),
        ({"herd_address": "10.10.2.7"}, "is not a host's address in 10.10.1.0/24"),
        ({"herd_address": "10.10.1.0"}, "is not a host's address"),
        ({"herd_network": "10.10.1"}, "is no network"),
        ({"herd_musters": 2}, "not a list of indexes"),
        ({"herd_musters": [0, 0]}, "not a list of indexes"),
        ({"herd_memcached_cores": "0-7"}, "cores 7 are both memcached's"),
        ({"herd_memcached_cores": "0-16"}, "names core 16"),
        ({"herd_memcached_cores": "zero"}, "not a core"),
        ({"herd_sockets": ["0-7", "8-16"]}, "herd_sockets 8-16 names core 16"),
        ({"herd_cores": -1}, "herd_cores is -1, and may be 0 to 4096"),
        ({"herd_dvfs_low_mhz": 2800}, "makes no sense"),
    ],
)
def test_a_muster_is_checked(change: dict[str, Any], word: str) -> None:
    found = problems(node1=change)
    assert any(word in problem for problem in found), found
    assert all("host node1" in problem or "group_vars" in problem for problem in found)


def test_two_hosts_with_one_address_are_both_named() -> None:
    found = problems(node2={"herd_address": "10.10.1.2"})
    assert len(found) == 2
    assert "also that of node2" in found[0]


def test_a_name_without_a_number_asks_for_an_address() -> None:
    found = problems(node1={"herd_address": "10.10.1.0"})
    assert "give herd_address on the host" in found[0]


def test_musters_are_named_as_the_reference_names_them() -> None:
    assert check.muster_names("10.10.1.2", [0, 1]) == ["muster-10.10.1.2", "muster-10.10.1.2-1"]


class Counted(dict[str, Any]):
    """Variables that count how often they are asked for."""

    asked = 0

    def __getitem__(self, name: str) -> Any:
        Counted.asked += 1
        return super().__getitem__(name)


def asked_of(count: int) -> int:
    """How many values of so many hosts are worked out for the check of all of them."""
    names = [f"node{number}" for number in range(count)]
    groups = {"all": names, "shepherd": names[:1], "musters": names[1:], "loadgen_leader": names[:1], "c6220": names}
    Counted.asked = 0
    hosts = Counted({name: Counted(host(number)) for number, name in enumerate(names)})
    assert check.template_problems(groups, hosts, names) == []
    return Counted.asked


def test_the_check_of_many_hosts_grows_as_their_number() -> None:
    ten, thirty, ninety = map(asked_of, (10, 30, 90))
    assert ninety - thirty == 3 * (thirty - ten)


def test_a_template_that_fails_is_told_of_its_host() -> None:
    class Broken(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            if name == "herd_address":
                raise ValueError("'zone' is undefined")
            return super().__getitem__(name)

    hosts = {f"node{number}": host(number) for number in range(3)}
    hosts["node1"] = Broken(hosts["node1"])
    [problem] = check.template_problems(GROUPS, hosts, ["node1"])
    assert problem.startswith("its variables cannot be worked out: 'zone' is undefined. Where: host node1. Fix: ")


def test_what_hosts_have_in_common_is_one_message() -> None:
    hosts = {f"node{number}": host(number, ansible_user="") for number in range(3)}
    [problem] = check.template_problems(GROUPS, hosts, list(hosts))
    assert problem == "no account to log in with. Where: hosts node0, node1, node2. Fix: give ansible_user"
