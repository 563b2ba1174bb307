"""Inventories written from what a user has: CloudLab's manifest of an experiment, or a list of hosts."""

import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from pathlib import Path
from types import MappingProxyType
from xml.parsers import expat

import yaml

from mustherd.errors import UserError

PROFILES = ("c6220", "c8220")
"""Types of machine that have a profile; any other is generic."""
BIGGEST = 8 * 1024 * 1024
"""Bytes; a manifest of a thousand nodes has two million."""
NETWORK = IPv4Network("10.10.1.0/24")
NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
LOGIN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
"""A host name or an IPv4 address."""
USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
"""useradd(8), and the upper case and dots that some sites have."""
EMULAB = "{http://www.protogeni.net/resources/rspec/ext/emulab/1}"


class InventoryError(UserError):
    """No inventory can be made of it; the message says where and the fix."""


@dataclass(frozen=True)
class Host:
    """One node: its name in the experiment, where to log in, what it is, its address in the experiment's network."""

    name: str
    login: str
    user: str = ""
    port: int = 22
    kind: str = ""
    address: str = ""


def from_manifest(text: bytes) -> list[Host]:
    """Nodes of a GENI RSpec manifest, version 3, as the portal shows it. Raises InventoryError."""
    root = _parse(text)
    if _plain(root.tag) != "rspec":
        raise InventoryError(f"the root is <{_plain(root.tag)}>, not <rspec>; fix: copy the manifest, not the profile")
    hosts = []
    for node in root:
        if _plain(node.tag) != "node":
            continue
        name = node.get("client_id", "")
        login = _first(node, "login")
        if login is None or not login.get("hostname"):
            raise InventoryError(f"node {name or '?'} has no login; fix: wait until the experiment is ready")
        kind = _first(node, "hardware_type")
        vnode = node.find(f"{EMULAB}vnode")
        ip = next((part for part in _all(node, "ip") if part.get("type", "ipv4") == "ipv4"), None)
        hosts.append(
            Host(
                name=name,
                login=login.get("hostname", ""),
                user=login.get("username", ""),
                port=_port(login.get("port", "22"), name),
                kind=(kind.get("name", "") if kind is not None else "")
                or (vnode.get("hardware_type", "") if vnode is not None else ""),
                address=ip.get("address", "") if ip is not None else "",
            )
        )
    if not hosts:
        raise InventoryError("the manifest names no node; fix: copy it after the experiment has been swapped in")
    return _checked(hosts)


def from_names(names: Sequence[str]) -> list[Host]:
    """Nodes from words such as `alice@10.0.0.5:2222` or `node1=node1.example.org`; raises InventoryError."""
    hosts = []
    pattern = re.compile(r"(?:(?P<name>[^=@:]+)=)?(?:(?P<user>[^@:=]+)@)?(?P<login>[^@:=]+)(?::(?P<port>\d+))?")
    for number, word in enumerate(names):
        match = pattern.fullmatch(word)
        if not match:
            raise InventoryError(f"{word!r} is no host; fix: write [NAME=][USER@]ADDRESS[:PORT]")
        login = match["login"]
        label = login if re.fullmatch(r"[0-9.]+", login) is None else ""
        name = match["name"] or label.partition(".")[0] or f"node{number}"
        hosts.append(Host(name, login, match["user"] or "", _port(match["port"] or "22", word)))
    return _checked(hosts)


