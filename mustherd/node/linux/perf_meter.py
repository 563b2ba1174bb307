"""RAPL's counters as perf has them: the PMU `power`, for which CAP_PERFMON suffices.

(arch/x86/events/rapl.c: a count is 2^-32 J whatever the CPU's own unit, and has 64 bits; `cpumask` names a CPU of each
package, or die.)
"""

import re
from collections.abc import Callable, Sequence

from mustherd.node.energy import MeterError
from mustherd.node.linux import topology
from mustherd.node.linux.no_meter import NoMeterError
from mustherd.node.linux.perf import Event
from mustherd.node.linux.tree import Cause, Tree, TreeError
from mustherd.terms import Zone

PMU = "sys/bus/event_source/devices/power"
EVENTS = {"energy-pkg": "package", "energy-cores": "core", "energy-ram": "dram", "energy-psys": "psys"}
COUNTER = 2**64


class PerfMeter:
    """The events of the PMU `power`."""

    def __init__(self, tree: Tree, opened: Callable[[int, int, int], Event]) -> None:
        """NoMeterError where there is no such PMU; MeterError where its events can't be had. `opened` opens one."""
        if not tree.has(f"{PMU}/type"):
            raise NoMeterError("perf has no PMU power")
        try:
            kind = tree.number(f"{PMU}/type", 2**32 - 1)
            packages = {cpu: p for p, cpus in topology.read(tree).packages.items() for cpu in cpus}
            cpus = [cpu for cpu in tree.cpus(f"{PMU}/cpumask") if cpu in packages]
            there = {name: _event(tree, name) for name in EVENTS if tree.has(f"{PMU}/events/{name}")}
        except TreeError as error:
            raise MeterError(f"energy counters: {error}") from None
        if "energy-pkg" not in there:
            raise NoMeterError("perf's PMU power doesn't count packages")
        if missing := set(packages.values()) - {packages[cpu] for cpu in cpus}:
            raise MeterError(f"energy counters: perf has no energy counter for package {min(missing)}")
        zones: list[Zone] = []
        self._events: list[Event] = []
        for name, (config, joules) in there.items():
            for cpu in cpus[:1] if EVENTS[name] == "psys" else cpus:
                try:
                    self._events.append(opened(kind, config, cpu))
                except OSError as error:
                    raise MeterError(f"energy counters: perf's power/{name}/: {error.strerror or error}") from None
                zones.append(_zone(EVENTS[name], packages[cpu], joules, {zone.name for zone in zones}))
        self.zones: Sequence[Zone] = tuple(zones)
        self.read()

    def read(self) -> tuple[int, ...]:
        try:
            return tuple(event.read() % COUNTER for event in self._events)
        except OSError as error:
            raise MeterError(f"energy counter: perf's power events: {error.strerror or error}") from None


def _event(tree: Tree, name: str) -> tuple[int, float]:
    """The event's number, and J per count."""
    path = f"{PMU}/events/{name}"
    number = re.fullmatch(r"event=0x([0-9a-f]{1,8})", tree.text(path))
    scale = tree.text(f"{path}.scale")
    if not number:
        raise TreeError(path, Cause.GARBAGE, f"{tree.text(path)[:40]!r}, not event=0x..")
    if (unit := tree.text(f"{path}.unit")) != "Joules":
        raise TreeError(f"{path}.unit", Cause.GARBAGE, f"{unit[:40]!r}, not Joules")
    try:
        joules = float(scale[:60])
    except ValueError:
        joules = 0.0
    if not 0 < joules < 1:
        raise TreeError(f"{path}.scale", Cause.GARBAGE, f"{scale[:40]!r}, no unit of energy")
    return int(number[1], 16), joules


def _zone(kind: str, package: int, joules: float, taken: set[str]) -> Zone:
    name = kind if kind == "psys" else f"{kind}-{package}"
    dies = sum(other == name or other.startswith(f"{name}-die-") for other in taken)
    return Zone(
        name=f"{name}-die-{dies}" if dies else name,
        kind=kind,
        package=package,
        joules_per_count=joules,
        counts_per_wrap=COUNTER,
    )
