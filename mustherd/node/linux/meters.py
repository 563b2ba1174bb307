"""Energy counters: RAPL through powercap, its registers or perf, each in the unit that the machine names."""

from collections.abc import Callable, Sequence

from mustherd.node.energy import EnergyMeter, MeterError
from mustherd.node.linux import msr as m
from mustherd.node.linux import nominal, topology
from mustherd.node.linux.hwmon import HwmonMeter
from mustherd.node.linux.msr import Msr
from mustherd.node.linux.msr_meter import MAX_ESU, MsrMeter
from mustherd.node.linux.no_meter import NoMeterError
from mustherd.node.linux.perf import Event, open_event
from mustherd.node.linux.perf_meter import PerfMeter
from mustherd.node.linux.powercap import PowerZone, zones
from mustherd.node.linux.tree import Cause, Tree, TreeError
from mustherd.terms import Zone

COUNTER = 2**32
"""RAPL's counters have 32 bits on every CPU."""


class DeniedMeter:
    """Counters that are there and can't be had. It has no zones and never reads anything, least of all 0."""

    zones: Sequence[Zone] = ()

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def read(self) -> tuple[int, ...]:
        raise MeterError(self.reason)


class PowercapMeter:
    """The zones of powercap, as the 32-bit counters that they are made from.

    The kernel multiplies a counter by its unit, cut to whole nJ (15258 nJ for 2^-16 J, 0.005 % too little), and gives
    whole uJ. max_energy_range_uj is the largest counter in uJ, so it tells the unit, the counter can be had back
    exactly, and its wrap is one of 2^32 counts: nothing is lost at a wrap, and the true unit counts.
    (drivers/powercap/intel_rapl_common.c, rapl_unit_xlate.)
    """

    def __init__(self, tree: Tree, registers: Msr | None = None) -> None:
        """NoMeterError without zones; MeterError when they can't be read or a package has none.

        With `registers` its zones say what unit the CPU names, where it can be asked.
        """
        self._tree = tree
        self._sources = zones(tree)
        if not self._sources:
            raise NoMeterError("powercap has no package zone")
        _all_packages(tree, {z.package for z in self._sources if z.kind == "package"}, "powercap")
        try:
            ranges = [_range(tree, zone) for zone in self._sources]
        except TreeError as error:
            raise MeterError(f"energy counters: {error}") from None
        self._units = tuple(map(_unit_nj, ranges))
        named = {} if registers is None else named_units(tree, registers)
        self.zones: Sequence[Zone] = tuple(
            Zone(
                name=zone.name,
                kind=zone.kind,
                package=zone.package,
                joules_per_count=_joules(unit) if unit else 1e-6,
                counts_per_wrap=COUNTER if unit else highest + 1,
                # A range that is no 32 bits is counted in whole uJ whatever the counter's unit; memory has its own.
                named_joules_per_count=named.get(zone.package, 0.0) if unit and zone.kind != "dram" else 0.0,
            )
            for zone, unit, highest in zip(self._sources, self._units, ranges, strict=True)
        )
        self.read()

    def read(self) -> tuple[int, ...]:
        try:
            return tuple(
                self._count(source, unit, zone)
                for source, unit, zone in zip(self._sources, self._units, self.zones, strict=True)
            )
        except TreeError as error:
            raise MeterError(f"energy counter: {error}") from None

    def _count(self, source: PowerZone, unit_nj: int, zone: Zone) -> int:
        path = f"{source.path}/energy_uj"
        uj = self._tree.number(path)
        # The kernel rounded down, so the smallest counter that gives these uJ is the one.
        count = -(-uj * 1000 // unit_nj) if unit_nj else uj
        if count >= zone.counts_per_wrap:
            raise TreeError(path, Cause.GARBAGE, f"{uj} uJ lies beyond the counter's range")
        return count


def find(
    tree: Tree, registers: Msr, means: str, opened: Callable[[int, int, int], Event] | None = None
) -> tuple[EnergyMeter | None, str]:
    """The node's meter by `means` (see LinuxOptions.meter) and where its counts come from, or why there is none.

    None only where the machine has no counter; where it has some that can't be read, the meter's `read` says why.
    `opened` opens perf's events: on this machine by itself.
    """
    if means == "none":
        return None, "switched off by the configuration"
    absent, denied = [], []
    ways: dict[str, Callable[[], EnergyMeter]] = {
        "powercap": lambda: PowercapMeter(tree, registers),
        "msr": lambda: MsrMeter(tree, registers),
        "perf": lambda: PerfMeter(tree, opened or (open_event if tree.is_this_machine else _recorded)),
        "hwmon": lambda: _hwmon(tree),
    }
    for name, make in ways.items():
        if means not in ("auto", name):
            continue
        try:
            return make(), name
        except NoMeterError as error:
            absent.append(str(error))
        except MeterError as error:
            denied.append(str(error))
    if denied:
        reason = "; ".join(denied)
        return DeniedMeter(reason), f"unreadable: {reason}"
    return None, f"none: {'; '.join(absent)}; an objective without a meter is machine_cpu_seconds"


def _recorded(kind: int, config: int, cpu: int) -> Event:  # noqa: ARG001
    raise NoMeterError("recorded files have no events of perf")


def named_units(tree: Tree, registers: Msr) -> dict[int, float]:
    """Package to the J per count that its CPUs' unit register names; a package that can't be asked isn't there."""
    register = m.AMD_RAPL_POWER_UNIT if nominal.is_amd(tree) else m.RAPL_POWER_UNIT
    if register == m.RAPL_POWER_UNIT and nominal.no_ratios(tree):
        # Older and smaller CPUs give the field another meaning.
        return {}
    found = {}
    try:
        for package, cpus in topology.read(tree).packages.items():
            esu = registers.read(cpus[0], register) >> 8 & MAX_ESU
            if esu:
                found[package] = 2.0**-esu
    except TreeError:
        return {}
    return found


def _hwmon(tree: Tree) -> HwmonMeter:
    try:
        meter = HwmonMeter(tree)
    except LookupError as error:
        raise NoMeterError(str(error.args[0])) from None
    _all_packages(tree, {zone.package for zone in meter.zones}, "hwmon")
    return meter


def _unit_nj(highest: int) -> int:
    """nJ per count as the kernel has it, by its range in uJ; 0 where that isn't one of 32 bits times such a unit."""
    largest = COUNTER - 1
    unit = -(-highest * 1000 // largest)
    # Below 1 uJ several counts would give the same number.
    return unit if unit >= 1000 and unit * largest // 1000 == highest else 0


def _range(tree: Tree, zone: PowerZone) -> int:
    highest = tree.number(f"{zone.path}/max_energy_range_uj")
    if not highest:
        raise TreeError(f"{zone.path}/max_energy_range_uj", Cause.GARBAGE, "a range of 0")
    return highest


def _joules(unit_nj: int) -> float:
    """J per count: 2^-ESU where that, cut to whole nJ, is the kernel's unit; else the kernel's unit."""
    for esu in range(1, MAX_ESU):
        if 10**9 >> esu == unit_nj:
            return 2.0**-esu
    return unit_nj * 1e-9


def _all_packages(tree: Tree, counted: set[int], means: str) -> None:
    """MeterError when a package has no counter: the rest would be taken for the whole."""
    try:
        missing = topology.read(tree).packages.keys() - counted
    except TreeError as error:
        raise MeterError(f"energy counters: {error}") from None
    if missing:
        packages = ", ".join(map(str, sorted(missing)))
        raise MeterError(f"energy counters: {means} has no energy counter for package {packages}")
