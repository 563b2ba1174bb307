"""What is wrong with an inventory: each problem as what, where and fix, found before any node is touched."""

import ipaddress
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

PROFILES = ("c6220", "c8220", "generic")
GROUPS = ("shepherd", "musters", "loadgen_leader", "loadgen_agents")
PLACEHOLDERS = ("EXPERIMENT", "PROJECT", "SITE")
NAME = re.compile(r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")


def cores(text: str) -> list[int]:
    """The numbers in a list of cores such as `0-6,8-14`; raises ValueError."""
    found: set[int] = set()
    for part in str(text).split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if not match:
            raise ValueError(f"{part.strip()!r} is not a core or a range of cores")
        low, high = int(match[1]), int(match[2] or match[1])
        if high < low or high > 4095:
            raise ValueError(f"{part.strip()!r} is not a range from low to high")
        found.update(range(low, high + 1))
    return sorted(found)


def muster_names(address: str, indexes: Sequence[int]) -> list[str]:
    """The musters of a host: muster-ADDRESS, and muster-ADDRESS-INDEX for every index but 0."""
    return [f"muster-{address}" if index == 0 else f"muster-{address}-{index}" for index in indexes]


class UnknownError(Exception):
    """A value is a template that is not run here."""


# The two templates of inventory/cloudlab that are more than names, spaces taken together.
USER_TEMPLATE = "{{ lookup('ansible.builtin.env', 'USER') }}"
ADDRESS_TEMPLATE = (
    "{{ herd_network | regex_replace('[.][0-9]+/.*$', '') }}."
    "{{ (inventory_hostname | regex_search('[0-9]+') | default('-1', true) | int) + 1 }}"
)
REFERENCE = re.compile(r"\{\{ *([A-Za-z_][A-Za-z0-9_]*) *\}\}")
DEPTH = 8


class Written(Mapping[str, Any]):
    """A host's variables as they are written: names are followed, and no other template is ever run."""

    def __init__(self, host: str, variables: Mapping[str, Any]) -> None:
        self._variables = {**variables, "inventory_hostname": host}

    def __getitem__(self, name: str) -> Any:
        """KeyError where there is none, UnknownError for what only Ansible could tell."""
        return self._plain(self._variables[name], DEPTH)

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)

    def _plain(self, value: Any, depth: int) -> Any:
        if isinstance(value, Mapping):
            return {key: self._plain(inner, depth) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._plain(inner, depth) for inner in value]
        if not isinstance(value, str) or not re.search(r"\{[{%#]", value):
            return value
        text = " ".join(value.split())
        if text == USER_TEMPLATE:
            return os.environ.get("USER", "")
        if text.replace(". {{", ".{{") == ADDRESS_TEMPLATE:
            number = re.search("[0-9]+", str(self._variables["inventory_hostname"]))
            network = re.sub("[.][0-9]+/.*$", "", str(self["herd_network"]))
            return f"{network}.{int(number[0]) + 1 if number else 0}"
        if depth == 0:
            raise UnknownError(text)

        def follow(match: "re.Match[str]") -> str:
            if match[1] not in self._variables:
                raise UnknownError(text)
            return str(self._plain(self._variables[match[1]], depth - 1))

        plain = REFERENCE.sub(follow, text)
        if re.search(r"\{[{%#]", plain):
            raise UnknownError(text)
        return plain


def herd_problems(groups: Mapping[str, Sequence[str]], hostvars: Any) -> list[str]:
    """Every problem of an inventory that can be seen in what is written, without a template being run."""
    raw = getattr(hostvars, "raw_get", None) or hostvars.__getitem__
    members = {name for group in GROUPS for name in groups.get(group, ())}
    hosts = sorted(members | set(groups.get("all", ())))
    written = {host: Written(host, raw(host)) for host in hosts}
    return [problem for host in hosts for problem in inventory_problems(groups, written, host)]


def inventory_problems(
    groups: Mapping[str, Sequence[str]], hostvars: Mapping[str, Mapping[str, Any]], host: str
) -> list[str]:
    """Every problem that concerns `host`; the herd's own are told to the first host of the inventory."""
    members = sorted({name for group in GROUPS for name in groups.get(group, ())})
    problems = []
    if host == (members or sorted(groups.get("all", ())) or [host])[0]:
        problems += _herd(groups)
    if host in members:
        problems += _host(groups, hostvars, host, members)
    return problems


def _problem(what: str, where: str, fix: str) -> str:
    return f"{what}. Where: {where}. Fix: {fix}"


def _herd(groups: Mapping[str, Sequence[str]]) -> list[str]:
    problems = []
    shepherds = list(groups.get("shepherd", ()))
    if len(shepherds) != 1:
        named = ", ".join(shepherds) or "no host"
        problems.append(
            _problem(f"a herd has one shepherd, found {named}", "group shepherd", "put exactly one host into the group")
        )
    if not groups.get("musters"):
        problems.append(_problem("no target node", "group musters", "put the nodes to be controlled into the group"))
    leaders = list(groups.get("loadgen_leader", ()))
    if len(leaders) > 1:
        problems.append(
            _problem(f"one host leads the load, found {', '.join(leaders)}", "group loadgen_leader", "keep one of them")
        )
    if groups.get("loadgen_agents") and not leaders:
        problems.append(
            _problem("agents without a leader", "group loadgen_leader", "put one host into it, or empty loadgen_agents")
        )
    return problems


