"""What power this machine can draw at all: from idle to its limits, so that a wrong counter shows."""

import time
from collections.abc import Callable

import msgspec

from mustherd.node.energy import EnergyMeter, MeterError, Tally
from mustherd.node.linux.powercap import package_zones
from mustherd.node.linux.tree import Tree, TreeError

BUSY_SHARE = 0.1
"""A machine that was busy for more than this while its idle power was measured was not idle."""

IDLE_MARGIN = 0.5
"""Idle power at the lowest clock and deepest sleep against idle power as found: 46 of 67 W on a c6220."""

LIMIT_MARGIN = 1.2
"""A short-term limit lets a package exceed its long-term limit for a moment."""

LEAST_W = 1.0
"""Below this no server's package draws anything: the counter stands still."""


class Power(msgspec.Struct, frozen=True, kw_only=True):
    """W of all packages; None where it isn't known."""

    idle: float | None
    limit: float | None
    note: str = ""

    @property
    def band(self) -> tuple[float, float]:
        """What a window's power must lie in to be believed."""
        low = LEAST_W if self.idle is None else max(LEAST_W, self.idle * IDLE_MARGIN)
        return low, float("inf") if self.limit is None else self.limit * LIMIT_MARGIN


def measure(
    tree: Tree,
    meter: EnergyMeter | None,
    seconds: float,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Power:
    """Look at the counters for `seconds`. Never raises: what can't be had is None, and `note` says why."""
    limit = _limit(tree)
    if meter is None or seconds <= 0:
        return Power(idle=None, limit=limit, note="not measured")
    try:
        before = _cpu_times(tree)
        start = now()
        tally = Tally(meter.zones, meter.read())
        sleep(seconds)
        tally.add(meter.read())
        passed = now() - start
        after = _cpu_times(tree)
    except (MeterError, TreeError) as error:
        return Power(idle=None, limit=limit, note=str(error))
    joules = sum(e.joules for e in tally.energies() if e.kind == "package")
    total = after[0] - before[0]
    busy = 1 - (after[1] - before[1]) / total if total > 0 else 0.0
    if busy > BUSY_SHARE:
        return Power(idle=None, limit=limit, note=f"the machine was {busy:.0%} busy")
    if passed <= 0 or joules < LEAST_W * passed:
        return Power(idle=None, limit=limit, note=f"the counters stand still: {joules:g} J in {passed:.1f} s")
    return Power(idle=joules / passed, limit=limit)


def _limit(tree: Tree) -> float | None:
    """Sum over the packages of the highest limit that is set; None when one of them has none."""
    total = 0.0
    for zone in package_zones(tree):
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


def _cpu_times(tree: Tree) -> tuple[int, int]:
    """Ticks in all and ticks idle (waiting included), of all CPUs since boot."""
    words = tree.text("proc/stat").split("\n", 1)[0].split()
    ticks = [int(w) for w in words[1:9] if w.isdecimal() and w.isascii() and len(w) < 20]
    if len(ticks) < 5:
        return 0, 0
    return sum(ticks), ticks[3] + ticks[4]
