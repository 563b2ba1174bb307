"""What else a network card and its driver take: frames, the sending delay, its mode, queues, offloads, steering."""

from typing import ClassVar

from mustherd.node.knob import KnobError
from mustherd.node.linux import topology
from mustherd.node.linux.ethtool import Coalesce, Ethtool
from mustherd.node.linux.files_knob import FilesKnob, existing
from mustherd.node.linux.interfaces import NET
from mustherd.node.linux.knob import LinuxKnob, Machine, UnfitError
from mustherd.node.linux.rings import RESET_S
from mustherd.node.linux.tree import Tree
from mustherd.terms import KnobKind

LRO = ("ixgbe", "mlx5_core", "virtio_net", "vmxnet3", "qede", "bnx2x")
"""Drivers that set NETIF_F_LRO among what can be switched."""
MOST_FRAMES = 1024
MOST_USECS = 1022
"""What every driver takes that takes any (ixgbe's register is the narrowest)."""


class CardKnob(LinuxKnob):
    """A number that ethtool tells and takes for an interface."""

    kind: ClassVar[KnobKind]

    @classmethod
    def find(cls, machine: Machine) -> "tuple[CardKnob]":
        return (cls(machine.ethtool, machine.nic().name),)

    def __init__(self, ethtool: Ethtool, interface: str) -> None:
        """KnobError where the driver doesn't have it."""
        self._ethtool = ethtool
        self._interface = interface

    def _running(self) -> int | None:
        # The driver's answer is all there is.
        return self._read()

    def _lacking(self) -> KnobError:
        return KnobError(f"{self.kind.name}: the driver of {self._interface} has no such setting")


class RxFrames(CardKnob):
    """`rx-frames`: packets after which the card interrupts even if its delay isn't over."""

    kind = KnobKind(name="rx-frames", unit="packets", names={0: "off"}, scale="log")

    def __init__(self, ethtool: Ethtool, interface: str) -> None:
        super().__init__(ethtool, interface)
        if ethtool.coalesce(interface).rx_frames is None:
            raise self._lacking()
        LinuxKnob.__init__(self, self.kind.offer(low=0, high=MOST_FRAMES))

    def _read(self) -> int:
        return _there(self._ethtool.coalesce(self._interface), "rx_frames")

    def _write(self, value: int) -> None:
        self._ethtool.set_coalesce(self._interface, rx_frames=value)


class TxFrames(CardKnob):
    """`tx-frames`: packets sent after which the card interrupts even if its delay isn't over."""

    kind = KnobKind(name="tx-frames", unit="packets", names={0: "off"}, scale="log")

    def __init__(self, ethtool: Ethtool, interface: str) -> None:
        super().__init__(ethtool, interface)
        if ethtool.coalesce(interface).tx_frames is None:
            raise self._lacking()
        LinuxKnob.__init__(self, self.kind.offer(low=0, high=MOST_FRAMES))

    def _read(self) -> int:
        return _there(self._ethtool.coalesce(self._interface), "tx_frames")

    def _write(self, value: int) -> None:
        self._ethtool.set_coalesce(self._interface, tx_frames=value)


class TxUsecs(CardKnob):
    """`tx-usecs`: how long the card gathers packets that it has sent before it interrupts."""

    kind = KnobKind(name="tx-usecs", unit="us", names={0: "off"}, range_step=2, scale="log")

    def __init__(self, ethtool: Ethtool, interface: str) -> None:
        super().__init__(ethtool, interface)
        if ethtool.coalesce(interface).tx_usecs is None:
            raise self._lacking()
        if ethtool.driver(interface).name in ("ixgbe", "ixgbevf"):
            raise KnobError(
                f"{self.kind.name}: on {interface} receiving and sending share their vectors: itr-delay is both"
            )
        LinuxKnob.__init__(self, self.kind.offer(low=0, high=MOST_USECS))

    def _read(self) -> int:
        return _there(self._ethtool.coalesce(self._interface), "tx_usecs")

    def _write(self, value: int) -> None:
        self._ethtool.set_coalesce(self._interface, tx_usecs=value)


class CqeMode(CardKnob):
    """`cqe-mode`: whether a delay begins with the last packet's completion instead of the interrupt before it.

    With it every packet begins the delay anew, so that a stream of them interrupts by `rx-frames` alone.
    """

    kind = KnobKind(name="cqe-mode", unit="mode", names={0: "eqe", 1: "cqe"})

    def __init__(self, ethtool: Ethtool, interface: str) -> None:
        super().__init__(ethtool, interface)
        if ethtool.coalesce(interface).cqe is None:
            raise self._lacking()
        LinuxKnob.__init__(self, self.kind.offer(values=(0, 1)))

    def _read(self) -> int:
        return _there(self._ethtool.coalesce(self._interface), "cqe")

    def _write(self, value: int) -> None:
        self._ethtool.set_coalesce(self._interface, cqe=bool(value))


