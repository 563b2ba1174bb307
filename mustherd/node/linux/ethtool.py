"""What the kernel tells and takes about a NIC: interrupt moderation, rings, driver, addresses."""

import struct
from typing import Protocol

import msgspec

from mustherd.node.linux import ioctl, netlink
from mustherd.node.linux.netdev import KernelNetdev, Netdev, NoNetdev
from mustherd.node.linux.netlink import EthtoolError
from mustherd.node.linux.tree import Tree

# linux/ethtool_netlink.h
RINGS_GET, RINGS_SET, COALESCE_GET, COALESCE_SET = 15, 16, 19, 20
HEADER_DEV_NAME = 2
COALESCE_HEADER, COALESCE_RX_USECS, COALESCE_TX_USECS, COALESCE_ADAPTIVE_RX = 1, 2, 6, 11
COALESCE_RX_FRAMES, COALESCE_TX_FRAMES, COALESCE_CQE_TX, COALESCE_CQE_RX = 3, 7, 24, 25
CHANNELS_GET, CHANNELS_SET = 17, 18
CHANNELS_HEADER, CHANNELS_COMBINED_MAX, CHANNELS_COMBINED = 1, 5, 9
RINGS_HEADER, RINGS_RX_MAX, RINGS_TX_MAX, RINGS_RX, RINGS_TX = 1, 2, 5, 6, 9
# linux/rtnetlink.h
RTM_GETADDR = 22
# linux/ethtool.h
ETHTOOL_GDRVINFO, ETHTOOL_GSTRINGS, ETHTOOL_GSTATS, ETH_SS_STATS = 3, 0x1B, 0x1D, 1
FEATURES = {"gro": (0x2B, 0x2C, 1), "lro": (0x25, 0x26, 1 << 15)}
"""ETHTOOL_GGRO and ETHTOOL_SGRO; ETHTOOL_GFLAGS and ETHTOOL_SFLAGS with ETH_FLAG_LRO: to get, to set, bit."""
_DRVINFO = struct.Struct("=I32s32s32s32s32s12s5I")
STATISTICS_IN_DRVINFO = 8
"""Where in it the number of the driver's own statistics is."""
STRING_BYTES = 32
SPARE_STATISTICS = 1024
"""Room beyond what was counted: the kernel writes as many as there are, which may have become more."""


class Coalesce(msgspec.Struct, frozen=True, kw_only=True):
    """Interrupt moderation; None: the driver has no such setting."""

    rx_usecs: int | None = None
    tx_usecs: int | None = None
    adaptive_rx: bool | None = None
    rx_frames: int | None = None
    tx_frames: int | None = None
    cqe: bool | None = None
    """The delay begins with a packet's completion, not with the interrupt before (mlx5)."""


class Rings(msgspec.Struct, frozen=True, kw_only=True):
    """Descriptors of each receive and transmit ring, and the most that the driver takes."""

    rx: int | None = None
    tx: int | None = None
    rx_max: int | None = None
    tx_max: int | None = None


class Channels(msgspec.Struct, frozen=True, kw_only=True):
    """Queues that receive and send, and the most that the driver takes; None: it has none of that kind."""

    combined: int | None = None
    combined_max: int | None = None


class Driver(msgspec.Struct, frozen=True, kw_only=True):
    """What drives an interface."""

    name: str
    version: str = ""
    firmware: str = ""
    bus: str = ""


class Ethtool(Netdev, Protocol):
    """A machine's NICs. Every method raises EthtoolError."""

    def coalesce(self, interface: str) -> Coalesce: ...

    def set_coalesce(
        self,
        interface: str,
        rx_usecs: int | None = None,
        adaptive_rx: bool | None = None,
        *,
        tx_usecs: int | None = None,
        rx_frames: int | None = None,
        tx_frames: int | None = None,
        cqe: bool | None = None,
    ) -> None:
        """Change what isn't None."""
        ...

    def queue_coalesce(self, interface: str, queue: int) -> Coalesce:
        """rx-usecs and adaptive-rx of one queue; a driver without the latter tells False."""
        ...

    def set_queue_coalesce(
        self, interface: str, queue: int, rx_usecs: int | None = None, adaptive_rx: bool | None = None
    ) -> None:
        """Change what isn't None, of that queue alone."""
        ...

    def channels(self, interface: str) -> Channels: ...

    def set_channels(self, interface: str, combined: int) -> None: ...

    def feature(self, interface: str, name: str) -> bool:
        """Whether one of FEATURES is on."""
        ...

    def set_feature(self, interface: str, name: str, on: bool) -> None: ...

    def rings(self, interface: str) -> Rings: ...

    def set_rings(self, interface: str, rx: int | None, tx: int | None) -> None:
        """Change what isn't None."""
        ...

    def driver(self, interface: str) -> Driver: ...

    def statistics(self, interface: str) -> dict[str, int]:
        """The driver's own counters by its own names for them; none where it has none."""
        ...

    def addresses(self) -> dict[int, tuple[str, ...]]:
        """IP addresses with their prefix lengths (`10.10.1.2/24`) by interface index."""
        ...


