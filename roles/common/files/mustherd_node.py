#!/usr/bin/python3
"""Settings of a node that its kernel forgets at every boot, set from a unit and put back when asked.

    mustherd-node plan smt=off turbo=off governor=userspace      what would change, one line each; changes nothing
    mustherd-node apply smt=off turbo=off governor=userspace     the same, done; the first original of each file is kept
    mustherd-node restore [smt turbo pstate governor affinity]   the originals back
    mustherd-node way [pstate=passive]                           what sets one clock here: userspace, bounds or none
    mustherd-node plan|apply affinity=all|local|remote|one:CORE|list:CORES [xps=on] --driver ixgbe
    mustherd-node nic PORT                                       the port's interface
    mustherd-node plan-port|port PORT                            its interface, MAC and PCI address, as JSON
    mustherd-node plan-up|up PORT --address A/PREFIX             link up, with the address
    mustherd-node stats --driver ixgbe [PORT]                    every core's file of the instrumented driver is there

PORT is --driver ixgbe and what else is known: --mac M, --pci P, --interface I, --address A. The port of the default
route and that of the login are never taken, unless the address is on it already. Where several are left, those that are
down are brought up to see which has a carrier, and down again; a plan brings up none. What stays unsure is refused.

Settings: smt=on|off, turbo=on|off, pstate=active|passive, governor=NAME, clock=nominal (one clock for every CPU that
has the userspace governor), bounds=nominal (the same by both bounds, for a driver without that governor).

Exit code 0, or 1 with one line on stderr that says what is wrong and the fix. Only the standard library: it runs on a
bare node's Python.
"""

from __future__ import annotations  # an old node's Python reads these types as text

import argparse
import errno
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Plan = list[tuple[Path, str]]
    """Files, and what is to be in each."""

    Found = dict[str, dict[str, str]]
    """What was there before the first change: setting to file to text."""

ORDER = ("smt", "pstate", "turbo", "governor", "clock", "bounds", "affinity", "xps")
"""Threads go first, since they decide which CPUs are left; the frequency driver before what it offers."""

USERSPACE = "userspace"

UNSUPPORTED = "<unsupported>"
"""What scaling_setspeed says under any other governor."""

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

MANAGED = "managed"
"""Where the interrupts that the kernel places itself are remembered, beside the originals."""


class RefusedError(Exception):
    """What is wrong and the fix, as one line."""


