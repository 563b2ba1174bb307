"""CloudLab's manifest of an experiment (GENI RSpec 3): its machines, who may log in to them, and what they share."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError
from xml.parsers import expat

from mustherd.errors import shown
from mustherd.provision.inventory import GROUPS, Host, InventoryError, Nodes, addressed, checked, port_number

BIGGEST = 8 * 1024 * 1024
"""Bytes; a manifest of a thousand nodes has two million."""
MOST_NAMES = 400
"""Characters of all nodes' names in an error."""
EMULAB = "{http://www.protogeni.net/resources/rspec/ext/emulab/1}"
NO_MACHINE = re.compile(r"blockstore|switch|delay|bridge|firewall|radio|attenuator", re.IGNORECASE)
"""Words in the type of a node that nobody logs in to as to a machine: datasets, switches, traffic shapers."""
MAC = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True)
class _Port:
    """An address of a node, the LAN it is in, and the MAC of its card; no network where no netmask is given."""

    address: IPv4Address
    network: IPv4Network | None
    mac: str


@dataclass(frozen=True)
class _Machine:
    name: str
    logins: tuple[tuple[str, str, int], ...]
    """Account, host, port."""
    kind: str
    ports: tuple[_Port, ...]


def from_manifest(
    text: bytes, *, user: str = "", asker: str = "", network: str = "", without: Sequence[str] = ()
) -> Nodes:
    """The machines of a manifest, as the portal shows it.

    `user` is the account to log in with; else it is the asker's where the manifest has it, or the only one. `network`
    is the LAN to use; else it is the one that all machines share. `without` names nodes to be left out. Raises
    InventoryError where something would have to be guessed.
    """
    root = _parse(text)
    if _plain(root.tag) != "rspec":
        raise InventoryError(f"the root is <{_plain(root.tag)}>, not <rspec>; fix: copy the manifest, not the profile")
    notes: list[str] = []
    machines = []
    nodes = [node for node in root if _plain(node.tag) == "node"]
    names = [node.get("client_id", "") for node in nodes]
    unknown = sorted(set(without) - set(names))
    if unknown:
        raise InventoryError(
            f"--without: no node is called {', '.join(unknown)}; fix: choose of {shown(', '.join(names), MOST_NAMES)}"
        )
    for node in nodes:
        name, kind = node.get("client_id", ""), _kind(node)
        if name in without:
            continue
        if NO_MACHINE.search(kind):
            notes.append(f"{name[:80]!r} is left out: {kind[:80]!r} is no machine")
            continue
        machines.append(_machine(node, name, notes))
    if not machines:
        raise InventoryError(
            "the manifest names no node that is a machine; fix: copy it after the experiment has been swapped in"
        )
    twice = next((machine.name for machine in machines if [m.name for m in machines].count(machine.name) > 1), None)
    if twice is not None:
        raise InventoryError(f"two hosts are called {twice[:80]!r}; fix: fetch the manifest again")
    accounts = _accounts(machines, user, asker, notes)
    lan = _lan(machines, network, notes)
    hosts = [_host(machine, account, lan, notes) for machine, account in zip(machines, accounts, strict=True)]
    hosts = checked(_apart_from_groups(hosts, notes))
    return addressed(Nodes(tuple(hosts), lan, tuple(notes)))


def _machine(node: ET.Element, name: str, notes: list[str]) -> _Machine:
    logins = tuple(
        (login.get("username", ""), login.get("hostname", ""), port_number(login.get("port") or "22", name[:80]))
        for login in _all(node, "login")
        if login.get("hostname")
    )
    if not logins:
        raise InventoryError(
            f"node {shown(name) or '?'} has no login; fix: wait until the experiment is ready, or --without it"
        )
    hardware = _first(node, "hardware_type")
    vnode = node.find(f"{EMULAB}vnode")
    kind = (hardware.get("name", "") if hardware is not None else "") or (
        vnode.get("hardware_type", "") if vnode is not None else ""
    )
    ports = []
    for interface in _all(node, "interface"):
        mac = interface.get("mac_address", "").lower().replace(":", "").replace("-", "")
        if mac and (not MAC.fullmatch(mac) or set(mac) == {"0"}):
            notes.append(f"node {shown(name)}: {shown(mac, 40)!r} is no MAC address of a card, and is not used")
            mac = ""
        mac = ":".join(mac[at : at + 2] for at in range(0, len(mac), 2))
        ports += [_port(ip, mac, name) for ip in _all(interface, "ip") if _is_ipv4(ip)]
    return _Machine(name, logins, kind, tuple(ports))