class KernelEthtool(KernelNetdev):
    """The kernel that this process runs on."""

    def __init__(self) -> None:
        self._names: dict[str, tuple[str, ...]] = {}
        """Of each interface's statistics."""

    def coalesce(self, interface: str) -> Coalesce:
        return parse_coalesce(self._get(interface, COALESCE_GET, COALESCE_HEADER, "interrupt moderation"))

    def set_coalesce(
        self,
        interface: str,
        rx_usecs: int | None = None,
        adaptive_rx: bool | None = None,
        *,
        tx_usecs: int | None = None,
        rx_frames: int | None = None,
        tx_frames: int | None = None,
        cqe: bool | None = None,
    ) -> None:
        asked = {
            "rx-usecs": (COALESCE_RX_USECS, "=I", rx_usecs), "tx-usecs": (COALESCE_TX_USECS, "=I", tx_usecs),
            "rx-frames": (COALESCE_RX_FRAMES, "=I", rx_frames), "tx-frames": (COALESCE_TX_FRAMES, "=I", tx_frames),
            "adaptive-rx": (COALESCE_ADAPTIVE_RX, "=B", adaptive_rx),
            "cqe-mode-rx": (COALESCE_CQE_RX, "=B", cqe), "cqe-mode-tx": (COALESCE_CQE_TX, "=B", cqe),
        }  # fmt: skip
        given = {name: (kind, form, value) for name, (kind, form, value) in asked.items() if value is not None}
        body = b"".join(netlink.attribute(kind, struct.pack(form, value)) for kind, form, value in given.values())
        words = ", ".join(f"{name} {int(value)}" for name, (_, _, value) in given.items())
        self._request(interface, COALESCE_SET, COALESCE_HEADER, body, words)

    def queue_coalesce(self, interface: str, queue: int) -> Coalesce:
        found = self._queue(interface, queue)
        return Coalesce(rx_usecs=found.rx_usecs, adaptive_rx=found.adaptive_rx)

    def set_queue_coalesce(
        self, interface: str, queue: int, rx_usecs: int | None = None, adaptive_rx: bool | None = None
    ) -> None:
        wanted = self._queue(interface, queue).changed(rx_usecs, adaptive_rx)
        self._ioctl(interface, ioctl.set_moderation(queue, wanted), f"queue {queue}: rx-usecs {wanted.rx_usecs}")

    def _queue(self, interface: str, queue: int) -> ioctl.QueueModeration:
        # Of one queue, the old ioctl alone tells and takes it.
        answer = self._ioctl(interface, ioctl.get_moderation(queue), f"queue {queue}: interrupt moderation")
        return ioctl.parse_moderation(answer)

    def channels(self, interface: str) -> Channels:
        found = netlink.generic_attributes(self._get(interface, CHANNELS_GET, CHANNELS_HEADER, "channels"))
        return Channels(
            combined=netlink.number(found.get(CHANNELS_COMBINED)),
            combined_max=netlink.number(found.get(CHANNELS_COMBINED_MAX)),
        )

    def set_channels(self, interface: str, combined: int) -> None:
        body = netlink.attribute(CHANNELS_COMBINED, struct.pack("=I", combined))
        self._request(interface, CHANNELS_SET, CHANNELS_HEADER, body, f"channels {combined}")

    def feature(self, interface: str, name: str) -> bool:
        get, _, bit = FEATURES[name]
        _, flags = struct.unpack("=II", self._ioctl(interface, struct.pack("=II", get, 0), name))
        return bool(flags & bit)

    def set_feature(self, interface: str, name: str, on: bool) -> None:
        get, put, bit = FEATURES[name]
        _, flags = struct.unpack("=II", self._ioctl(interface, struct.pack("=II", get, 0), name))
        self._ioctl(interface, struct.pack("=II", put, flags | bit if on else flags & ~bit), f"{name} {int(on)}")

    def rings(self, interface: str) -> Rings:
        return parse_rings(self._get(interface, RINGS_GET, RINGS_HEADER, "ring sizes"))

    def set_rings(self, interface: str, rx: int | None, tx: int | None) -> None:
        body = b"".join(
            netlink.attribute(kind, struct.pack("=I", value))
            for kind, value in ((RINGS_RX, rx), (RINGS_TX, tx))
            if value is not None
        )
        self._request(interface, RINGS_SET, RINGS_HEADER, body, f"rings rx {rx} tx {tx}")

    def driver(self, interface: str) -> Driver:
        # The firmware's version is told by the old ioctl alone.
        return parse_driver(self._ioctl(interface, _drvinfo_request(), "driver"))

    def statistics(self, interface: str) -> dict[str, int]:
        # Drivers' own statistics are told by the old ioctls alone.
        info = self._ioctl(interface, _drvinfo_request(), "statistics")
        count = int(_DRVINFO.unpack(info)[STATISTICS_IN_DRVINFO])
        if not count:
            return {}
        names = self._names.get(interface, ())
        if len(names) != count:
            room = struct.pack("=III", ETHTOOL_GSTRINGS, ETH_SS_STATS, count)
            room += bytes(STRING_BYTES * (count + SPARE_STATISTICS))
            names = parse_names(self._ioctl(interface, room, "statistics"))
            self._names[interface] = names
        room = struct.pack("=II", ETHTOOL_GSTATS, count) + bytes(8 * (count + SPARE_STATISTICS))
        values = parse_values(self._ioctl(interface, room, "statistics"))
        if len(values) != len(names):
            # Queues came or went in between: with the next call they have their names.
            self._names.pop(interface, None)
            return {}
        return dict(zip(names, values, strict=True))

    def addresses(self) -> dict[int, tuple[str, ...]]:
        found: dict[int, tuple[str, ...]] = {}
        try:
            with netlink.Socket(netlink.ROUTE) as route:
                answers = route.ask(RTM_GETADDR, struct.pack("=BBBBI", 0, 0, 0, 0, 0), netlink.NLM_F_DUMP)
            for answer in answers:
                index, address = netlink.parse_address(answer)
                found[index] = (*found.get(index, ()), address)
        except netlink.NetlinkError as error:
            raise EthtoolError(f"addresses: {error}") from None
        return found

    def _ioctl(self, interface: str, request: bytes, what: str) -> bytes:
        """What an ethtool ioctl makes of its structure."""
        try:
            return ioctl.ask(interface, request)
        except OSError as error:
            raise EthtoolError(f"{interface}: {what}: {error.strerror}") from None

    def _get(self, interface: str, command: int, header: int, what: str) -> bytes:
        answers = self._request(interface, command, header, b"", what)
        if not answers:
            raise EthtoolError(f"{interface}: {what}: the kernel's answer is empty")
        return answers[0]

    def _request(self, interface: str, command: int, header: int, body: bytes, what: str) -> list[bytes]:
        name = netlink.attribute(HEADER_DEV_NAME, interface.encode("ascii", "replace") + b"\0")
        content = struct.pack("=BBH", command, 1, 0) + netlink.attribute(header | netlink.NLA_F_NESTED, name) + body
        try:
            with netlink.Socket(netlink.GENERIC) as generic:
                return generic.ask(netlink.family(generic, b"ethtool"), content)
        except netlink.NetlinkError as error:
            raise EthtoolError(f"{interface}: {what}: {error}") from None


