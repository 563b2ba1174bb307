"""`uncore-min` and `uncore-max`: between what the mesh, the caches and the memory controllers of Intel's servers run.

(drivers/platform/x86/intel/uncore-frequency; Documentation/admin-guide/pm/intel_uncore_frequency_scaling.rst)
"""

from typing import ClassVar

from mustherd.node.kinds import UNCORE_MAX
from mustherd.node.knob import KnobError
from mustherd.node.linux.files_knob import FilesKnob
from mustherd.node.linux.knob import Machine, UnfitError
from mustherd.node.linux.tree import Tree, TreeError
from mustherd.terms import KnobKind

FOLDER = "sys/devices/system/cpu/intel_uncore_frequency"
STEP_MHZ = 100
"""The register counts ratios to 100 MHz (MSR 0x620)."""
SLACK_MHZ = 100


class UncoreBound(FilesKnob):
    """One bound of every die's uncore."""

    kind: ClassVar[KnobKind]
    file: ClassVar[str]

    @classmethod
    def find(cls, machine: Machine) -> "tuple[UncoreBound]":
        return (cls(machine.tree),)

    def __init__(self, tree: Tree) -> None:
        """KnobError where the kernel has no uncore frequency (the module intel_uncore_frequency) or names no range."""
        folders = _folders(tree)
        if not folders:
            raise KnobError(
                f"{self.kind.name}: no /{FOLDER}: the module intel_uncore_frequency isn't loaded, or no such CPU"
            )
        low = max(tree.number(f"{FOLDER}/{each}/initial_min_freq_khz", 10**8) for each in folders)
        high = min(tree.number(f"{FOLDER}/{each}/initial_max_freq_khz", 10**8) for each in folders)
        low, high = -(-low // 1000 // STEP_MHZ) * STEP_MHZ, high // 1000 // STEP_MHZ * STEP_MHZ
        if not 0 < low <= high:
            raise KnobError(f"{self.kind.name}: the kernel names no range ({low}..{high} MHz)")
        super().__init__(tree, self.kind.offer(low=low, high=high, step=STEP_MHZ))

    def _files(self) -> dict[str, str]:
        return {folder: f"{FOLDER}/{folder}/{self.file}" for folder in _folders(self._tree)}

    def _value_of(self, text: str) -> int:
        mhz, rest = divmod(super()._value_of(text), 1000)
        if rest:
            raise UnfitError(f"it holds {text} kHz, no whole number of MHz")
        return mhz

    def _text_of(self, value: int) -> str:
        return str(value * 1000)

    def _running(self) -> int | None:
        """The bound where the clock keeps it, else the clock; None where the kernel doesn't tell the clock."""
        applied = self._read()
        try:
            clocks = [
                self._tree.number(f"{FOLDER}/{each}/current_freq_khz", 10**8) // 1000 for each in _folders(self._tree)
            ]
        except TreeError:
            return None
        broken = [mhz for mhz in clocks if mhz and self._breaks(mhz, applied)]
        return broken[0] if broken else applied

    def _breaks(self, mhz: int, applied: int) -> bool:
        raise NotImplementedError


class UncoreMin(UncoreBound):
    """`uncore-min`."""

    kind = KnobKind(name="uncore-min", unit="MHz", range_step=STEP_MHZ)
    file = "min_freq_khz"

    def _breaks(self, mhz: int, applied: int) -> bool:
        return mhz < applied - SLACK_MHZ


class UncoreMax(UncoreBound):
    """`uncore-max`."""

    kind = UNCORE_MAX
    file = "max_freq_khz"

    def _breaks(self, mhz: int, applied: int) -> bool:
        return mhz > applied + SLACK_MHZ


def _folders(tree: Tree) -> tuple[str, ...]:
    """Packages' dies; where the kernel names clusters of them (`uncore00`) and no package, those."""
    listed = tree.listed(FOLDER)
    packages = tuple(name for name in listed if name.startswith("package_"))
    return packages or tuple(name for name in listed if name.startswith("uncore"))