class UndecidedError(RefusedError):
    """Which port it is shows only when these are brought up, which a plan does not do."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"which of {', '.join(names)} is the port shows when they are brought up")
        self.names = list(names)


class ManagedError(Exception):
    """The kernel places this interrupt itself, and lets nobody else do it."""


class Node:
    """The files of one machine, below `root`."""

    def __init__(self, root: str | Path = "/") -> None:
        self.root = Path(root)
        self.cpu = self.root / "sys/devices/system/cpu"
        self.net = self.root / "sys/class/net"

    def read(self, path: Path) -> str | None:
        """A file's text without the line's end, None where there is no such file or it cannot be read."""
        try:
            return path.read_text(encoding="ascii", errors="replace").strip()
        except OSError:
            return None

    def write(self, path: Path, value: str) -> None:
        try:
            self.put(path, value)
        except OSError as error:
            if error.errno == errno.EIO and path.name == "smp_affinity":
                raise ManagedError from None
            raise RefusedError(f"{path}: cannot write {value!r}: {error.strerror}") from None

    def put(self, path: Path, value: str) -> None:
        """One write to an existing file. Raises OSError."""
        with path.open("w", encoding="ascii") as file:
            file.write(value)

    def online(self) -> list[int]:
        text = self.read(self.cpu / "online")
        if text is None:
            raise RefusedError(f"{self.cpu / 'online'}: cannot tell which CPUs are online. Fix: mount /sys")
        return parse_cores(text)

    def interfaces(self, driver: str) -> list[str]:
        """Interfaces whose device is bound to `driver`."""
        names = []
        for folder in sorted(self.net.iterdir()) if self.net.is_dir() else []:
            link = folder / "device/driver"
            if link.exists() and Path(os.path.realpath(link)).name == driver:
                names.append(folder.name)
        return names

    def drivers(self) -> str:
        """Every interface that has a device, with its driver, as text."""
        found = []
        for folder in sorted(self.net.iterdir()) if self.net.is_dir() else []:
            link = folder / "device/driver"
            if link.exists():
                found.append(f"{folder.name} ({Path(os.path.realpath(link)).name})")
        return ", ".join(found) or "no card at all"


def parse_cores(text: str) -> list[int]:
    """The numbers of a list such as `0-3,8`."""
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if not match:
            raise RefusedError(f"{text!r} is no list of cores. Fix: write it like 0-6,8-14")
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    return found


def mask(cores: Iterable[int]) -> str:
    """A set of cores as the kernel writes it: hexadecimal, a comma every 32 bits."""
    number = sum(1 << core for core in set(cores))
    words: list[int] = []
    while number or not words:
        words.insert(0, number & 0xFFFFFFFF)
        number >>= 32
    return ",".join([f"{words[0]:x}", *(f"{word:08x}" for word in words[1:])])


def same(path: Path, old: str, new: str) -> bool:
    """Whether a file already says `new`; masks compare as numbers."""
    if path.name in ("smp_affinity", "xps_cpus"):
        return int(old.replace(",", "") or "0", 16) == int(new.replace(",", ""), 16)
    if path.name == "control" and new == "off":
        return old in ("off", "forceoff")
    return old == new


def smt(node: Node, value: str, _options: argparse.Namespace, _planned: Plan) -> Plan:
    """Second threads: one file for the machine."""
    path = node.cpu / "smt/control"
    state = node.read(path)
    if state in (None, "notsupported", "notimplemented"):
        if value == "on":
            raise RefusedError(f"{path}: this machine has no second threads to switch on. Fix: smt=off")
        return []
    if state == "forceoff" and value == "on":
        raise RefusedError(f"{path}: threads are off for good until the next boot. Fix: boot without nosmt=force")
    return [(path, choice("smt", value, ("on", "off")))]


def turbo(node: Node, value: str, _options: argparse.Namespace, _planned: Plan) -> Plan:
    """Turbo: the switch of whichever frequency driver there is, else the nominal clock as the highest one."""
    on = choice("turbo", value, ("on", "off")) == "on"
    pstate, boost = node.cpu / "intel_pstate/no_turbo", node.cpu / "cpufreq/boost"
    if pstate.exists():
        return [(pstate, "0" if on else "1")]
    if boost.exists():
        return [(boost, "1" if on else "0")]
    folders = [folder for core in node.online() if (folder := node.cpu / f"cpu{core}/cpufreq").is_dir()]
    found = []
    for folder in folders:
        nominal = nominal_khz(folder)
        highest = node.read(folder / "cpuinfo_max_freq")
        if (folder / "boost").exists():
            found.append((folder / "boost", "1" if on else "0"))
        elif nominal is not None and highest is not None:
            found.append((folder / "scaling_max_freq", highest if on else str(min(nominal, int(highest)))))
        elif not on and (node.read(folder / "scaling_driver") or "") != "acpi-cpufreq":
            driver = node.read(folder / "scaling_driver") or "no driver"
            raise RefusedError(
                f"turbo=off: {driver} has no switch for turbo in {folder} and does not tell the nominal clock. "
                "Fix: switch it off in the firmware and leave turbo out here"
            )
    # Without a frequency driver nothing asks for turbo but a write to the register itself; acpi-cpufreq without the
    # switch runs on a CPU that has no turbo.
    return found


def nominal_khz(folder: Path) -> int | None:
    """The clock above which turbo begins, None where the kernel does not tell."""
    for path, khz in ((folder / "base_frequency", 1), (folder.parent / "acpi_cppc/nominal_freq", 1000)):
        try:
            return int(path.read_text(encoding="ascii")) * khz
        except (OSError, ValueError):
            continue
    return None


def pstate(node: Node, value: str, _options: argparse.Namespace, _planned: Plan) -> Plan:
    """State of the intel_pstate driver; nothing where another one runs."""
    path = node.cpu / "intel_pstate/status"
    choice("pstate", value, ("active", "passive"))
    return [(path, value)] if path.exists() and node.read(path) != "off" else []


def governor(node: Node, value: str, _options: argparse.Namespace, planned: Plan) -> Plan:
    """Governor of every online CPU that scales."""
    targets = []
    for core in node.online():
        folder = node.cpu / f"cpu{core}/cpufreq"
        if not folder.is_dir():
            continue
        offered = (node.read(folder / "scaling_available_governors") or "").split()
        if value not in offered and not any(path.name == "status" for path, _ in planned):
            driver = node.read(folder / "scaling_driver") or "no driver"
            raise RefusedError(
                f"CPU {core}: {driver} offers the governors {', '.join(offered) or 'none'}, not {value}. "
                "Fix: set dvfs_intel_pstate to passive or disable, or choose one of these as dvfs_governor"
            )
        targets.append((folder / "scaling_governor", value))
    return targets


def clock(node: Node, value: str, _options: argparse.Namespace, planned: Plan) -> Plan:
    """One clock for all CPUs that the userspace governor has: it freezes each at whatever it happened to run at."""
    choice("clock", value, ("nominal",))
    govern = dict(planned)
    folders = [
        folder
        for folder in scaling(node)
        if govern.get(folder / "scaling_governor", node.read(folder / "scaling_governor")) == USERSPACE
    ]
    khz = common_khz(node, folders)
    return [(folder / "scaling_setspeed", str(khz)) for folder in folders]


def bounds(node: Node, value: str, _options: argparse.Namespace, _planned: Plan) -> Plan:
    """One clock for all CPUs by drawing their bounds together."""
    choice("bounds", value, ("nominal",))
    folders = scaling(node)
    khz = common_khz(node, folders)
    plan = []
    for folder in folders:
        pair = [(folder / "scaling_min_freq", str(khz)), (folder / "scaling_max_freq", str(khz))]
        # The kernel refuses a lower bound above the upper one.
        plan += pair[::-1] if khz > int(node.read(folder / "scaling_max_freq") or khz) else pair
    return plan


def scaling(node: Node) -> list[Path]:
    """The cpufreq folder of every online CPU that scales."""
    return [folder for core in node.online() if (folder := node.cpu / f"cpu{core}/cpufreq").is_dir()]


def common_khz(node: Node, folders: Sequence[Path]) -> int:
    """The highest clock without turbo that all of these CPUs may have; 0 for no CPU."""
    found = []
    for folder in folders:
        table = sorted(map(int, (node.read(folder / "scaling_available_frequencies") or "").split()))
        # acpi-cpufreq says turbo as the nominal clock plus 1 MHz.
        plain = [khz for khz in table if khz - 1000 not in table]
        nominal = nominal_khz(folder) or (plain[-1] if plain else int(node.read(folder / "cpuinfo_max_freq") or 0))
        within = [khz for khz in plain if khz <= nominal]
        found.append(within[-1] if within else nominal)
    return min(found, default=0)


def way(node: Node, settings: Mapping[str, str]) -> str:
    """What sets one clock here: the userspace governor, the bounds of a driver that has none, or nothing."""
    folders = scaling(node)
    if not folders:
        return "none"
    status = node.cpu / "intel_pstate/status"
    if settings.get("pstate") == "passive" and node.read(status) not in (None, "off"):
        return USERSPACE
    offered = [(node.read(folder / "scaling_available_governors") or "").split() for folder in folders]
    return USERSPACE if all(USERSPACE in governors for governors in offered) else "bounds"


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


SETTINGS = {
    "smt": smt,
    "turbo": turbo,
    "pstate": pstate,
    "governor": governor,
    "clock": clock,
    "bounds": bounds,
    "affinity": affinity,
    "xps": xps,
}


def choice(name: str, value: str, allowed: Sequence[str]) -> str:
    """The value, when it is one of those allowed."""
    if value not in allowed:
        raise RefusedError(f"{name}={value}: allowed is {' or '.join(allowed)}")
    return value


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


def targets(node: Node, settings: Mapping[str, str], options: argparse.Namespace) -> list[tuple[str, Path, str, str]]:
    """(setting, file, wanted) of everything that differs from what is wanted."""
    differing = []
    planned: Plan = []
    managed = load_found(options.found).get(MANAGED, {})
    for name in ORDER:
        if name not in settings:
            continue
        for path, wanted in SETTINGS[name](node, settings[name], options, planned):
            old = node.read(path)
            if old is None:
                raise RefusedError(f"{path}: cannot be read. Fix: run as root on the node itself")
            if not same(path, old, wanted) and managed.get("/" + str(path.relative_to(node.root))) != wanted:
                differing.append((name, path, wanted, old))
                planned.append((path, wanted))
    return differing


def load_found(file: Path) -> Found:
    """What was kept, nothing before the first change."""
    try:
        found: Found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RefusedError(f"{file}: cannot read what was found ({error}). Fix: look at it by hand") from None
    return found


def save_found(file: Path, found: Found) -> None:
    """Keep it, on disk before anything is written."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    with part.open("w", encoding="utf-8") as handle:
        json.dump(found, handle, indent=1, sort_keys=True)
        handle.flush()
        os.fsync(handle.fileno())
    part.replace(file)