class NoEthtool(NoNetdev):
    """Recorded files, which have no driver to ask: nothing that is meant for them may reach this machine's NICs."""

    def coalesce(self, interface: str) -> Coalesce:
        raise self._error(interface)

    def set_coalesce(
        self,
        interface: str,
        rx_usecs: int | None = None,  # noqa: ARG002
        adaptive_rx: bool | None = None,  # noqa: ARG002
        *,
        tx_usecs: int | None = None,  # noqa: ARG002
        rx_frames: int | None = None,  # noqa: ARG002
        tx_frames: int | None = None,  # noqa: ARG002
        cqe: bool | None = None,  # noqa: ARG002
    ) -> None:
        raise self._error(interface)

    def queue_coalesce(self, interface: str, queue: int) -> Coalesce:  # noqa: ARG002
        raise self._error(interface)

    def set_queue_coalesce(self, interface: str, *_: object, **__: object) -> None:
        raise self._error(interface)

    def channels(self, interface: str) -> Channels:
        raise self._error(interface)

    def set_channels(self, interface: str, combined: int) -> None:  # noqa: ARG002
        raise self._error(interface)

    def feature(self, interface: str, name: str) -> bool:  # noqa: ARG002
        raise self._error(interface)

    def set_feature(self, interface: str, name: str, on: bool) -> None:  # noqa: ARG002
        raise self._error(interface)

    def rings(self, interface: str) -> Rings:
        raise self._error(interface)

    def set_rings(self, interface: str, rx: int | None, tx: int | None) -> None:  # noqa: ARG002
        raise self._error(interface)

    def driver(self, interface: str) -> Driver:
        raise self._error(interface)

    def statistics(self, interface: str) -> dict[str, int]:
        raise self._error(interface)

    def addresses(self) -> dict[int, tuple[str, ...]]:
        return {}

    def _error(self, interface: str) -> EthtoolError:
        return EthtoolError(f"{interface}: recorded files have no driver to ask")


