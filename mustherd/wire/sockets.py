"""What all ends share: options of a socket, addresses, sending without waiting, and who a key belongs to."""

import logging
import os
import resource
from contextlib import suppress
from typing import TYPE_CHECKING

import zmq

from mustherd.errors import UserError
from mustherd.wire.keys import Keys, KeysError

if TYPE_CHECKING:
    from zmq.auth.thread import ThreadAuthenticator

log = logging.getLogger(__name__)

SEND_QUEUE_MESSAGES = 1000
"""High-water mark of every socket: beyond it a lossy channel drops and a lossless one waits for its own re-send."""
RECONNECT_MS = 100
RECONNECT_MAX_MS = 1000
DESCRIPTORS = 65536
"""What a shepherd asks for: three connections a muster, and files of its own."""

TURNED_AWAY_KEPT = 1000
"""Strangers' keys that are remembered, so that each is logged once."""


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
        """Taken note of."""
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
    # A peer whose machine vanished keeps its TCP connection; ZeroMQ's own heartbeat closes it so that it can come back.
    socket.setsockopt(zmq.HEARTBEAT_IVL, 5000)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 15000)
    socket.setsockopt(zmq.IPV6, 1)


def address(host: str, port: int) -> str:
    """As ZeroMQ writes it."""
    if host == "localhost":
        # A resolver may answer ::1, where nobody listens.
        host = "127.0.0.1"
    return f"tcp://[{host}]:{port}" if ":" in host and not host.startswith("[") else f"tcp://{host}:{port}"


def connect(socket: "zmq.Socket[bytes]", host: str, port: int, keys: Keys | None) -> None:
    """Connect with the keys there are; raises KeysError or WireError."""
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


def topic(name: str) -> bytes:
    """What a muster subscribes to. The terminator keeps muster-1 from matching muster-10: it is a prefix."""
    return name.encode() + b";"


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


def authenticator(context: "zmq.Context[zmq.Socket[bytes]]", keys: Keys) -> "ThreadAuthenticator":
    """Let in the accepted keys alone, on every socket of `context` that is a CURVE server."""
    from zmq.auth.thread import ThreadAuthenticator  # noqa: PLC0415 (brings asyncio, which a muster doesn't need)

    accepted = keys.accepted or {}
    turned_away: set[bytes] = set()

    class Accepted:
        def callback(self, _domain: str, key: bytes) -> bool:
            if key not in accepted and key not in turned_away and len(turned_away) < TURNED_AWAY_KEPT:
                turned_away.add(key)
                log.warning("a key that isn't accepted was turned away: %s", key.decode("ascii", "replace"))
            return key in accepted

    zap = ThreadAuthenticator(context, log=log)
    zap.start()
    zap.configure_curve_callback(domain="*", credentials_provider=Accepted())
    return zap


def key_name(frame: zmq.Frame, keys: Keys) -> str:
    """The name under which the sender's key was accepted; empty when it wasn't."""
    try:
        public = str(frame.get("User-Id"))
    except zmq.ZMQError:
        return ""
    return (keys.accepted or {}).get(public.encode(), "")
