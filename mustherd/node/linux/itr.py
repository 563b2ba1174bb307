"""`itr-delay`: how long a NIC gathers packets before it interrupts, in us, through ethtool's rx-usecs.

Drivers differ in what the number means, so each kind has a dialect; all of them speak the same canonical values: 0 off,
1 adaptive (the driver's own dynamic moderation), from 2 on static.
"""

from typing import Protocol

import msgspec

from mustherd.node.kinds import ADAPTIVE, ITR_DELAY, OFF
from mustherd.node.knob import KnobError
from mustherd.node.linux import interfaces
from mustherd.node.linux.ethtool import Coalesce, Ethtool
from mustherd.node.linux.knob import LinuxKnob, Machine, UnfitError
from mustherd.node.linux.netlink import EthtoolError
from mustherd.terms import KnobInfo

RESET_S = 3.0
"""How long an ixgbe adapter's link is down after a change that crosses 10 us."""


class Dialect(Protocol):
    """How one kind of driver says an interrupt delay."""

    def info(self) -> KnobInfo: ...

    def read(self, found: Coalesce) -> int:
        """The canonical value of what the driver reports. Raises UnfitError where there is none."""
        ...

    def request(self, value: int) -> tuple[int | None, bool | None]:
        """rx-usecs and adaptive-rx to ask for; None: leave it."""
        ...

    def lands_on(self, value: int) -> int: ...


def _usecs(found: Coalesce) -> int:
    if found.rx_usecs is None:
        raise UnfitError("the driver reports no rx-usecs")
    return found.rx_usecs


def _info(
    values: tuple[int, ...], low: int, high: int, names: dict[int, str] | None = None, settle: float = 0.0
) -> KnobInfo:
    return ITR_DELAY.offer(values=values, low=low, high=high, names=names, settle_seconds=settle)


class Plain:
    """Any other driver that has rx-usecs: a number, with no adaptive mode. 1 us is not offered: 1 means adaptive."""

    def info(self) -> KnobInfo:
        return _info((OFF,), 2, 1022)

    def read(self, found: Coalesce) -> int:
        return _usecs(found)

    def request(self, value: int) -> tuple[int | None, bool | None]:
        return value, None

    def lands_on(self, value: int) -> int:
        return value


class Ixgbe(Plain):
    """Intel 82599 and kin: adaptive is rx-usecs 1, up to 1022 us; the register has steps of 2 us.

    A driver may report the odd number that it was asked for; what the register holds is reported here. tx-usecs stays
    as it is, which is 0: anything else is refused on combined vectors. (drivers/net/ethernet/intel/ixgbe, itr_setting.)
    """

    def info(self) -> KnobInfo:
        return _info((OFF, ADAPTIVE), 2, 1022, settle=RESET_S)

    def read(self, found: Coalesce) -> int:
        return self.lands_on(_usecs(found))

    def lands_on(self, value: int) -> int:
        return value if value <= ADAPTIVE else value & ~1


class E1000e(Plain):
    """Intel 82574 and kin, in hardware and emulated: 1 and 3 are dynamic, 4 is a mode of its own, 10..10000 us static.

    The driver keeps a rate, in interrupts per second with the lowest two bits cleared, and reports its inverse.
    (drivers/net/ethernet/intel/e1000e/ethtool.c, e1000_set_coalesce.)
    """

    def info(self) -> KnobInfo:
        names = {3: "adaptive-conservative", 4: "balanced"}
        return _info((OFF, ADAPTIVE, 3, 4), 10, 10000, names)

    def lands_on(self, value: int) -> int:
        return value if value <= 4 else 1_000_000 // (1_000_000 // value & ~3)


class Igb(Plain):
    """Intel 82575 to I350: 1 and 3 are dynamic, 10..10000 us static.

    (drivers/net/ethernet/intel/igb/igb_ethtool.c, igb_set_coalesce.)
    """

    def info(self) -> KnobInfo:
        names = {3: "adaptive-conservative"}
        return _info((OFF, ADAPTIVE, 3), 10, 10000, names)