def _kind(node: ET.Element) -> str:
    """What a node is, by the type of its sliver or, where that says nothing, of its hardware."""
    sliver, vnode = _first(node, "sliver_type"), node.find(f"{EMULAB}vnode")
    named = sliver.get("name", "") if sliver is not None else ""
    hardware = vnode.get("hardware_type", "") if vnode is not None else ""
    return hardware if NO_MACHINE.search(hardware) and not NO_MACHINE.search(named) else named


def _is_ipv4(ip: ET.Element) -> bool:
    """Where no type is given, by the look of it."""
    address = ip.get("address", "")
    return bool(address) and (ip.get("type") or ("ipv6" if ":" in address else "ipv4")).lower() == "ipv4"


def _port(ip: ET.Element, mac: str, name: str) -> _Port:
    text, mask = ip.get("address", ""), ip.get("netmask", "")
    try:
        address = IPv4Address(text)
    except AddressValueError:
        raise InventoryError(
            f"node {shown(name)}: {shown(text)!r} is no IPv4 address; fix: fetch the manifest again"
        ) from None
    if not mask:
        return _Port(address, None, mac)
    try:
        network = IPv4Network((text, mask), strict=False)
    except (NetmaskValueError, AddressValueError, ValueError):
        raise InventoryError(
            f"node {shown(name)}: {shown(mask)!r} is no netmask; fix: fetch the manifest again"
        ) from None
    return _Port(address, network, mac)


def _accounts(machines: Sequence[_Machine], user: str, asker: str, notes: list[str]) -> list[str]:
    """The account to log in with on each machine, the same on all of them unless each has only one."""
    offered = [list(dict.fromkeys(account for account, _, _ in machine.logins if account)) for machine in machines]
    named = ", ".join(_short(dict.fromkeys(account for accounts in offered for account in accounts)))
    for account, fix in ((user, "choose another with --user"), (asker, "")):
        lacking = [machine.name for machine, accounts in zip(machines, offered, strict=True) if account not in accounts]
        if account and not any(offered):
            return [account if fix else ""] * len(machines)
        if account and not lacking:
            return [account] * len(machines)
        if account and fix:
            raise InventoryError(
                f"no login for {account!r} on {', '.join(_short(lacking))}, where there are {named}; fix: {fix}"
            )
    if all(len(accounts) <= 1 for accounts in offered):
        if named:
            notes.append(f"logins are for {named}, the only one of each node")
        return [next(iter(accounts), "") for accounts in offered]
    raise InventoryError(
        f"the manifest has logins for {named}, and not for {asker or 'whoever asks'} on every node; fix: choose yours"
        " with --user"
    )


def _lan(machines: Sequence[_Machine], wanted: str, notes: list[str]) -> IPv4Network | None:
    """The network that all machines which have any address share; None where none has one."""
    lans = _lans(machines, notes)
    having = [machine.name for machine in machines if machine.ports]
    listed = "; ".join(f"{lan} ({', '.join(_short(members))})" for lan, members in list(lans.items())[:20])
    if wanted:
        try:
            chosen = IPv4Network(wanted)
        except ValueError:
            raise InventoryError(f"--network {wanted!r} is no IPv4 network; fix: write it like 10.10.1.0/24") from None
        if not lans:
            return chosen
        outside = [name for name in having if name not in lans.get(chosen, ())]
        if outside:
            raise InventoryError(
                f"{', '.join(_short(outside))} {'has' if len(outside) == 1 else 'have'} no address in {chosen}; the"
                f" manifest's networks are {listed}; fix: choose another, or leave these out with --without"
            )
        return chosen
    shared = [lan for lan, members in lans.items() if len(members) == len(having)]
    if len(shared) > 1:
        raise InventoryError(
            f"the nodes share {len(shared)} networks, {', '.join(map(str, shared))}; fix: choose the experiment's with"
            f" --network {shared[0]}"
        )
    if lans and not shared:
        raise InventoryError(
            f"no network has all nodes: {listed}; fix: choose one with --network, and leave the nodes that are not in"
            " it out with --without"
        )
    return shared[0] if shared else None


