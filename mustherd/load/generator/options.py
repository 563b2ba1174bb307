"""What the generator and its workers tell each other; MessagePack frames over pipes."""

import struct
from typing import Annotated, Literal, TypeAlias

import msgspec

from mustherd.load.address import Address
from mustherd.reasons import Reason

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class GeneratorOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the load is offered; what is offered is the load's own."""

    workers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    """Processes. One that doesn't block takes a whole core."""
    connections: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 16
    """Of each worker; fewer when the load allows fewer requests outstanding."""
    protocol: Literal["binary", "ascii", "http"] = "binary"
    """The first two are memcached's."""
    path: str = "/"
    """The page that is asked for by http."""
    records: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 10_000
    """Keys asked for, each as often as any other."""
    key_size: str = ""
    """Distribution of key lengths as mutilate writes it, such as `fb_key`; empty: the preset's."""
    value_size: str = ""
    arrivals: str = ""
    """Distribution of the time between two requests of a connection, scaled to the load."""
    preload: bool = True
    """Store every record before the load starts."""
    count_from: Literal["due", "sent"] = "due"
    """Where a latency begins. `sent` is mutilate's way, for comparison with it: from sending to having read; what waits
    unsent is left out."""
    blocking: bool = False
    """Sleep between requests: saves a core, adds the time of waking up to the latencies."""
    early_us: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 80
    """A worker that blocks wakes up this long before the next request: a timer's slack and a wake-up. Never longer than
    its requests lie apart on average."""
    cores: tuple[Annotated[int, msgspec.Meta(ge=0)], ...] = ()
    """Worker k runs on the k-th of these alone; none: anywhere."""


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """A piece of a load curve, as of mustherd.load.curve."""

    seconds: float
    qps: float
    end_qps: float


class SendPlan(msgspec.Struct, frozen=True, kw_only=True, tag="plan"):
    """First frame to a worker: what it shall do; all sizes are its own share."""

    servers: tuple[Address, ...]
    worker: int
    workers: int
    seed: int
    curve: tuple[Piece, ...]
    """The whole load's; before a window opens its first value holds."""
    update_ratio: Share
    connections: int
    depth: int
    """Requests outstanding on one connection at most."""
    protocol: Literal["binary", "ascii", "http"]
    path: str = "/"
    records: int
    key_size: str
    value_size: str
    arrivals: str
    preload: bool
    count_from: Literal["due", "sent"]
    blocking: bool
    early_us: int
    core: int | None
    leaves_room: bool = True
    """The workers together leave a core for others, the server among them."""


class Open(msgspec.Struct, frozen=True, tag="open"):
    """Count from `t0_s` (CLOCK_MONOTONIC)."""

    t0_s: float


class Close(msgspec.Struct, frozen=True, tag="close"):
    """Count to `t1_s`, report and end."""

    t1_s: float


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The worker is connected, its records are stored, and its load begins."""


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The worker can't go on."""

    reason: Reason
    message: str


class Counted(msgspec.Struct, frozen=True, kw_only=True, tag="counted"):
    """What one worker counted in the window."""

    due: int
    """Requests that fell due."""
    answered: int
    misses: int
    errors: int
    unsent: int
    held_back: int
    unanswered: int
    reads: bytes
    """HDR histogram of read latencies in units of 100 ns, encoded."""
    updates: bytes
    lags: bytes
    read_sum_us: float
    update_sum_us: float
    lag_sum_us: float
    idle_s: float
    cpu_s: float
    wait_s: float
    takes_precedence: bool = False
    """It goes before other processes."""


Down: TypeAlias = SendPlan | Open | Close
Up: TypeAlias = Ready | Failed | Counted

UNITS_PER_SECOND = 1e7
MAX_UNITS = 600_000_000
"""Latencies above 60 s are counted as 60 s."""
DIGITS = 3

_LENGTH = struct.Struct("!I")
MAX_FRAME_BYTES = 8 * 1024 * 1024


def frame(message: Down | Up) -> bytes:
    """A message as it crosses a pipe."""
    body = msgspec.msgpack.encode(message)
    return _LENGTH.pack(len(body)) + body


class Frames:
    """Cuts what came through a pipe into bodies of messages. ValueError for one that is too long."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Bodies that `data` completed."""
        self._data += data
        bodies = []
        while len(self._data) >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._data)
            if size > MAX_FRAME_BYTES:
                raise ValueError(f"a frame of {size} bytes")
            end = _LENGTH.size + size
            if len(self._data) < end:
                break
            bodies.append(self._data[_LENGTH.size : end])
            self._data = self._data[end:]
        return bodies