class Flagged(Plain):
    """A driver with ethtool's adaptive-rx flag: 1 sets the flag, any other value clears it.

    Neither range nor rounding can be asked for, so the range is ixgbe's; what the driver makes of a value shows when it
    is read back, and a value that it rounds doesn't hold.
    """

    def info(self) -> KnobInfo:
        return _info((OFF, ADAPTIVE), 2, 1022)

    def read(self, found: Coalesce) -> int:
        if found.adaptive_rx:
            return ADAPTIVE
        value = _usecs(found)
        if value == ADAPTIVE:
            raise UnfitError("a static delay of 1 us, which can't be told from adaptive")
        return value

    def request(self, value: int) -> tuple[int | None, bool | None]:
        return (None, True) if value == ADAPTIVE else (value, False)


DIALECTS: dict[str, Dialect] = {"ixgbe": Ixgbe(), "ixgbevf": Ixgbe(), "e1000e": E1000e(), "igb": Igb()}


def dialect(driver: str, found: Coalesce) -> Dialect:
    """How `driver`, which reports `found`, is spoken to."""
    return DIALECTS.get(driver) or (Plain() if found.adaptive_rx is None else Flagged())


class ItrDelay(LinuxKnob):
    """The knob of one interface."""

    kind = ITR_DELAY
    of_interface = True

    @classmethod
    def find(cls, machine: Machine) -> "tuple[ItrDelay, ...]":
        nic = machine.nic()
        coalesce = machine.ethtool.coalesce(nic.name)
        if coalesce.rx_usecs is None and coalesce.adaptive_rx is None:
            raise KnobError(f"{nic.name}: driver {nic.driver} has no rx-usecs")
        spoken = dialect(nic.driver, coalesce)
        if machine.options.itr_sheep == "node":
            return (cls(machine.ethtool, nic.name, spoken),)
        numbers = interfaces.receiving(machine.tree, nic.name)
        if not numbers:
            raise KnobError(f"{nic.name}: no queues that receive are listed")
        try:
            machine.ethtool.queue_coalesce(nic.name, numbers[0])
        except EthtoolError as error:
            raise KnobError(
                f"{nic.name}: driver {nic.driver} has one delay for all queues ({error}); fix: itr_sheep = 'node'"
            ) from None
        return tuple(QueueItrDelay(machine.ethtool, nic.name, spoken, number) for number in numbers)

    def __init__(self, ethtool: Ethtool, interface: str, dialect: Dialect) -> None:
        super().__init__(dialect.info())
        self._ethtool = ethtool
        self._interface = interface
        self._dialect = dialect

    def lands_on(self, value: int) -> int:
        return self._dialect.lands_on(value)

    def _read(self) -> int:
        return self._dialect.read(self._found())

    def _running(self) -> int | None:
        # The driver's answer is all there is: no register tells how long the NIC really waits.
        return self._read()

    def _write(self, value: int) -> None:
        self._request(*self._dialect.request(value))

    def _found(self) -> Coalesce:
        return self._ethtool.coalesce(self._interface)

    def _request(self, usecs: int | None, adaptive: bool | None) -> None:
        self._ethtool.set_coalesce(self._interface, usecs, adaptive)


class QueueItrDelay(ItrDelay):
    """That of one queue, whose interrupt waits for packets that the card has put there."""

    def __init__(self, ethtool: Ethtool, interface: str, dialect: Dialect, queue: int) -> None:
        super().__init__(ethtool, interface, dialect)
        self._info = msgspec.structs.replace(self._info, sheep=f"queue-{queue}")
        self._queue = queue

    def _found(self) -> Coalesce:
        return self._ethtool.queue_coalesce(self._interface, self._queue)

    def _request(self, usecs: int | None, adaptive: bool | None) -> None:
        self._ethtool.set_queue_coalesce(self._interface, self._queue, usecs, adaptive)
