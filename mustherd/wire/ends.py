"""The ends of the four channels: the shepherd's, which listens, a muster's and an operator's, which connect.

An end hides its sockets: it sends and receives typed messages and never blocks on a send. None of them is safe to use
from two threads, but `ShepherdEnd.wake` may be called from any.
"""

import logging
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import zmq

from mustherd.terms import MAX_VALUE
from mustherd.wire import codec
from mustherd.wire import messages as m
from mustherd.wire.keys import Keys, KeysError, require_for

if TYPE_CHECKING:
    from zmq.auth.thread import ThreadAuthenticator

log = logging.getLogger(__name__)

SEND_QUEUE_MESSAGES = 1000
"""High-water mark of every socket: beyond it a lossy channel drops and a lossless one waits for its own re-send."""
RECONNECT_MS = 100
RECONNECT_MAX_MS = 1000
TCP_BACKLOG = 1024


class WireError(Exception):
    """An address can't be bound or connected to; the message names it and says what to do."""


@dataclass(frozen=True)
class Ports:
    """The shepherd's four ports; 0 lets the system choose."""

    pulse: int = 50051
    log: int = 50061
    control: int = 50071
    coordinate: int = 50081


@dataclass(frozen=True)
class Received:
    """One message with its sender: the routing name and, with keys, the name its key was accepted under."""

    sender: str
    key_name: str | None
    message: m.Up | m.Stranger | m.Block | m.Call


def new_session() -> int:
    """A random number for one life of a process."""
    return secrets.randbelow(MAX_VALUE) + 1


def _tune(socket: "zmq.Socket[bytes]", max_bytes: int) -> None:
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, SEND_QUEUE_MESSAGES)
    socket.setsockopt(zmq.RCVHWM, SEND_QUEUE_MESSAGES)
    socket.setsockopt(zmq.MAXMSGSIZE, max_bytes)
    socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
    # A peer whose machine vanished keeps its TCP connection; ZeroMQ's own heartbeat closes it so that it can come back.
    socket.setsockopt(zmq.HEARTBEAT_IVL, 5000)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 15000)
    socket.setsockopt(zmq.IPV6, 1)


def _address(host: str, port: int) -> str:
    return f"tcp://[{host}]:{port}" if ":" in host and not host.startswith("[") else f"tcp://{host}:{port}"


def _topic(name: str) -> bytes:
    # The terminator keeps muster-1 from matching muster-10: a subscription is a prefix.
    return name.encode() + b";"


def _send(socket: "zmq.Socket[bytes]", frames: list[bytes]) -> bool:
    """Send without waiting; False when the queue is full or the peer is gone."""
    try:
        socket.send_multipart(frames, zmq.DONTWAIT)
    except zmq.ZMQError as error:
        if error.errno in (zmq.EAGAIN, zmq.EHOSTUNREACH):
            return False
        raise
    return True


