"""Requests as bytes, made before the load starts, and what their answers look like."""

import socket
import struct
from collections.abc import Sequence

import numpy as np

from mustherd.load.address import Address
from mustherd.load.error import LoadError
from mustherd.load.generator.distributions import key_lengths, value_lengths
from mustherd.load.generator.options import SendPlan
from mustherd.reasons import Reason

KEY_SEED = 1
"""Keys are the same in every worker and in every run: what one stored another finds."""
PRELOAD_BATCH = 128
PRELOAD_TIMEOUT_S = 5.0

HEADER = struct.Struct("!BBHBBHIIQ")
"""Of the binary protocol: magic, opcode, key length, extras length, data type, status, body length, opaque, cas."""
GET, SET = 0, 1

FILLER = b"The herd lies down where the grass is and the wolves are not; the muster counts. "


class Requests:
    """All requests that a worker sends: reads of each key, then updates."""

    def __init__(self, plan: SendPlan, rng: np.random.Generator) -> None:
        """ValueError for a distribution that can't be read."""
        if plan.protocol == "http":
            from mustherd.load.generator.http import request  # noqa: PLC0415 (http is built on this)

            self.records = plan.records
            self.bytes = [request(plan.servers[0], plan.path)] * 2 * plan.records
            return
        lengths = key_lengths(plan.key_size, plan.records, np.random.default_rng(KEY_SEED))
        keys = [str(i).zfill(length).encode() for i, length in enumerate(lengths.tolist())]
        values = value_lengths(plan.value_size, plan.records, rng).tolist()
        text = FILLER * (max(values) // len(FILLER) + 1)
        get, store = (_get, _set) if plan.protocol == "binary" else (_ascii_get, _ascii_set)
        self.records = plan.records
        self.bytes = [get(key) for key in keys]
        self.bytes += [store(key, text[:size]) for key, size in zip(keys, values, strict=True)]

    @property
    def updates(self) -> Sequence[bytes]:
        """One update of each key."""
        return self.bytes[self.records :]


def preload(server: Address, updates: Sequence[bytes], protocol: str) -> None:
    """Send updates and wait for each answer. LoadError when the server goes away or can't hold them."""
    try:
        with socket.create_connection((server.host, server.port), timeout=PRELOAD_TIMEOUT_S) as link:
            for start in range(0, len(updates), PRELOAD_BATCH):
                batch = updates[start : start + PRELOAD_BATCH]
                link.sendall(b"".join(batch))
                _await(link, len(batch), protocol)
    except OSError as error:
        raise LoadError(Reason.SERVER_UNREACHABLE, f"{server} can't be preloaded: {error.strerror or error}") from None


def _await(link: socket.socket, count: int, protocol: str) -> None:
    data = b""
    while True:
        if protocol == "binary":
            # Answers to updates are bare headers, but for errors, which say so in a body.
            whole = len(data) // HEADER.size
            bad = any(HEADER.unpack_from(data, k * HEADER.size)[5] for k in range(whole))
        else:
            lines = data.split(b"\r\n")[:-1]
            whole, bad = len(lines), any(line != b"STORED" for line in lines)
        if bad:
            raise LoadError(Reason.SERVER_FAILED, "memcached refuses to store a record: too little memory?")
        if whole >= count:
            return
        more = link.recv(65536)
        if not more:
            raise LoadError(Reason.SERVER_UNREACHABLE, "memcached closed the connection while records were stored")
        data += more


def _get(key: bytes) -> bytes:
    return HEADER.pack(0x80, GET, len(key), 0, 0, 0, len(key), 0, 0) + key


def _set(key: bytes, value: bytes) -> bytes:
    return HEADER.pack(0x80, SET, len(key), 8, 0, 0, 8 + len(key) + len(value), 0, 0) + bytes(8) + key + value


def _ascii_get(key: bytes) -> bytes:
    return b"get %b\r\n" % key


def _ascii_set(key: bytes, value: bytes) -> bytes:
    return b"set %b 0 0 %d\r\n%b\r\n" % (key, len(value), value)
