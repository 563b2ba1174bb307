"""Inventories written from what a user has: CloudLab's manifest of an experiment, or a list of hosts."""

import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from pathlib import Path
from types import MappingProxyType

import yaml

from mustherd.errors import UserError, printable

PROFILES = ("c6220", "c8220")
"""Types of machine that have a profile; any other is generic."""
PARTS = ("shepherd", "musters", "loadgen_leader", "loadgen_agents")
GROUPS = frozenset(
    {*PARTS, *PROFILES, "generic", "all", "ungrouped", "localhost", "127.0.0.1"},
)
"""What no host may be called: groups of these inventories and of Ansible, and the names of the control machine."""
NETWORK = IPv4Network("10.10.1.0/24")
"""The reference test bed's."""
NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
"""A host name or an IPv4 address: RFC 1035 allows 253 characters."""
KIND = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
"""useradd(8), and the upper case and dots that some sites have."""


class InventoryError(UserError):
    """No inventory can be made of it; the message says where and the fix."""

    def __init__(self, text: str) -> None:
        # A manifest's names are anybody's.
        super().__init__("\n".join(map(printable, text.split("\n"))))


@dataclass(frozen=True)
class Host:
    """One node: its name in the experiment, where to log in, what it is, its address in the experiment's network."""

    name: str
    login: str
    user: str = ""
    port: int = 22
    kind: str = ""
    address: str = ""
    mac: str = ""
    """MAC of the port that is in the experiment's network, as aa:bb:cc:dd:ee:ff; empty where it is not known."""


@dataclass(frozen=True)
class Nodes:
    """What an inventory is written from."""

    hosts: tuple[Host, ...]
    network: IPv4Network | None = None
    """The experiment's; None where nobody said, and the reference's is taken."""
    notes: tuple[str, ...] = ()
    """What was left out, chosen or assumed, a sentence each: for the user to read."""


def from_names(names: Sequence[str], *, user: str = "", network: str = "") -> Nodes:
    """Nodes from words such as `alice@10.0.0.5:2222` or `node1=node1.example.org`; raises InventoryError."""
    hosts = []
    pattern = re.compile(r"(?:(?P<name>[^=@:]+)=)?(?:(?P<user>[^@:=]+)@)?(?P<login>[^@:=]+)(?::(?P<port>\d+))?")
    try:
        lan = IPv4Network(network) if network else None
    except ValueError:
        raise InventoryError(f"--network {network!r} is no IPv4 network; fix: write it like 10.10.1.0/24") from None
    for number, word in enumerate(names):
        match = pattern.fullmatch(word)
        if not match:
            raise InventoryError(f"{word[:80]!r} is no host; fix: write [NAME=][USER@]ADDRESS[:PORT]")
        login = match["login"]
        numeric = re.fullmatch(r"[0-9.]+", login) is not None
        name = match["name"] or ("" if numeric else login.partition(".")[0]) or f"node{number}"
        port = port_number(match["port"] or "22", word)
        # Where the network is said and the host is reached at an address in it, that is the herd's address too.
        inside = lan is not None and numeric and _is_address(login) and IPv4Address(login) in lan
        hosts.append(Host(name, login, match["user"] or user, port, address=login if inside else ""))
    for host in hosts:
        if host.name in GROUPS:
            raise InventoryError(f"a host cannot be called {host.name}, as a group is; fix: write OTHER={host.login}")
    return addressed(Nodes(tuple(checked(hosts)), lan))


