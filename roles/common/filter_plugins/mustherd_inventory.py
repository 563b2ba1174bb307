"""What is wrong with an inventory: each problem as what, where and fix, found before any node is touched."""

import ipaddress
import os
import re
import runpy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

# Ansible loads each of these files by itself, so that one cannot import another.
values: Any = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("mustherd_values.py"))))

PROFILES = ("c6220", "c8220", "generic")
GROUPS = ("shepherd", "musters", "loadgen_leader", "loadgen_agents")
PLACEHOLDERS = ("EXPERIMENT", "PROJECT", "SITE")
NAME = re.compile(r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")


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


class Once(Mapping[str, Any]):
    """A host's variables, each worked out once: every host's address is compared with every other one's."""

    def __init__(self, variables: Mapping[str, Any]) -> None:
        self._variables = variables
        self._known: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._known:
            self._known[name] = self._variables[name]
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)


class Hosts(Once):
    """All hosts' variables: what Ansible gives of a host is made anew whenever it is asked for."""

    def __getitem__(self, name: str) -> Any:
        if name not in self._known:
            self._known[name] = Once(self._variables[name])
        return self._known[name]


def herd_problems(groups: Mapping[str, Sequence[str]], hostvars: Any) -> list[str]:
    """Every problem of an inventory that can be seen in what is written, without a template being run."""
    raw = getattr(hostvars, "raw_get", None) or hostvars.__getitem__
    members = {name for group in GROUPS for name in groups.get(group, ())}
    hosts = sorted(members | set(groups.get("all", ())))
    written = Hosts({host: Written(host, raw(host)) for host in hosts})
    return merged([problem for host in hosts for problem in inventory_problems(groups, written, host)])


def template_problems(
    groups: Mapping[str, Sequence[str]], hostvars: Mapping[str, Mapping[str, Any]], hosts: Sequence[str]
) -> list[str]:
    """Every problem that concerns these hosts, with their templates run."""
    known, problems = Hosts(hostvars), []
    for host in hosts:
        try:
            problems += inventory_problems(groups, known, host)
        except Exception as error:  # whatever a template of the user raises
            problems.append(
                _problem(f"its variables cannot be worked out: {error}", f"host {host}", "correct the template")
            )
    return merged(problems)


def merged(problems: Sequence[str]) -> list[str]:
    """One line for what several hosts have in common, with all their names."""
    found: dict[tuple[str, str], list[str]] = {}
    for problem in problems:
        match = re.fullmatch(r"(.*)[.] Where: host (\S+)[.] Fix: (.*)", problem, re.DOTALL)
        what, where, fix = match.groups() if match else (problem, "", "")
        found.setdefault((what, fix), []).append(where)
    return [
        what if not fix else _problem(what, f"host{'s' if len(hosts) > 1 else ''} {_few(hosts)}", fix)
        for (what, fix), hosts in found.items()
    ]


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


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
    elif host in groups.get("all", ()) and not _herd(groups) and host not in _builders(hostvars, members):
        problems.append(
            _problem(
                "it has no part in the herd",
                f"host {host}",
                f"put it into one of the groups {', '.join(GROUPS)}, or take it out",
            )
        )
    return problems


def _builders(hostvars: Mapping[str, Mapping[str, Any]], members: Sequence[str]) -> set[str]:
    """Hosts that build kernels for others."""
    found = set()
    for member in members:
        try:
            found.add(str(hostvars[member]["kernel_ixgbe_build_host"]))
        except (KeyError, UnknownError):
            continue
    return found


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
    said = {name: found for name in filter(values.is_ours, hostvars[host]) if (found := _value(value, name, where))}
    problems += [problem for name in sorted(said) for problem in said[name]]

    def sound(name: str, default: Any = None, of: str = host) -> Any:
        """A value of its kind: nothing more is said of one that is not."""
        if name in said:
            raise UnknownError(name)
        return value(name, default, of)

    for check in (_login, _address, _muster):
        try:
            problems += check(sound, host, groups, members)
        except UnknownError:
            # Said by the check of the nodes themselves, which Ansible evaluates.
            continue
    return problems


def _value(value: Any, name: str, where: str) -> list[str]:
    """Whether there is such a variable, and whether its value is of the kind that it takes."""
    if name not in values.specification():
        return [_problem(f"no variable is called {name}", where, values.unknown(name))]
    try:
        given = value(name)
    except UnknownError:
        return []
    allowed = values.wrong(name, given)
    shown = repr(given) if len(repr(given)) <= 80 else repr(given)[:80] + "..."
    return [_problem(f"{name} is {shown}, and may be {allowed}", where, f"correct {name}")] if allowed else []


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
        or not all(isinstance(index, int) and not isinstance(index, bool) and 0 <= index < 64 for index in indexes)
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
    for check in (_clock, _cores, _servers, _sources):
        try:
            problems += check(value, where)
        except UnknownError:
            continue
    return problems


