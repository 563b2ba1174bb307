"""What the machine is, as text that is stored with every experiment."""

import platform

from mustherd.node.linux import dvfs, interfaces, state, topology, tsc
from mustherd.node.linux.ethtool import Ethtool, EthtoolError
from mustherd.node.linux.interfaces import Interface
from mustherd.node.linux.options import LinuxOptions
from mustherd.node.linux.tree import Tree, TreeError, cpu_list

MAX_TEXT = 2000
"""What the wire takes of one fact."""

MAX_QUEUES = 64
"""Queues whose interrupts are listed one by one."""


def collect(tree: Tree, ethtool: Ethtool, interface: Interface | None, options: LinuxOptions) -> dict[str, str]:
    """Facts by name; what the machine doesn't tell is left out. Never raises."""
    found = {
        "kind": "linux",
        "hostname": tree.peek("proc/sys/kernel/hostname"),
        "kernel": tree.peek("proc/sys/kernel/osrelease"),
        "kernel_build": tree.peek("proc/sys/kernel/version"),
        "kernel_command_line": tree.peek("proc/cmdline"),
        "machine": platform.machine() if tree.is_this_machine else "",
        "product": tree.peek("sys/class/dmi/id/product_name"),
        "bios": tree.peek("sys/class/dmi/id/bios_version"),
        **_cpu(tree),
        **_clocks(tree),
        **_state(tree, options),
        **_network(tree, ethtool, interface),
    }
    if options.reserved:
        found["reserved_cpus"] = cpu_list(options.reserved)
    return {name: text[:MAX_TEXT] for name, text in found.items() if text}


def _cpu(tree: Tree) -> dict[str, str]:
    info = dvfs.cpuinfo(tree)
    found = {
        "cpu": info.get("model name", ""),
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
    khz = tsc.khz(tree)
    return {
        "clock_source": tree.peek("sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "tsc_khz": str(khz) if khz else "",
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


def _network(tree: Tree, ethtool: Ethtool, interface: Interface | None) -> dict[str, str]:
    if interface is None:
        return {}
    found = {
        "interface": interface.name,
        "interface_address": ", ".join(interface.addresses),
        "interface_numa_node": interface.numa_node,
        "nic_driver": interface.driver,
        "link": tree.peek(f"{interfaces.NET}/{interface.name}/operstate"),
        "link_mbps": tree.peek(f"{interfaces.NET}/{interface.name}/speed"),
    }
    try:
        driver = ethtool.driver(interface.name)
        found |= {"nic_driver_version": driver.version, "nic_firmware": driver.firmware, "nic_bus": driver.bus}
    except EthtoolError:
        pass
    own = [q for q in interfaces.queues(tree, interface.name) if interfaces.is_queue(q)]
    found["nic_interrupts"] = "; ".join(f"{q.irq} {q.name} on {q.cpus}" for q in own[:MAX_QUEUES])
    rings = [n for n in tree.listed(f"{interfaces.NET}/{interface.name}/queues") if n.startswith("rx-")]
    found["nic_queues"] = str(len(rings)) if rings else ""
    return found
