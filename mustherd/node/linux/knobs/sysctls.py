"""`busy-poll`, `busy-read`, `numa-balancing`, `thp`: settings of the whole kernel."""

import re
from typing import ClassVar

from mustherd.node.knob import KnobError
from mustherd.node.linux.files_knob import FilesKnob, existing
from mustherd.node.linux.knob import Machine, UnfitError
from mustherd.node.linux.tree import Tree
from mustherd.node.server import knobs as server
from mustherd.terms import KnobKind

THP = "sys/kernel/mm/transparent_hugepage/enabled"
CHOSEN = re.compile(r"\[([a-z]+)\]")


class Sysctl(FilesKnob):
    """A number under /proc/sys."""

    kind: ClassVar[KnobKind]
    file: ClassVar[str]
    most: ClassVar[int]

    @classmethod
    def find(cls, machine: Machine) -> "tuple[Sysctl]":
        return (cls(machine.tree),)

    def __init__(self, tree: Tree) -> None:
        """KnobError where the kernel has no such setting."""
        existing(tree, self._files(), self.kind.name)
        super().__init__(tree, self.kind.offer(low=0, high=self.most))

    def _files(self) -> dict[str, str]:
        return {"kernel": f"proc/sys/{self.file}"}


class BusyPoll(Sysctl):
    """`busy-poll`: how long poll and select look at the card themselves."""

    kind = server.BusyPoll.kind
    file = "net/core/busy_poll"
    most = server.MAX_POLL_US


class BusyRead(Sysctl):
    """`busy-read`: how long reads do."""

    kind = server.BusyRead.kind
    file = "net/core/busy_read"
    most = server.MAX_POLL_US


class NumaBalancing(Sysctl):
    """`numa-balancing`: whether the kernel moves memory to where it is used."""

    kind = KnobKind(name="numa-balancing", unit="switch", names={0: "off", 1: "on"}, modes=(0, 1))
    file = "kernel/numa_balancing"
    most = 1


class Thp(FilesKnob):
    """`thp`: for which memory the kernel uses huge pages by itself."""

    kind = KnobKind(name="thp", unit="mode", names={0: "never", 1: "madvise", 2: "always"}, modes=(0, 1, 2))

    @classmethod
    def find(cls, machine: Machine) -> "tuple[Thp]":
        return (cls(machine.tree),)

    def __init__(self, tree: Tree) -> None:
        """KnobError where the kernel has no such pages."""
        [text] = [tree.text(path) for path in existing(tree, self._files(), self.kind.name).values()]
        words = CHOSEN.sub(r"\1", text).split()
        values = tuple(value for value, word in self.kind.names.items() if word in words)
        if not values:
            raise KnobError(f"{self.kind.name}: /{THP} offers {text[:60]!r}")
        super().__init__(tree, self.kind.offer(values=values))

    def _files(self) -> dict[str, str]:
        return {"kernel": THP}

    def _kept(self, text: str) -> str:
        found = CHOSEN.search(text)
        if found is None and text in self.kind.names.values():
            return text  # recorded files hold what was written
        if found is None:
            raise UnfitError(f"it holds {text[:40]!r}")
        return found[1]

    def _value_of(self, text: str) -> int:
        word = self._kept(text)
        for value, name in self.kind.names.items():
            if name == word:
                return value
        raise UnfitError(f"it holds {text[:40]!r}")

    def _text_of(self, value: int) -> str:
        return self.kind.names[value]
