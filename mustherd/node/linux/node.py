"""A Linux machine as its muster sees it."""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mustherd.node.clock import Clock, MonotonicClock
from mustherd.node.energy import EnergyMeter
from mustherd.node.knob import Knob, KnobError, Site
from mustherd.node.linux import dvfs, facts, interfaces, intlog, limit, meters, niclog, own, perf, power
from mustherd.node.linux.ethtool import Ethtool, ethtool_of
from mustherd.node.linux.interfaces import Interface, InterfaceError
from mustherd.node.linux.itr import ItrDelay
from mustherd.node.linux.knob import LinuxKnob, Machine, UnfitError
from mustherd.node.linux.knobs import boost, card, group, idle, napi, preference, sysctls, uncore
from mustherd.node.linux.msr import Msr
from mustherd.node.linux.netlink import EthtoolError
from mustherd.node.linux.options import LinuxOptions, Own
from mustherd.node.linux.rings import RxRing, TxRing
from mustherd.node.linux.tree import Tree, TreeError
from mustherd.node.logger import NativeLogger, TextLogger
from mustherd.node.node import NodeError
from mustherd.terms import Facts, Load

log = logging.getLogger(__name__)

FACTS_S = 10.0
"""For how long facts are not looked up again."""


OURS: tuple[type[LinuxKnob], ...] = (
    ItrDelay, RxRing, TxRing, dvfs.Dvfs, limit.RaplLimit,
    preference.Epp, preference.Epb, uncore.UncoreMin, uncore.UncoreMax, boost.Boost, idle.IdleLatency, idle.IdleState,
    napi.GroFlushTimeout, napi.NapiDefer, napi.IrqSuspend, sysctls.BusyPoll, sysctls.BusyRead,
    card.RxFrames, card.TxFrames, card.TxUsecs, card.CqeMode, card.QueueCount, card.Gro, card.Lro, card.Rps, card.Xps,
    group.Cpuset, group.CpuQuota, sysctls.NumaBalancing, sysctls.Thp,
)  # fmt: skip


class LinuxNode:
    """This machine, or recorded files of one; keeps the contract of mustherd.node.node.Node.

    Offers those knobs and counters that the machine has; why another is missing is among the facts, as `no_dvfs` and
    the like. Nothing is written by making one. Not for more than one thread.
    """

    Options = LinuxOptions

    @classmethod
    def open(cls, options: LinuxOptions, home: Path) -> "LinuxNode":  # noqa: ARG003
        """This machine. NodeError when an interface or a means was named that isn't there."""
        return cls(options, packages=_classes(options.knobs, "linux") if options.knobs else ())

    def __init__(
        self,
        options: LinuxOptions | None = None,
        tree: Tree | None = None,
        ethtool: Ethtool | None = None,
        sleep: Callable[[float], None] = time.sleep,
        packages: Sequence[type[LinuxKnob]] = (),
    ) -> None:
        """`packages` are knobs that other packages add. NodeError as `open`."""
        self._options = options = options or LinuxOptions()
        self._tree = tree = tree or Tree(Path(options.root))
        self._ethtool = ethtool = ethtool or ethtool_of(tree)
        self._clock = MonotonicClock()
        self._missing: dict[str, str] = {}
        registers = Msr(tree)
        self._interface = self._choose()
        machine = Machine(tree, ethtool, registers, self._interface, options)
        self._knobs = self._find_knobs(machine, packages)
        self._meter, self._meter_from = meters.find(tree, registers, options.meter)
        self._power = power.measure(tree, self._meter, options.idle_seconds, sleep=sleep, registers=registers)
        self._text_loggers, missing = intlog.find(tree)
        if missing:
            self._missing["no_intlog"] = missing
        self._nic_log = self._find_nic_log()
        # intlog has set the CPUs' counters up for itself.
        self._cycles = perf.Cycles(online(tree) if tree.is_this_machine and not self._text_loggers else ())
        self._facts = Facts(kind="linux")
        self._facts_until = -1.0

    @property
    def facts(self) -> Facts:
        if self._clock.now() >= self._facts_until:
            self._facts_until = self._clock.now() + FACTS_S
            told = {**self._missing, "energy": self._meter_from, "cycles": self._cycles_from()}
            self._facts = facts.collect(
                self._tree, self._ethtool, self._interface, self._options,
                power=self._power, unmetered=self._meter is None, told=told,
            )  # fmt: skip
        return self._facts

    @property
    def clock(self) -> Clock:
        return self._clock

    @property
    def knobs(self) -> Sequence[Knob]:
        return self._knobs

    @property
    def meter(self) -> EnergyMeter | None:
        return self._meter

    @property
    def loggers(self) -> Sequence[NativeLogger]:
        return () if self._nic_log is None else (self._nic_log,)

    @property
    def text_loggers(self) -> Sequence[TextLogger]:
        return self._text_loggers

    @property
    def interface(self) -> Interface | None:
        """The NIC whose moderation is a knob."""
        return self._interface

    @property
    def power(self) -> power.Power:
        """What this machine can draw."""
        return self._power

    def counts(self) -> dict[str, float]:
        """`machine_cpu_seconds`, of all CPUs since boot: the one measure of effort that every machine has.

        `machine_cycles` where the machine has counters for them, and lends them; traffic of the interface where it has
        one.
        """
        found = {"machine_cpu_seconds": power.busy_seconds(self._tree), "machine_cycles": self._cycles.read()}
        if self._interface is not None:
            found |= interfaces.traffic(self._tree, self._interface.name)
        return {name: value for name, value in found.items() if value is not None}

    def start_load(self, load: Load, seed: int) -> None:
        """None: the load comes from elsewhere."""

    def stop_load(self) -> None:
        """Nothing to stop."""

    def _cycles_from(self) -> str:
        if not self._tree.is_this_machine:
            return "not counted: recorded files have no counters"
        if self._text_loggers:
            return "not counted: the intlog driver has the CPUs' counters"
        return f"not counted: {self._cycles.missing}" if self._cycles.missing else "counted on every CPU"

    def close(self) -> None:
        self._cycles.close()
        if self._nic_log is not None:
            self._nic_log.close()

    def _choose(self) -> Interface | None:
        try:
            return interfaces.choose(self._tree, self._ethtool, self._options.interface)
        except InterfaceError as error:
            if self._options.interface:
                raise NodeError(f"[linux] interface: {error}") from None
            self._missing["no_interface"] = str(error)
            return None

    def _find_nic_log(self) -> niclog.NicLog | None:
        wanted, interface = self._options.nic_log, self._interface
        if wanted == "off" or (wanted == "auto" and self._text_loggers):
            return None
        if interface is None:
            if wanted == "on":
                raise NodeError(f"[linux] nic_log = 'on': {self._missing.get('no_interface', 'there is no interface')}")
            return None
        queues = [q.irq for q in interfaces.queues(self._tree, interface.name) if interfaces.is_queue(q)]
        return niclog.NicLog(
            self._tree,
            interface.name,
            queues,
            self._meter,
            online(self._tree),
            statistics=lambda: self._ethtool.statistics(interface.name),
        )

    def _find_knobs(self, machine: Machine, packages: Sequence[type[LinuxKnob]]) -> tuple[Knob, ...]:
        declared = own.declared(self._options.own)
        taken = {kind.kind.name for kind in (*OURS, *packages)} & self._options.own.keys()
        if taken:
            raise NodeError(f"[linux.own.{min(taken)}]: there is a knob of that name already")
        found, missing = _find(machine, (*OURS, *packages, *declared))
        self._missing |= missing
        if self._options.dvfs in ("msr", "cpufreq") and (why := self._missing.get(f"no_{dvfs.NAME}")):
            raise NodeError(f"[linux] dvfs = {self._options.dvfs!r}: {why}")
        return tuple(found)


