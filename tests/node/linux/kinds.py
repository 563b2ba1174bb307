"""Types of machines."""

import msgspec

CPU = "sys/devices/system/cpu"


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """A type of machine."""

    name: str
    vendor: str = "GenuineIntel"
    model: int = 62
    packages: dict[int, tuple[int, ...]]
    offline: tuple[int, ...] = ()
    smt_siblings: bool = False
    ratios: tuple[int, int, int] = (12, 26, 34)
    """Lowest, nominal, turbo."""
    registers: bool = True
    amd_registers: bool = False
    """The energy counters of Zen as registers."""
    perf: tuple[str, ...] = ()
    """Events of perf's PMU power."""
    cpufreq: str = ""
    """Name of the frequency driver; "" for none."""
    governors: str = "performance powersave userspace ondemand"
    governor: str = "ondemand"
    table: tuple[int, ...] = ()
    """MHz that the frequency driver lists; none: what acpi-cpufreq makes of `ratios`, and nothing for another one."""
    esu: int = 16
    powercap: bool = True
    psys: bool = False
    mmio: bool = False
    dram_nj: int = 0
    nic: str = "ixgbe"
    interface: str = "enp3s0f0"
    uncore: tuple[int, int] = (0, 0)
    """MHz between which the uncore may run; none where the kernel doesn't tell."""
    idle: bool = True
    epp: bool = False
    epb: bool = False
    boost: str = ""
    """The switch for turbo: `no_turbo`, `boost`, `policy` or none."""
    napi: bool = True
    """The kernel has per-NAPI settings (from Linux 6.13 on)."""
    cgroup: str = ""


C6220 = Kind(name="c6220", packages={0: tuple(range(8)), 1: tuple(range(8, 16))})
LAB = Kind(name="lab", model=45, packages={0: (0, 2), 1: (1, 3)}, ratios=(12, 29, 38))
"""Packages take turns in the numbering of CPUs, as on the lab node; and it is small, so tests on it are quick."""
ACPI = msgspec.structs.replace(LAB, name="acpi", cpufreq="acpi-cpufreq")
PSTATE = Kind(
    name="pstate",
    model=85,
    packages={0: (0, 2), 3: (1, 3)},
    ratios=(10, 24, 37),
    cpufreq="intel_pstate",
    governors="performance powersave",
    governor="powersave",
    esu=14,
    psys=True,
    mmio=True,
    dram_nj=15300,
    nic="mlx5_core",
    interface="ens1f0",
    epp=True,
    epb=True,
    boost="no_turbo",
    perf=("energy-pkg", "energy-ram", "energy-psys"),
)
"""A Skylake server with HWP."""
ICELAKE = msgspec.structs.replace(
    PSTATE, name="icelake", model=106, packages={0: (0, 1), 1: (2, 3)}, ratios=(8, 26, 34), uncore=(800, 2400)
)
AMPERE = Kind(
    name="ampere", vendor="", model=1, packages={0: (0, 1, 2, 3)}, ratios=(10, 30, 30), registers=False,
    cpufreq="cppc_cpufreq", governors="conservative ondemand userspace powersave performance schedutil",
    governor="schedutil", powercap=False, nic="mlx5_core", interface="enP2p1s0f0",
)  # fmt: skip
AMD = Kind(
    name="amd",
    vendor="AuthenticAMD",
    model=17,
    packages={0: (0, 1, 2, 3)},
    registers=False,
    cpufreq="acpi-cpufreq",
    nic="igb",
    interface="eno1",
)
PASSIVE = msgspec.structs.replace(
    LAB, name="passive", model=62, ratios=(12, 26, 34), cpufreq="intel_cpufreq",
    governors="conservative ondemand userspace powersave performance schedutil", governor="schedutil",
)  # fmt: skip
"""A c6220 with a kernel of today: intel_pstate is passive there."""
CONTAINER = msgspec.structs.replace(
    PASSIVE, name="container", packages={0: (0, 1, 2, 3)}, registers=False, powercap=False, idle=False, napi=False,
    nic="veth", interface="eth0", cgroup="system.slice/app.service", cpufreq="",
)  # fmt: skip
"""Of the machine's CPUs a control group may use some."""
EPYC = Kind(
    name="epyc", vendor="AuthenticAMD", model=49, packages={0: (0, 1, 2, 3)}, ratios=(15, 24, 34), registers=False,
    boost="boost",
    cpufreq="acpi-cpufreq", table=(2450, 2000, 1500), governors="conservative ondemand userspace powersave performance",
    nic="ice", interface="ens2f0",
)  # fmt: skip
EPP = Kind(
    name="epp", vendor="AuthenticAMD", model=17, packages={0: (0, 1, 2, 3)}, ratios=(4, 27, 37), registers=False,
    epp=True, boost="policy",
    amd_registers=True, perf=("energy-pkg",),
    cpufreq="amd-pstate-epp", governors="performance powersave", governor="powersave", nic="bnxt_en",
    interface="ens3f0np0",
)  # fmt: skip
BARE = Kind(
    name="bare", packages={0: (0, 1)}, registers=False, powercap=False, nic="virtio_net", interface="eth0", model=85,
    idle=False,
)  # fmt: skip
KINDS = {
    kind.name: kind for kind in (C6220, LAB, ACPI, PSTATE, ICELAKE, PASSIVE, CONTAINER, AMD, EPYC, EPP, AMPERE, BARE)
}
