"""`gro-flush-timeout`, `napi-defer`, `irq-suspend`: interrupts put off by the kernel, on any card.

With napi-defer above 0 and a timeout, a queue that found nothing is polled again by a timer so many times before its
interrupt is switched on: moderation by software, where the card has none. irq-suspend keeps interrupts off as long as
an application that busy-polls by epoll (EPIOCSPARAMS, prefer busy poll) finds work. (Documentation/networking/napi.rst)
"""

from typing import ClassVar

from mustherd.node.kinds import GRO_FLUSH_TIMEOUT, NAPI_DEFER
from mustherd.node.knob import KnobError
from mustherd.node.linux.ethtool import Ethtool
from mustherd.node.linux.files_knob import FilesKnob, existing
from mustherd.node.linux.interfaces import NET
from mustherd.node.linux.knob import Machine, PlacedKnob, UnfitError, agreed
from mustherd.node.linux.tree import Tree
from mustherd.terms import KnobKind

NS_PER_US = 1000
MOST_US = 1_000_000
MOST_POLLS = 1000


class DeviceFile(FilesKnob):
    """A number of a network interface's own."""

    kind: ClassVar[KnobKind]
    file: ClassVar[str]
    most: ClassVar[int]
    scale: ClassVar[int] = 1
    """Of the file's unit in one of the knob's."""

    @classmethod
    def find(cls, machine: Machine) -> "tuple[DeviceFile]":
        return (cls(machine.tree, machine.nic().name),)

    def __init__(self, tree: Tree, interface: str) -> None:
        """KnobError where the kernel has no such file (before Linux 5.8)."""
        self._interface = interface
        existing(tree, self._files(), self.kind.name)
        super().__init__(tree, self.kind.offer(low=0, high=self.most))

    def _files(self) -> dict[str, str]:
        return {self._interface: f"{NET}/{self._interface}/{self.file}"}

    def _value_of(self, text: str) -> int:
        value, rest = divmod(super()._value_of(text), self.scale)
        if rest:
            raise UnfitError(f"it holds {text}, no whole number of {self.kind.unit}")
        return value

    def _text_of(self, value: int) -> str:
        return str(value * self.scale)


class GroFlushTimeout(DeviceFile):
    """`gro-flush-timeout`: until a queue is polled again."""

    kind = GRO_FLUSH_TIMEOUT
    file = "gro_flush_timeout"
    most = MOST_US
    scale = NS_PER_US


class NapiDefer(DeviceFile):
    """`napi-defer`: how many times in a row a queue may be found empty before its interrupt is switched on again."""

    kind = NAPI_DEFER
    file = "napi_defer_hard_irqs"
    most = MOST_POLLS


class IrqSuspend(PlacedKnob):
    """`irq-suspend`: how long interrupts stay off at most while an application finds work, on every NAPI."""

    kind = KnobKind(name="irq-suspend", unit="us", names={0: "off"}, scale="log")

    @classmethod
    def find(cls, machine: Machine) -> "tuple[IrqSuspend]":
        return (cls(machine.ethtool, machine.nic().name, machine.tree),)

    def __init__(self, ethtool: Ethtool, interface: str, tree: Tree) -> None:
        """KnobError where the kernel has no such setting (before Linux 6.13), or the interface no NAPI that is up."""
        self._ethtool = ethtool
        self._index = tree.number(f"{NET}/{interface}/ifindex", 2**31 - 1)
        napis = ethtool.napis(self._index)
        if not napis:
            raise KnobError(f"{self.kind.name}: {interface} has no NAPI: it is down, or receives without one")
        if any(napi.irq_suspend_ns is None for napi in napis):
            raise KnobError(f"{self.kind.name}: this kernel can't suspend interrupts (Linux 6.13 can)")
        super().__init__(self.kind.offer(low=0, high=MOST_US))

    def _read(self) -> int:
        return agreed(((place, self._of(text)) for place, text in self._places().items()), self.info.unit)

    def _running(self) -> int | None:
        return self._read()

    @staticmethod
    def _of(text: str) -> int:
        value, rest = divmod(int(text), NS_PER_US)
        if rest:
            raise UnfitError(f"it holds {text} ns, no whole number of us")
        return value

    def _write(self, value: int) -> None:
        for napi in self._ethtool.napis(self._index):
            self._ethtool.set_irq_suspend(napi.id, value * NS_PER_US)

    def _places(self) -> dict[str, str]:
        return {f"napi{napi.id}": str(napi.irq_suspend_ns or 0) for napi in self._ethtool.napis(self._index)}

    def _put(self, place: str, text: str) -> None:
        self._ethtool.set_irq_suspend(int(place.removeprefix("napi")), int(text))
