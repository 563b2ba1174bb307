"""`gro-flush-timeout`, `napi-defer`, `irq-suspend`: interrupts put off by the kernel, on any card.

With napi-defer above 0 and a timeout, a queue that found nothing is polled again by a timer so many times before its
interrupt is switched on: moderation by software, where the card has none. irq-suspend keeps interrupts off as long as
an application that busy-polls by epoll (EPIOCSPARAMS, prefer busy poll) finds work. (Documentation/networking/napi.rst)

From Linux 6.13 on each NAPI has settings of its own, which those of the interface overwrite: they are read, kept and
put back with them, and with `napi_sheep = "queue"` each queue's are a knob.
"""

from typing import ClassVar

import msgspec

from mustherd.node.kinds import GRO_FLUSH_TIMEOUT, NAPI_DEFER
from mustherd.node.knob import KnobError
from mustherd.node.linux.ethtool import Ethtool
from mustherd.node.linux.files_knob import FilesKnob, existing
from mustherd.node.linux.interfaces import NET
from mustherd.node.linux.knob import Machine, PlacedKnob, UnfitError, agreed
from mustherd.node.linux.netdev import Napi
from mustherd.node.linux.netlink import EthtoolError
from mustherd.node.linux.tree import Tree
from mustherd.terms import KnobInfo, KnobKind

NS_PER_US = 1000
MOST_US = 1_000_000
MOST_POLLS = 1000


class Setting(msgspec.Struct, frozen=True):
    """One of the settings that a NAPI has."""

    kind: KnobKind
    name: str
    """In mustherd.node.linux.netdev.Napi."""
    most: int
    scale: int
    """Of the kernel's unit in one of the knob's."""

    def info(self) -> KnobInfo:
        """What the knob allows."""
        return self.kind.offer(low=0, high=self.most)

    def value_of(self, text: str) -> int:
        """The knob's value. UnfitError for an amount that none says."""
        value, rest = divmod(int(text), self.scale)
        if rest:
            raise UnfitError(f"it holds {text}, no whole number of {self.kind.unit}")
        return value


FLUSH = Setting(GRO_FLUSH_TIMEOUT, "gro_flush_ns", MOST_US, NS_PER_US)
DEFER = Setting(NAPI_DEFER, "defer", MOST_POLLS, 1)
SUSPEND = Setting(
    KnobKind(name="irq-suspend", unit="us", names={0: "off"}, scale="log"), "irq_suspend_ns", MOST_US, NS_PER_US
)


class Napis:
    """One setting of an interface's NAPIs, as places and their texts."""

    def __init__(self, ethtool: Ethtool, index: int, setting: Setting) -> None:
        """`index` is the interface's."""
        self._ethtool, self._index, self._setting = ethtool, index, setting

    def why_not(self) -> str:
        """Why the kernel has no such setting of a NAPI's own; "" where it has."""
        try:
            napis = self._ethtool.napis(self._index)
        except EthtoolError as error:
            return str(error)
        if not napis:
            return "the interface has no NAPI: it is down, or receives without one"
        return "" if all(map(self._has, napis)) else f"this kernel has no {self._setting.kind.name} of a NAPI's own"

    def places(self, queue: int | None = None) -> dict[str, str]:
        """What each holds, or that of one queue. EthtoolError."""
        wanted = None if queue is None else self._ethtool.queue_napis(self._index).get(queue)
        if queue is not None and wanted is None:
            raise UnfitError(f"queue {queue} is gone")
        found = self._ethtool.napis(self._index)
        return {_place(napi): self._text(napi) for napi in found if wanted in (None, napi.id) and self._has(napi)}

    def put(self, place: str, text: str) -> None:
        """Write one. EthtoolError."""
        self._ethtool.set_napi(int(place.removeprefix("napi")), self._setting.name, int(text))

    def _has(self, napi: Napi) -> bool:
        return getattr(napi, self._setting.name) is not None

    def _text(self, napi: Napi) -> str:
        return str(getattr(napi, self._setting.name))


