"""Energy counters of /sys/class/hwmon: those of whole sockets, as the drivers amd_energy and its kin have them.

(Documentation/hwmon/{sysfs-interface,amd_energy}.rst: energyN_input counts uJ in 64 bits.)
"""

import re
from collections.abc import Sequence

from mustherd.node.energy import MeterError
from mustherd.node.linux.tree import Tree, TreeError
from mustherd.terms import Zone

HWMON = "sys/class/hwmon"
SOCKET = re.compile(r"Esocket([0-9]{1,3})")
COUNTER = 2**64
POWER = re.compile(r"power[0-9]+_(average|input)")
"""Of now or of some seconds: what was used between two readings it doesn't tell."""


class HwmonMeter:
    """The sockets' counters."""

    def __init__(self, tree: Tree) -> None:
        """LookupError where there are none; MeterError where they can't be read."""
        self._tree = tree
        self._files: list[str] = []
        zones = []
        for device in tree.listed(HWMON):
            folder = f"{HWMON}/{device}"
            for name in tree.listed(folder):
                label = re.fullmatch(r"(energy[0-9]+)_label", name)
                socket = SOCKET.fullmatch(tree.peek(f"{folder}/{name}")) if label else None
                if label and socket:
                    self._files.append(f"{folder}/{label[1]}_input")
                    number = int(socket[1])
                    zones.append(
                        Zone(
                            name=f"package-{number}",
                            kind="package",
                            package=number,
                            joules_per_count=1e-6,
                            counts_per_wrap=COUNTER,
                        )
                    )
        if not zones:
            raise LookupError(f"hwmon has no energy counter of a socket{_power_alone(tree)}")
        self.zones: Sequence[Zone] = tuple(zones)
        self.read()

    def read(self) -> tuple[int, ...]:
        try:
            return tuple(self._tree.number(file) for file in self._files)
        except TreeError as error:
            raise MeterError(f"energy counter: {error}") from None


def _power_alone(tree: Tree) -> str:
    """A sensor of power that there is instead, in words."""
    for device in tree.listed(HWMON):
        for name in tree.listed(f"{HWMON}/{device}"):
            if POWER.fullmatch(name):
                return f"; it has a sensor of power, {device}/{name}, which can be one of `meters`"
    return ""
