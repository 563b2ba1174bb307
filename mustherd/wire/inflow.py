"""What connections bring in: one that takes memory and gives nothing is ended.

ZeroMQ bounds each part of a message and the number of messages that wait, but not how many parts a message has: it
keeps them until the last one comes, which may be never. While it does no whole message arrives on that connection,
though its bytes do (TCP_INFO). That is what is looked for here, often when this process grows fast.
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
        """`most_bytes` may be on the way of one message; a socket that isn't TCP is left alone."""
        self._channel = channel
        self._most = most_bytes
        self._monitor = listener.get_monitor_socket(zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        # Half of what there is: more can come between two looks.
        room = (soft - DESCRIPTORS_KEPT) // (2 * SOCKETS) if soft != resource.RLIM_INFINITY else CONNECTIONS_MOST
        self._connections = max(1, min(CONNECTIONS_MOST, room))
        self._seen: dict[int, tuple[int, float]] = {}
        """Of each connection the bytes that had come when it last delivered a message, and when that was seen."""
        self._delivered: set[int] = set()

    def delivered(self, frame: zmq.Frame) -> None:
        """A whole message came that `frame` is of."""
        with suppress(zmq.ZMQError):
            self._delivered.add(frame.get(zmq.SRCFD))

    def look(self, now: float) -> int:
        """End connections that take in too much of one message, and those that are too many; gives how many."""
        self._note_changes(now)
        ended = 0
        for descriptor, (before, at) in list(self._seen.items()):
            received = _received(descriptor)
            most = self._most + IDLE_BYTES_PER_S * (now - at)
            if received is None:
                del self._seen[descriptor]
            elif descriptor in self._delivered:
                self._seen[descriptor] = received, now
            elif received - before > most and received - before - _unread(descriptor) > most:
                log.error(
                    "a connection to %s was ended: %d bytes of one message and no end of it", self._channel, received
                )
                self._end(descriptor)
                ended += 1
        self._delivered.clear()
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
