"""Netlink messages: what is put into a socket's bytes and what is found in them.

Written against the kernel's documents (userspace-api/netlink) with the standard library alone: a muster's memory
budget is 40 MB, and the usual library for this takes 15 MB of it with its import.
"""

import ipaddress
import os
import socket
import struct
from collections.abc import Iterator

ROUTE, GENERIC = 0, 16
# linux/genetlink.h
GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME = 0x10, 3, 1, 2
IFA_ADDRESS, IFA_LOCAL = 1, 2
"""linux/if_addr.h"""
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 1, 4, 0x300
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200
NLA_F_NESTED, NLA_TYPE_MASK = 0x8000, 0x3FFF
NLMSGERR_ATTR_MSG = 1
SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK = 270, 10, 11

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")

TIMEOUT_S = 5.0
"""The kernel answers at once, but for a driver that resets its adapter first."""

RECEIVE_BYTES = 1 << 16


class NetlinkError(Exception):
    """The kernel refused a request, or its answer could not be understood; `errno` is 0 in the latter case."""

    def __init__(self, errno: int, detail: str) -> None:
        super().__init__(detail)
        self.errno = errno


class EthtoolError(Exception):
    """The kernel would not tell or take it; the message names the interface, what was wanted and the cause."""


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded."""
    return _ATTRIBUTE.pack(4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def attributes(content: bytes) -> dict[int, bytes]:
    """Attributes by type; of several of one type the last. NetlinkError when they don't add up."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(content):
        length, kind = _ATTRIBUTE.unpack_from(content, at)
        if length < 4 or at + length > len(content):
            raise NetlinkError(0, f"an attribute of {length} bytes where {len(content) - at} are left")
        found[kind & NLA_TYPE_MASK] = content[at + 4 : at + length]
        at += length + -length % 4
    return found


def number(content: bytes | None) -> int | None:
    """An unsigned attribute of 1, 2, 4 or 8 bytes; None when it isn't there or is none."""
    return int.from_bytes(content, "little") if content is not None and len(content) in (1, 2, 4, 8) else None


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """One message."""
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, sequence, 0) + body


def messages(datagram: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Type, flags, sequence number and body of each message of a datagram. NetlinkError when they don't add up."""
    at = 0
    while at + _HEADER.size <= len(datagram):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(datagram, at)
        if length < _HEADER.size or at + length > len(datagram):
            raise NetlinkError(0, f"a message of {length} bytes where {len(datagram) - at} are left")
        yield kind, flags, sequence, datagram[at + _HEADER.size : at + length]
        at += length + -length % 4


def failure(flags: int, body: bytes) -> NetlinkError | None:
    """What an NLMSG_ERROR says: None for an acknowledgement, else the error with the driver's own words."""
    if len(body) < 4:
        return NetlinkError(0, "an error message that is too short")
    code = -struct.unpack_from("=i", body)[0]
    if code == 0:
        return None
    detail = os.strerror(code)
    if flags & NLM_F_ACK_TLVS and len(body) >= 4 + _HEADER.size:
        echoed = _HEADER.size if flags & NLM_F_CAPPED else max(_HEADER.size, struct.unpack_from("=I", body, 4)[0])
        try:
            words = attributes(body[4 + echoed + -echoed % 4 :]).get(NLMSGERR_ATTR_MSG, b"")
        except NetlinkError:
            words = b""
        if words:
            detail += f": {words.rstrip(bytes(1)).decode('utf-8', 'replace')}"
    return NetlinkError(code, detail)


class Socket:
    """One request at a time to one netlink family; opened for each use, so that nothing is left to go stale."""

    def __init__(self, family: int) -> None:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)
            self._socket.settimeout(TIMEOUT_S)
            self._socket.bind((0, 0))
            self._socket.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
            self._socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        except OSError as error:
            raise NetlinkError(error.errno or 0, f"no netlink socket: {error.strerror}") from None
        self._sequence = 0

    def __enter__(self) -> "Socket":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, kind: int, body: bytes, flags: int = 0) -> list[bytes]:
        """Send a request and return the bodies of its answer. Raises NetlinkError."""
        self._sequence += 1
        answers: list[bytes] = []
        try:
            self._socket.send(message(kind, NLM_F_REQUEST | NLM_F_ACK | flags, self._sequence, body))
            while True:
                for got, got_flags, sequence, content in messages(self._socket.recv(RECEIVE_BYTES)):
                    if sequence != self._sequence:
                        continue
                    if got == NLMSG_DONE:
                        return answers
                    if got == NLMSG_ERROR:
                        error = failure(got_flags, content)
                        if error is not None:
                            raise error
                        return answers
                    answers.append(content)
        except TimeoutError:
            raise NetlinkError(0, f"no answer within {TIMEOUT_S:g} s") from None
        except OSError as error:
            raise NetlinkError(error.errno or 0, error.strerror or str(error)) from None


def parse_address(body: bytes) -> tuple[int, str]:
    """Interface index and address of an RTM_NEWADDR. Raises NetlinkError."""
    if len(body) < 8:
        raise NetlinkError(0, "an address message that is too short")
    _, prefix, _, _, index = struct.unpack_from("=BBBBI", body)
    found = attributes(body[8:])
    raw = found.get(IFA_LOCAL, found.get(IFA_ADDRESS, b""))
    try:
        return index, f"{ipaddress.ip_address(raw)}/{prefix}"
    except ValueError:
        raise NetlinkError(0, f"an address of {len(raw)} bytes") from None


def family(generic: Socket, name: bytes) -> int:
    """The number of a family of generic netlink. Raises NetlinkError where this kernel hasn't it."""
    body = struct.pack("=BBH", CTRL_CMD_GETFAMILY, 1, 0) + attribute(CTRL_ATTR_FAMILY_NAME, name + b"\0")
    try:
        answers = generic.ask(GENL_ID_CTRL, body)
    except NetlinkError as error:
        raise NetlinkError(error.errno, f"this kernel has no {name.decode()} netlink ({error})") from None
    found = number(attributes(answers[0][4:]).get(CTRL_ATTR_FAMILY_ID)) if answers else None
    if found is None:
        raise NetlinkError(0, f"the kernel did not number its {name.decode()} family")
    return found


def generic_attributes(body: bytes) -> dict[int, bytes]:
    """Those of an answer of generic netlink, with its header. Raises EthtoolError."""
    try:
        return attributes(body[4:])
    except NetlinkError as error:
        raise EthtoolError(f"the kernel's answer: {error}") from None