def write(
    hosts: Sequence[Host],
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
    names = [host.name for host in hosts]
    shepherd = shepherd or names[0]
    musters = list(musters) or [name for name in names if name != shepherd][:1] or [shepherd]
    agents = [name for name in names if name not in (shepherd, *musters)] if agents is None else list(agents)
    unknown = sorted({shepherd, *musters, *agents} - set(names))
    if unknown:
        raise InventoryError(f"no host is called {', '.join(unknown)}; fix: choose of {', '.join(names)}")
    if folder.exists():
        raise InventoryError(f"{folder} is there already; fix: remove it or write elsewhere")
    profiles = variables_of(project)
    known = {host.name: _variables(host, number) for number, host in enumerate(hosts)}
    groups: dict[str, dict[str, dict[str, dict[str, object]]]] = {
        "shepherd": {"hosts": {shepherd: known[shepherd]}},
        "musters": {"hosts": {name: known[name] for name in musters}},
        "loadgen_leader": {"hosts": {shepherd: {}}},
        "loadgen_agents": {"hosts": {name: known[name] for name in agents}},
    }
    for profile in (*PROFILES, "generic"):
        groups[profile] = {"hosts": {host.name: {} for host in hosts if _profile(host) == profile}}
    (folder / "group_vars").mkdir(parents=True)
    for profile in (*PROFILES, "generic"):
        shutil.copy(profiles / f"{profile}.yml", folder / "group_vars" / f"{profile}.yml")
    common: dict[str, object] = {"ansible_become": True, "herd_network": str(NETWORK), "herd_musters": [0]}
    if not all(host.user for host in hosts):
        common = {"ansible_user": "{{ lookup('ansible.builtin.env', 'USER') }}"} | common
    (folder / "group_vars/all.yml").write_text(_yaml({**common, **variables}), encoding="utf-8")
    (folder / "hosts.yml").write_text(_yaml({"all": {"children": groups}}), encoding="utf-8")
    return folder / "hosts.yml"


def variables_of(project: Path) -> Path:
    """The folder of what is known of each kind of machine; raises InventoryError where a project lacks it."""
    folder = project / "inventory/cloudlab/group_vars"
    if not folder.is_dir():
        raise InventoryError(f"{folder}: not there; fix: install MustHerd again, or run from its checkout")
    return folder


def _variables(host: Host, number: int) -> dict[str, object]:
    numbered = re.search(r"\d+", host.name)
    derived = str(NETWORK[int(numbered[0]) + 1]) if numbered and int(numbered[0]) < 253 else ""
    found: dict[str, object] = {"ansible_host": Unsafe(host.login)}
    if host.user:
        found["ansible_user"] = Unsafe(host.user)
    if host.port != 22:
        found["ansible_port"] = host.port
    # Written out even where it follows from the name, so that a reader need not know the rule.
    found["herd_address"] = Unsafe(host.address or derived or str(NETWORK[number + 1]))
    return found


def _profile(host: Host) -> str:
    return host.kind if host.kind in PROFILES else "generic"


class Unsafe(str):
    """Text that came from elsewhere: written as `!unsafe`, which Ansible never takes for a template."""

    __slots__ = ()


def _yaml(content: object) -> str:
    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, _data: object) -> bool:
            return True

        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
            super().increase_indent(flow, False)

    Plain.add_representer(Unsafe, lambda dumper, text: dumper.represent_scalar("!unsafe", str(text)))
    return "---\n" + yaml.dump(content, Dumper=Plain, sort_keys=False, default_flow_style=False)


def _port(text: str, where: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and 0 < int(text) <= 65535):
        raise InventoryError(f"{where}: port {text[:20]!r}; fix: give a number from 1 to 65535")
    return int(text)


def _checked(hosts: list[Host]) -> list[Host]:
    """Every field is what it may be, so that none of it means something else to Ansible, ssh or a shell."""
    seen: set[str] = set()
    for host in hosts:
        if not NAME.fullmatch(host.name) or not LOGIN.fullmatch(host.login):
            raise InventoryError(
                f"{host.name[:80]!r} at {host.login[:80]!r} cannot be a host's name; fix: letters, digits, . _ -"
            )
        if host.user and not USER.fullmatch(host.user):
            raise InventoryError(
                f"host {host.name}: {host.user[:80]!r} cannot be an account; fix: letters, digits, . _ -"
            )
        if host.kind and not NAME.fullmatch(host.kind):
            raise InventoryError(
                f"host {host.name}: {host.kind[:80]!r} cannot be a type of machine; fix: fetch it again"
            )
        if host.address:
            try:
                IPv4Address(host.address)
            except AddressValueError:
                raise InventoryError(
                    f"host {host.name}: {host.address[:80]!r} is no IPv4 address; fix: fetch the manifest again"
                ) from None
        if host.name in seen:
            raise InventoryError(f"two hosts are called {host.name}; fix: give names as NAME=ADDRESS")
        seen.add(host.name)
    return hosts


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
    except (expat.ExpatError, ET.ParseError, ValueError) as error:
        raise InventoryError(f"not XML: {error}; fix: give the manifest that the portal shows") from None


def _plain(tag: str) -> str:
    return tag.rpartition("}")[2]


def _all(node: ET.Element, name: str) -> list[ET.Element]:
    return [part for part in node.iter() if _plain(part.tag) == name]


def _first(node: ET.Element, name: str) -> ET.Element | None:
    return next(iter(_all(node, name)), None)