class QueueCount(CardKnob):
    """`channels`: queues, each with an interrupt of its own. Fewer of them batch more and wake fewer CPUs."""

    kind = KnobKind(name="channels", unit="queues")

    def __init__(self, ethtool: Ethtool, interface: str) -> None:
        super().__init__(ethtool, interface)
        most = ethtool.channels(interface).combined_max
        if not most:
            raise self._lacking()
        LinuxKnob.__init__(self, self.kind.offer(low=1, high=most, settle_seconds=RESET_S))

    def _read(self) -> int:
        count = self._ethtool.channels(self._interface).combined
        if not count:
            raise UnfitError("the driver has queues of other kinds")
        return count

    def _write(self, value: int) -> None:
        self._ethtool.set_channels(self._interface, value)


class Feature(CardKnob):
    """A feature of the interface that can be switched."""

    kind: ClassVar[KnobKind]
    feature: ClassVar[str]

    def __init__(self, ethtool: Ethtool, interface: str) -> None:
        super().__init__(ethtool, interface)
        ethtool.feature(interface, self.feature)
        LinuxKnob.__init__(self, self.kind.offer(values=(0, 1)))

    def _read(self) -> int:
        return int(self._ethtool.feature(self._interface, self.feature))

    def _write(self, value: int) -> None:
        self._ethtool.set_feature(self._interface, self.feature, bool(value))


class Gro(Feature):
    """`gro`: the kernel puts packets of a stream together."""

    kind = KnobKind(name="gro", unit="switch", names={0: "off", 1: "on"}, modes=(0, 1))
    feature = "gro"


class Lro(Feature):
    """`lro`: the card does (ixgbe calls it RSC)."""

    kind = KnobKind(name="lro", unit="switch", names={0: "off", 1: "on"}, modes=(0, 1))
    feature = "lro"

    def __init__(self, ethtool: Ethtool, interface: str) -> None:
        if (driver := ethtool.driver(interface).name) not in LRO:
            raise KnobError(f"{self.kind.name}: {driver} is not known to put packets together: {', '.join(LRO)} are")
        super().__init__(ethtool, interface)


class Steering(FilesKnob):
    """How many CPUs, the first ones, the queues of one direction may hand their packets to; 0: where they came in."""

    kind: ClassVar[KnobKind]
    queues: ClassVar[str]
    file: ClassVar[str]

    @classmethod
    def find(cls, machine: Machine) -> "tuple[Steering]":
        return (cls(machine.tree, machine.nic().name),)

    def __init__(self, tree: Tree, interface: str) -> None:
        """KnobError where the interface has no queues with a mask of CPUs."""
        self._interface = interface
        self._tree = tree
        existing(tree, self._files(), self.kind.name)
        self._cpus = topology.online_cpus(tree)
        super().__init__(tree, self.kind.offer(low=0, high=len(self._cpus)))

    def _files(self) -> dict[str, str]:
        folder = f"{NET}/{self._interface}/queues"
        return {q: f"{folder}/{q}/{self.file}" for q in self._tree.listed(folder) if q.startswith(f"{self.queues}-")}

    def _value_of(self, text: str) -> int:
        try:
            mask = int(text.replace(",", ""), 16)
        except ValueError:
            raise UnfitError(f"it holds {text[:40]!r}") from None
        for count in range(len(self._cpus) + 1):
            if mask == _mask(self._cpus[:count]):
                return count
        raise UnfitError(f"it holds the mask {text[:40]}, which is not that of the first CPUs")

    def _text_of(self, value: int) -> str:
        digits = f"{_mask(self._cpus[:value]):x}"
        digits = digits.zfill(-(-len(digits) // 8) * 8)
        return ",".join(digits[at : at + 8] for at in range(0, len(digits), 8))


class Rps(Steering):
    """`rps`: CPUs that receive on."""

    kind = KnobKind(name="rps", unit="CPUs", names={0: "off"})
    queues, file = "rx", "rps_cpus"


class Xps(Steering):
    """`xps`: CPUs that send on a queue."""

    kind = KnobKind(name="xps", unit="CPUs", names={0: "off"})
    queues, file = "tx", "xps_cpus"


def _there(found: Coalesce, name: str) -> int:
    value: int | None = getattr(found, name)
    if value is None:
        raise UnfitError("the driver reports none")
    return int(value)


def _mask(cpus: tuple[int, ...]) -> int:
    return sum(1 << cpu for cpu in cpus)