def apply(node: Node, settings: Mapping[str, str], options: argparse.Namespace) -> list[str]:
    """Setting by setting, since one decides what the next finds; originals are on disk before anything is written."""
    lines = []
    for name in ORDER:
        if name not in settings:
            continue
        for _, path, wanted, old in targets(node, {name: settings[name]}, options):
            found = load_found(options.found)
            place = "/" + str(path.relative_to(node.root))
            # A clock under a governor that was not there before is nothing to put back: the governor is.
            ours = name == "clock" and place.replace("scaling_setspeed", "scaling_governor") in found.get(
                "governor", {}
            )
            if not ours and place not in found.setdefault(name, {}):
                found[name][place] = old
                save_found(options.found, found)
            try:
                node.write(path, wanted)
            except ManagedError:
                # Remembered, so that what can't be done is not planned again; there is nothing to put back.
                del found[name][place]
                found.setdefault(MANAGED, {})[place] = wanted
                save_found(options.found, found)
                print(f"{place}: stays at {old}: the kernel places this interrupt itself", file=sys.stderr)  # noqa: T201
                continue
            now = node.read(path)
            if now is None or not same(path, now, wanted):
                raise RefusedError(f"{path}: wrote {wanted!r}, reads {now!r}. Fix: see what else sets it")
            lines.append(f"{name}: {place}: {old} -> {wanted}")
    return lines


