"""The clock that the CPU is sold as: above it is turbo."""

import re

from mustherd.node.linux import msr as m
from mustherd.node.linux import topology
from mustherd.node.linux.msr import Msr
from mustherd.node.linux.tree import Tree, TreeError

SANDY_BRIDGE = 0x2A
"""Model number from which ratios count 100 MHz (family 6)."""

SOLD_AS = re.compile(r"@ ([0-9]{1,2})\.([0-9]{2}) ?GHz")
"""As Intel's model names end."""


def nominal_of(tree: Tree, registers: Msr, cpu: int) -> int:
    """MHz, rounded down; 0 when the machine doesn't tell.

    First what the driver says: `base_frequency` (intel_pstate with HWP), `nominal_freq` (CPPC: AMD, Arm); then register
    0xCE, and where that can't be read the CPU's own name.
    """
    for path, most, per_mhz in (
        (f"{topology.CPU}/cpu{cpu}/cpufreq/base_frequency", 10**8, 1000),
        (f"{topology.CPU}/cpu{cpu}/acpi_cppc/nominal_freq", 10**5, 1),
    ):
        try:
            if found := tree.number(path, most) // per_mhz:
                return found
        except TreeError:
            continue
    return nominal_mhz(tree, registers) or _sold_as(tree)


def nominal_mhz(tree: Tree, registers: Msr) -> int:
    """The clock that MPERF counts at, from register 0xCE; 0 when the machine doesn't tell."""
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


def is_amd(tree: Tree) -> bool:
    """Whether the CPU has AMD's registers."""
    return cpuinfo(tree).get("vendor_id", "") in ("AuthenticAMD", "HygonGenuine")


def cpuinfo(tree: Tree) -> dict[str, str]:
    """The first CPU's part of /proc/cpuinfo."""
    first = re.split(r"\n[ \t]*\n", tree.peek("proc/cpuinfo"), maxsplit=1)[0]
    lines = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, colon, value in lines if colon}


def _sold_as(tree: Tree) -> int:
    found = SOLD_AS.search(cpuinfo(tree).get("model name", "").replace("\t", " "))
    return int(found[1]) * 1000 + int(found[2]) * 10 if found else 0