def _host(
    groups: Mapping[str, Sequence[str]], hostvars: Mapping[str, Mapping[str, Any]], host: str, members: list[str]
) -> list[str]:
    def value(name: str, default: Any = None, of: str = host) -> Any:
        try:
            return hostvars[of][name]
        except KeyError:
            return default

    where = f"host {host}"
    problems: list[str] = []
    found = [profile for profile in PROFILES if host in groups.get(profile, ())]
    if not found and value("herd_profile") is None:
        problems.append(
            _problem(
                "it is not said what kind of machine this is",
                where,
                f"put it into one of the groups {', '.join(PROFILES)}",
            )
        )
    elif len(found) > 1:
        problems.append(_problem(f"two kinds of machine: {', '.join(found)}", where, "keep it in one of these groups"))
    for check in (_login, _address, _muster):
        try:
            problems += check(value, host, groups, members)
        except UnknownError:
            # Said by the check of the nodes themselves, which Ansible evaluates.
            continue
    return problems


def _login(value: Any, host: str, _groups: Mapping[str, Sequence[str]], _members: list[str]) -> list[str]:
    where = f"host {host}"
    problems = []
    target = str(value("ansible_host", host))
    if value("ansible_connection", "ssh") != "local":
        open_ends = [word for word in PLACEHOLDERS if word in re.split(r"[^A-Z]+", target)]
        if open_ends:
            problems.append(
                _problem(
                    f"the address to log in to, {target}, still holds {', '.join(open_ends)}",
                    "group_vars/all.yml",
                    "give herd_experiment, herd_project and herd_site, or ansible_host on the host",
                )
            )
        if value("ansible_user") in ("", None):
            problems.append(_problem("no account to log in with", where, "give ansible_user"))
    return problems


def _address(value: Any, host: str, _groups: Mapping[str, Sequence[str]], members: list[str]) -> list[str]:
    where = f"host {host}"
    text, network_text = str(value("herd_address", "")), str(value("herd_network", ""))
    try:
        network = ipaddress.ip_network(network_text)
    except ValueError:
        return [_problem(f"herd_network {network_text!r} is no network", where, "write it like 10.10.1.0/24")]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return [_problem(f"herd_address {text!r} is no address", where, f"give one in {network}, without a prefix")]
    problems = []
    inside = address in network and (
        network.prefixlen >= 31 or address not in (network.network_address, network.broadcast_address)
    )
    if not inside:
        problems.append(
            _problem(
                f"herd_address {address} is not a host's address in {network}",
                where,
                "name the node nodeN, or give herd_address on the host",
            )
        )
    twins = [other for other in members if other != host and str(value("herd_address", "", of=other)) == text]
    if twins:
        problems.append(
            _problem(f"herd_address {text} is also that of {', '.join(twins)}", where, "give each host its own")
        )
    return problems


def _muster(value: Any, host: str, groups: Mapping[str, Sequence[str]], _members: list[str]) -> list[str]:
    where = f"host {host}"
    problems: list[str] = []
    if host not in groups.get("musters", ()):
        return problems
    indexes = value("herd_musters", [0])
    if (
        not isinstance(indexes, Sequence)
        or isinstance(indexes, str)
        or not indexes
        or not all(isinstance(index, int) and 0 <= index < 64 for index in indexes)
        or len(set(indexes)) != len(indexes)
    ):
        problems.append(
            _problem(
                f"herd_musters {indexes!r} is not a list of indexes", where, "write [0], or [0, 1] for two musters"
            )
        )
    else:
        wrong = [name for name in muster_names(str(value("herd_address", "")), indexes) if not NAME.match(name)]
        if wrong:
            problems.append(_problem(f"a muster cannot be named {wrong[0]!r}", where, "give an IPv4 herd_address"))
    problems += _cores(value, where)
    low, high = value("herd_dvfs_low_mhz", 400), value("herd_dvfs_high_mhz", 6000)
    if not (isinstance(low, int) and isinstance(high, int) and 100 <= low <= high <= 10000):
        problems.append(
            _problem(
                f"frequency range {low!r}..{high!r} MHz makes no sense",
                where,
                "give herd_dvfs_low_mhz and herd_dvfs_high_mhz in MHz",
            )
        )
    return problems


def _cores(value: Any, where: str) -> list[str]:
    problems = []
    count, reserved = value("herd_cores", 0), value("herd_reserved_cores", [])
    pinned_text = str(value("herd_memcached_cores", "") or "")
    if not isinstance(count, int) or count < 0:
        return [_problem(f"herd_cores {count!r} is no number of cores", where, "give a number, 0 for all")]
    named = [("herd_memcached_cores", pinned_text)] if pinned_text else []
    named += [("herd_sockets", str(text)) for text in value("herd_sockets", [])]
    for name, text in named:
        try:
            pinned = cores(text)
        except ValueError as error:
            problems.append(_problem(f"{name}: {error}", where, "write cores like 0-6,8-14"))
            continue
        if count and pinned[-1] >= count:
            problems.append(
                _problem(
                    f"{name} {text} names core {pinned[-1]}, herd_cores is {count}",
                    where,
                    f"keep to cores 0-{count - 1}",
                )
            )
        shared = sorted(set(pinned) & set(reserved)) if name == "herd_memcached_cores" else []
        if shared:
            problems.append(
                _problem(
                    f"cores {', '.join(map(str, shared))} are both memcached's and left alone for the system",
                    where,
                    "take them out of herd_memcached_cores or of herd_reserved_cores",
                )
            )
    return problems


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Any]:
        return {
            "mustherd_inventory_problems": inventory_problems,
            "mustherd_herd_problems": herd_problems,
            "mustherd_muster_names": muster_names,
            "mustherd_cores": cores,
        }
