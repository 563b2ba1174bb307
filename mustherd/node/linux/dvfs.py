"""`dvfs`: the clock of all CPUs, in MHz, by the means that the machine offers.

Active cores of a package run at the highest request among them, so every means writes every online CPU.
"""

import contextlib
import copy
import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Self

import msgspec

from mustherd.node.kinds import ANY_MHZ, DVFS, FREE, GOVERNORS, PERFORMANCE, POWERSAVE
from mustherd.node.knob import KnobError
from mustherd.node.linux import msr as m
from mustherd.node.linux import state, topology
from mustherd.node.linux.knob import Machine, PlacedKnob, UnfitError, agreed
from mustherd.node.linux.msr import Msr
from mustherd.node.linux.nominal import no_ratios, nominal_mhz, nominal_of
from mustherd.node.linux.speed import Speedometer
from mustherd.node.linux.tree import Tree, TreeError
from mustherd.terms import KnobInfo

NAME = DVFS.name

SLACK_MHZ = 50
"""Half a ratio: the bus clock is not quite 100 MHz, and an average is never exact."""

RECORD = "var/lib/mustherd-node/found.json"
"""What the roles found before they changed it: setting to file to text. (roles/common/files/mustherd_node)"""

AMD_PSTATE = "amd-pstate"
"""How the drivers are called that start with a lower bound of their own: the lowest clock that is worth its voltage,
from Linux 6.13 on. (drivers/cpufreq/amd-pstate.c)"""


class Dvfs(PlacedKnob):
    """What all means have in common: the CPUs, the clock that runs, and the tolerance for turbo.

    A value above the nominal clock asks for turbo, and how much of it there is the CPU decides from moment to moment:
    any clock from nominal on holds. Where the highest value that there is names the nominal clock itself, as in the
    tables of AMD's CPUs, that value asks for it.
    """

    kind = DVFS

    @classmethod
    def find(cls, machine: Machine) -> "tuple[Dvfs, ...]":
        whole = find(machine.tree, machine.registers, machine.options.dvfs)
        if machine.options.dvfs_sheep == "node":
            return (whole,)
        packages = topology.read(machine.tree).packages
        return tuple(whole.of_core(cpu, package) for package, cpus in packages.items() for cpu in cpus)

    def of_core(self, cpu: int, package: int) -> Self:
        """The knob of one CPU: what it asks for is its own, and what it runs at is its package's highest request."""
        one = copy.copy(self)
        default = recorded_default(self._tree, (cpu,), getattr(self, "_codes", {}))
        sheep, groups = f"core-{cpu}", (f"socket-{package}",)
        one._info = msgspec.structs.replace(self._info, sheep=sheep, groups=groups, default=default)
        one._only, one._speed = cpu, self._speed.another()
        return one

    def __init__(self, tree: Tree, speed: Speedometer, info: KnobInfo, nominal: int, turbo: int = 0) -> None:
        """`nominal` is 0 where the machine doesn't tell; `turbo` is the lowest value that asks for turbo, if another
        than the next above it.
        """
        super().__init__(info)
        self._tree = tree
        self._speed = speed
        self._nominal = nominal
        self._turbo = turbo or nominal + 1
        self._only: int | None = None
        """The CPU that the knob is of; None: all of them."""

    def tolerance(self, applied: int, running: int) -> int:
        if applied == FREE or applied in GOVERNORS or applied >= self.info.found_low > 0:
            return ANY_MHZ
        if self._only is not None and running >= applied - SLACK_MHZ:
            return ANY_MHZ  # active cores of a package may run at the highest request among them
        turbo = self._nominal > 0 and applied >= self._turbo
        return ANY_MHZ if turbo and running >= self._nominal - SLACK_MHZ else SLACK_MHZ

    def _cpus(self) -> tuple[int, ...]:
        # Looked up each time: a CPU that has come back to life must be set too.
        online = topology.online_cpus(self._tree)
        return online if self._only is None else tuple(cpu for cpu in online if cpu == self._only)

    def _running(self) -> int | None:
        return self._speed.running(self._tree, self._cpus(), self._read())

    def _read(self) -> int:
        return agreed(((f"CPU {c}", self._of(c)) for c in self._cpus()), "MHz")

    def _places(self) -> dict[str, str]:
        return {f"cpu{cpu}": self._text_of(cpu) for cpu in self._cpus()}

    def _put(self, place: str, text: str) -> None:
        cpu = int(place.removeprefix("cpu"))
        self._put_cpu(cpu, text)
        self._speed.restart(self._cpus())

    @abstractmethod
    def _of(self, cpu: int) -> int:
        """The knob's value on one CPU. UnfitError where there is none."""

    @abstractmethod
    def _text_of(self, cpu: int) -> str:
        """All that lies there, exactly."""

    @abstractmethod
    def _put_cpu(self, cpu: int, text: str) -> None:
        """Write what `_text_of` gave. Raises TreeError; ValueError."""


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

    def _of(self, cpu: int) -> int:
        return m.mhz_of_word(self._registers.read(cpu, m.PERF_CTL))

    def _text_of(self, cpu: int) -> str:
        return f"{self._registers.read(cpu, m.PERF_CTL) & 0xFFFF:#06x}"

    def _put_cpu(self, cpu: int, text: str) -> None:
        self._ask(cpu, int(text, 16))

    def _write(self, value: int) -> None:
        cpus = self._cpus()
        for cpu in cpus:
            self._ask(cpu, m.word_of_mhz(value))
        self._speed.restart(cpus)

    def _ask(self, cpu: int, word: int) -> None:
        # Bits above the lowest 16 are not the ratio's: bit 32 turns turbo off.
        others = self._registers.read(cpu, m.PERF_CTL) & ~0xFFFF
        self._registers.write(cpu, m.PERF_CTL, others | word & 0xFFFF)


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
        self._codes = {governor: code for code, governor in names.items()}
        default = recorded_default(tree, cpus, self._codes)
        info = DVFS.offer(values=tuple(sorted({*names, *self._khz})), names=names, default=default)
        super().__init__(tree, speed, info, nominal, turbo=top if nominal == top else 0)

    def _of(self, cpu: int) -> int:
        governor = self._tree.text(f"{_cpufreq(cpu)}/scaling_governor")
        if governor == "userspace":
            return self._tree.number(f"{_cpufreq(cpu)}/scaling_setspeed", 10**8) // 1000
        if governor not in self._codes:
            raise UnfitError(f"CPU {cpu} has governor {governor[:40]!r}, which is none that this knob knows")
        return self._codes[governor]

    def _text_of(self, cpu: int) -> str:
        governor = self._tree.text(f"{_cpufreq(cpu)}/scaling_governor")
        if governor != "userspace":
            return governor
        return f"{governor} {self._tree.number(f'{_cpufreq(cpu)}/scaling_setspeed', 10**8)}"

    def _put_cpu(self, cpu: int, text: str) -> None:
        governor, _, khz = text.partition(" ")
        self._govern(cpu, governor, int(khz) if khz else None)

    def _write(self, value: int) -> None:
        cpus = self._cpus()
        for cpu in cpus:
            if value in GOVERNORS:
                self._govern(cpu, GOVERNORS[value], None)
            else:
                self._govern(cpu, "userspace", self._khz[value])
        self._speed.restart(cpus)

    def _govern(self, cpu: int, governor: str, khz: int | None) -> None:
        path = f"{_cpufreq(cpu)}/scaling_governor"
        if self._tree.text(path) != governor:
            self._tree.write(path, governor)
        if khz is not None:
            self._tree.write(f"{_cpufreq(cpu)}/scaling_setspeed", str(khz))


