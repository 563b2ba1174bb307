"""Whether a node is as an experiment needs it: every precondition by itself, with what fixes it."""

import re
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

import msgspec

from mustherd.node.kinds import DVFS, ITR_DELAY
from mustherd.node.knob import KnobError
from mustherd.node.linux import dvfs, interfaces, meters, nominal, state, topology
from mustherd.node.linux import msr as m
from mustherd.node.linux.ethtool import Ethtool, ethtool_of
from mustherd.node.linux.interfaces import Interface, InterfaceError
from mustherd.node.linux.msr import Msr
from mustherd.node.linux.netlink import EthtoolError
from mustherd.node.linux.options import LinuxOptions
from mustherd.node.linux.tree import Tree, TreeError, cpu_list, parse_cpus

EXIT_WRONG = 1
"""Exit code when something is wrong."""

BINARIES = ("usr/local/bin", "usr/local/sbin", "usr/bin", "usr/sbin", "opt/mustherd/bin")

NOBODY = "nobody else"

SETTERS = {
    "tuned": "tuned sets governor, energy preference and idle states",
    "tuned-ppd": "tuned-ppd sets what tuned does",
    "thermald": "thermald sets clocks and power limits",
    "power-profiles-": "power-profiles-daemon sets governor and energy preference",
    "auto-cpufreq": "auto-cpufreq sets the governor",
    "cpufreqd": "cpufreqd sets the governor",
    "cpupower": "cpupower sets governor and clock",
    "tlp": "tlp sets governor and energy preference",
}
"""Services by the name of their process, which the kernel cuts after 15 letters, and what they set."""

ONE_SHOTS = {
    "cpupower": "cpupower.service sets governor and clock at each boot",
    "cpufrequtils": "cpufrequtils sets governor and clock at each boot",
    "ondemand": "ondemand.service sets the governor at each boot",
}
"""Services that set and end, so that no process tells of them: by the name of their unit or init script."""

UNITS = ("etc/systemd/system", "run/systemd/system")
WANTS = ("etc/systemd/system/multi-user.target.wants", "etc/systemd/system/sysinit.target.wants")


class Status(StrEnum):
    """What an examination came to."""

    OK = "ok"
    WRONG = "wrong"
    UNKNOWN = "cannot tell"


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One precondition: the value found, the value wanted, and the tag of provision.yml that fixes it."""

    name: str
    status: Status
    found: str
    wanted: str
    tag: str


class Wanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to hold a node to; an empty value is not examined. The defaults are the reference test bed's."""

    kernel: str = "5.15.89"
    driver: str = "ixgbe"
    intlog: bool = True
    """The driver logs its interrupts: /proc/ixgbe_stats/core/N for every online CPU."""
    governor: str = "userspace"
    smt: str = "off"
    turbo: str = "off"
    one_cpu_per_queue: bool = True
    irqbalance: str = "stopped"
    alone: bool = True
    """Nobody else sets the same knobs: no service that does, and no other muster."""
    clock_source: str = "tsc"
    energy: bool = True
    itr_delay: bool = True
    dvfs: bool = True
    absent_modules: tuple[str, ...] = ("mlx4_ib", "mlx4_en", "mlx4_core")
    programs: tuple[str, ...] = ("memcached",)
    """Add mutilate on nodes that make load."""


class Unexamined(Exception):  # noqa: N818  (no error: an answer)
    """The machine doesn't tell; the message says what stood in the way."""


def exit_code(checks: tuple[Check, ...]) -> int:
    """EXIT_WRONG when anything is wrong, else 0: what can't be told doesn't fail."""
    return EXIT_WRONG if any(c.status is Status.WRONG for c in checks) else 0


def examine(
    options: LinuxOptions | None = None,
    wanted: Wanted | None = None,
    tree: Tree | None = None,
    ethtool: Ethtool | None = None,
) -> tuple[Check, ...]:
    """Look at everything that `wanted` names, changing nothing. Never raises."""
    options = options or LinuxOptions()
    tree = tree or Tree(Path(options.root))
    return _Doctor(options, wanted or Wanted(), tree, ethtool or ethtool_of(tree)).examine()


