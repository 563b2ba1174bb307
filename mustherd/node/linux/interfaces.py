"""NICs: which one is measured, and which CPU each of its queues interrupts."""

import contextlib
import ipaddress

import msgspec

from mustherd.node.linux import vectors
from mustherd.node.linux.ethtool import Coalesce, Ethtool
from mustherd.node.linux.netlink import EthtoolError
from mustherd.node.linux.tree import INTERRUPTS, Tree, TreeError

NET = "sys/class/net"


class InterfaceError(Exception):
    """There is no interface, or more than one, that answers the description; the message lists what there is."""


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """An interrupt of a NIC."""

    irq: int
    name: str
    queue: int | None
    """The queue that it serves; None: it tells of the link, of commands, or of anything else but packets."""
    cpus: str
    """CPUs that it may go to, as the kernel lists them; "" when it doesn't tell."""


class Interface(msgspec.Struct, frozen=True, kw_only=True):
    """One NIC."""

    name: str
    driver: str
    mac: str
    addresses: tuple[str, ...]
    numa_node: str


COUNTS = ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes")
"""Of a NIC's statistics; a window has them as `nic_rx_packets` and so on (mustherd.metrics.NIC_COUNTS)."""


def traffic(tree: Tree, name: str) -> dict[str, float]:
    """What an interface has received and sent, by metric; what can't be read is left out."""
    found = {}
    for count in COUNTS:
        with contextlib.suppress(TreeError):
            found[f"nic_{count}"] = float(tree.number(f"{NET}/{name}/statistics/{count}"))
    return found


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
    above = _above(tree, ethtool, {i.name for i in there}) if wanted else {}
    fitting = (
        [i for i in there if _fits(i, wanted, above.get(i.name, ()))]
        if wanted
        else [i for i in there if _moderates(ethtool, i.name)]
    )
    # One that has an address is in use; ports without one are mostly unplugged.
    with_address = [i for i in fitting if i.addresses or above.get(i.name)]
    chosen = fitting if len(fitting) == 1 else with_address if wanted else fitting
    if len(chosen) == 1:
        return chosen[0]
    what = f"is {wanted!r}" if wanted else "has interrupt moderation"
    if not fitting:
        raise InterfaceError(f"no physical interface {what}; there is {listed}")
    raise InterfaceError(
        f"{len(fitting)} interfaces fit ({', '.join(i.name for i in fitting)}); name one; there is {listed}"
    )


def queues(tree: Tree, name: str) -> tuple[Queue, ...]:
    """The interrupts of an interface, those that serve its queues first and in their order; see `is_queue`."""
    device = f"{NET}/{name}/device"
    driver, own_device = _link(tree, f"{device}/driver"), _link(tree, device)
    own = [int(n) for n in tree.listed(f"{device}/msi_irqs") if n.isdecimal() and n.isascii()]
    names = vectors.interrupt_names(tree.peek(INTERRUPTS))
    serving = vectors.queue_vectors(names, driver, name, own_device, own)
    found = [(irq, queue) for queue, irqs in serving.items() for irq in irqs]
    others = sorted(set(own) & set(names) - {irq for irq, _ in found})
    return tuple(
        Queue(irq=irq, name=names[irq], queue=queue, cpus=tree.peek(f"proc/irq/{irq}/smp_affinity_list"))
        for irq, queue in (*found, *((irq, None) for irq in others))
    )


def receiving(tree: Tree, name: str) -> tuple[int, ...]:
    """The numbers of the queues that an interface receives on."""
    names = (n.removeprefix("rx-") for n in tree.listed(f"{NET}/{name}/queues") if n.startswith("rx-"))
    return tuple(int(number) for number in names if number.isdecimal() and number.isascii())


def is_queue(queue: Queue) -> bool:
    """Whether an interrupt serves packets, not the link's state."""
    return queue.queue is not None


def _link(tree: Tree, path: str) -> str:
    try:
        return tree.link(path)
    except TreeError:
        return ""


def _moderates(ethtool: Ethtool, name: str) -> bool:
    try:
        return ethtool.coalesce(name) != Coalesce()
    except EthtoolError:
        return False


def _above(tree: Tree, ethtool: Ethtool, cards: set[str]) -> dict[str, tuple[str, ...]]:
    """Card to the addresses of the VLANs, bonds, bridges and teams that stand on it, whatever is between."""
    try:
        addresses = ethtool.addresses()
    except EthtoolError:
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for name in tree.listed(NET):
        if name in cards:
            continue
        try:
            own = addresses.get(tree.number(f"{NET}/{name}/ifindex", 2**31), ())
        except TreeError:
            continue
        for card in lower_cards(tree, name, cards) if own else ():
            found[card] = (*found.get(card, ()), *own)
    return found


def lower_cards(tree: Tree, name: str, cards: set[str]) -> set[str]:
    """The cards below an interface, through any number of VLANs, bonds, bridges and teams."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        here = waiting.pop()
        if here in seen:
            continue
        seen.add(here)
        waiting += [n.removeprefix("lower_") for n in tree.listed(f"{NET}/{here}") if n.startswith("lower_")]
    return seen & cards


def _fits(interface: Interface, wanted: str, above: tuple[str, ...]) -> bool:
    if wanted in (interface.name, interface.driver) or wanted.lower() == interface.mac:
        return True
    try:
        network = ipaddress.ip_network(wanted)
    except ValueError:
        return False
    own = (ipaddress.ip_interface(a).ip for a in (*interface.addresses, *above))
    return any(a.version == network.version and a in network for a in own)
