"""RAPL's counters as registers, Intel's and AMD's."""

from collections.abc import Sequence

import msgspec

from mustherd.node.energy import MeterError
from mustherd.node.linux import msr as m
from mustherd.node.linux import nominal, topology
from mustherd.node.linux.msr import Msr
from mustherd.node.linux.no_meter import NoMeterError
from mustherd.node.linux.topology import Topology
from mustherd.node.linux.tree import Cause, Tree, TreeError
from mustherd.terms import Zone

COUNTER = 2**32
"""RAPL's counters have 32 bits on every CPU."""

MAX_ESU = 31
"""The field of the unit register has five bits."""

DRAM_JOULES = 15.3e-6
DRAM_MODELS = frozenset({"63", "79", "85", "86", "87", "106", "108", "143", "207"})
"""Servers from Haswell on, whose memory counts in this unit whatever 0x606 says (intel_rapl_common.c)."""

AMD_FIRST_FAMILY = 0x17
"""Zen: the first of AMD's with these registers."""


class Source(msgspec.Struct, frozen=True):
    """A zone, and where its counter is: the sum over groups of CPUs, any CPU of a group being as good as another."""

    zone: Zone
    register: int
    groups: tuple[tuple[int, ...], ...]


class MsrMeter:
    """Intel: 0x611 (package), 0x639 (cores) and 0x619 (memory) of each package, in the unit of 0x606.

    AMD: 0xC001029B (package) and 0xC001029A (each core) in the unit of 0xC0010299. The cores of a package are one zone:
    counters that wrap alike wrap alike when they are added up, and a package never uses less than its cores, so that
    the sum wraps no sooner than the package's own counter.
    """

    def __init__(self, tree: Tree, registers: Msr) -> None:
        """NoMeterError where the CPU has no such registers; MeterError when they can't be read."""
        self._registers = registers
        amd = nominal.is_amd(tree)
        if reason := _too_old(tree) if amd else nominal.no_ratios(tree):
            raise NoMeterError(f"no RAPL registers: {reason}")
        # The folder may be there for another module's sake, microcode's or cpuid's.
        if not any(tree.has(f"dev/cpu/{cpu}/msr") for cpu in tree.listed("dev/cpu")):
            raise NoMeterError("no /dev/cpu/N/msr: the module msr isn't loaded")
        try:
            found = topology.read(tree)
            dram = DRAM_JOULES if nominal.cpuinfo(tree).get("model", "") in DRAM_MODELS else 0.0
            self._sources = self._amd(found) if amd else self._intel(found, dram)
        except TreeError as error:
            if error.cause is Cause.FAILED:
                raise NoMeterError(f"the CPU has no RAPL registers: {error}") from None
            raise MeterError(f"energy counters: {error}") from None
        self.zones: Sequence[Zone] = tuple(source.zone for source in self._sources)

    def read(self) -> tuple[int, ...]:
        return tuple(
            sum(self._read(cpus, source.register) for cpus in source.groups) % COUNTER for source in self._sources
        )

    def _intel(self, found: Topology, dram_joules: float) -> tuple[Source, ...]:
        units = self._units(found, m.RAPL_POWER_UNIT, m.PKG_ENERGY_STATUS)
        return (
            *(_source("package", p, m.PKG_ENERGY_STATUS, (cpus,), units[p]) for p, cpus in found.packages.items()),
            *(
                _source("core", p, m.PP0_ENERGY_STATUS, (cpus,), units[p])
                for p, cpus in found.packages.items()
                if self._counts(cpus[0], m.PP0_ENERGY_STATUS)
            ),
            *(
                _source("dram", p, m.DRAM_ENERGY_STATUS, (cpus,), dram_joules or units[p])
                for p, cpus in found.packages.items()
                if self._counts(cpus[0], m.DRAM_ENERGY_STATUS)
            ),
        )

    def _amd(self, found: Topology) -> tuple[Source, ...]:
        units = self._units(found, m.AMD_RAPL_POWER_UNIT, m.AMD_PKG_ENERGY)
        cores = {p: tuple(cpus for (q, _, _), cpus in found.cores.items() if q == p) for p in found.packages}
        return (
            *(_source("package", p, m.AMD_PKG_ENERGY, (cpus,), units[p]) for p, cpus in found.packages.items()),
            *(
                _source("core", p, m.AMD_CORE_ENERGY, groups, units[p])
                for p, groups in cores.items()
                if all(self._counts(cpus[0], m.AMD_CORE_ENERGY) for cpus in groups)
            ),
        )

    def _units(self, found: Topology, unit: int, counter: int) -> dict[int, float]:
        """J a count of each package. NoMeterError where a counter stands at 0."""
        units = {}
        for package, cpus in found.packages.items():
            esu = self._registers.read(cpus[0], unit) >> 8 & MAX_ESU
            if not esu or self._registers.read(cpus[0], counter) & COUNTER - 1 == 0:
                raise NoMeterError(f"package {package}'s energy register doesn't count")
            units[package] = 2.0**-esu
        return units

    def _read(self, cpus: tuple[int, ...], register: int) -> int:
        """Any of the CPUs will do: one may have gone offline."""
        reason = ""
        for cpu in cpus:
            try:
                return self._registers.read(cpu, register) & COUNTER - 1
            except TreeError as error:
                reason = reason or str(error)
                if error.cause is not Cause.ABSENT:
                    break
        raise MeterError(f"energy counter: {reason}")

    def _counts(self, cpu: int, register: int) -> bool:
        """Servers from Haswell on have no counter of the cores: the register fails, or stays 0."""
        try:
            return self._registers.read(cpu, register) & COUNTER - 1 != 0
        except TreeError:
            return False


def _source(kind: str, package: int, register: int, groups: tuple[tuple[int, ...], ...], joules: float) -> Source:
    zone = Zone(name=f"{kind}-{package}", kind=kind, package=package, joules_per_count=joules, counts_per_wrap=COUNTER)
    return Source(zone, register, groups)


def _too_old(tree: Tree) -> str:
    family = nominal.cpuinfo(tree).get("cpu family", "")
    if family.isdecimal() and family.isascii() and int(family[:6]) >= AMD_FIRST_FAMILY:
        return ""
    return f"AMD's CPUs have them from family 23 on, not family {family or '?'}"