class _Doctor:
    def __init__(self, options: LinuxOptions, wanted: Wanted, tree: Tree, ethtool: Ethtool) -> None:
        self._options = options
        self._wanted = wanted
        self._tree = tree
        self._ethtool = ethtool
        self._registers = Msr(tree)

    def examine(self) -> tuple[Check, ...]:
        w = self._wanted
        checks = [
            self._check("kernel", w.kernel, "kernel", self._kernel),
            self._check("nic driver", w.driver, "driver", self._driver),
            self._check("intlog", w.intlog and "a log of every online CPU", "driver", self._intlog),
            self._check("link", "up, with an address", "interface", self._link),
            self._check(ITR_DELAY.name, w.itr_delay and "readable", "driver", self._itr_delay),
            self._check("one CPU per queue", w.one_cpu_per_queue and "every queue on a CPU of its own", "affinity",
                        self._affinity),
            self._check("irqbalance", w.irqbalance, "irqbalance", self._irqbalance),
            self._check("set by others", w.alone and NOBODY, "others", self._others),
            self._check("smt", w.smt, "smt", lambda: state.read(self._tree).smt),
            self._check("turbo", w.turbo, "turbo", self._turbo),
            self._check("governor", w.governor, "governor", self._governor),
            self._check("registers", w.dvfs and "readable on every online CPU", "msr", self._msr),
            self._check("register writes", w.dvfs and "allowed", "msr", self._msr_writes),
            self._check(DVFS.name, w.dvfs and "settable", "governor", self._dvfs),
            self._check("energy counters", w.energy and "readable", "msr", self._energy),
            self._check("clock source", w.clock_source, "kernel", self._clock_source),
            *(self._check(f"module {name}", "absent", "mlx4", lambda n=name: self._module(n))  # type: ignore[misc]
              for name in w.absent_modules),
            *(self._check(f"program {name}", "installed", name, lambda n=name: self._program(n))  # type: ignore[misc]
              for name in w.programs),
        ]  # fmt: skip
        return tuple(c for c in checks if c is not None)

    def _check(self, name: str, wanted: str | bool, tag: str, find: Callable[[], str]) -> Check | None:
        """What `find` returns against what is wanted; it may say `wanted` itself for what fits in another way."""
        if not wanted:
            return None
        wanted = str(wanted)
        try:
            found = find()
        except (Unexamined, TreeError, EthtoolError, InterfaceError) as error:
            return Check(name=name, status=Status.UNKNOWN, found=str(error), wanted=wanted, tag=tag)
        if not found:
            return Check(name=name, status=Status.UNKNOWN, found="the machine doesn't tell", wanted=wanted, tag=tag)
        status = Status.OK if found == wanted or found.startswith(f"{wanted} (") else Status.WRONG
        return Check(name=name, status=status, found=found, wanted=wanted, tag=tag)

    def _interface(self) -> Interface:
        return interfaces.choose(self._tree, self._ethtool, self._options.interface or self._wanted.driver)

    def _kernel(self) -> str:
        return self._tree.text("proc/sys/kernel/osrelease")

    def _driver(self) -> str:
        try:
            return self._interface().driver
        except InterfaceError as error:
            return str(error)

    def _intlog(self) -> str:
        # A log is cleared by reading it, and reading one crashes a kernel whose driver has no card: only look for it.
        online = topology.online_cpus(self._tree)
        logs = {int(n) for n in self._tree.listed("proc/ixgbe_stats/core") if n.isdecimal() and n.isascii()}
        missing = tuple(c for c in online if c not in logs)
        if not logs:
            return "none: this driver has no /proc/ixgbe_stats"
        return f"none for CPU {cpu_list(missing)}" if missing else "a log of every online CPU"

    def _link(self) -> str:
        interface = self._interface()
        if self._tree.text(f"{interfaces.NET}/{interface.name}/operstate") != "up":
            return f"{interface.name} is down"
        return f"up, with an address ({', '.join(interface.addresses)})" if interface.addresses else "up, no address"

    def _itr_delay(self) -> str:
        interface = self._interface()
        try:
            found = self._ethtool.coalesce(interface.name)
        except EthtoolError as error:
            return str(error)
        return (
            f"{interface.name} has no rx-usecs" if found.rx_usecs is None else f"readable (rx-usecs {found.rx_usecs})"
        )

    def _affinity(self) -> str:
        interface = self._interface()
        queues = [q for q in interfaces.queues(self._tree, interface.name) if interfaces.is_queue(q)]
        if not queues:
            raise Unexamined(f"no interrupts of {interface.name}'s queues are listed")
        taken: dict[int, str] = {}
        for queue in queues:
            if not queue.cpus:
                raise Unexamined(f"interrupt {queue.irq} doesn't tell its CPUs")
            try:
                cpus = parse_cpus(queue.cpus)
            except ValueError as error:
                raise Unexamined(f"interrupt {queue.irq}: {error}") from None
            if len(cpus) != 1:
                return f"interrupt {queue.irq} ({queue.name}) may go to CPUs {queue.cpus}"
            # A driver may have an interrupt each for receiving and sending of one queue.
            direction = re.sub(r"[-.@]?\d+$", "", queue.name)
            if taken.get(cpus[0]) == direction:
                return f"two interrupts like {queue.name} go to CPU {cpus[0]}"
            taken[cpus[0]] = direction
        return "every queue on a CPU of its own"

    def _irqbalance(self) -> str:
        for pid in self._tree.names("proc"):
            if pid.isdecimal() and self._tree.peek(f"proc/{pid}/comm") == "irqbalance":
                return f"runs as process {pid}"
        for folder in UNITS:
            try:
                if self._tree.target(f"{folder}/irqbalance.service") == "/dev/null":
                    return "stopped (masked)"
            except OSError:
                continue
        if self._tree.has("etc/systemd/system/multi-user.target.wants/irqbalance.service"):
            return "comes back at the next boot"
        return "stopped"

    def _others(self) -> str:
        found = []
        for pid in self._tree.names("proc"):
            if not (pid.isdecimal() and pid.isascii()):
                continue
            name = self._tree.peek(f"proc/{pid}/comm")
            if name in SETTERS:
                found.append(f"{SETTERS[name]} (process {pid})")
            elif name.startswith(("python", "mustherd")):
                # Arguments are apart by zeros; a guardian has its muster's.
                words = self._tree.peek(f"proc/{pid}/cmdline").split("\0")
                if ("mustherd.muster" in words or "muster" in words) and "--config" in words:
                    found.append(f"muster {words[words.index('--config') + 1] if words[-1] != '--config' else pid}")
        musters = sorted({text for text in found if text.startswith("muster ")})
        found += [said for name, said in ONE_SHOTS.items() if self._at_boot(name)]
        others = sorted(text for text in found if not text.startswith("muster "))
        if len(musters) > 1:
            others += musters
        return ", ".join(others) or NOBODY

    def _at_boot(self, name: str) -> bool:
        """Whether a unit is wanted at each boot, or an init script is started."""
        return any(self._tree.has(f"{folder}/{name}.service") for folder in WANTS) or any(
            link.startswith("S") and link[3:] == name for link in self._tree.listed("etc/rc2.d")
        )

    def _turbo(self) -> str:
        found = state.read(self._tree).turbo
        if not found:
            # Where no driver of the kernel's owns turbo, no request above the nominal clock is made.
            raise Unexamined("neither intel_pstate/no_turbo nor cpufreq/boost")
        return found

    def _governor(self) -> str:
        found = state.read(self._tree).governor
        if not found and not self._tree.has(f"{topology.CPU}/cpu0/cpufreq"):
            return f"{self._wanted.governor} (no cpufreq: nothing but the registers sets the clock)"
        offered = self._tree.peek(f"{topology.CPU}/cpu0/cpufreq/scaling_available_governors").split()
        if self._wanted.governor == "userspace" and offered and "userspace" not in offered:
            return f"userspace (not offered by this driver: the clock is set by its bounds, under {found})"
        return found

    def _msr(self) -> str:
        if reason := nominal.no_ratios(self._tree):
            raise Unexamined(reason)
        try:
            for cpu in topology.online_cpus(self._tree):
                self._registers.read(cpu, m.PERF_CTL)
        except TreeError as error:
            return str(error)
        return "readable on every online CPU"

    def _msr_writes(self) -> str:
        said = self._tree.text("sys/module/msr/parameters/allow_writes")
        if "integrity" in self._lockdown() or "confidentiality" in self._lockdown():
            return "forbidden by the kernel's lockdown"
        # `default` lets writes pass and logs them.
        return "allowed" if said in ("on", "default") else f"module msr has allow_writes={said}"

    def _lockdown(self) -> str:
        found = re.search(r"\[(\w+)\]", self._tree.peek("sys/kernel/security/lockdown"))
        return found[1] if found else ""

    def _dvfs(self) -> str:
        try:
            knob = dvfs.find(self._tree, self._registers, self._options.dvfs)
            return f"settable ({knob.info.allowed_text()}; now {knob.read()})"
        except KnobError as error:
            return str(error)

    def _energy(self) -> str:
        meter, source = meters.find(self._tree, self._registers, self._options.meter)
        if meter is None or not meter.zones:
            return source
        return f"readable ({source}: {', '.join(z.name for z in meter.zones)})"

    def _clock_source(self) -> str:
        return self._tree.text("sys/devices/system/clocksource/clocksource0/current_clocksource")

    def _module(self, name: str) -> str:
        loaded = {line.split(" ", 1)[0] for line in self._tree.text("proc/modules").splitlines()}
        return "loaded" if name in loaded else "absent"

    def _program(self, name: str) -> str:
        for folder in BINARIES:
            if self._tree.has(f"{folder}/{name}"):
                return f"installed (/{folder}/{name})"
        return f"in none of {', '.join(f'/{f}' for f in BINARIES)}"