def _lans(machines: Sequence[_Machine], notes: list[str]) -> Mapping[IPv4Network, list[str]]:
    """Network to the machines that are in it, in the manifest's order."""
    lans: dict[IPv4Network, list[str]] = {
        port.network: [] for machine in machines for port in machine.ports if port.network
    }
    for machine in machines:
        for port in machine.ports:
            lan = _network_of(port, lans)
            if lan not in lans:
                lans[lan] = []
                notes.append(f"{port.address} of {machine.name[:80]} has no netmask: taken to be in {lan}")
            if machine.name not in lans[lan]:
                lans[lan].append(machine.name)
    return {lan: members for lan, members in lans.items() if lan.prefixlen < 32}


def _network_of(port: _Port, known: Mapping[IPv4Network, object]) -> IPv4Network:
    """A port's network; of one without a netmask the one that others have around it, or the 256 addresses around."""
    around = (lan for lan in known if port.address in lan)
    return port.network or next(around, None) or IPv4Network((port.address, 24), strict=False)


def _host(machine: _Machine, account: str, lan: IPv4Network | None, notes: list[str]) -> Host:
    login = next((login for login in machine.logins if login[0] == account), machine.logins[0])
    ports = [port for port in machine.ports if lan is not None and _in(port, lan)]
    if len(ports) > 1:
        notes.append(
            f"{machine.name[:80]} is at {', '.join(str(port.address) for port in ports)} in {lan}: the first is taken"
        )
    return Host(
        name=machine.name,
        login=login[1],
        user=account,
        port=login[2],
        kind=machine.kind,
        address=str(ports[0].address) if ports else "",
        mac=ports[0].mac if ports else "",
    )


def _in(port: _Port, lan: IPv4Network) -> bool:
    return port.network == lan or (port.network is None and port.address in lan)


def _apart_from_groups(hosts: Sequence[Host], notes: list[str]) -> list[Host]:
    """Hosts that are called as a group is get another name: to Ansible, hosts and groups are one kind of name."""
    taken = {host.name for host in hosts} | GROUPS
    apart = []
    for host in hosts:
        name = host.name
        if name in GROUPS:
            name = next(
                other for other in (f"{name}-node", *(f"{name}-node{n}" for n in range(99))) if other not in taken
            )
            taken.add(name)
            notes.append(f"{host.name} is called {name} here, since a group is called {host.name}")
        apart.append(replace(host, name=name))
    return apart


def _short(names: "Sequence[str] | Mapping[str, object]") -> list[str]:
    """Names as a message lists them: no endless ones, no endless list."""
    few = [name[:40] if name.isprintable() else ascii(name[:40]) for name in list(names)[:20]]
    return few + ([f"{len(names) - 20} more"] if len(names) > 20 else [])


def _parse(text: bytes) -> ET.Element:
    """XML without a document type, so that no entity can be declared, let alone expanded."""
    if len(text) > BIGGEST:
        raise InventoryError(f"{len(text)} bytes are no manifest; fix: give the manifest that the portal shows")

    def refuse(*_: object) -> None:
        raise InventoryError("the manifest declares a document type, which a manifest never does; fix: fetch it again")

    first = expat.ParserCreate()
    first.StartDoctypeDeclHandler = refuse
    try:
        first.Parse(text, True)
        return ET.fromstring(text)  # noqa: S314 - without a document type there is nothing to expand
    except (expat.ExpatError, ET.ParseError, ValueError, LookupError) as error:
        raise InventoryError(f"not XML: {error}; fix: give the manifest that the portal shows") from None


def _plain(tag: str) -> str:
    return tag.rpartition("}")[2]


def _all(node: ET.Element, name: str) -> list[ET.Element]:
    return [part for part in node.iter() if _plain(part.tag) == name]


def _first(node: ET.Element, name: str) -> ET.Element | None:
    return next(iter(_all(node, name)), None)