def _clock(value: Any, where: str) -> list[str]:
    low, high = values.number(value("herd_dvfs_low_mhz", 400)), values.number(value("herd_dvfs_high_mhz", 6000))
    if low <= high:
        return []
    what = f"frequency range {low}..{high} MHz makes no sense"
    return [_problem(what, where, "give herd_dvfs_low_mhz and herd_dvfs_high_mhz in MHz")]


def _cores(value: Any, where: str) -> list[str]:
    problems = []
    count = values.number(value("herd_cores", 0))
    names = ("herd_reserved_cores", "herd_memcached_cores", "memcached_mutilate_cores", "mustherd_cores")
    lists = {name: values.cores(value(name, "")) for name in names}
    for socket in values.sockets(value("herd_sockets", [])):
        lists[f"herd_sockets {_ranges(socket)}"] = socket
    mode, _, listed = str(value("kernel_ixgbe_affinity", "all")).partition(":")
    if listed:
        lists[f"kernel_ixgbe_affinity {mode}:{listed}"] = values.cores(listed)
    for name, found in lists.items():
        if count and found and found[-1] >= count:
            named = name if " " in name else f"{name} {_ranges(found)}"
            what = f"{named} names core {found[-1]}, herd_cores is {count}"
            problems.append(_problem(what, where, f"keep to cores 0-{count - 1}"))
    for name in ("memcached_mutilate_cores", "herd_memcached_cores"):
        shared = sorted(set(lists[name]) & set(lists["herd_reserved_cores"]))
        if shared:
            what = f"cores {', '.join(map(str, shared))} are both memcached's and left alone for the system"
            problems.append(_problem(what, where, f"take them out of {name} or of herd_reserved_cores"))
        if lists[name]:
            break
    return problems


def _ranges(numbers: Sequence[int]) -> str:
    """Cores as they are written in a list."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in parts)


def _servers(value: Any, where: str) -> list[str]:
    """Each memcached has a socket, cores of it, and a port."""
    if not values.truth(value("memcached_mutilate_enabled", True)) or value("memcached_mutilate_memcached") == "none":
        return []
    instances = values.number(value("memcached_mutilate_instances", 1))
    first = values.number(value("memcached_mutilate_port", 11211))
    sockets = values.sockets(value("memcached_mutilate_sockets") or value("herd_sockets", []))
    pinned = set(values.cores(value("memcached_mutilate_cores") or value("herd_memcached_cores", "")))
    problems = []
    shared = values.truth(value("memcached_mutilate_shared", False))
    if instances > 1 and not shared and len(sockets) < instances:
        what = f"memcached_mutilate_instances is {instances}, and herd_sockets names {len(sockets) or 'no'} sockets"
        problems.append(
            _problem(
                what,
                where,
                "give the cores of each socket in herd_sockets, or one instance, or memcached_mutilate_shared",
            )
        )
    elif instances > 1 and not shared and pinned:
        bare = [_ranges(socket) for socket in sockets[:instances] if not pinned & set(socket)]
        if bare:
            what = f"none of memcached's cores is on the socket {bare[0]}, which has a server of its own"
            problems.append(_problem(what, where, "add cores of it to herd_memcached_cores, or run one instance"))
    if first + instances - 1 > 65535:
        what = f"memcached_mutilate_port {first} leaves no port for {instances} servers"
        problems.append(_problem(what, where, f"give one up to {65536 - instances}"))
    return problems


def _sources(value: Any, where: str) -> list[str]:
    """What is fetched goes together: a version with its checksum."""
    problems = []
    for role, what in (("kernel_ixgbe", "kernel"), ("memcached_mutilate", "memcached")):
        version, default = value(f"{role}_version", None), values.specification()[f"{role}_version"].get("default")
        if version is not None and str(version) != str(default) and value(f"{role}_checksum", None) is None:
            named = f"{role}_version is {version}, and {role}_checksum is still that of {what} {default}"
            problems.append(_problem(named, where, f"give {role}_checksum too"))
    return problems


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Any]:
        return {
            "mustherd_template_problems": template_problems,
            "mustherd_herd_problems": herd_problems,
            "mustherd_muster_names": muster_names,
        }
