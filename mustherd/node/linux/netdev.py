"""What the kernel tells and takes about a card's NAPIs, its contexts of polling, by its netlink family `netdev`.

(Documentation/networking/napi.rst, Documentation/netlink/specs/netdev.yaml. From Linux 6.8 on there is one to look at,
from 6.13 on each has settings of its own; what is written to the whole interface overwrites them.)
"""

import struct
from typing import Protocol

import msgspec

from mustherd.node.linux import netlink
from mustherd.node.linux.netlink import EthtoolError

# linux/netdev.h
QUEUE_GET, NAPI_GET, NAPI_SET = 10, 11, 14
NAPI_IFINDEX, NAPI_ID, NAPI_DEFER, NAPI_GRO_FLUSH, NAPI_IRQ_SUSPEND = 1, 2, 5, 6, 7
QUEUE_ID, QUEUE_IFINDEX, QUEUE_TYPE, QUEUE_NAPI = 1, 2, 3, 4
RECEIVES = 0


class Napi(msgspec.Struct, frozen=True, kw_only=True):
    """One context of polling, as a rule that of one queue; None: the kernel knows no such setting."""

    id: int
    defer: int | None = None
    """napi_defer_hard_irqs."""
    gro_flush_ns: int | None = None
    irq_suspend_ns: int | None = None


_SET = {"defer": (NAPI_DEFER, "=I"), "gro_flush_ns": (NAPI_GRO_FLUSH, "=Q"), "irq_suspend_ns": (NAPI_IRQ_SUSPEND, "=Q")}


class Netdev(Protocol):
    """NAPIs of a machine's interfaces. Every method raises EthtoolError."""

    def napis(self, index: int) -> tuple[Napi, ...]:
        """Those of the interface of that index that are up."""
        ...

    def queue_napis(self, index: int) -> dict[int, int]:
        """Each receiving queue's NAPI by its number; only of drivers that tell which is whose."""
        ...

    def set_napi(self, napi: int, setting: str, value: int) -> None:
        """Change one setting, by its name in `Napi`, of one NAPI, by its number."""
        ...


class KernelNetdev:
    """The kernel that this process runs on."""

    def napis(self, index: int) -> tuple[Napi, ...]:
        body = netlink.attribute(NAPI_IFINDEX, struct.pack("=I", index))
        answers = _ask(NAPI_GET, body, f"interface {index}: NAPI", netlink.NLM_F_DUMP)
        return tuple(napi for napi in map(parse_napi, answers) if napi is not None)

    def queue_napis(self, index: int) -> dict[int, int]:
        body = netlink.attribute(QUEUE_IFINDEX, struct.pack("=I", index))
        answers = _ask(QUEUE_GET, body, f"interface {index}: queues", netlink.NLM_F_DUMP)
        return dict(sorted(pair for pair in map(parse_queue, answers) if pair is not None))

    def set_napi(self, napi: int, setting: str, value: int) -> None:
        kind, form = _SET[setting]
        body = netlink.attribute(NAPI_ID, struct.pack("=I", napi)) + netlink.attribute(kind, struct.pack(form, value))
        _ask(NAPI_SET, body, f"NAPI {napi}: {setting} {value}")


class NoNetdev:
    """Recorded files, which have no kernel to ask."""

    def napis(self, index: int) -> tuple[Napi, ...]:
        raise EthtoolError(f"interface {index}: recorded files have no NAPIs to ask for")

    def queue_napis(self, index: int) -> dict[int, int]:
        raise EthtoolError(f"interface {index}: recorded files have no NAPIs to ask for")

    def set_napi(self, napi: int, setting: str, value: int) -> None:
        raise EthtoolError(f"NAPI {napi}: {setting} {value}: recorded files have no NAPIs")


def parse_napi(body: bytes) -> Napi | None:
    """A NAPI_GET reply with its generic netlink header; None for one without a number. Raises EthtoolError."""
    found = netlink.generic_attributes(body)
    number = netlink.number(found.get(NAPI_ID))
    if number is None:
        return None
    return Napi(id=number, **{name: netlink.number(found.get(kind)) for name, (kind, _) in _SET.items()})


def parse_queue(body: bytes) -> tuple[int, int] | None:
    """Number and NAPI of a QUEUE_GET reply; None for one that sends, or whose NAPI isn't told. Raises EthtoolError."""
    found = netlink.generic_attributes(body)
    queue, napi = netlink.number(found.get(QUEUE_ID)), netlink.number(found.get(QUEUE_NAPI))
    receives = netlink.number(found.get(QUEUE_TYPE)) == RECEIVES
    return None if queue is None or napi is None or not receives else (queue, napi)


def _ask(command: int, body: bytes, what: str, flags: int = 0) -> list[bytes]:
    try:
        with netlink.Socket(netlink.GENERIC) as generic:
            family = netlink.family(generic, b"netdev")
            return generic.ask(family, struct.pack("=BBH", command, 1, 0) + body, flags)
    except netlink.NetlinkError as error:
        raise EthtoolError(f"{what}: {error}") from None
