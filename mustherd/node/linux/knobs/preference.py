"""`epp` and `epb`: how a CPU that chooses its own clock weighs energy against performance.

EPP is a word of the frequency driver's (intel_pstate with HWP, amd-pstate-epp), which stands for a number from 0,
fastest, to 255; EPB is the older hint of Intel's CPUs, from 0 to 15. With the governor performance the driver holds
EPP fixed.
(Documentation/admin-guide/pm/{intel_pstate,amd-pstate,intel_epb}.rst)
"""

from mustherd.node.knob import KnobError
from mustherd.node.linux import topology
from mustherd.node.linux.files_knob import FilesKnob, existing
from mustherd.node.linux.knob import Machine, UnfitError
from mustherd.node.linux.tree import Tree
from mustherd.terms import KnobKind

DEFAULT = 256
"""The value of `epp` for what the firmware chose."""

EPPS = {0: "performance", 128: "balance-performance", 192: "balance-power", 255: "power", DEFAULT: "default"}
"""The drivers' words, and the numbers that they stand for."""


class Epp(FilesKnob):
    """`epp`: energy_performance_preference of every online CPU."""

    kind = KnobKind(name="epp", unit="EPP", names=EPPS, modes=(DEFAULT,))

    @classmethod
    def find(cls, machine: Machine) -> "tuple[Epp]":
        return (cls(machine.tree),)

    def __init__(self, tree: Tree) -> None:
        """KnobError where the frequency driver offers no preference."""
        offered: set[str] | None = None
        for path in existing(tree, _files(tree, "energy_performance_available_preferences"), self.kind.name).values():
            words = {word.replace("_", "-") for word in tree.text(path).split()}
            offered = words if offered is None else offered & words
        values = tuple(sorted(value for value, word in EPPS.items() if word in (offered or ())))
        if not values:
            raise KnobError(f"{self.kind.name}: the driver offers none of {', '.join(EPPS.values())}")
        # Firmware may have chosen any number; what it chose is put back as it is.
        super().__init__(tree, self.kind.offer(values=values, found=(0, 255)))

    def _files(self) -> dict[str, str]:
        return _files(self._tree, "energy_performance_preference")

    def _value_of(self, text: str) -> int:
        word = text.replace("_", "-")
        for value, name in EPPS.items():
            if name == word:
                return value
        found = super()._value_of(text)
        if found > 255:
            raise UnfitError(f"it holds {text[:40]!r}")
        return found

    def _text_of(self, value: int) -> str:
        return EPPS[value].replace("-", "_") if value in EPPS else str(value)


class Epb(FilesKnob):
    """`epb`: energy_perf_bias of every online CPU."""

    kind = KnobKind(
        name="epb", unit="EPB",
        names={0: "performance", 4: "balance-performance", 6: "normal", 8: "balance-power", 15: "power"},
    )  # fmt: skip

    @classmethod
    def find(cls, machine: Machine) -> "tuple[Epb]":
        return (cls(machine.tree),)

    def __init__(self, tree: Tree) -> None:
        """KnobError where the CPU has no such hint."""
        existing(tree, _bias(tree), self.kind.name)
        super().__init__(tree, self.kind.offer(low=0, high=15))

    def _files(self) -> dict[str, str]:
        return _bias(self._tree)


def _files(tree: Tree, name: str) -> dict[str, str]:
    return {f"cpu{c}": f"{topology.CPU}/cpu{c}/cpufreq/{name}" for c in topology.online_cpus(tree)}


def _bias(tree: Tree) -> dict[str, str]:
    return {f"cpu{c}": f"{topology.CPU}/cpu{c}/power/energy_perf_bias" for c in topology.online_cpus(tree)}
