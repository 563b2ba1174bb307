"""What connections bring in: one that takes memory is ended, whether it gives nothing or more than can be read.

ZeroMQ bounds each part of a message, but not how many parts a message has: it keeps them until the last one comes,
which may be never. Nor does a listener's queue have a limit (mustherd.wire.sockets says why). So what a connection
has brought in (TCP_INFO) is held against what was read of it, often when this process grows fast.
"""

import ctypes
import fcntl
import logging
import os
import resource
import socket
import struct
import termios
from contextlib import suppress

import zmq
from zmq.utils.monitor import parse_monitor_message

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
"""Between two looks at all connections."""

GLANCE_EVERY_S = 0.02
"""Between two looks at this process's size."""

GROWN_BYTES = 32 * 1024 * 1024
"""Growth of this process that is worth a look at once."""

IDLE_BYTES_PER_S = 64
"""Of a connection that says nothing: ZeroMQ's own heartbeats, which are no messages, take a quarter of it with keys.
Without this every muster's line for decisions, on which it never says anything, would be ended after some hours."""

SETTLED_BYTES = 16 * 1024
"""What a connection may have brought in beyond what was read of it and count as read up: heartbeats, the handshake, a
message or two that wait."""

CONNECTIONS_MOST = 4096
"""Connections to one socket at most: a thousand musters, four times over; fewer where this process may have fewer
descriptors."""

DESCRIPTORS_KEPT, SOCKETS = 128, 4
"""Descriptors that are not for connections, whoever comes, and how many sockets share the others."""

# linux/tcp.h: getsockopt(SOL_TCP, TCP_INFO), and where in it tcpi_bytes_received is.
SOL_TCP, TCP_INFO, _INFO_BYTES, _RECEIVED_AT = 6, 11, 256, 128
_NO_LINGER = struct.pack("=ii", 1, 0)

_libc = ctypes.CDLL(None, use_errno=True)
_page = os.sysconf("SC_PAGE_SIZE")


class Inflow:
    """The connections to one listening socket, told apart by their descriptors. For one thread."""

    def __init__(self, listener: "zmq.Socket[bytes]", channel: str, most_bytes: int) -> None:
        """`most_bytes` of a connection may wait, whole messages and parts of one; what isn't TCP is left alone."""
        self._channel = channel
        self._most = most_bytes
        self._monitor = listener.get_monitor_socket(zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        # Half of what there is: more can come between two looks.
        room = (soft - DESCRIPTORS_KEPT) // (2 * SOCKETS) if soft != resource.RLIM_INFINITY else CONNECTIONS_MOST
        self._connections = max(1, min(CONNECTIONS_MOST, room))
        self._seen: dict[int, tuple[int, float]] = {}
        """Of each connection the bytes that were read, and when it was last seen to be read up."""
        self._read: dict[int, int] = {}
        """Of each connection the bytes that were read since the last look."""

    def delivered(self, frame: zmq.Frame, size_bytes: int) -> None:
        """A whole message was read that `frame` is of and that had so many bytes on the wire."""
        with suppress(zmq.ZMQError):
            descriptor = frame.get(zmq.SRCFD)
            self._read[descriptor] = self._read.get(descriptor, 0) + size_bytes

    def look(self, now: float) -> int:
        """End connections of which too much waits, and those that are too many; gives how many."""
        self._note_changes(now)
        ended = 0
        for descriptor, (before, since) in list(self._seen.items()):
            received = _received(descriptor)
            if received is None:
                del self._seen[descriptor]
                continue
            read = self._read.get(descriptor, 0)
            # The descriptor's last connection, closed since the last look, may have had a part in it.
            known, at = min(before + read, received), since
            if read and received - known <= SETTLED_BYTES:
                known, at = received, now
            self._seen[descriptor] = known, at
            most = self._most + IDLE_BYTES_PER_S * (now - at)
            if received - known > most and received - known - _unread(descriptor) > most:
                log.error(
                    "a connection to %s was ended: of %d bytes %d wait%s",
                    *(self._channel, received, received - known),
                    ", of one message without an end" if not read else ": it sends faster than anybody could read",
                )
                self._end(descriptor)
                ended += 1
        self._read.clear()
        return ended

    def close(self) -> None:
        """Watch no longer."""
        self._monitor.close(linger=0)

    def _note_changes(self, now: float) -> None:
        while True:
            try:
                event = parse_monitor_message(self._monitor.recv_multipart(zmq.DONTWAIT))
            except zmq.Again:
                return
            descriptor = int(event["value"])
            if event["event"] != zmq.EVENT_ACCEPTED:
                self._seen.pop(descriptor, None)
                continue
            self._seen[descriptor] = 0, now
            if len(self._seen) > self._connections:
                self._end(descriptor)

    def _end(self, descriptor: int) -> None:
        self._seen.pop(descriptor, None)
        # With a reset, so that nobody waits for what is under way: ZeroMQ finds it closed, and forgets what came.
        _libc.setsockopt(descriptor, socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER, len(_NO_LINGER))
        _libc.shutdown(descriptor, socket.SHUT_RDWR)


class Watch:
    """When to look: at times, and whenever this process has grown."""

    def __init__(self, inflows: list[Inflow]) -> None:
        self._inflows = inflows
        self._next_look = self._next_glance = -float("inf")
        # Open from the start: whoever takes all descriptors must not end this process by it.
        self._memory = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        self._size = _resident(self._memory)

    def tick(self, now: float) -> None:
        """Look if it is time."""
        if now < self._next_glance:
            return
        self._next_glance = now + GLANCE_EVERY_S
        size = _resident(self._memory)
        if now < self._next_look and size - self._size < GROWN_BYTES:
            self._size = min(size, self._size)
            return
        self._next_look, self._size = now + LOOK_EVERY_S, size
        if sum(inflow.look(now) for inflow in self._inflows):
            # What they had taken goes back to the machine.
            with suppress(AttributeError):
                _libc.malloc_trim(0)

    def close(self) -> None:
        """Watch no longer."""
        os.close(self._memory)
        for inflow in self._inflows:
            inflow.close()


def _received(descriptor: int) -> int | None:
    """Bytes that a TCP connection has received; None for what is none."""
    room = ctypes.create_string_buffer(_INFO_BYTES)
    size = ctypes.c_uint32(_INFO_BYTES)
    if _libc.getsockopt(descriptor, SOL_TCP, TCP_INFO, room, ctypes.byref(size)) != 0 or size.value < _RECEIVED_AT + 8:
        return None
    return int(struct.unpack_from("=Q", room.raw, _RECEIVED_AT)[0])


def _unread(descriptor: int) -> int:
    """Bytes that a connection has received and ZeroMQ has not read yet."""
    try:
        return int(struct.unpack("=i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4))[0])
    except OSError:
        return 0


def _resident(memory: int) -> int:
    return int(os.pread(memory, 100, 0).split()[1]) * _page