class ShepherdEnd:
    """The listening side of all four channels."""

    def __init__(self, host: str = "127.0.0.1", ports: Ports | None = None, keys: Keys | None = None) -> None:
        require_for(host, keys)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        # A herd's centre runs out of descriptors and sockets before it runs out of anything else.
        self._context.setsockopt(zmq.MAX_SOCKETS, 4096)
        self._keys = keys
        self._zap: ThreadAuthenticator | None = None
        self._malformed = codec.Malformed(log, time.monotonic)
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK)
        self._poller = zmq.Poller()
        self._poller.register(self._wake_fd, zmq.POLLIN)
        try:
            if keys is not None:
                self._zap = _authenticator(self._context, keys)
            asked = ports or Ports()
            self._pulse, pulse = self._bind(zmq.ROUTER, host, asked.pulse, m.MAX_PULSE_BYTES)
            self._log, log_port = self._bind(zmq.ROUTER, host, asked.log, m.MAX_LOG_BYTES)
            self._control, control = self._bind(zmq.PUB, host, asked.control, m.MAX_CONTROL_BYTES)
            self._coordinate, coordinate = self._bind(zmq.ROUTER, host, asked.coordinate, m.MAX_COORDINATE_BYTES)
        except BaseException:
            self.close()
            raise
        self.host = host
        self.ports = Ports(pulse, log_port, control, coordinate)
        self._readers: dict[
            zmq.Socket[bytes], tuple[str, codec.Decoder[m.Up] | codec.Decoder[m.Block] | codec.Decoder[m.Call]]
        ] = {
            self._pulse: ("pulse", codec.up),
            self._log: ("log", codec.block),
            self._coordinate: ("coordinate", codec.call),
        }
        for socket in self._readers:
            self._poller.register(socket, zmq.POLLIN)

    @property
    def malformed(self) -> int:
        """Frames dropped because they did not decode."""
        return self._malformed.count

    def wake(self) -> None:
        """End a `receive` that waits in another thread."""
        with suppress(OSError):
            os.eventfd_write(self._wake_fd, 1)

    def receive(self, timeout_s: float, at_most: int = 1000) -> Iterator[Received]:
        """Wait up to `timeout_s` for messages and yield what is there, at most `at_most` a channel."""
        for source, _ in self._poller.poll(max(0, round(timeout_s * 1000))):
            if isinstance(source, int):
                with suppress(BlockingIOError):
                    os.eventfd_read(self._wake_fd)
                continue
            for _ in range(at_most):
                try:
                    frames = source.recv_multipart(zmq.DONTWAIT, copy=False)
                except zmq.Again:
                    break
                received = self._read(source, frames)
                if received is not None:
                    yield received

    def send_pulse(self, muster: str, message: m.Down) -> bool:
        """To one muster; False when it is not connected or its queue is full."""
        return _send(self._pulse, [muster.encode(), codec.encode(message)])

    def publish(self, target: str, decision: m.Decision) -> None:
        """To a muster or a group, on the channel that may lose."""
        _send(self._control, [_topic(target), codec.encode(decision)])

    def send_credit(self, muster: str, credit: m.Credit) -> bool:
        """Acknowledge log blocks and allow more."""
        return _send(self._log, [muster.encode(), codec.encode(credit)])

    def answer(self, operator: str, answer: m.Answer) -> bool:
        """Answer an operator's call."""
        return _send(self._coordinate, [operator.encode("latin-1"), codec.encode(answer)])

    def close(self) -> None:
        """Close every socket; unsent messages are dropped."""
        if self._zap is not None:
            self._zap.stop()
            self._zap = None
        self._context.destroy(linger=0)
        with suppress(OSError):
            os.close(self._wake_fd)

    def _bind(self, kind: int, host: str, port: int, max_bytes: int) -> "tuple[zmq.Socket[bytes], int]":
        socket = self._context.socket(kind)
        _tune(socket, max_bytes)
        socket.setsockopt(zmq.BACKLOG, TCP_BACKLOG)
        if kind == zmq.ROUTER:
            # A muster that starts again takes its name over from the connection that its last life left behind.
            socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
            socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        if self._keys is not None:
            socket.curve_server = True
            socket.curve_secretkey = self._keys.secret
            socket.curve_publickey = self._keys.public
        address = _address(host, port)
        try:
            socket.bind(address)
        except zmq.ZMQError as error:
            raise WireError(
                f"cannot listen on {address}: {error.strerror}; is another shepherd running? choose other ports"
            ) from None
        return socket, int(socket.getsockopt_string(zmq.LAST_ENDPOINT).rsplit(":", 1)[1])

    def _read(self, socket: "zmq.Socket[bytes]", frames: "list[zmq.Frame]") -> Received | None:
        channel, decode = self._readers[socket]
        sender = frames[0].bytes.decode("latin-1")
        try:
            if len(frames) != 2:
                raise ValueError(f"{len(frames)} frames instead of 2")
            message: m.Up | m.Stranger | m.Block | m.Call = decode(frames[1].buffer)
        except ValueError as error:
            other = _stranger(frames[-1].buffer) if socket is self._pulse else None
            if other is None:
                self._malformed.add(channel, repr(sender), str(error))
                return None
            message = other
        name = None
        if self._keys is not None:
            public = str(frames[1].get("User-Id"))
            name = (self._keys.accepted or {}).get(public.encode())
        return Received(sender, name, message)


def _stranger(data: memoryview) -> m.Stranger | None:
    try:
        hello = codec.stranger(data)
    except ValueError:
        return None
    return hello if hello.version != m.PROTOCOL_VERSION else None


def _authenticator(context: "zmq.Context[zmq.Socket[bytes]]", keys: Keys) -> "ThreadAuthenticator":
    from zmq.auth.thread import ThreadAuthenticator  # noqa: PLC0415 (brings asyncio, which a muster doesn't need)

    accepted = keys.accepted or {}

    class Accepted:
        def callback(self, _domain: str, key: bytes) -> bool:
            from zmq.utils import z85  # noqa: PLC0415

            return z85.encode(key) in accepted

    zap = ThreadAuthenticator(context, log=log)
    zap.start()
    zap.configure_curve_callback(domain="*", credentials_provider=Accepted())
    return zap


