"""`idle-latency` and `idle-state`: how deep idle CPUs may sleep.

(Documentation/admin-guide/pm/cpuidle.rst)
"""

import math
import struct
from collections.abc import Sequence

import msgspec

from mustherd.node.kinds import FREE, IDLE_LATENCY, POLLING
from mustherd.node.knob import KnobError
from mustherd.node.linux import topology
from mustherd.node.linux.files_knob import FilesKnob, existing
from mustherd.node.linux.knob import LinuxKnob, Machine, PlacedKnob, UnfitError, agreed
from mustherd.node.linux.tree import Tree, wrapped
from mustherd.terms import KnobInfo, KnobKind

MOST_US = POLLING - 1
SYSTEM = "dev/cpu_dma_latency"
NO_BOUND_US = 2_000_000_000
"""What the kernel has where nobody asks for a bound (PM_QOS_CPU_LATENCY_DEFAULT_VALUE)."""


class IdleLatency(FilesKnob):
    """`idle-latency`: the longest time in us to wake up again that an idle state may have, on every online CPU or one.

    pm_qos_resume_latency_us, where 0 is no bound and `n/a` allows none at all. It offers the latencies that the
    machine's states have: what lies between allows the same states. What runs is the narrower of it and the bound of
    the whole system, which any process may hold, tuned for one.
    """

    kind = IDLE_LATENCY

    @classmethod
    def find(cls, machine: Machine) -> "Sequence[LinuxKnob]":
        tree, options = machine.tree, machine.options
        whole = options.idle_latency == "system"
        if options.idle_latency == "auto" and not all(map(tree.has, _bounds(tree).values())):
            whole = tree.has(SYSTEM)
        if options.idle_sheep == "node":
            return (SystemIdleLatency(tree) if whole else cls(tree),)
        if whole:
            raise KnobError(f"{cls.kind.name}: there is one bound for the whole system; fix: idle_sheep = 'node'")
        return tuple(cls(tree, cpu, package) for package, cpus in topology.read(tree).packages.items() for cpu in cpus)

    def __init__(self, tree: Tree, cpu: int | None = None, package: int = 0) -> None:
        """KnobError where CPUs have no idle states to choose from, or take no bound. None: of all CPUs."""
        existing(tree, _bounds(tree), self.kind.name)
        info = _offer(tree)
        if cpu is not None:
            info = msgspec.structs.replace(info, sheep=f"core-{cpu}", groups=(f"socket-{package}",))
        super().__init__(tree, info)
        self._cpu = cpu

    def _files(self) -> dict[str, str]:
        every = _bounds(self._tree)
        return every if self._cpu is None else {k: v for k, v in every.items() if k == f"cpu{self._cpu}"}

    def _running(self) -> int | None:
        own, whole = self._read(), _system(self._tree)
        return own if whole is None or _us(own) <= _us(whole) else whole

    def _value_of(self, text: str) -> int:
        if text == "n/a":
            return POLLING
        found = super()._value_of(text)
        if found > MOST_US:
            raise UnfitError(f"it holds {text[:40]!r}")
        return found

    def _text_of(self, value: int) -> str:
        return "n/a" if value == POLLING else str(value)


class SystemIdleLatency(PlacedKnob):
    """`idle-latency` of the whole system, by one open file: when the last process that has it open is gone, so is it.

    It is opened when the knob is made, so that a muster's guardian has it, too. Others may have the file open: the
    least of all bounds is in force, and is what is read here. (Documentation/power/pm_qos_interface.rst)
    """

    kind = IDLE_LATENCY
    PLACE, NOTHING = "asked", "nothing"

    @classmethod
    def find(cls, machine: Machine) -> "Sequence[LinuxKnob]":
        return (cls(machine.tree),)

    def __init__(self, tree: Tree) -> None:
        """KnobError where CPUs have no idle states, or the file can't be opened."""
        super().__init__(_offer(tree))
        self._tree = tree
        try:
            self._held = tree.held(SYSTEM)
        except OSError as error:
            raise KnobError(f"{self.kind.name}: {wrapped(SYSTEM, error)}") from None

    def _read(self) -> int:
        found = _system(self._tree)
        if found is None:
            raise UnfitError(f"/{SYSTEM} tells no bound")
        return found

    def _running(self) -> int | None:
        return self._read()

    def _write(self, value: int) -> None:
        self._ask({FREE: NO_BOUND_US, POLLING: 0}.get(value, value))

    def _places(self) -> dict[str, str]:
        # What we ask for, never what others do: that is theirs to take back.
        us = struct.unpack("=i", self._held.asked)[0] if self._held.asked else NO_BOUND_US
        return {self.PLACE: self.NOTHING if us == NO_BOUND_US else str(us)}

    def _put(self, place: str, text: str) -> None:  # noqa: ARG002
        self._ask(NO_BOUND_US if text == self.NOTHING else int(text))

    def _ask(self, us: int) -> None:
        try:
            self._held.write(struct.pack("=i", us))
        except OSError as error:
            raise wrapped(SYSTEM, error) from None


