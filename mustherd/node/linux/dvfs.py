"""`dvfs`: the clock of all CPUs, in MHz, by the means that the machine offers.

Active cores of a package run at the highest request among them, so every means writes every online CPU.
"""

import contextlib
import re

from mustherd.node.kinds import DVFS, FREE, GOVERNORS
from mustherd.node.knob import KnobError
from mustherd.node.linux import msr as m
from mustherd.node.linux import state, topology
from mustherd.node.linux.knob import LinuxKnob, Machine, UnfitError, agreed
from mustherd.node.linux.msr import Msr
from mustherd.node.linux.nominal import no_ratios, nominal_mhz, nominal_of
from mustherd.node.linux.speed import Speedometer
from mustherd.node.linux.tree import Tree, TreeError
from mustherd.terms import KnobInfo

NAME = DVFS.name

SLACK_MHZ = 50
"""Half a ratio: the bus clock is not quite 100 MHz, and an average is never exact."""

ANY_MHZ = 10**9
"""Any clock will do: something else than the knob's value decides about it."""

AMD_PSTATE = "amd-pstate"
"""How the drivers are called that start with a lower bound of their own: the lowest clock that is worth its voltage,
from Linux 6.13 on. (drivers/cpufreq/amd-pstate.c)"""


class Dvfs(LinuxKnob):
    """What all means have in common: the CPUs, the clock that runs, and the tolerance for turbo.

    A value above the nominal clock asks for turbo, and how much of it there is the CPU decides from moment to moment:
    any clock from nominal on holds. Where the highest value that there is names the nominal clock itself, as in the
    tables of AMD's CPUs, that value asks for it.
    """

    kind = DVFS

    @classmethod
    def find(cls, machine: Machine) -> "tuple[Dvfs]":
        return (find(machine.tree, machine.registers, machine.options.dvfs),)

    def __init__(self, tree: Tree, speed: Speedometer, info: KnobInfo, nominal: int, turbo: int = 0) -> None:
        """`nominal` is 0 where the machine doesn't tell; `turbo` is the lowest value that asks for turbo, if another
        than the next above it.
        """
        super().__init__(info)
        self._tree = tree
        self._speed = speed
        self._nominal = nominal
        self._turbo = turbo or nominal + 1

    def tolerance(self, applied: int, running: int) -> int:
        if (applied in self.info.names and applied < m.MHZ_PER_RATIO) or applied >= self.info.found_low > 0:
            return ANY_MHZ
        turbo = self._nominal > 0 and applied >= self._turbo
        return ANY_MHZ if turbo and running >= self._nominal - SLACK_MHZ else SLACK_MHZ

    def _cpus(self) -> tuple[int, ...]:
        # Looked up each time: a CPU that has come back to life must be set too.
        return topology.online_cpus(self._tree)

    def _running(self) -> int | None:
        return self._speed.running(self._tree, self._cpus(), self._read())


class MsrDvfs(Dvfs):
    """IA32_PERF_CTL of every online CPU."""

    def __init__(self, tree: Tree, registers: Msr, speed: Speedometer) -> None:
        """KnobError where the CPU isn't one whose ratios these registers hold, or doesn't tell its range."""
        reason = no_ratios(tree)
        if reason:
            raise KnobError(f"{NAME}: {reason}")
        try:
            first = topology.online_cpus(tree)[0]
            platform = registers.read(first, m.PLATFORM_INFO)
            registers.read(first, m.PERF_CTL)
        except TreeError as error:
            raise KnobError(f"{NAME}: {error}") from None
        nominal, low = platform >> 8 & 0xFF, platform >> 40 & 0xFF
        if not 0 < low <= nominal:
            raise KnobError(f"{NAME}: register 0xce names no range of ratios (lowest {low}, nominal {nominal})")
        try:
            top = max(nominal, registers.read(first, m.TURBO_RATIO_LIMIT) & 0xFF)
        except TreeError:
            top = nominal
        step = m.MHZ_PER_RATIO
        info = DVFS.offer(
            values=tuple(r * step for r in range(nominal + 1, top + 1)),
            low=low * step,
            high=nominal * step,
            step=step,
            names={top * step: "turbo"} if top > nominal else {},
        )
        super().__init__(tree, speed, info, nominal * step)
        self._registers = registers

    def _read(self) -> int:
        return agreed(((f"CPU {c}", m.mhz_of_word(self._registers.read(c, m.PERF_CTL))) for c in self._cpus()), "MHz")

    def _write(self, value: int) -> None:
        word = m.word_of_mhz(value)
        cpus = self._cpus()
        for cpu in cpus:
            # Bits above the lowest 16 are not the ratio's: bit 32 turns turbo off.
            others = self._registers.read(cpu, m.PERF_CTL) & ~0xFFFF
            self._registers.write(cpu, m.PERF_CTL, others | word)
        self._speed.restart(cpus)


