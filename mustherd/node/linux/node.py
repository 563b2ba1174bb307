"""A Linux machine as its muster sees it."""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mustherd.node.clock import Clock, MonotonicClock
from mustherd.node.energy import EnergyMeter
from mustherd.node.knob import Knob, KnobError, Site
from mustherd.node.linux import dvfs, facts, interfaces, intlog, limit, meters, niclog, own, power
from mustherd.node.linux.ethtool import Ethtool, EthtoolError, ethtool_of
from mustherd.node.linux.interfaces import Interface, InterfaceError
from mustherd.node.linux.itr import ItrDelay
from mustherd.node.linux.knob import LinuxKnob, Machine, UnfitError
from mustherd.node.linux.knobs import boost, card, group, idle, napi, preference, sysctls, uncore
from mustherd.node.linux.msr import Msr
from mustherd.node.linux.options import LinuxOptions
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
    card.RxFrames, card.TxUsecs, card.CqeMode, card.QueueCount, card.Gro, card.Lro, card.Rps, card.Xps,
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
        return cls(options, packages=_packages_knobs(options.knobs) if options.knobs else ())

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
        self._facts = Facts(kind="linux")
        self._facts_until = -1.0

    @property
    def facts(self) -> Facts:
        if self._clock.now() >= self._facts_until:
            self._facts_until = self._clock.now() + FACTS_S
            told = {**self._missing, "energy": self._meter_from}
            self._facts = facts.collect(
                self._tree, self._ethtool, self._interface, self._options, power=self._power, told=told
            )
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
        """`machine_cpu_seconds`, of all CPUs since boot: the one measure of effort that every machine has."""
        busy = power.busy_seconds(self._tree)
        return {} if busy is None else {"machine_cpu_seconds": busy}

    def start_load(self, load: Load, seed: int) -> None:
        """None: the load comes from elsewhere."""

    def stop_load(self) -> None:
        """Nothing to stop."""

    def close(self) -> None:
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
        try:
            cpus = self._tree.cpus("sys/devices/system/cpu/online")
        except TreeError:
            cpus = ()
        return niclog.NicLog(
            self._tree,
            interface.name,
            queues,
            self._meter,
            cpus,
            statistics=lambda: self._ethtool.statistics(interface.name),
        )

    def _find_knobs(self, machine: Machine, packages: Sequence[type[LinuxKnob]]) -> tuple[Knob, ...]:
        found: list[Knob] = []
        declared = own.declared(self._options.own)
        taken = {kind.kind.name for kind in (*OURS, *packages)} & self._options.own.keys()
        if taken:
            raise NodeError(f"[linux.own.{min(taken)}]: there is a knob of that name already")
        for kind in (*OURS, *packages, *declared):
            name = kind.kind.name
            try:
                knobs = kind.find(machine)
                if strange := [knob.info.name for knob in knobs if knob.info.name != name]:
                    raise KnobError(f"what its package found calls itself {strange[0]!r}")
                for knob in knobs:
                    where = f".{self._interface.name}" if kind.of_interface and self._interface is not None else ""
                    knob.site = Site(machine.tree.root, f"{knob.info.sheep}.{name}{where}", f"{name}{where}")
                found += knobs
            except (KnobError, EthtoolError, TreeError, UnfitError) as error:
                self._missing[f"no_{name}"] = str(error)
            except Exception as error:
                if kind in OURS:
                    raise
                # Another package's fault is its knob's, not the node's.
                log.exception("knob %s could not be found", name)
                self._missing[f"no_{name}"] = f"{type(error).__name__}: {error}"
        if self._options.dvfs in ("msr", "cpufreq") and (why := self._missing.get(f"no_{dvfs.NAME}")):
            raise NodeError(f"[linux] dvfs = {self._options.dvfs!r}: {why}")
        return tuple(found)


def _packages_knobs(names: Sequence[str]) -> list[type[LinuxKnob]]:
    """Classes of knobs that other packages add. Raises NodeError."""
    from mustherd.node.catalog import knob_class  # noqa: PLC0415
    from mustherd.plugins import PluginError  # noqa: PLC0415

    found = []
    for name in names:
        try:
            made = knob_class(name)
        except PluginError as error:
            raise NodeError(f"[linux] knobs: {error}") from None
        if not (isinstance(made, type) and issubclass(made, LinuxKnob)):
            raise NodeError(f"[linux] knobs: {name} is no knob of a Linux machine")
        if made not in OURS:
            found.append(made)
    return found