class BoundsDvfs(Dvfs):
    """scaling_min_freq and scaling_max_freq drawn together, for a driver without userspace governor (intel_pstate).

    Where the driver itself chooses the clock (HWP, amd-pstate-epp) its governor `powersave` is what leaves it the
    range, so `powersave` lands on `free`.

    A kernel narrows these bounds by itself, which is nobody's setting. Upper ones it keeps below whatever is written,
    so that such a range is as free as it can be: FREE. amd-pstate begins with a lower bound that whoever writes another
    one replaces: to be put back, it is a value of its own, in kHz, where no clock in MHz lies.
    """

    def __init__(self, tree: Tree, registers: Msr, speed: Speedometer) -> None:
        """KnobError where cpufreq doesn't name the machine's range."""
        try:
            cpus = topology.online_cpus(tree)
            limits = {_limits(tree, c) for c in cpus}
            offered = [set(tree.peek(f"{_cpufreq(c)}/scaling_available_governors").split()) for c in cpus]
            starts_higher = tree.text(f"{_cpufreq(cpus[0])}/scaling_driver").startswith(AMD_PSTATE)
        except TreeError as error:
            raise KnobError(f"{NAME}: {error}") from None
        low = max(-(-least // 100_000) * 100 for least, _ in limits)
        high = min(most // 100_000 * 100 for _, most in limits)
        if not 0 < low <= high:
            raise KnobError(f"{NAME}: cpufreq names no range of clocks ({low}..{high} MHz)")
        common = set.intersection(*offered)
        self._chooses = common <= {GOVERNORS[PERFORMANCE], GOVERNORS[POWERSAVE]}
        self._codes = {governor: code for code, governor in GOVERNORS.items() if governor in common}
        free = (FREE,) if self._chooses else ()
        info = DVFS.offer(
            values=(*free, *sorted(self._codes.values())),
            low=low,
            high=high,
            step=m.MHZ_PER_RATIO,
            found=(min(least for least, _ in limits) + 1, high * 1000 - 1) if starts_higher else (0, -1),
            default=recorded_default(tree, cpus, self._codes),
        )
        super().__init__(tree, speed, info, nominal_of(tree, registers, cpus[0]))
        self._registers = registers

    def lands_on(self, value: int) -> int:
        return FREE if self._chooses and value == POWERSAVE else value

    def _of(self, cpu: int) -> int:
        least, most = self._bounds(cpu)
        if least == most:
            return least // 1000
        lowest, highest = _limits(self._tree, cpu)
        whole = most == highest or most in self._kernels_upper(cpu)
        if whole and self.info.found_low <= least <= self.info.found_high:
            return least
        if not whole or least != lowest:
            found = f"{least // 1000}..{most // 1000} MHz"
            raise UnfitError(f"CPU {cpu} may run at {found}: neither one clock nor the range")
        governor = self._tree.peek(f"{_cpufreq(cpu)}/scaling_governor")
        if self._chooses and governor != GOVERNORS[PERFORMANCE]:
            return FREE
        if governor not in self._codes:
            raise UnfitError(f"CPU {cpu} has governor {governor[:40]!r}, which is none that this knob knows")
        return self._codes[governor]

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

    def _text_of(self, cpu: int) -> str:
        least, most = self._bounds(cpu)
        if most in self._kernels_upper(cpu):
            # Nobody's setting: what is written stays as high as it was before the kernel narrowed it.
            most = _limits(self._tree, cpu)[1]
        return f"{least} {most} {self._tree.peek(f'{_cpufreq(cpu)}/scaling_governor')}"

    def _put_cpu(self, cpu: int, text: str) -> None:
        least, most, *governor = text.split(" ")
        self._bind(cpu, int(least), int(most), governor[0] if governor else "")

    def _write(self, value: int) -> None:
        cpus = self._cpus()
        governor = GOVERNORS.get(POWERSAVE if value == FREE else value, "")
        for cpu in cpus:
            least, most = _limits(self._tree, cpu) if governor else (value * 1000, value * 1000)
            if self.info.found_low <= value <= self.info.found_high:
                least, most = value, _limits(self._tree, cpu)[1]
            self._bind(cpu, least, most, governor)
        self._speed.restart(cpus)

    def _bounds(self, cpu: int) -> tuple[int, int]:
        folder = _cpufreq(cpu)
        least = self._tree.number(f"{folder}/scaling_min_freq", 10**8)
        return least, self._tree.number(f"{folder}/scaling_max_freq", 10**8)

    def _bind(self, cpu: int, least: int, most: int, governor: str) -> None:
        """Set both bounds, and the governor unless it is ""."""
        folder = _cpufreq(cpu)
        # The kernel refuses a lower bound above the upper one, so the way up starts at the top.
        order = [("scaling_max_freq", most), ("scaling_min_freq", least)]
        if most < self._tree.number(f"{folder}/scaling_min_freq", 10**8):
            order.reverse()
        for name, khz in order:
            self._tree.write(f"{folder}/{name}", str(khz))
        if governor and self._tree.peek(f"{folder}/scaling_governor") != governor:
            self._tree.write(f"{folder}/scaling_governor", governor)


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


def recorded_default(tree: Tree, cpus: Iterable[int], codes: Mapping[str, int]) -> int | None:
    """The governor that all CPUs had before the machine was prepared, by its code; None where that isn't recorded.

    A CPU whose governor is not in the record has the one that it was found with.
    """
    try:
        record = msgspec.json.decode(tree.text(RECORD), type=dict[str, dict[str, str]])
    except (TreeError, msgspec.DecodeError):
        return None
    before = record.get("governor", {})
    drawn = record.get("bounds", {})
    if not before and all(f"/{_cpufreq(cpu)}/scaling_max_freq" in drawn for cpu in cpus):
        governors = {tree.peek(f"{_cpufreq(cpu)}/scaling_governor") for cpu in cpus}
        return codes.get(governors.pop()) if len(governors) == 1 else None
    files = [f"{_cpufreq(cpu)}/scaling_governor" for cpu in cpus]
    if not any(f"/{file}" in before for file in files):
        return None
    governors = {before.get(f"/{file}") or tree.peek(file) for file in files}
    return codes.get(governors.pop()) if len(governors) == 1 else None


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