class UserspaceDvfs(Dvfs):
    """cpufreq's userspace governor; the other governors are values of the knob too, so that they can be put back."""

    def __init__(self, tree: Tree, registers: Msr, speed: Speedometer) -> None:
        """KnobError where there is no such governor on every CPU."""
        try:
            cpus = topology.online_cpus(tree)
            governors = [set(tree.text(f"{_cpufreq(c)}/scaling_available_governors").split()) for c in cpus]
            common = set.intersection(*governors)
            if "userspace" not in common:
                raise KnobError(f"{NAME}: the kernel offers no userspace governor, only {' '.join(sorted(common))}")
            khz = _frequencies(tree, cpus[0])
        except TreeError as error:
            raise KnobError(f"{NAME}: {error}") from None
        self._khz = {k // 1000: k for k in sorted(khz, reverse=True)}
        names = {code: governor for code, governor in GOVERNORS.items() if governor in common}
        top = max(self._khz)
        # acpi-cpufreq says turbo as the nominal clock plus 1 MHz; its tables for AMD end at the nominal clock.
        nominal = max((mhz for mhz in self._khz if mhz + 1 in self._khz), default=0)
        nominal = min(nominal or nominal_of(tree, registers, cpus[0]) or top, top)
        if nominal < top:
            names[top] = "turbo"
        info = DVFS.offer(values=tuple(sorted({*names, *self._khz})), names=names)
        super().__init__(tree, speed, info, nominal, turbo=top if nominal == top else 0)
        self._codes = {governor: code for code, governor in names.items()}

    def _read(self) -> int:
        return agreed(((f"CPU {c}", self._of(c)) for c in self._cpus()), "MHz")

    def _of(self, cpu: int) -> int:
        governor = self._tree.text(f"{_cpufreq(cpu)}/scaling_governor")
        if governor == "userspace":
            return self._tree.number(f"{_cpufreq(cpu)}/scaling_setspeed", 10**8) // 1000
        if governor not in self._codes:
            raise UnfitError(f"CPU {cpu} has governor {governor[:40]!r}, which is none that this knob knows")
        return self._codes[governor]

    def _write(self, value: int) -> None:
        cpus = self._cpus()
        for cpu in cpus:
            governor = f"{_cpufreq(cpu)}/scaling_governor"
            if value in GOVERNORS:
                self._tree.write(governor, GOVERNORS[value])
                continue
            if self._tree.text(governor) != "userspace":
                self._tree.write(governor, "userspace")
            self._tree.write(f"{_cpufreq(cpu)}/scaling_setspeed", str(self._khz[value]))
        self._speed.restart(cpus)


class BoundsDvfs(Dvfs):
    """scaling_min_freq and scaling_max_freq drawn together, for a driver without userspace governor (intel_pstate).

    A kernel narrows these bounds by itself, which is nobody's setting. Upper ones it keeps below whatever is written,
    so that such a range is as free as it can be: FREE. amd-pstate begins with a lower bound that whoever writes another
    one replaces: to be put back, it is a value of its own, in kHz, where no clock in MHz lies.
    """

    def __init__(self, tree: Tree, registers: Msr, speed: Speedometer) -> None:
        """KnobError where cpufreq doesn't name the machine's range."""
        try:
            cpus = topology.online_cpus(tree)
            limits = {_limits(tree, c) for c in cpus}
            starts_higher = tree.text(f"{_cpufreq(cpus[0])}/scaling_driver").startswith(AMD_PSTATE)
        except TreeError as error:
            raise KnobError(f"{NAME}: {error}") from None
        low = max(-(-least // 100_000) * 100 for least, _ in limits)
        high = min(most // 100_000 * 100 for _, most in limits)
        if not 0 < low <= high:
            raise KnobError(f"{NAME}: cpufreq names no range of clocks ({low}..{high} MHz)")
        info = DVFS.offer(
            values=(FREE,),
            low=low,
            high=high,
            step=m.MHZ_PER_RATIO,
            found=(min(least for least, _ in limits) + 1, high * 1000 - 1) if starts_higher else (0, -1),
        )
        super().__init__(tree, speed, info, nominal_of(tree, registers, cpus[0]))
        self._registers = registers

    def _read(self) -> int:
        return agreed(((f"CPU {c}", self._of(c)) for c in self._cpus()), "MHz")

    def _of(self, cpu: int) -> int:
        folder = _cpufreq(cpu)
        least = self._tree.number(f"{folder}/scaling_min_freq", 10**8)
        most = self._tree.number(f"{folder}/scaling_max_freq", 10**8)
        if least == most:
            return least // 1000
        lowest, highest = _limits(self._tree, cpu)
        if most == highest or most in self._kernels_upper(cpu):
            if least == lowest:
                return FREE
            if self.info.found_low <= least <= self.info.found_high:
                return least
        raise UnfitError(f"CPU {cpu} may run at {least // 1000}..{most // 1000} MHz: neither one clock nor the range")

    def _kernels_upper(self, cpu: int) -> set[int]:
        """kHz at which the kernel itself may hold a CPU's upper bound: the nominal clock where turbo is off, and the
        firmware's limit. (drivers/cpufreq/intel_pstate.c, intel_pstate_verify_cpu_policy; acpi/processor_perflib.c)
        """
        found = set()
        with contextlib.suppress(TreeError):
            found.add(self._tree.number(f"{_cpufreq(cpu)}/bios_limit", 10**8))
        if self._nominal and state.turbo(self._tree) == "off":
            found.add(self._nominal * 1000)
        return found

    def _bounds(self, value: int, cpu: int) -> tuple[int, int]:
        if value == FREE:
            return _limits(self._tree, cpu)
        if self.info.found_low <= value <= self.info.found_high:
            return value, _limits(self._tree, cpu)[1]
        return value * 1000, value * 1000

    def _write(self, value: int) -> None:
        cpus = self._cpus()
        for cpu in cpus:
            folder = _cpufreq(cpu)
            least, most = self._bounds(value, cpu)
            # The kernel refuses a lower bound above the upper one, so the way up starts at the top.
            order = [("scaling_max_freq", most), ("scaling_min_freq", least)]
            if most < self._tree.number(f"{folder}/scaling_min_freq", 10**8):
                order.reverse()
            for name, khz in order:
                self._tree.write(f"{folder}/{name}", str(khz))
        self._speed.restart(cpus)


def find(tree: Tree, registers: Msr, means: str) -> Dvfs:
    """The clock's knob by `means` (see LinuxOptions.dvfs). KnobError says why there is none."""
    nominal = nominal_mhz(tree, registers)
    # Registers that don't even name the nominal clock are an emulator's, and so is what they say about the present one.
    speed = Speedometer(registers if nominal else None, nominal)
    if means == "none":
        raise KnobError(f"{NAME}: switched off by the configuration")
    if means == "msr" or (means == "auto" and not _has_cpufreq(tree)):
        return MsrDvfs(tree, registers, speed)
    try:
        return UserspaceDvfs(tree, registers, speed)
    except KnobError as first:
        try:
            return BoundsDvfs(tree, registers, speed)
        except KnobError as second:
            raise KnobError(f"{first}; {second}") from None


def _cpufreq(cpu: int) -> str:
    return f"{topology.CPU}/cpu{cpu}/cpufreq"


def _has_cpufreq(tree: Tree) -> bool:
    try:
        return all(tree.has(f"{_cpufreq(c)}/scaling_driver") for c in topology.online_cpus(tree))
    except TreeError:
        return False


def _limits(tree: Tree, cpu: int) -> tuple[int, int]:
    folder = _cpufreq(cpu)
    return tree.number(f"{folder}/cpuinfo_min_freq", 10**8), tree.number(f"{folder}/cpuinfo_max_freq", 10**8)


def _frequencies(tree: Tree, cpu: int) -> list[int]:
    """kHz that cpufreq offers: its table, else every 100 MHz of its range. KnobError when it offers none."""
    text = tree.peek(f"{_cpufreq(cpu)}/scaling_available_frequencies")
    found = [int(word) for word in text.split() if re.fullmatch(r"[0-9]{4,8}", word)]
    if not found:
        low, high = _limits(tree, cpu)
        found = list(range(-(-low // 100_000) * 100_000, high + 1, 100_000))
    found = [khz for khz in found if khz >= 100 * 1000]
    if not found:
        raise KnobError(f"{NAME}: cpufreq offers no clock")
    return found