def restore(node: Node, names: Sequence[str], options: argparse.Namespace, dry: bool) -> list[str]:
    """Put settings back, the last one set first; what was done, one line each."""
    found = load_found(options.found)
    lines = []
    for name in [name for name in reversed(ORDER) if name in (names or ORDER) and name in found]:
        for place, old in sorted(found[name].items()):
            path = node.root / place.lstrip("/")
            now = node.read(path)
            # A file that is gone belongs to a CPU or a card that is not there: it comes back as the kernel makes it.
            if now not in (None, UNSUPPORTED) and not same(path, now, old):
                if not dry:
                    node.write(path, old)
                lines.append(f"{name}: {place}: {now} -> {old}")
        if not dry:
            del found[name]
            if name == "affinity":
                found.pop(MANAGED, None)
            save_found(options.found, found)
    return lines


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


VERBS = ("plan", "apply", "plan-restore", "restore", "way", "nic", "plan-port", "port", "plan-up", "up", "stats")


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; gives the exit code."""
    parser = argparse.ArgumentParser(prog="mustherd-node", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument("settings", nargs="*", metavar="NAME=VALUE")
    parser.add_argument("--driver", default="ixgbe")
    parser.add_argument("--interface")
    parser.add_argument("--mac")
    parser.add_argument("--pci")
    parser.add_argument("--address")
    parser.add_argument("--login", help="this node's address of the login; that of the ssh session unless given")
    parser.add_argument("--wait", type=float, default=12.0, help="seconds that a link may take to get a carrier")
    parser.add_argument("--root", default="/")
    parser.add_argument("--found", type=Path, default=Path("/var/lib/mustherd-node/found.json"))
    options = parser.parse_args(arguments)
    node = Node(options.root)
    try:
        for line in run(node, options):
            print(line)  # noqa: T201
    except RefusedError as refused:
        print(refused, file=sys.stderr)  # noqa: T201
        return 1
    return 0


def run(node: Node, options: argparse.Namespace) -> list[str]:
    """The lines that a verb prints."""
    settings = dict(setting.partition("=")[::2] for setting in options.settings)
    unknown = sorted(set(settings) - set(SETTINGS))
    if unknown:
        raise RefusedError(f"no setting is called {', '.join(unknown)}. Fix: use {', '.join(ORDER)}")
    options.affinity = settings.get("affinity", "all")
    options.dry = options.verb.startswith("plan") or options.verb in ("nic", "stats")
    if options.verb == "plan":
        try:
            return [
                f"{name}: /{path.relative_to(node.root)}: {old} -> {wanted}"
                for name, path, wanted, old in targets(node, settings, options)
            ]
        except UndecidedError as undecided:
            return [f"affinity: {undecided}"]
    if options.verb == "apply":
        return apply(node, settings, options)
    if options.verb in ("restore", "plan-restore"):
        return restore(node, list(settings), options, dry=options.dry)
    if options.verb == "way":
        return [way(node, settings)]
    if options.verb == "nic":
        return [find_port(node, options)]
    if options.verb in ("port", "plan-port"):
        return port(node, options)
    if options.verb in ("up", "plan-up"):
        if not options.address:
            raise RefusedError("up needs --address")
        return up(node, options)
    return stats(node, options)


if __name__ == "__main__":
    sys.exit(main())
