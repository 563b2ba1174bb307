"""What power this machine can draw at all: from idle to its limits, so that a wrong counter shows."""

import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from mustherd.node.energy import EnergyMeter, MeterError, Tally
from mustherd.node.envelope import Processor, processor
from mustherd.node.linux import msr as m
from mustherd.node.linux import nominal, topology
from mustherd.node.linux.msr import Msr
from mustherd.node.linux.powercap import package_zones
from mustherd.node.linux.tree import Tree, TreeError

TICKS_PER_SECOND = 100
"""Of /proc/stat: USER_HZ, which is the same on every architecture that servers have."""

BUSY_SHARE = 0.1
"""A machine that was busy for more than this while its idle power was measured was not idle."""

IDLE_MARGIN = 0.5
"""Idle power at the lowest clock and deepest sleep against idle power as found: 46 of 67 W on a c6220."""

LIMIT_MARGIN = 1.2
"""A short-term limit lets a package exceed its long-term limit for a moment."""

LEAST_TDP_W, MOST_TDP_W = 4.0, 1000.0
"""A package's thermal design power that is believed: powercap and the register say 0, or all ones, where they don't
know."""

NO_LIMIT = 4.0
"""A power limit of so many times the most that the CPUs can draw by their model limits nothing."""

LEAST_W = 1.0
"""Below this no server's package draws anything: the counter stands still."""


class Power(msgspec.Struct, frozen=True, kw_only=True):
    """W of all packages; None where it isn't known."""

    idle: float | None
    limit: float | None
    note: str = ""
    maker: tuple[float, float] | None = None
    """From what to what the CPUs can draw by their model: it rests on no energy counter."""
    maker_from: str = ""
    """Where that is from."""

    @property
    def band(self) -> tuple[float, float]:
        """What a window's power must lie in to be believed.

        A limit in force bounds the power better than the model does, unless it is so high that it bounds nothing:
        somebody may have raised it above the model's.
        """
        floor, most = self.maker or (LEAST_W, float("inf"))
        low = max(LEAST_W, floor, 0.0 if self.idle is None else self.idle * IDLE_MARGIN)
        bounds = self.limit is not None and (self.maker is None or self.limit <= NO_LIMIT * most)
        return low, self.limit * LIMIT_MARGIN if self.limit is not None and bounds else most


def measure(
    tree: Tree,
    meter: EnergyMeter | None,
    seconds: float,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    *,
    registers: Msr | None = None,
) -> Power:
    """Look at the counters for `seconds`. Never raises: what can't be had is None, and `note` says why."""
    maker, maker_from = _maker(tree, registers)
    found = _idle(tree, meter, seconds, now, sleep)
    return msgspec.structs.replace(found, limit=_limit(tree), maker=maker, maker_from=maker_from)


def _maker(tree: Tree, registers: Msr | None) -> tuple[tuple[float, float] | None, str]:
    """What all packages can draw by their model, and where that is from."""
    try:
        packages = topology.read(tree).packages
    except TreeError:
        return None, ""
    known = processor(nominal.cpuinfo(tree).get("model name", ""))
    if known is not None:
        return known.band(len(packages)), f"{known.tdp_watts:g} W a package, by the CPU's model"
    for watts, source in ((_told_tdp(tree), "powercap"), (_register_tdp(tree, packages, registers), "MSR 0x614")):
        if LEAST_TDP_W <= watts <= MOST_TDP_W:
            return Processor(watts).band(len(packages)), f"{watts:g} W a package, by {source}"
    return None, ""


def _told_tdp(tree: Tree) -> float:
    """W: the largest that powercap tells for a package; 0 where it tells none."""
    found = [tree.peek(f"{zone.path}/constraint_0_max_power_uw") for zone in package_zones(tree)]
    return max((int(w) / 1e6 for w in found if w.isdecimal() and w.isascii() and len(w) < 12), default=0.0)


def _register_tdp(tree: Tree, packages: Mapping[int, Sequence[int]], registers: Msr | None) -> float:
    """W of a package, by register 0x614 in the unit of 0x606; 0 where that can't be had."""
    if registers is None or nominal.no_ratios(tree):
        return 0.0
    found = []
    try:
        for cpus in packages.values():
            unit = 0.5 ** (registers.read(cpus[0], m.RAPL_POWER_UNIT) & 0xF)
            found.append((registers.read(cpus[0], m.PKG_POWER_INFO) & 0x7FFF) * unit)
    except TreeError:
        return 0.0
    return max(found, default=0.0)


def _idle(
    tree: Tree,
    meter: EnergyMeter | None,
    seconds: float,
    now: Callable[[], float],
    sleep: Callable[[float], None],
) -> Power:
    if meter is None or seconds <= 0:
        return Power(idle=None, limit=None, note="not measured")
    try:
        before = _cpu_times(tree)
        start = now()
        tally = Tally(meter.zones, meter.read())
        sleep(seconds)
        tally.add(meter.read())
        passed = now() - start
        after = _cpu_times(tree)
    except (MeterError, TreeError) as error:
        return Power(idle=None, limit=None, note=str(error))
    joules = sum(e.joules for e in tally.energies() if e.kind == "package")
    total = after[0] - before[0]
    busy = 1 - (after[1] - before[1]) / total if total > 0 else 0.0
    if busy > BUSY_SHARE:
        return Power(idle=None, limit=None, note=f"the machine was {busy:.0%} busy")
    if passed <= 0 or joules < LEAST_W * passed:
        return Power(idle=None, limit=None, note=f"the counters stand still: {joules:g} J in {passed:.1f} s")
    return Power(idle=joules / passed, limit=None)


def _limit(tree: Tree) -> float | None:
    """Sum over the packages of the highest limit that is set; None when one of them has none."""
    total = 0.0
    for zone in package_zones(tree):
        if tree.peek(f"{zone.path}/enabled") == "0":
            return None
        found = []
        for constraint in (0, 1):
            try:
                found.append(tree.number(f"{zone.path}/constraint_{constraint}_power_limit_uw") / 1e6)
            except TreeError:
                continue
        if not max(found, default=0.0):
            return None
        total += max(found)
    return total or None


def busy_seconds(tree: Tree) -> float | None:
    """CPU time of all CPUs since boot, interrupts included; None where the kernel doesn't tell."""
    try:
        total, idle = _cpu_times(tree)
    except TreeError:
        return None
    return (total - idle) / TICKS_PER_SECOND if total else None


def _cpu_times(tree: Tree) -> tuple[int, int]:
    """Ticks in all and ticks idle (waiting included), of all CPUs since boot."""
    words = tree.text("proc/stat").split("\n", 1)[0].split()
    ticks = [int(w) for w in words[1:9] if w.isdecimal() and w.isascii() and len(w) < 20]
    if len(ticks) < 5:
        return 0, 0
    return sum(ticks), ticks[3] + ticks[4]