def addressed(nodes: Nodes) -> Nodes:
    """The same with an address for every host. What was not given follows from the names, and a note says so."""
    network = nodes.network or NETWORK
    taken = {host.address for host in nodes.hosts}
    hosts, told = [], []
    for position, host in enumerate(nodes.hosts):
        address = host.address
        if not address:
            numbered = re.search(r"\d{1,9}", host.name)
            wanted = (int(numbered[0]) if numbered else position) + 1
            free = (
                str(network[offset])
                for offset in (wanted, *range(1, len(nodes.hosts) + 2))
                if offset < network.num_addresses - 1 and str(network[offset]) not in taken
            )
            address = next(free, "")
            if not address:
                raise InventoryError(f"{network} has no address left for {host.name}; fix: give a wider --network")
            taken.add(address)
            told.append(f"{host.name} {address}")
        hosts.append(replace(host, address=address))
    notes = nodes.notes
    if told:
        few = ", ".join(told[:20]) + (f" and {len(told) - 20} more" if len(told) > 20 else "")
        notes += (
            f"no address in the experiment's network is given for some hosts, so in {network} they get those that"
            f" follow from their names: {few}; where they have others, correct herd_address in hosts.yml",
        )
    return Nodes(tuple(hosts), network, notes)


def parts_of(
    nodes: Nodes, *, shepherd: str = "", musters: Sequence[str] = (), agents: Sequence[str] | None = None
) -> tuple[str, list[str], list[str]]:
    """The shepherd, the musters and the hosts that make load: those named, and for who isn't the rule of `write`.

    InventoryError for names that no host has.
    """
    names = [host.name for host in nodes.hosts]
    shepherd = shepherd or names[0]
    musters = list(musters) or [name for name in names if name != shepherd][:1] or [shepherd]
    agents = [name for name in names if name not in (shepherd, *musters)] if agents is None else list(agents)
    unknown = sorted({shepherd, *musters, *agents} - set(names))
    if unknown:
        raise InventoryError(f"no host is called {', '.join(unknown)}; fix: choose of {', '.join(names)}")
    return shepherd, musters, agents


def turns(musters: Sequence[str], agents: Sequence[str]) -> str:
    """What it means, in a sentence, that few hosts make load, or none but the leader; "" where there are enough."""
    if not agents:
        return "no host is left to make load, so that the leader makes it alone; for more load give it one: --agent"
    if len(agents) >= len(musters):
        return ""
    loading = "1 host makes" if len(agents) == 1 else f"{len(agents)} hosts make"
    return (
        f"{loading} load for {len(musters)} musters, so that trials run on {len(agents)} at a time and the musters take"
        " turns; for all at once give each muster one: more --agent, which may be measured nodes too"
    )


def write(
    nodes: Nodes,
    folder: Path,
    *,
    project: Path,
    shepherd: str = "",
    musters: Sequence[str] = (),
    agents: Sequence[str] | None = None,
    variables: Mapping[str, object] = MappingProxyType({}),
) -> Path:
    """Write an inventory folder that must not be there yet; returns its hosts.yml. Raises InventoryError.

    Unless said otherwise the first host is shepherd and leader, the second a muster, and the others make load.
    `variables` are those of all hosts.
    """
    hosts = addressed(nodes).hosts
    shepherd, musters, agents = parts_of(nodes, shepherd=shepherd, musters=musters, agents=agents)
    if folder.exists():
        raise InventoryError(f"{folder} is there already; fix: remove it or write elsewhere")
    profiles = variables_of(project)
    known = {host.name: _variables(host) for host in hosts}
    parts = {shepherd, *musters, *agents}
    groups: dict[str, dict[str, dict[str, dict[str, object]]]] = {
        "shepherd": {"hosts": {shepherd: known[shepherd]}},
        "musters": {"hosts": {name: known[name] for name in musters}},
        "loadgen_leader": {"hosts": {shepherd: {}}},
        "loadgen_agents": {"hosts": {name: known[name] for name in agents}},
    }
    for profile in (*PROFILES, "generic"):
        # A host without a part is known all the same.
        own = {host.name: {} if host.name in parts else known[host.name] for host in hosts if _profile(host) == profile}
        groups[profile] = {"hosts": own}
    network = str(nodes.network or NETWORK)
    common: dict[str, object] = {"ansible_become": True, "herd_network": network, "herd_musters": [0]}
    if not all(host.user for host in hosts):
        common = {"ansible_user": "{{ lookup('ansible.builtin.env', 'USER') }}"} | common
    # Beside its place and moved, so that a folder that is there is whole.
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name[:40]}-") as made:
            draft = Path(made) / "inventory"
            (draft / "group_vars").mkdir(parents=True)
            for profile in (*PROFILES, "generic"):
                shutil.copy(profiles / f"{profile}.yml", draft / "group_vars" / f"{profile}.yml")
            (draft / "group_vars/all.yml").write_text(_yaml({**common, **variables}), encoding="utf-8")
            (draft / "hosts.yml").write_text(_yaml({"all": {"children": groups}}), encoding="utf-8")
            draft.rename(folder)
    except OSError as error:
        raise InventoryError(f"{folder}: {error.strerror}; fix: write the inventory elsewhere") from None
    return folder / "hosts.yml"


