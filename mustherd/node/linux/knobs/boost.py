"""`boost`: whether CPUs may run above their nominal clock, by whatever switch the frequency driver has."""

from mustherd.node.knob import KnobError
from mustherd.node.linux import topology
from mustherd.node.linux.files_knob import FilesKnob
from mustherd.node.linux.knob import Machine, UnfitError
from mustherd.node.linux.state import BOOST, NO_TURBO
from mustherd.node.linux.tree import Tree
from mustherd.terms import KnobKind


class Boost(FilesKnob):
    """`boost`: intel_pstate/no_turbo, cpufreq/boost, or each policy's own boost (amd-pstate), whichever is there."""

    kind = KnobKind(name="boost", unit="switch", names={0: "off", 1: "on"}, modes=(0, 1))

    @classmethod
    def find(cls, machine: Machine) -> "tuple[Boost]":
        return (cls(machine.tree),)

    def __init__(self, tree: Tree) -> None:
        """KnobError where no switch is found: then nothing says that turbo could be turned off."""
        if not _switches(tree):
            raise KnobError(
                f"{self.kind.name}: the machine has neither /{NO_TURBO} nor /{BOOST} nor a policy's own boost"
            )
        super().__init__(tree, self.kind.offer(values=(0, 1)))

    def _files(self) -> dict[str, str]:
        return _switches(self._tree)

    def _value_of(self, text: str) -> int:
        if text not in ("0", "1"):
            raise UnfitError(f"it holds {text[:40]!r}")
        return int(text) ^ self._inverted()

    def _text_of(self, value: int) -> str:
        return str(value ^ self._inverted())

    def _inverted(self) -> int:
        return 1 if "no-turbo" in self._files() else 0


def _switches(tree: Tree) -> dict[str, str]:
    if tree.has(NO_TURBO):
        return {"no-turbo": NO_TURBO}
    if tree.has(BOOST):
        return {"boost": BOOST}
    own = {f"cpu{c}": f"{topology.CPU}/cpu{c}/cpufreq/boost" for c in topology.online_cpus(tree)}
    return own if all(tree.has(path) for path in own.values()) else {}
