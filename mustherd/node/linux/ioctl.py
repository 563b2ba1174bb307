"""ethtool's old ioctls, for what netlink has no message for: structures of linux/ethtool.h as bytes."""

import fcntl
import socket
import struct
from array import array
from typing import NamedTuple

# linux/sockios.h, linux/ethtool.h
SIOCETHTOOL, GCOALESCE, SCOALESCE, PERQUEUE = 0x8946, 0x0E, 0x0F, 0x4B
MAX_QUEUES = 4096
_PER_QUEUE = struct.Struct(f"=II{MAX_QUEUES // 8}s")
_COALESCE = struct.Struct("=23I")
RX_USECS, ADAPTIVE_RX = 1, 10
"""Where in a struct ethtool_coalesce they are."""


class QueueModeration(NamedTuple):
    """A struct ethtool_coalesce as one queue's driver tells it; what it says beside the two goes back as it came."""

    fields: tuple[int, ...]

    @property
    def rx_usecs(self) -> int:
        return self.fields[RX_USECS]

    @property
    def adaptive_rx(self) -> bool:
        return bool(self.fields[ADAPTIVE_RX])

    def changed(self, rx_usecs: int | None, adaptive_rx: bool | None) -> "QueueModeration":
        """With what isn't None."""
        fields = list(self.fields)
        for place, value in ((RX_USECS, rx_usecs), (ADAPTIVE_RX, adaptive_rx)):
            if value is not None:
                fields[place] = int(value)
        return QueueModeration(tuple(fields))


def ask(interface: str, request: bytes) -> bytes:
    """What the kernel makes of a structure of ethtool's. Raises OSError."""
    content = array("B", request)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        # struct ifreq: the interface's name and a pointer to what is asked for.
        asked = struct.pack("16sP", interface.encode("ascii", "replace")[:15], content.buffer_info()[0])
        fcntl.ioctl(plain.fileno(), SIOCETHTOOL, asked.ljust(40, b"\0"))
    return content.tobytes()


def get_moderation(queue: int) -> bytes:
    """The structure that asks for one queue's moderation: `ethtool --per-queue IF queue_mask M --show-coalesce`."""
    return _PER_QUEUE.pack(PERQUEUE, GCOALESCE, _mask(queue)) + _COALESCE.pack(GCOALESCE, *[0] * 22)


def set_moderation(queue: int, wanted: QueueModeration) -> bytes:
    """The structure that sets it."""
    return _PER_QUEUE.pack(PERQUEUE, SCOALESCE, _mask(queue)) + _COALESCE.pack(SCOALESCE, *wanted.fields[1:])


def parse_moderation(content: bytes) -> QueueModeration:
    """What came back from the first, which has its length."""
    return QueueModeration(_COALESCE.unpack_from(content, _PER_QUEUE.size))


def _mask(queue: int) -> bytes:
    # An array of __u32, whose first word's lowest bit is queue 0.
    words = [0] * (MAX_QUEUES // 32)
    words[queue // 32] = 1 << queue % 32
    return struct.pack(f"={len(words)}I", *words)
