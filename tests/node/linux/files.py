"""The files of a machine as new."""

from typing import TYPE_CHECKING

from mustherd.node.linux import msr as m
from mustherd.node.linux.tree import cpu_list
from tests.node.linux.kinds import CPU, Kind

if TYPE_CHECKING:
    from tests.node.linux.machine import FakeTree

COUNTER = 2**32
PERF_EVENTS = ("energy-cores", "energy-pkg", "energy-ram", "energy-gpu", "energy-psys")


def build(tree: "FakeTree", kind: Kind) -> None:
    """Make a machine's files."""
    online = sorted({c for cpus in kind.packages.values() for c in cpus} - set(kind.offline))
    nominal = kind.ratios[1]
    f = tree.file
    f(f"{CPU}/online", cpu_list(tuple(online)))
    f(f"{CPU}/smt/control", "on" if kind.smt_siblings else "off")
    f("proc/stat", "cpu  100 0 100 99800 0 0 0 0 0 0\ncpu0 1 2 3 4\n")
    f(
        "proc/cpuinfo",
        f"processor\t: 0\nvendor_id\t: {kind.vendor}\ncpu family\t: {6 if kind.vendor == 'GenuineIntel' else 25}\n"
        f"model\t\t: {kind.model}\nmodel name\t: A CPU @ {nominal / 10:.2f}GHz\nstepping\t: 4\nmicrocode\t: 0x42e\n\n"
        "processor\t: 1\n",
    )
    f("proc/cmdline", "BOOT_IMAGE=/boot/vmlinuz-5.15.89 root=/dev/sda1 ro")
    f("proc/sys/kernel/hostname", "node1.exp.example")
    f("proc/sys/kernel/osrelease", "5.15.89")
    f("proc/sys/kernel/version", "#1 SMP")
    f("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc")
    f(f"{CPU}/cpu0/tsc_freq_khz", str(nominal * 100_000 - 1))
    f(f"{CPU}/cpuidle/current_driver", "intel_idle")
    for node, (package, cpus) in enumerate(kind.packages.items()):
        f(f"sys/devices/system/node/node{node}/cpulist", cpu_list(cpus))
        for position, cpu in enumerate(cpus):
            _cpu(tree, kind, cpu, package, position)
    if kind.powercap:
        _powercap(tree, kind)
    if kind.perf:
        _perf(tree, kind)
    _nic(tree, kind)
    _settings(tree, kind, online)


def _settings(tree: "FakeTree", kind: Kind, online: list[int]) -> None:
    """What other knobs set."""
    f = tree.file
    for cpu in online:
        for n, (name, us) in enumerate((("POLL", 0), ("C1", 1), ("C1E", 10), ("C6", 82)) if kind.idle else ()):
            folder = f"{CPU}/cpu{cpu}/cpuidle/state{n}"
            for file, text in (("name", name), ("latency", us), ("disable", 0)):
                f(f"{folder}/{file}", str(text))
        f(f"{CPU}/cpu{cpu}/power/pm_qos_resume_latency_us", "0")
        if kind.epb:
            f(f"{CPU}/cpu{cpu}/power/energy_perf_bias", "6")
        if kind.epp:
            words = "default performance balance_performance balance_power power "
            f(f"{CPU}/cpu{cpu}/cpufreq/energy_performance_available_preferences", words)
            f(f"{CPU}/cpu{cpu}/cpufreq/energy_performance_preference", "balance_performance")
        if kind.boost == "policy":
            f(f"{CPU}/cpu{cpu}/cpufreq/boost", "1")
    if kind.boost == "no_turbo":
        f(f"{CPU}/intel_pstate/no_turbo", "0")
    if kind.boost == "boost":
        f(f"{CPU}/cpufreq/boost", "1")
    if kind.idle:
        f("dev/cpu_dma_latency", "")
    for package in kind.packages if kind.uncore[0] else ():
        low, high = kind.uncore
        for file, mhz in (("initial_min", low), ("min", low), ("initial_max", high), ("max", high), ("current", high)):
            folder = f"{CPU}/intel_uncore_frequency/package_{package:02}_die_00"
            f(f"{folder}/{file}_freq_khz", str(mhz * 1000))
    for file, text in (("gro_flush_timeout", 0), ("napi_defer_hard_irqs", 0)):
        f(f"sys/class/net/{kind.interface}/{file}", str(text))
    for file, text in (("net/core/busy_poll", 0), ("net/core/busy_read", 0), ("kernel/numa_balancing", 1)):
        f(f"proc/sys/{file}", str(text))
    f("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never")
    if kind.cgroup:
        f(f"sys/fs/cgroup/{kind.cgroup}/cpuset.cpus", "0-2")
        f(f"sys/fs/cgroup/{kind.cgroup}/cpu.max", "max 100000")


