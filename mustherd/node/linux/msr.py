"""Model-specific registers through /dev/cpu/N/msr (the module msr, CAP_SYS_RAWIO)."""

from mustherd.node.kinds import DVFS
from mustherd.node.linux.tree import Cause, Tree, TreeError, wrapped

# Numbers and fields as in Intel's Software Developer's Manual, volume 4.
PLATFORM_INFO = 0x0CE
"""Bits 15:8 the highest ratio without turbo, 47:40 the lowest ratio."""
MPERF = 0x0E7
"""Counts at the nominal clock while the CPU is awake."""
APERF = 0x0E8
"""Counts at the clock that runs while the CPU is awake."""
PERF_STATUS = 0x198
"""Bits 15:8 the ratio that runs."""
PERF_CTL = 0x199
"""Bits 15:8 the ratio that is asked for."""
TURBO_RATIO_LIMIT = 0x1AD
"""Bits 7:0 the highest ratio with one core active."""
RAPL_POWER_UNIT = 0x606
"""Bits 12:8 ESU: one count of energy is 2^-ESU J; bits 3:0: one count of power is 2^-n W."""
AMD_RAPL_POWER_UNIT = 0xC0010299
"""The same fields on AMD's CPUs (Processor Programming Reference for family 17h)."""
AMD_CORE_ENERGY = 0xC001029A
"""Of the core that it is read on."""
AMD_PKG_ENERGY = 0xC001029B
PKG_ENERGY_STATUS = 0x611
DRAM_ENERGY_STATUS = 0x619
PP0_ENERGY_STATUS = 0x639
PKG_POWER_INFO = 0x614
"""Bits 14:0 thermal design power, 30:16 lowest, 46:32 highest power limit, in units of power."""

MHZ_PER_RATIO = DVFS.hex_scale
"""The bus clock of every Intel CPU since Sandy Bridge."""
RATIO_SHIFT = DVFS.hex_shift
"""Where PERF_CTL, PERF_STATUS and PLATFORM_INFO hold the ratio."""


class Msr:
    """The registers of every CPU of a tree."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def read(self, cpu: int, register: int) -> int:
        """64 bits of a register. Raises TreeError; one that the CPU doesn't have is `failed` (EIO)."""
        path = f"dev/cpu/{cpu}/msr"
        try:
            content = self._tree.pread(path, 8, register)
        except OSError as error:
            raise wrapped(f"{path} register {register:#x}", error) from None
        if len(content) != 8:
            raise TreeError(f"{path} register {register:#x}", Cause.GARBAGE, f"{len(content)} bytes instead of 8")
        return int.from_bytes(content, "little")

    def write(self, cpu: int, register: int, value: int) -> None:
        """Set 64 bits of a register. Raises TreeError."""
        path = f"dev/cpu/{cpu}/msr"
        try:
            self._tree.pwrite(path, value.to_bytes(8, "little"), register)
        except OSError as error:
            raise wrapped(f"{path} register {register:#x}", error) from None


def mhz_of_word(word: int) -> int:
    """The clock that a PERF_CTL or PERF_STATUS word names: 0x1a00 is 2600 MHz."""
    return (word >> RATIO_SHIFT & 0xFF) * MHZ_PER_RATIO


def word_of_mhz(mhz: int) -> int:
    """The PERF_CTL word for a multiple of 100 MHz up to 25500. ValueError for anything else."""
    ratio, rest = divmod(mhz, MHZ_PER_RATIO)
    if rest or not 0 < ratio < 256:
        raise ValueError(f"{mhz} MHz is no ratio of {MHZ_PER_RATIO} MHz")
    return ratio << RATIO_SHIFT
