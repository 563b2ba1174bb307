"""`ring-size-rx` and `ring-size-tx`: descriptors of each ring of a NIC."""

from typing import ClassVar

from mustherd.node.knob import KnobError
from mustherd.node.linux.ethtool import Ethtool, Rings
from mustherd.node.linux.knob import LinuxKnob, Machine, UnfitError
from mustherd.terms import NODE, KnobKind

LOWEST = 64

RESET_S = 3.0
"""A driver takes its interface down to make new rings."""

STEPS = {"ixgbe": 8, "ixgbevf": 8, "igb": 8, "e1000e": 8}
"""Drivers that take every multiple of 8 from 64 on (IXGBE_REQ_RX_DESCRIPTOR_MULTIPLE and kin)."""


class RingSize(LinuxKnob):
    """Rings of one direction of one interface.

    A driver that isn't in STEPS is offered powers of two only, which every driver takes as they are. KnobError when the
    machine doesn't say how large a ring may be.
    """

    kind: ClassVar[KnobKind]
    of_interface = True
    direction: ClassVar[str]

    @classmethod
    def find(cls, machine: Machine) -> "tuple[RingSize]":
        nic = machine.nic()
        return (cls(machine.ethtool, nic.name, nic.driver),)

    def __init__(self, ethtool: Ethtool, interface: str, driver: str) -> None:
        most = _of(ethtool.rings(interface), f"{self.direction}_max")
        if most is None or most < LOWEST:
            raise KnobError(f"{self.kind.name} of {NODE}: the driver names no largest size")
        step = STEPS.get(driver, 0)
        powers = tuple(2**n for n in range(LOWEST.bit_length() - 1, min(most, 2**20).bit_length()))
        super().__init__(
            self.kind.offer(
                values=() if step else powers,
                low=LOWEST if step else 0,
                high=most if step else -1,
                step=step or 1,
                settle_seconds=RESET_S,
            )
        )
        self._ethtool = ethtool
        self._interface = interface

    def _read(self) -> int:
        value = _of(self._ethtool.rings(self._interface), self.direction)
        if value is None:
            raise UnfitError("the driver doesn't report it")
        return value

    def _running(self) -> int | None:
        return self._read()

    def _write(self, value: int) -> None:
        rx, tx = (value, None) if self.direction == "rx" else (None, value)
        self._ethtool.set_rings(self._interface, rx, tx)


class RxRing(RingSize):
    """`ring-size-rx`."""

    kind = KnobKind(name="ring-size-rx", unit="descriptors")
    direction = "rx"


class TxRing(RingSize):
    """`ring-size-tx`."""

    kind = KnobKind(name="ring-size-tx", unit="descriptors")
    direction = "tx"


def _of(rings: Rings, name: str) -> int | None:
    value: int | None = getattr(rings, name)
    return value
