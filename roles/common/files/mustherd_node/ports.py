"""The experiment's port: which it is, and bringing it up."""

from __future__ import annotations  # an old node's Python reads these types as text

import json
import time
from typing import TYPE_CHECKING

from .links import (
    addresses,
    control_ports,
    foreign,
    ip,
    is_up,
    links_up,
    lower_interfaces,
    mac_of,
    pci_of,
    with_carrier,
)
from .node import RefusedError, UndecidedError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from .node import Node

NAME_IT = "Fix: give the experiment's port as herd_mac (or kernel_ixgbe_interface) on the host"


def find_port(node: Node, options: argparse.Namespace) -> str:
    """The experiment's port: the one named, else the one with the address, else the only one that it can be.

    Links that are down are brought up where nothing else decides, and down again but for the one that is found; a plan
    raises UndecidedError instead. Never the port of the default route or of the login, unless the address is there.
    """
    names = node.interfaces(options.driver)
    control = control_ports(node, options.login)
    held = addresses(node)
    herd = options.address.partition("/")[0] if options.address else ""
    above = held.get(herd, "")
    holding = [name for name in names if above and name in (above, *lower_interfaces(node, above))]
    named = named_port(node, names, options)
    if named:
        if named in control and named not in (above, *lower_interfaces(node, above)):
            raise RefusedError(f"{named} is the port of {control[named]}, which is never touched. {NAME_IT}")
        return named
    if not names:
        raise RefusedError(
            f"no card is bound to {options.driver}: found {node.drivers()}. "
            "Fix: on this host kernel_ixgbe_driver=false and herd_nic_driver as another driver, or empty, to do "
            "the rest without, or choose a node that has the card"
        )
    if len(holding) == 1:
        return holding[0]
    free = [name for name in names if name not in control]
    if not free:
        taken = ", ".join(f"{name} ({control[name]})" for name in names)
        raise RefusedError(f"every port of {options.driver} is the control network's: {taken}. {NAME_IT}")
    # Several LANs may be on one port, so that another address rules it out only where there is another port.
    used = foreign(node, held, herd)
    free = [name for name in free if name not in used] or free
    return free[0] if len(free) == 1 else by_carrier(node, free, options)


def named_port(node: Node, names: Sequence[str], options: argparse.Namespace) -> str:
    """The port that is named by interface, MAC or PCI address; empty where none of them is given."""
    if options.interface:
        if not (node.net / options.interface).exists():
            raise RefusedError(
                f"no interface {options.interface}: found {node.drivers()}. Fix: correct kernel_ixgbe_interface"
            )
        return str(options.interface)
    for what, wanted, of in (("MAC", options.mac, mac_of), ("PCI address", options.pci, pci_of)):
        if wanted:
            found = [name for name in names if of(node, name) == wanted.lower()]
            if len(found) == 1:
                return found[0]
            there = ", ".join(f"{name} {of(node, name)}" for name in names) or node.drivers()
            how_many = "several ports" if found else "no port"
            raise RefusedError(
                f"{how_many} of {options.driver} with the {what} {wanted}: found {there}. "
                "Fix: correct herd_mac on the host, or take it out"
            )
    return ""


def by_carrier(node: Node, free: Sequence[str], options: argparse.Namespace) -> str:
    """The only one of several ports that has a carrier, once all of them are up."""
    down = [name for name in free if not is_up(node, name)]
    if down and options.dry:
        raise UndecidedError(free)
    chosen = ""
    try:
        for name in down:
            ip("link", "set", "dev", name, "up")
        ends = time.monotonic() + (options.wait if down else 0)
        while len(linked := with_carrier(node, free)) < len(free) and time.monotonic() < ends:
            time.sleep(0.2)
        if len(linked) == 1:
            chosen = linked[0]
    finally:
        for name in down:
            if name != chosen:
                ip("link", "set", "dev", name, "down")
    if not chosen:
        having = f"{', '.join(linked)} have" if linked else "none has"
        seen = ", ".join(f"{name} {mac_of(node, name)}" for name in free)
        raise RefusedError(
            f"several ports of {options.driver} may be the experiment's, and {having} a carrier: {seen}. {NAME_IT}"
        )
    return chosen


def up(node: Node, options: argparse.Namespace) -> list[str]:
    """Bring the port's link up with its address; what was done, one line each."""
    before = links_up(node)
    try:
        interface = find_port(node, options)
    except UndecidedError as undecided:
        return [f"ip link set dev {name} up, to see whether it has a carrier" for name in undecided.names]
    address, _, prefix = options.address.partition("/")
    held = addresses(node).get(address)
    if held is not None and interface not in (held, *lower_interfaces(node, held)):
        raise RefusedError(
            f"address {address} is already on {held}, and {interface} is the port. "
            "Fix: take it off there, or correct herd_address or herd_mac"
        )
    steps = []
    if interface not in before:
        steps.append(["link", "set", "dev", interface, "up"])
    if held is None:
        steps.append(["address", "add", f"{address}/{prefix or 24}", "dev", interface])
    for step in steps:
        if not options.dry:
            ip(*step)
    return [" ".join(["ip", *step]) for step in steps]


def port(node: Node, options: argparse.Namespace) -> list[str]:
    """The port, as one line of JSON by which it is found again whatever it is called then; links stay as they were."""
    before = links_up(node)
    try:
        interface = find_port(node, options)
    except UndecidedError as undecided:
        return [json.dumps({"candidates": undecided.names})]
    if interface not in before and is_up(node, interface):
        ip("link", "set", "dev", interface, "down")
    return [json.dumps({"interface": interface, "mac": mac_of(node, interface), "pci": pci_of(node, interface)})]


def stats(node: Node, options: argparse.Namespace) -> list[str]:
    """Check the instrumented driver's files without reading them to the end: a whole read would empty them."""
    # Without a card bound to it, reading one of these files brings the kernel down. Which of its ports is the herd's
    # matters only where one is named.
    if not node.interfaces(options.driver) or options.mac or options.pci or options.interface:
        find_port(node, options)
    folder = node.root / "proc/ixgbe_stats/core"
    absent = [core for core in node.online() if not (folder / str(core)).is_file()]
    if absent:
        raise RefusedError(
            f"{folder}: no file for cores {', '.join(map(str, absent))}. "
            "Fix: run the kernel_ixgbe role with tag driver; the loaded ixgbe is not the instrumented one"
        )
    for core in node.online():
        with (folder / str(core)).open("rb") as file:
            file.read(1)
    return []
