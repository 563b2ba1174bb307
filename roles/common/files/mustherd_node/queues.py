"""Interrupts of a card's queues: which they are, and the cores that they and the queues go to."""

from __future__ import annotations  # an old node's Python reads these types as text

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .node import RefusedError, choice, mask, parse_cores
from .ports import find_port

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Mapping

    from .node import Node, Plan

_PAIRS = r"(?P<owner>\S+?)-(?:TxRx|Tx-Rx|tx-rx|txrx|rxtx|rx|tx)-(?P<queue>\d+)"

_PLAIN = r"(?P<owner>\S+?)(?:-(?:rx|tx))?-(?P<queue>\d+)"

_INTEL = r"(?:i40e|iavf|ice)-(?P<owner>[^\s:]+)-(?:TxRx|rx|tx)-(?P<queue>\d+)"

QUEUES = {
    "ixgbe": _PAIRS,
    "ixgbevf": _PAIRS,
    "igb": _PAIRS,
    "igbvf": _PAIRS,
    "igc": _PAIRS,
    "e1000e": _PAIRS,
    "bnxt_en": _PAIRS,
    "tg3": _PAIRS,
    "vmxnet3": _PAIRS,
    "nfp": _PAIRS,
    "i40e": _INTEL,
    "iavf": _INTEL,
    "ice": _INTEL,
    "mlx5_core": r"mlx5_comp(?P<queue>\d+)(?:@pci:(?P<owner>\S+))?",
    "mlx4_core": r"(?:mlx4-(?P<queue>\d+)@(?:pci:)?(?P<owner>\S+)|(?P<owner_2>\S+?)-(?P<queue_2>\d+))",
    "ena": _PAIRS,
    "virtio_net": r"(?P<owner>virtio\d+)-(?:input|output)\.(?P<queue>\d+)",
    "sfc": _PLAIN,
    "atlantic": _PLAIN,
    "r8169": r"(?P<owner>[^\s-]+)(?:-(?P<queue>\d+))?",
    "cxgb4": r"(?P<owner>\S+?)(?: \(queue (?P<queue>\d+)\)|-Rx(?P<queue_2>\d+))",
    "gve": r"gve-ntfy-blk\.?(?P<queue>\d+)(?:@pci:(?P<owner>\S+))?",
    "mana": r"mana_q(?P<queue>\d+)(?:@pci:(?P<owner>\S+))?",
}
"""Driver to the names of its queues' interrupts; the muster has the same table (mustherd/node/linux/vectors.py)."""

NO_QUEUE = r"async|cmd|config|control|ctrl|event|fdir|fwevtq|hwc|link|lsc|mbox|mgmnt|mgmt|misc|other|pages|ptp"
"""Words in the name of an interrupt that serves no queue, for drivers that are not in the table."""

_FLOW = re.compile(r"(?:\S*?\d+-)?(?:edge|level|fasteoi)", re.IGNORECASE)


def affinity(node: Node, value: str, options: argparse.Namespace, _planned: Plan) -> Plan:
    """Each queue's interrupts on one core."""
    interface = find_port(node, options)
    cores = chosen_cores(node, interface, value)
    return [
        (node.root / f"proc/irq/{irq}/smp_affinity", mask([cores[queue % len(cores)]]))
        for queue, irqs in enumerate(queue_interrupts(node, interface))
        for irq in irqs
    ]


def xps(node: Node, value: str, options: argparse.Namespace, _planned: Plan) -> Plan:
    """Each transmit queue filled from one core, the same as its interrupt."""
    interface = find_port(node, options)
    folder = node.net / interface / "queues"
    queues = sorted(folder.glob("tx-*"), key=lambda path: int(path.name[3:]))
    on = choice("xps", value, ("on", "off")) == "on"
    cores = chosen_cores(node, interface, options.affinity)
    return [
        (path / "xps_cpus", mask([cores[queue % len(cores)]] if on else []))
        for queue, path in enumerate(queues)
        if (path / "xps_cpus").exists()
    ]


