"""NICs: which one is measured, and which CPU each of its queues interrupts."""

import ipaddress
import re

import msgspec

from mustherd.node.linux.ethtool import Coalesce, Ethtool, EthtoolError
from mustherd.node.linux.tree import Tree, TreeError

NET = "sys/class/net"


class InterfaceError(Exception):
    """There is no interface, or more than one, that answers the description; the message lists what there is."""


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """An interrupt of a NIC."""

    irq: int
    name: str
    cpus: str
    """CPUs that it may go to, as the kernel lists them; "" when it doesn't tell."""


class Interface(msgspec.Struct, frozen=True, kw_only=True):
    """One NIC."""

    name: str
    driver: str
    mac: str
    addresses: tuple[str, ...]
    numa_node: str


def physical(tree: Tree, ethtool: Ethtool) -> tuple[Interface, ...]:
    """Interfaces with a device behind them, by name."""
    try:
        addresses = ethtool.addresses()
    except EthtoolError:
        addresses = {}
    found = []
    for name in tree.listed(NET):
        if not tree.has(f"{NET}/{name}/device"):
            continue
        try:
            driver = tree.link(f"{NET}/{name}/device/driver")
            index = tree.number(f"{NET}/{name}/ifindex", 2**31)
        except TreeError:
            continue
        found.append(
            Interface(
                name=name,
                driver=driver,
                mac=tree.peek(f"{NET}/{name}/address").lower(),
                addresses=addresses.get(index, ()),
                numa_node=tree.peek(f"{NET}/{name}/device/numa_node"),
            )
        )
    return tuple(found)


def choose(tree: Tree, ethtool: Ethtool, wanted: str) -> Interface:
    """The interface that `wanted` means: see LinuxOptions.interface. Raises InterfaceError."""
    there = physical(tree, ethtool)
    listed = ", ".join(" ".join((i.name, f"({i.driver})", *i.addresses)) for i in there) or "none"
    fitting = [i for i in there if _fits(i, wanted)] if wanted else [i for i in there if _moderates(ethtool, i.name)]
    # One that has an address is in use; ports without one are mostly unplugged.
    chosen = fitting if len(fitting) == 1 else [i for i in fitting if i.addresses] if wanted else fitting
    if len(chosen) == 1:
        return chosen[0]
    what = f"is {wanted!r}" if wanted else "has interrupt moderation"
    if not fitting:
        raise InterfaceError(f"no physical interface {what}; there is {listed}")
    raise InterfaceError(
        f"{len(fitting)} interfaces fit ({', '.join(i.name for i in fitting)}); name one; there is {listed}"
    )


def queues(tree: Tree, name: str) -> tuple[Queue, ...]:
    """The interrupts of an interface: its device's MSI vectors, else the lines of /proc/interrupts with its name."""
    names = _interrupt_names(tree)
    numbers = [int(n) for n in tree.listed(f"{NET}/{name}/device/msi_irqs") if n.isdecimal() and n.isascii()]
    if not numbers:
        own = re.compile(rf"{re.escape(name)}(-.*)?")
        numbers = [irq for irq, called in names.items() if own.fullmatch(called)]
    return tuple(
        Queue(irq=n, name=names[n], cpus=tree.peek(f"proc/irq/{n}/smp_affinity_list"))
        for n in sorted(numbers)
        if n in names
    )


def is_queue(queue: Queue) -> bool:
    """Whether an interrupt serves packets, not the link's state."""
    return re.search(r"-(TxRx|tx-?rx|rx|tx|input|output|comp\d*)[-.@\d]*", queue.name, re.IGNORECASE) is not None


def _interrupt_names(tree: Tree) -> dict[int, str]:
    """Interrupt number to the last word of its line."""
    found = {}
    for line in tree.peek("proc/interrupts").splitlines():
        number, colon, rest = line.partition(":")
        words = rest.split()
        if colon and words and number.strip().isdecimal() and number.strip().isascii() and len(number) < 12:
            found[int(number)] = words[-1]
    return found


def _moderates(ethtool: Ethtool, name: str) -> bool:
    try:
        return ethtool.coalesce(name) != Coalesce()
    except EthtoolError:
        return False


def _fits(interface: Interface, wanted: str) -> bool:
    if wanted in (interface.name, interface.driver) or wanted.lower() == interface.mac:
        return True
    try:
        network = ipaddress.ip_network(wanted)
    except ValueError:
        return False
    own = (ipaddress.ip_interface(a).ip for a in interface.addresses)
    return any(a.version == network.version and a in network for a in own)
