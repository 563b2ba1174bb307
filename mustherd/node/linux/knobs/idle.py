"""`idle-latency` and `idle-state`: how deep idle CPUs may sleep.

(Documentation/admin-guide/pm/cpuidle.rst)
"""

from mustherd.node.kinds import FREE, IDLE_LATENCY, POLLING
from mustherd.node.knob import KnobError
from mustherd.node.linux import topology
from mustherd.node.linux.files_knob import FilesKnob, existing
from mustherd.node.linux.knob import Machine, PlacedKnob, UnfitError, agreed
from mustherd.node.linux.tree import Tree
from mustherd.terms import KnobKind

MOST_US = POLLING - 1


class IdleLatency(FilesKnob):
    """`idle-latency`: the longest time in us to wake up again that an idle state may have, on every online CPU.

    pm_qos_resume_latency_us, where 0 is no bound and `n/a` allows none at all. It offers the latencies that the
    machine's states have: what lies between allows the same states.
    """

    kind = IDLE_LATENCY

    @classmethod
    def find(cls, machine: Machine) -> "tuple[IdleLatency]":
        return (cls(machine.tree),)

    def __init__(self, tree: Tree) -> None:
        """KnobError where CPUs have no idle states to choose from, or take no bound."""
        first = topology.online_cpus(tree)[0]
        latencies = {tree.number(f"{folder}/latency", 10**9) for folder in _states(tree, first)}
        if not latencies:
            raise KnobError(f"{self.kind.name}: the kernel has no idle states here (a virtual machine, or idle=poll)")
        existing(tree, _bounds(tree), self.kind.name)
        values = tuple(sorted({FREE, POLLING, *(us for us in latencies if 0 < us <= MOST_US)}))
        super().__init__(tree, self.kind.offer(values=values, found=(1, MOST_US)))

    def _files(self) -> dict[str, str]:
        return _bounds(self._tree)

    def _value_of(self, text: str) -> int:
        if text == "n/a":
            return POLLING
        found = super()._value_of(text)
        if found > MOST_US:
            raise UnfitError(f"it holds {text[:40]!r}")
        return found

    def _text_of(self, value: int) -> str:
        return "n/a" if value == POLLING else str(value)


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