def _cpu(tree: "FakeTree", kind: Kind, cpu: int, package: int, position: int) -> None:
    low, nominal, top = kind.ratios
    f = tree.file
    if cpu not in kind.offline:
        f(f"{CPU}/cpu{cpu}/topology/physical_package_id", str(package))
        f(f"{CPU}/cpu{cpu}/topology/core_id", str(position // 2 if kind.smt_siblings else position))
    if kind.registers and cpu not in kind.offline:
        f(f"dev/cpu/{cpu}/msr", "")
        registers = {
            m.PLATFORM_INFO: low << 40 | nominal << 8 | 1,
            m.TURBO_RATIO_LIMIT: top,
            m.PERF_CTL: top << 8,
            m.PERF_STATUS: (top - 4) << 8,
            m.MPERF: 10**12,
            m.APERF: 2**64 - 10**9,
            m.RAPL_POWER_UNIT: kind.esu << 8 | 3,
            m.PKG_POWER_INFO: 95 * 8 | 40 * 8 << 16 | 150 * 8 << 32,
        }
        for register, value in registers.items():
            f(f"dev/cpu/{cpu}/registers/{register:#x}", f"{value:x}")
    if kind.amd_registers and cpu not in kind.offline:
        f(f"dev/cpu/{cpu}/msr", "")
        f(f"dev/cpu/{cpu}/registers/{m.AMD_RAPL_POWER_UNIT:#x}", f"{0xA1003 | kind.esu << 8:x}")
    if kind.cpufreq:
        folder = f"{CPU}/cpu{cpu}/cpufreq"
        acpi = kind.cpufreq == "acpi-cpufreq"
        table = [nominal * 100_000 + 1000, *range(nominal * 100_000, low * 100_000 - 1, -100_000)]
        table = [mhz * 1000 for mhz in kind.table] or table
        highest = table[0] if acpi else top * 100_000
        f(f"{folder}/scaling_driver", kind.cpufreq)
        f(f"{folder}/scaling_available_governors", kind.governors)
        f(f"{folder}/scaling_governor", kind.governor)
        f(f"{folder}/scaling_setspeed", "<unsupported>")
        f(f"{folder}/scaling_cur_freq", str(low * 100_000))
        f(f"{folder}/cpuinfo_min_freq", str(low * 100_000))
        f(f"{folder}/cpuinfo_max_freq", str(highest))
        f(f"{folder}/scaling_min_freq", str(low * 100_000))
        f(f"{folder}/scaling_max_freq", str(highest))
        if acpi:
            f(f"{folder}/scaling_available_frequencies", " ".join(map(str, table)) + " ")
        elif kind.cpufreq == "intel_pstate":
            f(f"{folder}/base_frequency", str(nominal * 100_000))
        elif kind.cpufreq.startswith("amd-pstate"):
            f(f"{CPU}/cpu{cpu}/acpi_cppc/nominal_freq", str(nominal * 100))


def _perf(tree: "FakeTree", kind: Kind) -> None:
    base = "sys/bus/event_source/devices/power"
    tree.file(f"{base}/type", "22")
    tree.file(f"{base}/cpumask", cpu_list(tuple(cpus[0] for cpus in kind.packages.values())))
    for name in kind.perf:
        tree.file(f"{base}/events/{name}", f"event=0x0{PERF_EVENTS.index(name) + 1}")
        tree.file(f"{base}/events/{name}.unit", "Joules")
        tree.file(f"{base}/events/{name}.scale", "2.3283064365386962890625e-10")


def _powercap(tree: "FakeTree", kind: Kind) -> None:
    def zone(folder: str, name: str, unit_nj: int) -> None:
        base = f"sys/class/powercap/{folder}"
        tree.file(f"{base}/name", name)
        tree.file(f"{base}/energy_uj", "1000000")
        tree.file(f"{base}/max_energy_range_uj", str((COUNTER - 1) * unit_nj // 1000))
        tree.file(f"{base}/enabled", "1")
        for n, (called, watts) in enumerate((("long_term", 95), ("short_term", 114))):
            tree.file(f"{base}/constraint_{n}_name", called)
            tree.file(f"{base}/constraint_{n}_power_limit_uw", str(watts * 10**6))
            tree.file(f"{base}/constraint_{n}_max_power_uw", str(135 * 10**6))

    unit = 10**9 >> kind.esu
    for index, package in enumerate(kind.packages):
        zone(f"intel-rapl:{index}", f"package-{package}", unit)
        zone(f"intel-rapl:{index}:0", "core", unit)
        if kind.dram_nj:
            zone(f"intel-rapl:{index}:1", "dram", kind.dram_nj)
        if kind.mmio:
            zone(f"intel-rapl-mmio:{index}", f"package-{package}", unit)
    if kind.psys:
        zone(f"intel-rapl:{len(kind.packages)}", "psys", unit)
    tree.file("sys/class/powercap/intel-rapl/enabled", "1")


def _nic(tree: "FakeTree", kind: Kind) -> None:
    name = kind.interface
    base = f"sys/class/net/{name}"
    tree.file(f"{base}/ifindex", "2")
    tree.file(f"{base}/address", "a0:36:9f:00:00:01")
    tree.file(f"{base}/operstate", "up")
    tree.file(f"{base}/carrier", "1")
    tree.file(f"{base}/speed", "10000")
    tree.file(f"{base}/device/numa_node", "0")
    tree.links[f"{base}/device/driver"] = f"../../../../bus/pci/drivers/{kind.nic}"
    tree.file("sys/class/net/lo/ifindex", "1")
    online = sorted({c for cpus in kind.packages.values() for c in cpus} - set(kind.offline))
    lines = ["            CPU0       CPU1", "   0:         40          0   IO-APIC   2-edge      timer"]
    for n, cpu in enumerate(online):
        irq = 50 + n
        lines.append(f" {irq:3}:  {n * 10}  0   PCI-MSI {524288 + n}-edge      {name}-TxRx-{n}")
        tree.file(f"{base}/device/msi_irqs/{irq}", "msix")
        tree.file(f"{base}/queues/rx-{n}/rps_cpus", "0")
        tree.file(f"{base}/queues/tx-{n}/xps_cpus", "0")
        tree.file(f"proc/irq/{irq}/smp_affinity_list", str(cpu))
    lines.append(f" {50 + len(online):3}:  3  0   PCI-MSI 9-edge      {name}")
    tree.file(f"{base}/device/msi_irqs/{50 + len(online)}", "msix")
    tree.file("proc/interrupts", "\n".join([*lines, " NMI:  0  0   Non-maskable interrupts"]))
