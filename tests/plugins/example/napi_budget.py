"""`napi-budget`: how many packets the kernel takes from its network cards in one round of polling."""

from mustherd.node.linux.knob import LinuxKnob, Machine
from mustherd.node.linux.tree import Tree
from mustherd.terms import KnobKind

FILE = "proc/sys/net/core/netdev_budget"


class NapiBudget(LinuxKnob):
    """A sysctl of the whole machine."""

    kind = KnobKind(name="napi-budget", unit="packets", names={300: "default"}, range_step=50, scale="log")

    @classmethod
    def find(cls, machine: Machine) -> "tuple[NapiBudget]":
        machine.tree.number(FILE)  # where there is no such file, the error says so
        return (cls(machine.tree),)

    def __init__(self, tree: Tree) -> None:
        super().__init__(self.kind.offer(low=1, high=65535))
        self._tree = tree

    def _read(self) -> int:
        return self._tree.number(FILE)

    def _running(self) -> int:
        return self._read()

    def _write(self, value: int) -> None:
        self._tree.write(FILE, str(value))
