"""`cpuset` and `cpu-quota` of a control group that the configuration names: a service's share of the machine."""

from mustherd.node.knob import KnobError
from mustherd.node.linux import topology
from mustherd.node.linux.files_knob import FilesKnob, existing
from mustherd.node.linux.knob import Machine, UnfitError
from mustherd.node.linux.tree import Tree, cpu_list, parse_cpus
from mustherd.node.server import knobs as server
from mustherd.node.server.group import PERIOD_US
from mustherd.terms import KnobKind

GROUPS = "sys/fs/cgroup"

INHERITED = 0
"""The value of `cpuset` for a group that may use what the group around it may."""


class GroupKnob(FilesKnob):
    """A file of the group's."""

    file: str

    @classmethod
    def find(cls, machine: Machine) -> "tuple[GroupKnob]":
        if not machine.options.cgroup:
            raise KnobError(f"{cls.kind.name}: [linux] cgroup names no control group")
        return (cls(machine.tree, machine.options.cgroup),)

    def __init__(self, tree: Tree, group: str) -> None:
        """KnobError where the group, or its controller, isn't there (control groups of version 2)."""
        self._group = group
        existing(tree, self._files(), self.kind.name)
        self._cpus = topology.online_cpus(tree)

    def _files(self) -> dict[str, str]:
        return {"group": f"{GROUPS}/{self._group}/{self.file}"}


class Cpuset(GroupKnob):
    """`cpuset`: how many CPUs the group may use, the first ones of the machine."""

    kind = KnobKind(name="cpuset", unit="CPUs", names={INHERITED: "inherited"}, modes=(INHERITED,))
    file = "cpuset.cpus"

    def __init__(self, tree: Tree, group: str) -> None:
        super().__init__(tree, group)
        FilesKnob.__init__(self, tree, self.kind.offer(low=0, high=len(self._cpus)))

    def _value_of(self, text: str) -> int:
        try:
            found = parse_cpus(text)
        except ValueError as error:
            raise UnfitError(str(error)) from None
        if found != self._cpus[: len(found)]:
            raise UnfitError(f"it may use CPUs {text[:60]}, which are not the first ones")
        return len(found)

    def _text_of(self, value: int) -> str:
        # An empty line takes the bound away, which an empty write doesn't.
        return cpu_list(self._cpus[:value]) or "\n"

    def _kept(self, text: str) -> str:
        return text or "\n"


class CpuQuota(GroupKnob):
    """`cpu-quota`: time on CPUs, in percent of one; all CPUs' worth is no limit."""

    kind = server.CpuQuota.kind
    file = "cpu.max"

    def __init__(self, tree: Tree, group: str) -> None:
        super().__init__(tree, group)
        FilesKnob.__init__(self, tree, server.CpuQuota.offer(len(self._cpus)))

    def _value_of(self, text: str) -> int:
        quota, _, period = text.partition(" ")
        if quota == "max":
            return self.info.high
        if not (quota.isdecimal() and period.isdecimal() and text.isascii() and int(period)):
            raise UnfitError(f"it holds {text[:40]!r}")
        percent, rest = divmod(int(quota) * 100, int(period))
        if rest:
            raise UnfitError(f"it holds {text[:40]!r}, no whole number of percent")
        return percent

    def _text_of(self, value: int) -> str:
        return f"max {PERIOD_US}" if value == self.info.high else f"{value * PERIOD_US // 100} {PERIOD_US}"