class NapiKnob(PlacedKnob):
    """A setting of every NAPI of an interface, or of one queue's."""

    setting: ClassVar[Setting]

    @classmethod
    def find(cls, machine: Machine) -> "tuple[NapiKnob, ...]":
        name, driver = machine.nic().name, machine.nic().driver
        index = _index(machine.tree, name)
        napis = Napis(machine.ethtool, index, cls.setting)
        if why := napis.why_not():
            raise KnobError(f"{cls.kind.name}: {name}: {why} (Linux 6.13 has it)")
        if machine.options.napi_sheep == "node":
            return (cls(napis),)
        queues = machine.ethtool.queue_napis(index)
        if not queues:
            raise KnobError(
                f"{cls.kind.name}: driver {driver} doesn't tell which NAPI is which queue's; fix: napi_sheep = 'node'"
            )
        return tuple(cls(napis, queue) for queue in queues)

    def __init__(self, napis: Napis, queue: int | None = None) -> None:
        info = self.setting.info()
        super().__init__(info if queue is None else msgspec.structs.replace(info, sheep=f"queue-{queue}"))
        self._napis, self._queue = napis, queue

    def _read(self) -> int:
        found = self._napis.places(self._queue).items()
        return agreed(((place, self.setting.value_of(text)) for place, text in found), self.info.unit)

    def _running(self) -> int | None:
        # The kernel's answer is all there is.
        return self._read()

    def _write(self, value: int) -> None:
        for place in self._napis.places(self._queue):
            self._napis.put(place, str(value * self.setting.scale))

    def _places(self) -> dict[str, str]:
        return self._napis.places(self._queue)

    def _put(self, place: str, text: str) -> None:
        self._napis.put(place, text)


class IrqSuspend(NapiKnob):
    """`irq-suspend`: how long interrupts stay off at most while an application finds work."""

    kind = SUSPEND.kind
    setting = SUSPEND


class QueueFlush(NapiKnob):
    """`gro-flush-timeout` of one queue."""

    kind = FLUSH.kind
    setting = FLUSH


class QueueDefer(NapiKnob):
    """`napi-defer` of one queue."""

    kind = DEFER.kind
    setting = DEFER


class DeviceFile(FilesKnob):
    """A number of a network interface's own, and with it of each of its NAPIs."""

    setting: ClassVar[Setting]
    file: ClassVar[str]
    of_queue: ClassVar[type[NapiKnob]]

    @classmethod
    def find(cls, machine: Machine) -> "tuple[PlacedKnob, ...]":
        if machine.options.napi_sheep == "queue":
            return cls.of_queue.find(machine)
        return (cls(machine.tree, machine.nic().name, machine.ethtool),)

    def __init__(self, tree: Tree, interface: str, ethtool: Ethtool) -> None:
        """KnobError where the kernel has no such file (before Linux 5.8)."""
        self._interface = interface
        existing(tree, self._files(), self.kind.name)
        napis = Napis(ethtool, _index(tree, interface), self.setting)
        self._napis = None if napis.why_not() else napis
        super().__init__(tree, self.setting.info())

    def _files(self) -> dict[str, str]:
        return {self._interface: f"{NET}/{self._interface}/{self.file}"}

    def _value_of(self, text: str) -> int:
        return self.setting.value_of(str(super()._value_of(text)))

    def _text_of(self, value: int) -> str:
        return str(value * self.setting.scale)

    def _read(self) -> int:
        return agreed(((place, self._value_of(text)) for place, text in self._places().items()), self.info.unit)

    def _places(self) -> dict[str, str]:
        # The interface first: what is put back there overwrites its NAPIs.
        return super()._places() | (self._napis.places() if self._napis else {})

    def _put(self, place: str, text: str) -> None:
        if place == self._interface:
            super()._put(place, text)
        elif self._napis:
            self._napis.put(place, text)


class GroFlushTimeout(DeviceFile):
    """`gro-flush-timeout`: until a queue is polled again."""

    kind = GRO_FLUSH_TIMEOUT
    setting = FLUSH
    of_queue = QueueFlush
    file = "gro_flush_timeout"


class NapiDefer(DeviceFile):
    """`napi-defer`: how many times in a row a queue may be found empty before its interrupt is switched on again."""

    kind = NAPI_DEFER
    setting = DEFER
    of_queue = QueueDefer
    file = "napi_defer_hard_irqs"


def _index(tree: Tree, interface: str) -> int:
    return tree.number(f"{NET}/{interface}/ifindex", 2**31 - 1)


def _place(napi: Napi) -> str:
    return f"napi{napi.id}"