class MusterEnd:
    """A muster's side of pulse, log and control."""

    def __init__(
        self, muster: str, host: str, ports: Ports, keys: Keys | None = None, groups: tuple[str, ...] = ()
    ) -> None:
        require_for(host, keys)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._malformed = codec.Malformed(log, time.monotonic)
        self._keys = keys
        self._muster = muster
        self._pulse = self._connect(zmq.DEALER, host, ports.pulse, m.MAX_PULSE_BYTES)
        self._log = self._connect(zmq.DEALER, host, ports.log, m.MAX_LOG_BYTES)
        self._control = self._connect(zmq.SUB, host, ports.control, m.MAX_CONTROL_BYTES)
        for name in (muster, *groups):
            self._control.setsockopt(zmq.SUBSCRIBE, _topic(name))
        self._poller = zmq.Poller()
        for socket in (self._pulse, self._log, self._control):
            self._poller.register(socket, zmq.POLLIN)

    @property
    def malformed(self) -> int:
        """Frames dropped because they did not decode."""
        return self._malformed.count

    def receive(self, timeout_s: float) -> Iterator[m.Down | m.Credit | m.Decision]:
        """Wait up to `timeout_s` for messages and yield what is there."""
        # Rounded up: a poll that returns just before a deadline would spin until it.
        for socket, _ in self._poller.poll(int(timeout_s * 1000) + 1 if timeout_s > 0 else 0):
            if isinstance(socket, int):
                continue
            for _ in range(SEND_QUEUE_MESSAGES):
                try:
                    frames = socket.recv_multipart(zmq.DONTWAIT)
                except zmq.Again:
                    break
                message = self._read(socket, frames)
                if message is not None:
                    yield message

    def send_pulse(self, message: m.Up) -> bool:
        """To the shepherd; False when the queue is full."""
        return _send(self._pulse, [codec.encode(message)])

    def send_block(self, block: m.Block) -> bool:
        """Rows to the shepherd; False when the queue is full."""
        return _send(self._log, [codec.encode(block)])

    def close(self, linger_s: float = 0.0) -> None:
        """Close, giving what was sent `linger_s` to leave."""
        for socket in (self._pulse, self._log, self._control):
            socket.close(linger=round(linger_s * 1000))
        self._context.term()

    def _connect(self, kind: int, host: str, port: int, max_bytes: int) -> "zmq.Socket[bytes]":
        socket = self._context.socket(kind)
        _tune(socket, max_bytes)
        if kind == zmq.DEALER:
            socket.setsockopt(zmq.ROUTING_ID, self._muster.encode())
        _apply_member_keys(socket, self._keys)
        socket.connect(_address(host, port))
        return socket

    def _read(self, socket: "zmq.Socket[bytes]", frames: list[bytes]) -> m.Down | m.Credit | m.Decision | None:
        try:
            if socket is self._control:
                if len(frames) != 2:
                    raise ValueError(f"{len(frames)} frames instead of 2")
                return codec.decision(frames[1])
            if len(frames) != 1:
                raise ValueError(f"{len(frames)} frames instead of 1")
            return codec.down(frames[0]) if socket is self._pulse else codec.credit(frames[0])
        except ValueError as error:
            self._malformed.add("control" if socket is self._control else "pulse or log", "shepherd", str(error))
            return None


def _apply_member_keys(socket: "zmq.Socket[bytes]", keys: Keys | None) -> None:
    if keys is not None:
        if keys.shepherd is None:
            raise KeysError("these keys name no shepherd to talk to")
        socket.curve_secretkey = keys.secret
        socket.curve_publickey = keys.public
        socket.curve_serverkey = keys.shepherd


class OperatorEnd:
    """An operator's side of coordinate: one call at a time, with a time-out."""

    def __init__(self, host: str, port: int, keys: Keys | None = None) -> None:
        require_for(host, keys)
        self._address = _address(host, port)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        _tune(self._socket, m.MAX_COORDINATE_BYTES)
        _apply_member_keys(self._socket, keys)
        self._socket.connect(self._address)

    def call(self, body: m.StatusAsk | m.StopAsk | m.KnobsAsk, timeout_s: float = 5.0) -> m.Status | m.Done | m.Refused:
        """Ask and wait; raises WireError when no answer comes in time."""
        number = new_session()
        _send(self._socket, [codec.encode(m.Call(number=number, body=body))])
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            if not self._socket.poll(round(left * 1000) + 1):
                break
            try:
                answer = codec.answer(self._socket.recv())
            except ValueError:
                continue
            if answer.number == number:
                return answer.body
        raise WireError(f"no shepherd answered at {self._address} within {timeout_s:g} s")

    def close(self) -> None:
        """Close the connection."""
        self._context.destroy(linger=0)