def knobs_here(names: Sequence[str], declarations: Own, table: str) -> tuple[list[Knob], dict[str, str]]:
    """Knobs of this machine that other packages add or that are declared, and why it lacks others, as `no_NAME`.

    `names` are those of packages; `table` is the one of a muster's configuration that names them. Raises NodeError.
    """
    tree = Tree(Path("/"))
    ethtool = ethtool_of(tree)
    try:
        interface = interfaces.choose(tree, ethtool, "")
    except InterfaceError:
        interface = None
    kinds = (*(_classes(names, table) if names else ()), *own.declared(declarations))
    return _find(Machine(tree, ethtool, Msr(tree), interface, LinuxOptions(own=declarations)), kinds)


def _find(machine: Machine, kinds: Sequence[type[LinuxKnob]]) -> tuple[list[Knob], dict[str, str]]:
    """The knobs of these kinds that a machine has, and why it lacks others, as `no_NAME`."""
    found: list[Knob] = []
    missing: dict[str, str] = {}
    for kind in kinds:
        name = kind.kind.name
        try:
            knobs = kind.find(machine)
            if strange := [knob.info.name for knob in knobs if knob.info.name != name]:
                raise KnobError(f"what its package found calls itself {strange[0]!r}")
            for knob in knobs:
                where = f".{machine.interface.name}" if kind.of_interface and machine.interface is not None else ""
                knob.site = Site(machine.tree.root, f"{knob.info.sheep}.{name}{where}", f"{name}{where}")
            found += knobs
        except (KnobError, EthtoolError, TreeError, UnfitError) as error:
            missing[f"no_{name}"] = str(error)
        except (Exception, SystemExit) as error:
            if kind in OURS:
                raise
            # Another package's fault is its knob's, not the node's.
            from mustherd.plugins import said  # noqa: PLC0415

            log.exception("knob %s could not be found", name)
            missing[f"no_{name}"] = said(error)
    return found, missing


def online(tree: Tree) -> tuple[int, ...]:
    """CPUs that are; none where the kernel doesn't tell."""
    try:
        return tree.cpus("sys/devices/system/cpu/online")
    except TreeError:
        return ()


def _classes(names: Sequence[str], table: str) -> list[type[LinuxKnob]]:
    """Classes of knobs that other packages add. Raises NodeError."""
    from mustherd.node.catalog import knob_class  # noqa: PLC0415
    from mustherd.plugins import PluginError  # noqa: PLC0415

    found = []
    for name in names:
        try:
            made = knob_class(name)
        except PluginError as error:
            raise NodeError(f"[{table}] knobs: {error}") from None
        if not (isinstance(made, type) and issubclass(made, LinuxKnob)):
            raise NodeError(f"[{table}] knobs: {name} is no knob of a Linux machine")
        if made not in OURS:
            found.append(made)
    return found
