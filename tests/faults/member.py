"""One muster of a herd that is attacked: its process, its configuration, and its node's files."""

import json
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from mustherd.wire.ports import Ports
from tests.faults import stall
from tests.node.linux.files import build
from tests.node.linux.kinds import ACPI, CPU
from tests.typed import some

MUSTERS = ("muster-1", "muster-2", "muster-3", "muster-4")
FED = MUSTERS[2:]
CORES = 2
LEASE_S = 3.0
TWIN_ORIGINAL, TREE_ORIGINAL = 1, 2900
TREE_VALUES = tuple(range(1200, 2900, 100))


class Network(Protocol):
    """What is between a muster and its shepherd."""

    host: str
    """Where the shepherd is, for the muster."""
    ports: Ports

    def cut_off(self, *, up: bool = True, down: bool = True) -> None:
        """From now on nothing gets through, these ways: to the shepherd, and from it."""

    def heal(self) -> None:
        """Everything gets through again."""

    def close(self) -> None:
        """It is no longer needed."""


class Pretend:
    """Takes a machine's files as tests.node.linux.files makes them, and puts them into a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.links: dict[str, str] = {}

    def file(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text + "\n")


def make_tree(root: Path) -> Path:
    """A machine's files, its clock set by `userspace`, and FIFOs in place of its driver's logs."""
    made = Pretend(root)
    kind = msgspec.structs.replace(ACPI, registers=False, governor="userspace")
    build(made, kind)  # type: ignore[arg-type]
    for path, target in made.links.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).symlink_to(target)
    for cpu in root.glob(f"{CPU}/cpu*/cpufreq"):
        for name in ("scaling_setspeed", "scaling_cur_freq"):
            (cpu / name).write_text(f"{TREE_ORIGINAL}000\n")
    logs = root / "proc/ixgbe_stats/core"
    logs.mkdir(parents=True)
    for core in range(CORES):
        os.mkfifo(logs / str(core))
    return root


@dataclass
class Member:
    """A muster, its process and its node."""

    name: str
    home: Path
    wire: Network
    spool: Path | None = None
    process: "subprocess.Popen[bytes] | None" = None
    guardian: int = 0
    life: int = 0
    """Its last life as the shepherd knew it."""
    over: int = 0
    """A life of it that has ended."""
    logged: tuple[int, int] = (0, 0)
    """The lives of muster and shepherd for which its logs were started."""
    turn: int = 0

    @property
    def is_twin(self) -> bool:
        return self.name not in FED

    @property
    def tree(self) -> Path:
        return self.home / "tree"

    @property
    def state(self) -> Path:
        return self.home / "state"

    @property
    def config(self) -> Path:
        return self.home / "muster.toml"

    @property
    def knob(self) -> str:
        return "itr-delay" if self.is_twin else "dvfs"

    @property
    def original(self) -> int:
        return TWIN_ORIGINAL if self.is_twin else TREE_ORIGINAL

    def next_value(self) -> int:
        """A value for its knob that it had not for a long time, if ever; the driver has even ones."""
        self.turn += 1
        return 2 + 2 * (self.turn % 199) if self.is_twin else TREE_VALUES[self.turn % len(TREE_VALUES)]

    def value(self) -> int | None:
        """What the knob is at, by the node's own files; None while nobody can say."""
        try:
            if self.is_twin:
                return int(json.loads((self.state / "registers.json").read_text())[self.knob])
            return int((self.tree / CPU / "cpu0/cpufreq/scaling_setspeed").read_text()) // 1000
        except FileNotFoundError:
            return self.original
        except (OSError, ValueError):
            return None

    def journal(self) -> list[object]:
        """What would have to be put back, by the journal on disk."""
        try:
            return list(json.loads((self.state / "originals.json").read_text())["originals"])
        except FileNotFoundError:
            return []

    def write(self) -> None:
        """Its configuration."""
        p = self.wire.ports
        spool = f'spool = "{self.spool}"\n' if self.spool else ""
        node = f'[linux]\nroot = "{self.tree}"\nidle_seconds = 0.0\nnic_log = "off"\n'
        ranges = "dvfs = {low = 1200, high = 2900}\n"
        if self.is_twin:
            node, ranges = "[twin]\nspeed = 20\n", "itr-delay = {values = [1], low = 2, high = 1000}\n"
        self.config.write_text(
            f'muster = "{self.name}"\nshepherd = "{self.wire.host}"\nkeys = "{self.home.parent / "keys"}"\n'
            f'state = "{self.state}"\nlease_s = {LEASE_S}\n'
            f"[ports]\npulse = {p.pulse}\nlog = {p.log}\ncontrol = {p.control}\ncoordinate = {p.coordinate}\n"
            f"[ranges]\n{ranges}[logs]\nspool_mib = 48\n{spool}{node}"
        )


STARVED = "its muster has not come round for"
"""What a guardian says that has ended its muster for that."""


def unasked_end(one: Member, log: Path, since: float, starved: list[str]) -> list[str]:
    """What there is to say where a muster has ended that nobody ended; nothing while it runs.

    Its guardian ends one that has not come round its loop for as long as a decision may hold. Where the machine had no
    time for the muster that is no fault, and told in `starved`: a guardian is in a session of its own, and may get its
    time where that of its muster, which may be that of a whole campaign with little weight, gets none.
    """
    code = stall.poll(some(one.process))
    if code is None:
        return []
    told = reversed(log.read_text().splitlines())
    said = next((line for line in told if "guardian" in line or "ERROR" in line), "not a word")
    lost = stall.worst_s(since - LEASE_S, LEASE_S)
    if code == -signal.SIGKILL and STARVED in said and lost > LEASE_S / 2:
        starved.append(f"{one.name}: {said}; the machine took {lost:.1f} s of {LEASE_S:g} s")
        return []
    return [f"{one.name} ended with {code}: {said}, and the machine took {lost:.1f} s of {LEASE_S:g} s"]
