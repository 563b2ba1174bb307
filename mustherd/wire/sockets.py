"""What all endpoints share: options of a socket, addresses, names on the wire, and sending without waiting."""

import os
import resource
from contextlib import suppress

import zmq

from mustherd.errors import UserError
from mustherd.wire.keys import Keys, KeysError

SEND_QUEUE_MESSAGES = 1000
"""High-water mark of every socket: beyond it a lossy channel drops and a lossless one waits for its own re-send."""
ROUTE_MARK = b";"
"""Ends the name in a routing id; no name holds it."""
HANDSHAKE_MS = 10_000
"""How long a new connection may take to say who it is."""
HEARTBEAT_MS = 5_000
"""Between two heartbeats of ZeroMQ's own, which who connects sends and who listens answers."""
HEARTBEAT_LOST_MS = 15_000
"""Without an answer, or another heartbeat, for so long a connection is ended."""
PEER_LOST_MS = 12_000
"""A listener has the kernel end a connection whose other side acknowledges nothing for so long. Before that side does:
it then finds its routing id free when it connects again."""
RECONNECT_MS = 100
RECONNECT_MAX_MS = 1000
DESCRIPTORS = 65536
"""What a shepherd asks for: three connections a muster, and files of its own."""


class WireError(UserError):
    """An address can't be bound or connected to; the message names it and says what to do."""

    exit_code = 3


class Wake:
    """Ends a poll from another thread or a signal handler."""

    def __init__(self) -> None:
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def set(self) -> None:
        """End the poll that waits, or the next one. Not after `close`: the number may be another file's by then."""
        if self.descriptor >= 0:
            with suppress(BlockingIOError):
                os.eventfd_write(self.descriptor, 1)

    def clear(self) -> None:
        """Forget that it was set, so that the next poll waits."""
        with suppress(BlockingIOError):
            os.eventfd_read(self.descriptor)

    def close(self) -> None:
        """Give the descriptor back; harmless when that has been done."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def tune(socket: "zmq.Socket[bytes]", max_bytes: int) -> None:
    """The options that every socket has."""
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, SEND_QUEUE_MESSAGES)
    socket.setsockopt(zmq.RCVHWM, SEND_QUEUE_MESSAGES)
    # ZeroMQ ends the connection at its limit and says nothing; what is only somewhat too large is counted by name.
    socket.setsockopt(zmq.MAXMSGSIZE, 2 * max_bytes)
    socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    socket.setsockopt(zmq.IPV6, 1)


def listens(socket: "zmq.Socket[bytes]") -> None:
    """The options of a socket that anybody may connect to, so that nobody's end of a connection ends this process.

    ZeroMQ (4.3.5) aborts where it has to send a heartbeat, or to answer one, on a connection whose other side is gone
    while it reads nothing from it: because a queue is full, or because another connection has taken its routing id. So
    no queue is ever full here (mustherd.wire.inflow ends whoever would fill it), and no heartbeat begins here: the
    kernel asks whether the other side is there.
    """
    socket.setsockopt(zmq.RCVHWM, 0)
    socket.setsockopt(zmq.HEARTBEAT_IVL, 0)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, PEER_LOST_MS // 2000)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, PEER_LOST_MS // 4000)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, 2)
    socket.setsockopt(zmq.TCP_MAXRT, PEER_LOST_MS)


def address(host: str, port: int) -> str:
    """A host and port as ZeroMQ writes them: `tcp://HOST:PORT`."""
    if host == "localhost":
        # A resolver may answer ::1, where nobody listens.
        host = "127.0.0.1"
    return f"tcp://[{host}]:{port}" if ":" in host and not host.startswith("[") else f"tcp://{host}:{port}"


def connect(socket: "zmq.Socket[bytes]", host: str, port: int, keys: Keys | None) -> None:
    """Connect with the keys there are; raises KeysError or WireError."""
    # A peer whose machine vanished keeps its TCP connection; ZeroMQ's own heartbeat closes it so that it can come back.
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_LOST_MS)
    socket.setsockopt(zmq.HEARTBEAT_TTL, HEARTBEAT_LOST_MS)
    if keys is not None:
        if keys.shepherd is None:
            raise KeysError("these keys name no shepherd to talk to")
        socket.curve_secretkey = keys.secret
        socket.curve_publickey = keys.public
        socket.curve_serverkey = keys.shepherd
    try:
        socket.connect(address(host, port))
    except zmq.ZMQError as error:
        raise WireError(
            f"cannot connect to {address(host, port)}: {error.strerror}; give a host name or an IP address"
        ) from None


def routing_id(name: str) -> bytes:
    """What a muster's sockets are called, anew in each life of it: its name, and what nobody else could guess.

    Whoever connects under a routing id that is taken gets what is meant for it.
    """
    return name.encode() + ROUTE_MARK + os.urandom(8).hex().encode()


def name_in(route: bytes) -> str:
    """The name in a routing id. Any bytes may be one: latin-1 gives each of them a character."""
    return route.partition(ROUTE_MARK)[0].decode("latin-1")


def send(socket: "zmq.Socket[bytes]", frames: "list[bytes | memoryview]") -> bool:
    """Send without waiting; False when the queue is full or the peer is gone."""
    try:
        # pyzmq copies what is short and shares what is long.
        socket.send_multipart(frames, zmq.DONTWAIT, copy=False)
    except zmq.ZMQError as error:
        if error.errno in (zmq.EAGAIN, zmq.EHOSTUNREACH):
            return False
        raise
    return True


def raise_descriptor_limit() -> None:
    """Let this process open as many descriptors as it may, up to DESCRIPTORS."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def milliseconds(seconds: float) -> int:
    """Seconds as a poll takes them. Rounded up: a poll that returns just before a deadline would spin until it."""
    return int(seconds * 1000) + 1 if seconds > 0 else 0
