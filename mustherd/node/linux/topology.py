"""Which CPUs there are and how they hang together, as the kernel says at the moment."""

import msgspec

from mustherd.node.linux.tree import Cause, Tree, TreeError, cpu_list

CPU = "sys/devices/system/cpu"


class Topology(msgspec.Struct, frozen=True, kw_only=True):
    """Online CPUs, by package, by core and by memory node."""

    online: tuple[int, ...]
    packages: dict[int, tuple[int, ...]]
    """Package number to its online CPUs; numbers need not be 0, 1, ..."""
    cores: dict[tuple[int, int, int], tuple[int, ...]]
    """Package, die and core number to the online CPUs that share the core."""
    nodes: dict[int, tuple[int, ...]]
    """Memory node to its CPUs."""

    @property
    def threads(self) -> int:
        """CPUs of the core that has most of them: above 1, SMT is at work."""
        return max(len(cpus) for cpus in self.cores.values())


def read(tree: Tree) -> Topology:
    """Raises TreeError when the kernel's files don't tell."""
    online = online_cpus(tree)
    packages: dict[int, list[int]] = {}
    cores: dict[tuple[int, int, int], list[int]] = {}
    for cpu in online:
        folder = f"{CPU}/cpu{cpu}/topology"
        package = tree.number(f"{folder}/physical_package_id", 65535)
        # Kernels before 5.2 know no dies.
        die = tree.number(f"{folder}/die_id", 65535) if tree.has(f"{folder}/die_id") else 0
        core = tree.number(f"{folder}/core_id", 2**32 - 1)
        packages.setdefault(package, []).append(cpu)
        cores.setdefault((package, die, core), []).append(cpu)
    nodes = {}
    for name in tree.listed("sys/devices/system/node"):
        if name.startswith("node") and name[4:].isdecimal():
            nodes[int(name[4:])] = tree.cpus(f"sys/devices/system/node/{name}/cpulist")
    return Topology(
        online=online,
        packages={k: tuple(v) for k, v in sorted(packages.items())},
        cores={k: tuple(v) for k, v in sorted(cores.items())},
        nodes=nodes,
    )


def online_cpus(tree: Tree) -> tuple[int, ...]:
    """CPUs that run now. Raises TreeError, also when the list is empty."""
    online = tree.cpus(f"{CPU}/online")
    if not online:
        raise TreeError(f"{CPU}/online", Cause.GARBAGE, "no CPU is online")
    return online


def describe(topology: Topology) -> dict[str, str]:
    """The topology as facts."""
    return {
        "threads_per_core": str(topology.threads),
        "cpus_online": cpu_list(topology.online),
        **{f"package_{p}_cpus": cpu_list(cpus) for p, cpus in list(topology.packages.items())[:16]},
        **{f"numa_{n}_cpus": cpu_list(cpus) for n, cpus in list(topology.nodes.items())[:16]},
    }