class IdleState(PlacedKnob):
    """`idle-state`: the deepest idle state that CPUs may use, by its number; the states beyond it are switched off."""

    kind = KnobKind(name="idle-state", unit="state")

    @classmethod
    def find(cls, machine: Machine) -> "tuple[IdleState]":
        return (cls(machine.tree),)

    def __init__(self, tree: Tree) -> None:
        """KnobError where CPUs have no idle states, or not all the same number."""
        cpus = topology.online_cpus(tree)
        counts = {len(_states(tree, c)) for c in cpus}
        if counts == {0}:
            raise KnobError(f"{self.kind.name}: the kernel has no idle states here (a virtual machine, or idle=poll)")
        if len(counts) > 1:
            raise KnobError(f"{self.kind.name}: CPUs have {' and '.join(map(str, sorted(counts)))} idle states")
        names = {n: tree.text(f"{folder}/name").lower() for n, folder in enumerate(_states(tree, cpus[0]))}
        super().__init__(self.kind.offer(low=0, high=len(names) - 1, names=names))
        self._tree = tree

    def _read(self) -> int:
        return agreed(((f"CPU {c}", self._of(c)) for c in topology.online_cpus(self._tree)), self.info.unit)

    def _running(self) -> int | None:
        return self._read()

    def _of(self, cpu: int) -> int:
        off = [self._tree.number(f"{folder}/disable", 2**31) != 0 for folder in _states(self._tree, cpu)]
        deepest = max((n for n, is_off in enumerate(off) if not is_off), default=-1)
        if deepest < 0 or any(off[:deepest]):
            raise UnfitError(f"CPU {cpu} has states switched off among those before its deepest")
        return deepest

    def _write(self, value: int) -> None:
        for cpu in topology.online_cpus(self._tree):
            for number, folder in enumerate(_states(self._tree, cpu)):
                self._tree.write(f"{folder}/disable", str(int(number > value)))

    def _places(self) -> dict[str, str]:
        return {
            f"cpu{cpu}/{number}": self._tree.text(f"{folder}/disable")
            for cpu in topology.online_cpus(self._tree)
            for number, folder in enumerate(_states(self._tree, cpu))
        }

    def _put(self, place: str, text: str) -> None:
        cpu, _, number = place.removeprefix("cpu").partition("/")
        self._tree.write(f"{_states(self._tree, int(cpu))[int(number)]}/disable", text)


def _states(tree: Tree, cpu: int) -> list[str]:
    folder = f"{topology.CPU}/cpu{cpu}/cpuidle"
    return [f"{folder}/{name}" for name in tree.listed(folder) if name.startswith("state")]


def _bounds(tree: Tree) -> dict[str, str]:
    return {f"cpu{c}": f"{topology.CPU}/cpu{c}/power/pm_qos_resume_latency_us" for c in topology.online_cpus(tree)}


def _offer(tree: Tree) -> KnobInfo:
    first = topology.online_cpus(tree)[0]
    latencies = {tree.number(f"{folder}/latency", 10**9) for folder in _states(tree, first)}
    if not latencies:
        raise KnobError(f"{IDLE_LATENCY.name}: the kernel has no idle states here (a virtual machine, or idle=poll)")
    values = tuple(sorted({FREE, POLLING, *(us for us in latencies if 0 < us <= MOST_US)}))
    return IDLE_LATENCY.offer(values=values, found=(1, MOST_US))


def _system(tree: Tree) -> int | None:
    """The bound that is in force for the whole system, as a value of `idle-latency`; None where nobody tells us."""
    try:
        found = tree.pread(SYSTEM, 4, 0)
    except OSError:
        return None
    if len(found) != 4:
        return None
    us = struct.unpack("=i", found)[0]
    return POLLING if us <= 0 else FREE if us > MOST_US else int(us)


def _us(value: int) -> float:
    """As a bound in us."""
    return {FREE: math.inf, POLLING: 0.0}.get(value, float(value))
