"""`rapl-limit`: the long-term power limit of each package, in W, through powercap."""

import math

from mustherd.node.knob import KnobError
from mustherd.node.linux import msr as m
from mustherd.node.linux import topology
from mustherd.node.linux.knob import Machine, PlacedKnob, UnfitError, agreed
from mustherd.node.linux.msr import Msr
from mustherd.node.linux.powercap import PowerZone, package_zones
from mustherd.node.linux.tree import Cause, Tree, TreeError
from mustherd.terms import KnobKind

NAME = "rapl-limit"

LOWEST_W = 35
"""Where the CPU doesn't name its lowest limit: what the servers that this was studied on took."""

MICRO = 1_000_000


class RaplLimit(PlacedKnob):
    """Constraint 0 (`long_term`) of every package's zone.

    A limit that is switched off bounds nothing, so it isn't touched.
    """

    kind = KnobKind(name=NAME, unit="W")

    @classmethod
    def find(cls, machine: Machine) -> "tuple[RaplLimit]":
        return (cls(machine.tree, machine.registers),)

    def __init__(self, tree: Tree, registers: Msr) -> None:
        """KnobError where powercap has no package with a long-term limit and a highest value for it."""
        self._tree = tree
        zones = package_zones(tree)
        if not zones:
            raise KnobError(f"{NAME}: powercap has no package zone")
        try:
            high = min(_highest(tree, zone) for zone in zones)
            for zone in zones:
                name = tree.text(f"{zone.path}/constraint_0_name")
                if name != "long_term":
                    raise TreeError(f"{zone.path}/constraint_0_name", Cause.GARBAGE, f"{name[:40]!r}, not long_term")
        except TreeError as error:
            raise KnobError(f"{NAME}: {error}") from None
        low = min(_lowest(tree, registers), high)
        if low <= 0:
            raise KnobError(f"{NAME}: the CPU names no range of limits")
        super().__init__(self.kind.offer(low=low, high=high))

    def _read(self) -> int:
        return agreed(((zone.name, self._of(zone)) for zone in package_zones(self._tree)), "W")

    def _of(self, zone: PowerZone) -> int:
        watts, rest = divmod(self._microwatts(zone), MICRO)
        if rest:
            raise UnfitError(f"{zone.name} has {watts + rest / MICRO:g} W, no whole number of watts")
        return watts

    def _microwatts(self, zone: PowerZone) -> int:
        if self._tree.number(f"{zone.path}/enabled", 1) != 1:
            raise UnfitError(f"the limit of {zone.name} is switched off")
        return self._tree.number(f"{zone.path}/constraint_0_power_limit_uw")

    def _places(self) -> dict[str, str]:
        return {zone.path: str(self._microwatts(zone)) for zone in package_zones(self._tree)}

    def _put(self, place: str, text: str) -> None:
        self._tree.write(f"{place}/constraint_0_power_limit_uw", str(int(text)))

    def _running(self) -> int | None:
        # A limit doesn't run; how much power is used is the meter's to say.
        return None

    def _write(self, value: int) -> None:
        for zone in package_zones(self._tree):
            self._tree.write(f"{zone.path}/constraint_0_power_limit_uw", str(value * MICRO))


def _highest(tree: Tree, zone: PowerZone) -> int:
    return tree.number(f"{zone.path}/constraint_0_max_power_uw", 10**12) // MICRO


def _lowest(tree: Tree, registers: Msr) -> int:
    """W that 0x614 names as the lowest limit of any package, rounded up."""
    try:
        lowest = 0
        for cpus in topology.read(tree).packages.values():
            watts = 2.0 ** -(registers.read(cpus[0], m.RAPL_POWER_UNIT) & 0xF)
            lowest = max(lowest, math.ceil((registers.read(cpus[0], m.PKG_POWER_INFO) >> 16 & 0x7FFF) * watts))
    except TreeError:
        return LOWEST_W
    return lowest or LOWEST_W
