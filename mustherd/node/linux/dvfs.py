"""`dvfs`: the clock of all CPUs, in MHz, by the means that the machine offers.

Active cores of a package run at the highest request among them, so every means writes every online CPU.
"""

import contextlib
import re

from mustherd.node.kinds import DVFS, FREE, GOVERNORS
from mustherd.node.knob import KnobError
from mustherd.node.linux import msr as m
from mustherd.node.linux import topology
from mustherd.node.linux.knob import LinuxKnob, Machine, UnfitError, agreed
from mustherd.node.linux.msr import Msr
from mustherd.node.linux.speed import Speedometer
from mustherd.node.linux.tree import Tree, TreeError
from mustherd.terms import KnobInfo

NAME = DVFS.name

SLACK_MHZ = 50
"""Half a ratio: the bus clock is not quite 100 MHz, and an average is never exact."""

ANY_MHZ = 100_000
"""Any clock will do: something else than the knob's value decides about it."""

SANDY_BRIDGE = 0x2A
"""Model number from which ratios count 100 MHz (family 6)."""


class Dvfs(LinuxKnob):
    """What all means have in common: the CPUs, the clock that runs, and the tolerance for turbo.

    A value above the nominal clock asks for turbo, and how much of it there is the CPU decides from moment to moment:
    any clock from nominal on holds.
    """

    kind = DVFS

    @classmethod
    def find(cls, machine: Machine) -> "tuple[Dvfs]":
        return (find(machine.tree, machine.registers, machine.options.dvfs),)

    def __init__(self, tree: Tree, speed: Speedometer, info: KnobInfo, nominal: int) -> None:
        """`nominal` is 0 where the machine doesn't tell."""
        super().__init__(info)
        self._tree = tree
        self._speed = speed
        self._nominal = nominal

    def tolerance(self, applied: int, running: int) -> int:
        if applied in self.info.names and applied < m.MHZ_PER_RATIO:
            return ANY_MHZ
        turbo = 0 < self._nominal < applied
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

    def __init__(self, tree: Tree, speed: Speedometer) -> None:
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
        nominal = max((mhz for mhz in self._khz if mhz + 1 in self._khz), default=max(self._khz))
        if nominal < max(self._khz):
            # acpi-cpufreq says turbo as the nominal clock plus 1 MHz.
            names[nominal + 1] = "turbo"
        info = DVFS.offer(values=tuple(sorted({*names, *self._khz})), names=names)
        super().__init__(tree, speed, info, nominal)
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
    """scaling_min_freq and scaling_max_freq drawn together, for a driver without userspace governor (intel_pstate)."""

    def __init__(self, tree: Tree, speed: Speedometer) -> None:
        """KnobError where cpufreq doesn't name the machine's range."""
        try:
            cpus = topology.online_cpus(tree)
            limits = {_limits(tree, c) for c in cpus}
            nominal = 0
            with contextlib.suppress(TreeError):
                nominal = tree.number(f"{_cpufreq(cpus[0])}/base_frequency", 10**8) // 1000
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
        )
        super().__init__(tree, speed, info, nominal)

    def _read(self) -> int:
        return agreed(((f"CPU {c}", self._of(c)) for c in self._cpus()), "MHz")

    def _of(self, cpu: int) -> int:
        folder = _cpufreq(cpu)
        least = self._tree.number(f"{folder}/scaling_min_freq", 10**8)
        most = self._tree.number(f"{folder}/scaling_max_freq", 10**8)
        if least == most:
            return least // 1000
        if (least, most) == _limits(self._tree, cpu):
            return FREE
        raise UnfitError(f"CPU {cpu} may run at {least // 1000}..{most // 1000} MHz: neither one clock nor the range")

    def _write(self, value: int) -> None:
        cpus = self._cpus()
        for cpu in cpus:
            folder = _cpufreq(cpu)
            least, most = _limits(self._tree, cpu) if value == FREE else (value * 1000, value * 1000)
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
        return UserspaceDvfs(tree, speed)
    except KnobError as first:
        try:
            return BoundsDvfs(tree, speed)
        except KnobError as second:
            raise KnobError(f"{first}; {second}") from None


def nominal_mhz(tree: Tree, registers: Msr) -> int:
    """The clock that MPERF counts at; 0 when the machine doesn't tell."""
    try:
        if not no_ratios(tree):
            return m.mhz_of_word(registers.read(topology.online_cpus(tree)[0], m.PLATFORM_INFO))
    except TreeError:
        pass
    return 0


def no_ratios(tree: Tree) -> str:
    """Why the ratios of Intel's registers don't apply to this CPU; "" when they do."""
    info = cpuinfo(tree)
    vendor, family, model = (info.get(key, "") for key in ("vendor_id", "cpu family", "model"))
    if vendor != "GenuineIntel":
        return f"register 0x199 sets the clock on Intel's CPUs, not on {vendor or 'an unknown vendor'}'s"
    if family != "6" or not model.isdecimal() or int(model[:6]) < SANDY_BRIDGE:
        return f"CPU family {family or '?'} model {model or '?'} has ratios of another unit than 100 MHz"
    return ""


def cpuinfo(tree: Tree) -> dict[str, str]:
    """The first CPU's part of /proc/cpuinfo."""
    first = re.split(r"\n[ \t]*\n", tree.peek("proc/cpuinfo"), maxsplit=1)[0]
    lines = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, colon, value in lines if colon}


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
