"""Links of a machine: what is up, what stands on what, and what the machine is reached by."""

from __future__ import annotations  # an old node's Python reads these types as text

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from .node import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .node import Node


def with_carrier(node: Node, names: Iterable[str]) -> list[str]:
    """Those whose link is up and has a partner."""
    return [name for name in names if node.read(node.net / name / "carrier") == "1"]


def is_up(node: Node, interface: str) -> bool:
    """Whether it is switched on, with a carrier or without."""
    return bool(int(node.read(node.net / interface / "flags") or "0", 16) & 1)


def links_up(node: Node) -> set[str]:
    """Every interface that is switched on."""
    return {folder.name for folder in (node.net.iterdir() if node.net.is_dir() else ()) if is_up(node, folder.name)}


def mac_of(node: Node, interface: str) -> str:
    """The card's own, which a bond hides."""
    folder = node.net / interface
    return (node.read(folder / "bonding_slave/perm_hwaddr") or node.read(folder / "address") or "").lower()


def pci_of(node: Node, interface: str) -> str:
    """Where the port sits, such as 0000:82:00.1."""
    return Path(os.path.realpath(node.net / interface / "device")).name.lower()


def control_ports(node: Node, login: str | None) -> dict[str, str]:
    """Ports by which the node is reached, and what goes through each: the default route, this login."""
    found = dict.fromkeys(default_routes(node), "the default route")
    address = login if login is not None else login_address() if node.root == Path("/") else ""
    through = addresses(node).get(address, "") if address else ""
    if through:
        found.setdefault(through, f"the login to {address}")
    return {below: why for name, why in found.items() for below in (name, *lower_interfaces(node, name))}


def default_routes(node: Node) -> list[str]:
    """Interfaces of default routes of both families, as the kernel lists routes."""
    names = []
    for line in (node.read(node.root / "proc/net/route") or "").splitlines():
        words = line.split()
        if len(words) > 7 and words[1] == words[7] == "00000000":
            names.append(words[0])
    for line in (node.read(node.root / "proc/net/ipv6_route") or "").splitlines():
        words = line.split()
        # RTF_REJECT is what the kernel itself puts where there is no route.
        if len(words) == 10 and words[0] == "0" * 32 and words[1] == "00" and not int(words[8], 16) & 0x200:
            names.append(words[9])
    return names


def login_address() -> str:
    """This node's address of the ssh login that we came by; sudo hides it, so it is asked of our ancestors."""
    process = os.getpid()
    for _ in range(32):
        try:
            told = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
            words = next((text.split(b"=", 1)[1].split() for text in told if text.startswith(b"SSH_CONNECTION=")), [])
            if len(words) == 4:
                return words[2].decode("ascii", "replace")
            process = int(
                Path(f"/proc/{process}/stat")
                .read_text(encoding="ascii", errors="replace")
                .rpartition(")")[2]
                .split()[1]
            )
        except (OSError, ValueError, IndexError):
            return ""
    return ""


def foreign(node: Node, held: Mapping[str, str], herd: str) -> set[str]:
    """Interfaces that have an IPv4 address which is not the herd's."""
    return {
        below
        for address, name in held.items()
        if "." in address and address != herd and not address.startswith(("169.254.", "127."))
        for below in (name, *lower_interfaces(node, name))
    }


def ip(*words: str) -> str:
    """What iproute2's tool prints."""
    try:
        answer = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise RefusedError("the tool ip is missing. Fix: apt-get install iproute2") from None
    if answer.returncode:
        raise RefusedError(f"ip {' '.join(words)}: {answer.stderr.strip()}. Fix: see it by hand on the node")
    return answer.stdout


def addresses(node: Node) -> dict[str, str]:
    """Every address of this machine, and the name of its interface; a tree of files has none."""
    if node.root != Path("/"):
        return {}
    return {
        entry["local"]: link["ifname"]
        for link in json.loads(ip("-j", "address", "show") or "[]")
        for entry in link.get("addr_info", [])
        if "local" in entry
    }


def lower_interfaces(node: Node, interface: str) -> list[str]:
    """What an interface stands on, through any number of VLANs, bonds, bridges and teams."""
    seen: list[str] = []
    waiting = [interface]
    while waiting:
        folder = node.net / waiting.pop()
        below = [path.name[6:] for path in folder.glob("lower_*")]
        waiting += [name for name in below if name not in seen]
        seen += [name for name in below if name not in seen]
    return seen
