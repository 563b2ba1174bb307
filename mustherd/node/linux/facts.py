"""What the machine is."""

import platform
from collections.abc import Mapping

from mustherd.node.linux import interfaces, nominal, state, topology, tsc
from mustherd.node.linux.ethtool import Ethtool
from mustherd.node.linux.interfaces import Interface
from mustherd.node.linux.netlink import EthtoolError
from mustherd.node.linux.options import LinuxOptions
from mustherd.node.linux.power import Power
from mustherd.node.linux.tree import Tree, TreeError, cpu_list
from mustherd.terms import MAX_TEXT, MAX_WATTS, Facts

MAX_QUEUES = 64
"""Queues whose interrupts are listed one by one."""


def collect(
    tree: Tree,
    ethtool: Ethtool,
    interface: Interface | None,
    options: LinuxOptions,
    *,
    power: Power,
    unmetered: bool,
    told: Mapping[str, str],
) -> Facts:
    """What the machine tells, and with it what its node has `told` about itself. Never raises."""
    found = {
        "hostname": tree.peek("proc/sys/kernel/hostname"),
        "kernel_build": tree.peek("proc/sys/kernel/version"),
        "kernel_command_line": tree.peek("proc/cmdline"),
        "machine": platform.machine() if tree.is_this_machine else "",
        "product": tree.peek("sys/class/dmi/id/product_name"),
        "bios": tree.peek("sys/class/dmi/id/bios_version"),
        **_cpu(tree),
        **_clocks(tree),
        **_state(tree, options),
        **_network(tree, ethtool, interface),
        **_power(power),
        "reserved_cpus": cpu_list(options.reserved),
        **told,
    }
    low, high = power.band
    cores, packages = _counts(tree)
    return Facts(
        kind="linux",
        cpu=nominal.cpuinfo(tree).get("model name", "")[:MAX_TEXT],
        cores=cores,
        packages=packages,
        kernel=tree.peek("proc/sys/kernel/osrelease")[:MAX_TEXT],
        interface=interface.name[:MAX_TEXT] if interface is not None else "",
        nic_driver=interface.driver[:MAX_TEXT] if interface is not None else "",
        tsc_khz=tsc.khz(tree) or None,
        unmetered=unmetered,
        plausible_watts=(min(low, MAX_WATTS), high if high <= MAX_WATTS else None),
        text={name: text[:MAX_TEXT] for name, text in found.items() if text},
    )


def _counts(tree: Tree) -> tuple[int | None, int | None]:
    """Cores and packages."""
    try:
        found = topology.read(tree)
    except TreeError:
        return None, None
    return len(found.cores), len(found.packages)


def _cpu(tree: Tree) -> dict[str, str]:
    info = nominal.cpuinfo(tree)
    found = {
        "cpu_model": "-".join(info.get(k, "") for k in ("cpu family", "model", "stepping")).strip("-"),
        "microcode": tree.peek(f"{topology.CPU}/cpu0/microcode/version") or info.get("microcode", ""),
    }
    try:
        found |= topology.describe(topology.read(tree))
    except TreeError as error:
        found["topology"] = str(error)
    idle = f"{topology.CPU}/cpu0/cpuidle"
    states = []
    for name in tree.listed(idle):
        if name.startswith("state"):
            off = "" if tree.peek(f"{idle}/{name}/disable") in ("0", "") else " off"
            states.append(f"{tree.peek(f'{idle}/{name}/name')} {tree.peek(f'{idle}/{name}/latency')} us{off}")
    found["c_states"] = ", ".join(states)
    found["idle_driver"] = tree.peek(f"{topology.CPU}/cpuidle/current_driver")
    return found


def _clocks(tree: Tree) -> dict[str, str]:
    return {
        "clock_source": tree.peek("sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "frequency_driver": tree.peek(f"{topology.CPU}/cpu0/cpufreq/scaling_driver"),
    }


def _state(tree: Tree, options: LinuxOptions) -> dict[str, str]:
    found = state.read(tree)
    differing = state.differences(found, options.declared)
    return {
        "governor": found.governor,
        "smt": found.smt,
        "turbo": found.turbo,
        "not_as_declared": "; ".join(
            f"{name} is {is_ or 'unknown'}, declared {wanted}" for name, (is_, wanted) in differing.items()
        ),
    }


def _power(found: Power) -> dict[str, str]:
    return {
        "idle_watts": f"{found.idle:.1f}" if found.idle is not None else f"unknown: {found.note}",
        "limit_watts": f"{found.limit:.1f}" if found.limit is not None else "",
        "design_watts": found.maker_from,
    }


def _network(tree: Tree, ethtool: Ethtool, interface: Interface | None) -> dict[str, str]:
    if interface is None:
        return {}
    found = {
        "interface_address": ", ".join(interface.addresses),
        "interface_numa_node": interface.numa_node,
        "link": tree.peek(f"{interfaces.NET}/{interface.name}/operstate"),
        "link_mbps": tree.peek(f"{interfaces.NET}/{interface.name}/speed"),
    }
    # A driver that was changed without a new version has another one, as the kernel's build makes it of its sources.
    found["nic_driver_build"] = tree.peek(f"sys/module/{interface.driver}/srcversion") if interface.driver else ""
    try:
        driver = ethtool.driver(interface.name)
        found |= {"nic_driver_version": driver.version, "nic_firmware": driver.firmware, "nic_bus": driver.bus}
    except EthtoolError:
        pass
    own = [q for q in interfaces.queues(tree, interface.name) if interfaces.is_queue(q)]
    found["nic_interrupts"] = "; ".join(f"{q.irq} {q.name} on {q.cpus}" for q in own[:MAX_QUEUES])
    found["nic_queues"] = str(len(interfaces.receiving(tree, interface.name)) or "")
    return found