def chosen_cores(node: Node, interface: str, value: str) -> list[int]:
    """The cores that queues go to, by mode, in the order of queues; only cores that are online."""
    mode, _, listed = value.partition(":")
    online = node.online()
    if mode in ("one", "list"):
        wanted = parse_cores(listed)
        absent = sorted(set(wanted) - set(online))
        if absent or (mode == "one" and len(wanted) != 1):
            raise RefusedError(f"affinity={value}: cores {absent or wanted} cannot be used. Fix: online are {online}")
        return wanted
    if mode not in ("all", "local", "remote"):
        raise RefusedError(f"affinity={value}: allowed is all, local, remote, one:CORE or list:CORES")
    place = node.read(node.net / interface / "device/numa_node")
    near = node.read(node.root / f"sys/devices/system/node/node{place}/cpulist") if place not in (None, "-1") else None
    if mode == "all" or near is None:
        return online
    local = [core for core in online if core in parse_cores(near)]
    chosen = local if mode == "local" else [core for core in online if core not in local]
    return chosen or online


def interrupt_names(text: str) -> dict[int, str]:
    """Interrupt number to what it is called, out of the text of /proc/interrupts; spaces in a name are kept."""
    found: dict[int, str] = {}
    for line in text.splitlines():
        number, colon, rest = line.partition(":")
        number = number.strip()
        if not colon or len(number) > 10 or not (number.isdecimal() and number.isascii()):
            continue
        words = rest.split()
        counts = next((n for n, word in enumerate(words) if not word.isdecimal()), len(words))
        words = words[counts:]
        flow = next((n for n, word in enumerate(words) if _FLOW.fullmatch(word)), None)
        name = " ".join(words[flow + 1 :]) if flow is not None else "".join(words[-1:])
        if name:
            found[int(number)] = name
    return found


def queue_vectors(
    names: Mapping[int, str], driver: str, interface: str, device: str, own: Iterable[int]
) -> dict[int, list[int]]:
    """Queue number to its interrupts; a driver that is not in the table is guessed at."""
    mine = set(own)
    found: dict[int, list[int]] = {}
    guessed = 0
    for irq in sorted(names):
        if mine and irq not in mine:
            continue
        # Interrupts that several devices share are called by all of them.
        for name in names[irq].split(", "):
            if driver in QUEUES:
                match = re.fullmatch(QUEUES[driver], name)
                groups = match.groupdict() if match else {}
                owner = groups.get("owner") or groups.get("owner_2") or ""
                queue = groups.get("queue") or groups.get("queue_2")
                # Without a list of the device's own vectors, and where a name is all there is, it must name the card.
                if match is None or ((not mine or queue is None) and owner not in (interface, device)):
                    continue
                found.setdefault(int(queue or 0), []).append(irq)
            elif re.search(NO_QUEUE, name, re.IGNORECASE) is None and (mine or interface in re.split(r"[-@:. ]", name)):
                if name == interface and len(mine) > 1:
                    continue  # the one vector of several that has no number is the link's
                found.setdefault(guessed, []).append(irq)
                guessed += 1
    return dict(sorted(found.items()))


def queue_interrupts(node: Node, interface: str) -> list[list[int]]:
    """Interrupt numbers of each queue, in the queues' order; several where a queue has one for each direction."""
    device = node.net / interface / "device"
    driver = Path(os.path.realpath(device / "driver")).name
    folder = device / "msi_irqs"
    own = sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal()) if folder.is_dir() else []
    names = interrupt_names(node.read(node.root / "proc/interrupts") or "")
    queues = queue_vectors(names, driver, interface, Path(os.path.realpath(device)).name, own)
    if queues and driver not in QUEUES:
        print(f"affinity: guessed which interrupts of {driver} are queues", file=sys.stderr)  # noqa: T201
    if queues:
        return list(queues.values())
    nameless = [irq for irq in own if irq not in names]
    if not nameless:
        raise RefusedError(f"{interface}: no interrupt of a queue found. Fix: bring the interface up, then run again")
    return [[irq] for irq in nameless]