def ethtool_of(tree: Tree) -> Ethtool:
    """The kernel's ethtool for the running machine's own files, none for any other tree."""
    return KernelEthtool() if tree.is_this_machine else NoEthtool()


def _drvinfo_request() -> bytes:
    return _DRVINFO.pack(ETHTOOL_GDRVINFO, b"", b"", b"", b"", b"", b"", 0, 0, 0, 0, 0)


def parse_coalesce(body: bytes) -> Coalesce:
    """A COALESCE_GET_REPLY with its generic netlink header. Raises EthtoolError."""
    found = netlink.generic_attributes(body)
    adaptive = netlink.number(found.get(COALESCE_ADAPTIVE_RX))
    cqe = netlink.number(found.get(COALESCE_CQE_RX))
    return Coalesce(
        rx_usecs=netlink.number(found.get(COALESCE_RX_USECS)),
        tx_usecs=netlink.number(found.get(COALESCE_TX_USECS)),
        adaptive_rx=None if adaptive is None else adaptive != 0,
        rx_frames=netlink.number(found.get(COALESCE_RX_FRAMES)),
        tx_frames=netlink.number(found.get(COALESCE_TX_FRAMES)),
        cqe=None if cqe is None else bool(cqe),
    )


def parse_rings(body: bytes) -> Rings:
    """A RINGS_GET_REPLY with its generic netlink header. Raises EthtoolError."""
    found = netlink.generic_attributes(body)
    return Rings(
        rx=netlink.number(found.get(RINGS_RX)),
        tx=netlink.number(found.get(RINGS_TX)),
        rx_max=netlink.number(found.get(RINGS_RX_MAX)),
        tx_max=netlink.number(found.get(RINGS_TX_MAX)),
    )


def parse_driver(info: bytes) -> Driver:
    """A struct ethtool_drvinfo. Raises EthtoolError."""
    if len(info) != _DRVINFO.size:
        raise EthtoolError(f"driver: {len(info)} bytes instead of {_DRVINFO.size}")
    _, name, version, firmware, bus, *_ = _DRVINFO.unpack(info)
    return Driver(name=_string(name), version=_string(version), firmware=_string(firmware), bus=_string(bus))


def parse_names(strings: bytes) -> tuple[str, ...]:
    """A struct ethtool_gstrings. Raises EthtoolError."""
    count = int.from_bytes(strings[8:12], "little")
    if len(strings) < 12 + count * STRING_BYTES:
        raise EthtoolError(f"statistics: {count} names in {len(strings)} bytes")
    return tuple(_string(strings[12 + k * STRING_BYTES : 12 + (k + 1) * STRING_BYTES]) for k in range(count))


def parse_values(stats: bytes) -> tuple[int, ...]:
    """A struct ethtool_stats. Raises EthtoolError."""
    count = int.from_bytes(stats[4:8], "little")
    if len(stats) < 8 + count * 8:
        raise EthtoolError(f"statistics: {count} values in {len(stats)} bytes")
    return struct.unpack_from(f"={count}Q", stats, 8)


def _string(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("ascii", "replace")
