"""Threads and clocks: which files a setting is, and what is to be in each. A value that can't be had is refused."""

from __future__ import annotations  # an old node's Python reads these types as text

from typing import TYPE_CHECKING

from .node import RefusedError, choice

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from .node import Node, Plan

USERSPACE = "userspace"


def smt(node: Node, value: str, _options: argparse.Namespace, _planned: Plan) -> Plan:
    """Second threads: one file for the machine."""
    path = node.cpu / "smt/control"
    state = node.read(path)
    if state in (None, "notsupported", "notimplemented"):
        if value == "on":
            raise RefusedError(f"{path}: this machine has no second threads to switch on. Fix: smt=off")
        return []
    if state == "forceoff" and value == "on":
        raise RefusedError(f"{path}: threads are off for good until the next boot. Fix: boot without nosmt=force")
    return [(path, choice("smt", value, ("on", "off")))]


def turbo(node: Node, value: str, _options: argparse.Namespace, _planned: Plan) -> Plan:
    """Turbo: the switch of whichever frequency driver there is, else the nominal clock as the highest one."""
    on = choice("turbo", value, ("on", "off")) == "on"
    pstate, boost = node.cpu / "intel_pstate/no_turbo", node.cpu / "cpufreq/boost"
    if pstate.exists():
        return [(pstate, "0" if on else "1")]
    if boost.exists():
        return [(boost, "1" if on else "0")]
    folders = [folder for core in node.online() if (folder := node.cpu / f"cpu{core}/cpufreq").is_dir()]
    found = []
    for folder in folders:
        nominal = nominal_khz(folder)
        highest = node.read(folder / "cpuinfo_max_freq")
        if (folder / "boost").exists():
            found.append((folder / "boost", "1" if on else "0"))
        elif nominal is not None and highest is not None:
            found.append((folder / "scaling_max_freq", highest if on else str(min(nominal, int(highest)))))
        elif not on and (node.read(folder / "scaling_driver") or "") != "acpi-cpufreq":
            driver = node.read(folder / "scaling_driver") or "no driver"
            raise RefusedError(
                f"turbo=off: {driver} has no switch for turbo in {folder} and does not tell the nominal clock. "
                "Fix: switch it off in the firmware and leave turbo out here"
            )
    # Without a frequency driver nothing asks for turbo but a write to the register itself; acpi-cpufreq without the
    # switch runs on a CPU that has no turbo.
    return found


def nominal_khz(folder: Path) -> int | None:
    """The clock above which turbo begins, None where the kernel does not tell."""
    for path, khz in ((folder / "base_frequency", 1), (folder.parent / "acpi_cppc/nominal_freq", 1000)):
        try:
            return int(path.read_text(encoding="ascii")) * khz
        except (OSError, ValueError):
            continue
    return None


def pstate(node: Node, value: str, _options: argparse.Namespace, _planned: Plan) -> Plan:
    """State of the intel_pstate driver; nothing where another one runs."""
    path = node.cpu / "intel_pstate/status"
    choice("pstate", value, ("active", "passive"))
    return [(path, value)] if path.exists() and node.read(path) != "off" else []


def governor(node: Node, value: str, _options: argparse.Namespace, planned: Plan) -> Plan:
    """Governor of every online CPU that scales."""
    targets = []
    for core in node.online():
        folder = node.cpu / f"cpu{core}/cpufreq"
        if not folder.is_dir():
            continue
        offered = (node.read(folder / "scaling_available_governors") or "").split()
        if value not in offered and not any(path.name == "status" for path, _ in planned):
            driver = node.read(folder / "scaling_driver") or "no driver"
            raise RefusedError(
                f"CPU {core}: {driver} offers the governors {', '.join(offered) or 'none'}, not {value}. "
                "Fix: set dvfs_intel_pstate to passive or disable, or choose one of these as dvfs_governor"
            )
        targets.append((folder / "scaling_governor", value))
    return targets


def clock(node: Node, value: str, _options: argparse.Namespace, planned: Plan) -> Plan:
    """One clock for all CPUs that the userspace governor has: it freezes each at whatever it happened to run at."""
    choice("clock", value, ("nominal",))
    govern = dict(planned)
    folders = [
        folder
        for folder in scaling(node)
        if govern.get(folder / "scaling_governor", node.read(folder / "scaling_governor")) == USERSPACE
    ]
    khz = common_khz(node, folders)
    return [(folder / "scaling_setspeed", str(khz)) for folder in folders]


def bounds(node: Node, value: str, _options: argparse.Namespace, _planned: Plan) -> Plan:
    """One clock for all CPUs by drawing their bounds together."""
    choice("bounds", value, ("nominal",))
    folders = scaling(node)
    khz = common_khz(node, folders)
    plan = []
    for folder in folders:
        pair = [(folder / "scaling_min_freq", str(khz)), (folder / "scaling_max_freq", str(khz))]
        # The kernel refuses a lower bound above the upper one.
        plan += pair[::-1] if khz > int(node.read(folder / "scaling_max_freq") or khz) else pair
    return plan


def scaling(node: Node) -> list[Path]:
    """The cpufreq folder of every online CPU that scales."""
    return [folder for core in node.online() if (folder := node.cpu / f"cpu{core}/cpufreq").is_dir()]


def common_khz(node: Node, folders: Sequence[Path]) -> int:
    """The highest clock without turbo that all of these CPUs may have; 0 for no CPU."""
    found = []
    for folder in folders:
        table = sorted(map(int, (node.read(folder / "scaling_available_frequencies") or "").split()))
        # acpi-cpufreq says turbo as the nominal clock plus 1 MHz.
        plain = [khz for khz in table if khz - 1000 not in table]
        nominal = nominal_khz(folder) or (plain[-1] if plain else int(node.read(folder / "cpuinfo_max_freq") or 0))
        within = [khz for khz in plain if khz <= nominal]
        found.append(within[-1] if within else nominal)
    return min(found, default=0)


def way(node: Node, settings: Mapping[str, str]) -> str:
    """What sets one clock here: the userspace governor, the bounds of a driver that has none, or nothing."""
    folders = scaling(node)
    if not folders:
        return "none"
    status = node.cpu / "intel_pstate/status"
    if settings.get("pstate") == "passive" and node.read(status) not in (None, "off"):
        return USERSPACE
    offered = [(node.read(folder / "scaling_available_governors") or "").split() for folder in folders]
    return USERSPACE if all(USERSPACE in governors for governors in offered) else "bounds"
