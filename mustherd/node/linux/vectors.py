"""Interrupts of network cards: which of them serve a queue, and which queue, by what each driver calls them.

The names are those that the drivers of Linux 5.15 to 6.12 give to `request_irq`; tests/node/linux/vectors has a file of
/proc/interrupts for each. A driver that is not in the table is guessed at: every vector of the device is taken for a
queue's unless its name says otherwise.
"""

import re
from collections.abc import Iterable, Mapping

_PAIRS = r"(?P<owner>\S+?)-(?:TxRx|Tx-Rx|tx-rx|txrx|rxtx|rx|tx)-(?P<queue>\d+)"
_PLAIN = r"(?P<owner>\S+?)(?:-(?:rx|tx))?-(?P<queue>\d+)"
_INTEL = r"(?:i40e|iavf|ice)-(?P<owner>[^\s:]+)-(?:TxRx|rx|tx)-(?P<queue>\d+)"

QUEUES: dict[str, str] = {
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
"""Driver to the names of its queues' interrupts: `queue` is the number, `owner` the interface or device named there."""

NO_QUEUE = r"async|cmd|config|control|ctrl|event|fdir|fwevtq|hwc|link|lsc|mbox|mgmnt|mgmt|misc|other|pages|ptp"
"""Words in the name of an interrupt that serves no queue, for drivers that are not in the table."""

_FLOW = re.compile(r"(?:\S*?\d+-)?(?:edge|level|fasteoi)", re.IGNORECASE)


def interrupt_names(text: str) -> dict[int, str]:
    """Interrupt number to what it is called, out of the text of /proc/interrupts; spaces in a name are kept."""
    found = {}
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


def known(driver: str) -> bool:
    """Whether the names of a driver's interrupts are in the table."""
    return driver in QUEUES


def queue_vectors(
    names: Mapping[int, str], driver: str, interface: str, device: str, own: Iterable[int]
) -> dict[int, list[int]]:
    """Queue number to its interrupts (two where receiving and sending have one each), in the order of numbers.

    Args:
        names: of all interrupts of the machine, by number.
        driver: of the card.
        interface: its name, as in `enp3s0f0`.
        device: the name of its device, as in `0000:03:00.0` or `virtio2`.
        own: the interrupts of its device, where the kernel lists them; where it doesn't, a name has to say whose it is.
    """
    mine = set(own)
    found: dict[int, list[int]] = {}
    guessed = 0
    for irq in sorted(names):
        if mine and irq not in mine:
            continue
        # Interrupts that several devices share are called by all of them: `ahci[0000:00:1f.2], eth0`.
        for name in names[irq].split(", "):
            if known(driver):
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
