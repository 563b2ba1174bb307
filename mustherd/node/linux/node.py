"""A Linux machine as its muster sees it."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mustherd.node.clock import Clock, MonotonicClock
from mustherd.node.energy import EnergyMeter
from mustherd.node.knob import Knob, KnobError
from mustherd.node.linux import dvfs, facts, interfaces, intlog, itr, limit, meters, niclog, power
from mustherd.node.linux.ethtool import Ethtool, EthtoolError, ethtool_of
from mustherd.node.linux.interfaces import Interface, InterfaceError
from mustherd.node.linux.itr import ItrDelay
from mustherd.node.linux.msr import Msr
from mustherd.node.linux.options import LinuxOptions
from mustherd.node.linux.rings import RxRing, TxRing
from mustherd.node.linux.tree import Tree, TreeError
from mustherd.node.logger import NativeLogger, TextLogger
from mustherd.terms import Facts, Load

FACTS_S = 10.0
"""For how long facts are not looked up again."""


class NodeError(Exception):
    """The configuration asks for something that this machine doesn't have; the message says what there is."""


class LinuxNode:
    """This machine, or recorded files of one; keeps the contract of mustherd.node.node.Node.

    Offers those knobs and counters that the machine has; why another is missing is among the facts, as `no_dvfs` and
    the like. Nothing is written by making one. Not for more than one thread.
    """

    def __init__(
        self,
        options: LinuxOptions | None = None,
        tree: Tree | None = None,
        ethtool: Ethtool | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """NodeError when an interface or a means was named that isn't there."""
        self._options = options = options or LinuxOptions()
        self._tree = tree = tree or Tree(Path(options.root))
        self._ethtool = ethtool = ethtool or ethtool_of(tree)
        self._clock = MonotonicClock()
        self._missing: dict[str, str] = {}
        registers = Msr(tree)
        self._interface = self._choose()
        self._knobs = self._find_knobs(registers)
        self._meter, self._meter_from = meters.find(tree, registers, options.meter)
        self._power = power.measure(tree, self._meter, options.idle_seconds, sleep=sleep)
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

    def _find_knobs(self, registers: Msr) -> tuple[Knob, ...]:
        found: list[Knob] = []
        if self._interface is not None:
            found += self._nic_knobs(self._interface)
        try:
            found.append(dvfs.find(self._tree, registers, self._options.dvfs))
        except KnobError as error:
            if self._options.dvfs in ("msr", "cpufreq"):
                raise NodeError(f"[linux] dvfs = {self._options.dvfs!r}: {error}") from None
            self._missing["no_dvfs"] = str(error)
        try:
            found.append(limit.RaplLimit(self._tree, registers))
        except KnobError as error:
            self._missing["no_rapl-limit"] = str(error)
        return tuple(found)

    def _nic_knobs(self, interface: Interface) -> list[Knob]:
        found: list[Knob] = []
        try:
            coalesce = self._ethtool.coalesce(interface.name)
            if coalesce.rx_usecs is None and coalesce.adaptive_rx is None:
                raise EthtoolError(f"{interface.name}: driver {interface.driver} has no rx-usecs")
            found.append(ItrDelay(self._ethtool, interface.name, itr.dialect(interface.driver, coalesce)))
        except EthtoolError as error:
            self._missing["no_itr-delay"] = str(error)
        for ring in (RxRing, TxRing):
            try:
                found.append(ring(self._ethtool, interface.name, interface.driver))
            except (EthtoolError, KnobError) as error:
                self._missing[f"no_{ring.kind.name}"] = str(error)
        return found