def variables_of(project: Path) -> Path:
    """The folder of what is known of each kind of machine; raises InventoryError where a project lacks it."""
    folder = project / "inventory/cloudlab/group_vars"
    if not folder.is_dir():
        raise InventoryError(f"{folder}: not there; fix: install MustHerd again, or run from its checkout")
    return folder


def _variables(host: Host) -> dict[str, object]:
    found: dict[str, object] = {"ansible_host": Given(host.login)}
    if host.user:
        found["ansible_user"] = Given(host.user)
    if host.port != 22:
        found["ansible_port"] = host.port
    # Written out even where it follows from the name, so that a reader need not know the rule.
    found["herd_address"] = Given(host.address)
    if host.mac:
        found["herd_mac"] = Given(host.mac)
    return found


def _profile(host: Host) -> str:
    return host.kind if host.kind in PROFILES else "generic"


class Given(str):
    """Text that came from elsewhere: should it ever look like a template, it is written as `!unsafe`, which is none."""

    __slots__ = ()


def _yaml(content: object) -> str:
    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, _data: object) -> bool:
            return True

        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
            super().increase_indent(flow, False)

    def written(dumper: yaml.SafeDumper, text: Given) -> yaml.ScalarNode:
        template = re.search(r"\{[{%#]|[}%#]\}", text) is not None
        return dumper.represent_scalar("!unsafe", str(text)) if template else dumper.represent_str(str(text))

    Plain.add_representer(Given, written)
    return "---\n" + yaml.dump(content, Dumper=Plain, sort_keys=False, default_flow_style=False)


def port_number(text: str, where: str) -> int:
    """A port of TCP; raises InventoryError."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and 0 < int(text) <= 65535):
        raise InventoryError(f"{where[:80]}: port {text[:20]!r}; fix: give a number from 1 to 65535")
    return int(text)


def checked(hosts: list[Host]) -> list[Host]:
    """Every field is what it may be, so that none of it means something else to Ansible, ssh or a shell."""
    seen: set[str] = set()
    for host in hosts:
        if not NAME.fullmatch(host.name) or not NAME.fullmatch(host.login):
            raise InventoryError(
                f"{host.name[:80]!r} at {host.login[:80]!r} cannot be a host's name; fix: letters, digits, . _ -"
            )
        if host.user and not USER.fullmatch(host.user):
            raise InventoryError(
                f"host {host.name}: {host.user[:80]!r} cannot be an account; fix: letters, digits, . _ -"
            )
        if host.kind and not KIND.fullmatch(host.kind):
            raise InventoryError(
                f"host {host.name}: {host.kind[:80]!r} cannot be a type of machine; fix: fetch it again"
            )
        if host.address and not _is_address(host.address):
            raise InventoryError(
                f"host {host.name}: {host.address[:80]!r} is no IPv4 address; fix: fetch the manifest again"
            )
        if host.name in seen:
            raise InventoryError(f"two hosts are called {host.name}; fix: give names as NAME=ADDRESS")
        seen.add(host.name)
    return hosts


def _is_address(text: str) -> bool:
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True
