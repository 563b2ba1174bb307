"""The ends of the four channels: the shepherd's, which listens, a muster's and an operator's, which connect.

An end hides its sockets: it sends and receives typed messages and never blocks on a send. None of them is safe to use
from two threads, but `wake` may be called from any.
"""

import logging
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import zmq

from mustherd.terms import MAX_VALUE
from mustherd.wire import codec
from mustherd.wire import messages as m
from mustherd.wire.keys import Keys, require_for
from mustherd.wire.ports import Ports
from mustherd.wire.sockets import (
    SEND_QUEUE_MESSAGES,
    Wake,
    WireError,
    address,
    authenticator,
    connect,
    key_name,
    raise_descriptor_limit,
    send,
    topic,
    tune,
)

if TYPE_CHECKING:
    from zmq.auth.thread import ThreadAuthenticator

__all__ = ["MusterEndpoint", "OperatorEndpoint", "Received", "ShepherdEndpoint", "WireError", "new_session"]

log = logging.getLogger(__name__)

TCP_BACKLOG = 1024

LOG_SEND_BLOCKS = 8
"""Log blocks that a muster hands to ZeroMQ before the network has taken them: bounds its memory."""

NOTHING = memoryview(b"")

LOG_QUEUE_BLOCKS = 128
"""Blocks of one muster that wait for the shepherd at most; an honest one has no more than its credit under way."""


@dataclass(frozen=True)
class Received:
    """One message with its sender: the routing name that it gave itself and, with keys, the name its key stands for."""

    sender: str
    key_name: str | None
    """None without keys; empty for a key that stands for nobody."""
    message: m.Up | m.Stranger | m.Block | m.Offer | m.Call
    payload: memoryview = NOTHING
    """The rows of a block, as they came."""


def new_session() -> int:
    """A random number for one life of a process."""
    return secrets.randbelow(MAX_VALUE) + 1


class ShepherdEndpoint:
    """The listening side of all four channels."""

    def __init__(self, host: str = "127.0.0.1", ports: Ports | None = None, keys: Keys | None = None) -> None:
        """Raises KeysError for an address that needs keys, WireError for one that can't be had."""
        require_for(host, keys)
        raise_descriptor_limit()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._keys = keys
        self._zap: ThreadAuthenticator | None = None
        self._malformed = codec.Malformed(log, time.monotonic)
        self._wake = Wake()
        self._poller = zmq.Poller()
        self._poller.register(self._wake.descriptor, zmq.POLLIN)
        try:
            if keys is not None:
                self._zap = authenticator(self._context, keys)
            asked = ports or Ports()
            self._pulse, pulse = self._bind(zmq.ROUTER, host, asked.pulse, m.MAX_PULSE_BYTES)
            self._log, log_port = self._bind(zmq.ROUTER, host, asked.log, m.MAX_LOG_BYTES, LOG_QUEUE_BLOCKS)
            self._control, control = self._bind(zmq.PUB, host, asked.control, m.MAX_CONTROL_BYTES)
            self._coordinate, coordinate = self._bind(zmq.ROUTER, host, asked.coordinate, m.MAX_COORDINATE_BYTES)
        except BaseException:
            self.close()
            raise
        self.host = host
        self.ports = Ports(pulse, log_port, control, coordinate)
        self._readers: dict[
            zmq.Socket[bytes],
            tuple[str, codec.Decoder[m.Up] | codec.Decoder[m.Block | m.Offer] | codec.Decoder[m.Call]],
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

    def report_malformed(self, channel: str, sender: str, reason: str) -> None:
        """Count a message whose inside turned out not to decode."""
        self._malformed.add(channel, repr(sender), reason)

    def wake(self) -> None:
        """End a `receive` that waits in another thread. Not after `close`."""
        self._wake.set()

    def receive(self, timeout_s: float, at_most: int = 1000) -> Iterator[Received]:
        """Wait up to `timeout_s` for messages and yield what is there, at most `at_most` a channel."""
        for source, _ in self._poller.poll(_milliseconds(timeout_s)):
            if isinstance(source, int):
                self._wake.clear()
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
        return send(self._pulse, [muster.encode("latin-1"), codec.encode(message)])

    def publish(self, target: str, decision: m.Decision) -> None:
        """To a muster or a group, on the channel that may lose."""
        send(self._control, [topic(target), codec.encode(decision)])

    def send_credit(self, muster: str, credit: m.Credit) -> bool:
        """Acknowledge log blocks and allow more."""
        return send(self._log, [muster.encode("latin-1"), codec.encode(credit)])

    def answer(self, operator: str, answer: m.Answer) -> bool:
        """Answer an operator's call."""
        return send(self._coordinate, [operator.encode("latin-1"), codec.encode(answer)])

    def close(self) -> None:
        """Close every socket; unsent messages are dropped."""
        if self._zap is not None:
            self._zap.stop()
            self._zap = None
        self._context.destroy(linger=0)
        self._wake.close()

    def _bind(
        self, kind: int, host: str, port: int, max_bytes: int, queue: int = SEND_QUEUE_MESSAGES
    ) -> "tuple[zmq.Socket[bytes], int]":
        socket = self._context.socket(kind)
        tune(socket, max_bytes)
        socket.setsockopt(zmq.BACKLOG, TCP_BACKLOG)
        socket.setsockopt(zmq.RCVHWM, queue)
        if kind == zmq.ROUTER:
            # A muster that starts again takes its name over from the connection that its last life left behind.
            socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
            socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        if self._keys is not None:
            socket.curve_server = True
            socket.curve_secretkey = self._keys.secret
            socket.curve_publickey = self._keys.public
        where = address(host, port)
        try:
            socket.bind(where)
        except zmq.ZMQError as error:
            raise WireError(
                f"cannot listen on {where}: {error.strerror}; is another shepherd running? choose other ports"
            ) from None
        return socket, int(socket.getsockopt_string(zmq.LAST_ENDPOINT).rsplit(":", 1)[1])

    def _read(self, socket: "zmq.Socket[bytes]", frames: "list[zmq.Frame]") -> Received | None:
        channel, decode = self._readers[socket]
        # Any bytes may be a routing name; latin-1 gives each of them a character and back.
        sender = frames[0].bytes.decode("latin-1")
        try:
            if len(frames) < 2:
                raise ValueError("no message")
            message: m.Up | m.Stranger | m.Block | m.Offer | m.Call = decode(frames[1].buffer)
            expected = 3 if isinstance(message, m.Block) else 2
            if len(frames) != expected:
                raise ValueError(f"{len(frames)} frames instead of {expected}")
            if expected == 3 and len(frames[2].buffer) > m.MAX_LOG_BYTES:
                raise ValueError(f"{len(frames[2].buffer)} bytes, more than {m.MAX_LOG_BYTES}")
        except ValueError as error:
            other = _stranger(frames[-1].buffer) if socket is self._pulse else None
            if other is None:
                self.report_malformed(channel, sender, str(error))
                return None
            message = other
        payload = frames[2].buffer if len(frames) == 3 else NOTHING
        return Received(sender, key_name(frames[1], self._keys) if self._keys is not None else None, message, payload)


def _stranger(data: memoryview) -> m.Stranger | None:
    try:
        hello = codec.stranger(data)
    except ValueError:
        return None
    return hello if hello.version != m.PROTOCOL_VERSION else None


def _milliseconds(seconds: float) -> int:
    # Rounded up: a poll that returns just before a deadline would spin until it.
    return int(seconds * 1000) + 1 if seconds > 0 else 0


CREDITS_AT_MOST = 8
"""That a muster takes before it looks at its other channels."""


class MusterEndpoint:
    """A muster's side of pulse, log and control."""

    def __init__(
        self, muster: str, host: str, ports: Ports, keys: Keys | None = None, groups: tuple[str, ...] = ()
    ) -> None:
        """Raises KeysError for an address that needs keys, WireError for one that makes no sense."""
        require_for(host, keys)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._malformed = codec.Malformed(log, time.monotonic)
        self._keys = keys
        self._muster = muster
        self._wake = Wake()
        try:
            self._pulse = self._connect(zmq.DEALER, host, ports.pulse, m.MAX_PULSE_BYTES)
            self._log = self._connect(zmq.DEALER, host, ports.log, m.MAX_LOG_BYTES)
            self._control = self._connect(zmq.SUB, host, ports.control, m.MAX_CONTROL_BYTES)
        except BaseException:
            self._context.destroy(linger=0)
            self._wake.close()
            raise
        for name in (muster, *groups):
            self._control.setsockopt(zmq.SUBSCRIBE, topic(name))
        self._poller = zmq.Poller()
        self._poller.register(self._wake.descriptor, zmq.POLLIN)
        for socket in (self._pulse, self._log, self._control):
            self._poller.register(socket, zmq.POLLIN)

    @property
    def malformed(self) -> int:
        """Frames dropped because they did not decode."""
        return self._malformed.count

    def report_malformed(self, channel: str, reason: str) -> None:
        """Count a message whose inside turned out not to decode."""
        self._malformed.add(channel, "shepherd", reason)

    def wake(self) -> None:
        """End a `receive` that waits; a signal handler may call it. Not after `close`."""
        self._wake.set()

    def receive(self, timeout_s: float, *, log_room: bool = False) -> Iterator[m.Down | m.Credit | m.Decision]:
        """Wait up to `timeout_s` for messages and yield what is there; with `log_room`, also for room for a block."""
        self._poller.modify(self._log, zmq.POLLIN | zmq.POLLOUT if log_room else zmq.POLLIN)
        for socket, _ in self._poller.poll(_milliseconds(timeout_s)):
            if isinstance(socket, int):
                self._wake.clear()
                continue
            # Credits come as fast as blocks leave: beats and decisions must not wait behind them.
            for _ in range(CREDITS_AT_MOST if socket is self._log else SEND_QUEUE_MESSAGES):
                try:
                    frames = socket.recv_multipart(zmq.DONTWAIT)
                except zmq.Again:
                    break
                message = self._read(socket, frames)
                if message is not None:
                    yield message

    def send_pulse(self, message: m.Up) -> bool:
        """To the shepherd; False when nobody listens or the queue is full."""
        return send(self._pulse, [codec.encode(message)])

    def send_block(self, block: m.Block, payload: bytes | memoryview) -> bool:
        """Rows to the shepherd; False when nobody listens or the queue is full."""
        return send(self._log, [codec.encode(block), payload])

    def send_offer(self, offer: m.Offer) -> bool:
        """Ask the shepherd where to go on; False when nobody listens or the queue is full."""
        return send(self._log, [codec.encode(offer)])

    def close(self, linger_s: float = 0.0) -> None:
        """Close, giving what was sent `linger_s` to leave."""
        for socket in (self._pulse, self._log, self._control):
            socket.close(linger=round(linger_s * 1000))
        self._context.term()
        self._wake.close()

    def _connect(self, kind: int, host: str, port: int, max_bytes: int) -> "zmq.Socket[bytes]":
        socket = self._context.socket(kind)
        tune(socket, max_bytes)
        if kind == zmq.DEALER:
            socket.setsockopt(zmq.ROUTING_ID, self._muster.encode())
            # Nothing is queued for a shepherd that isn't there: it would meet its successor with a pile of old beats.
            socket.setsockopt(zmq.IMMEDIATE, 1)
        if max_bytes == m.MAX_LOG_BYTES:
            socket.setsockopt(zmq.SNDHWM, LOG_SEND_BLOCKS)
        connect(socket, host, port, self._keys)
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
            names = {self._control: "control", self._pulse: "pulse", self._log: "log"}
            self.report_malformed(names[socket], str(error))
            return None


class OperatorEndpoint:
    """An operator's side of coordinate: one call at a time, with a time-out."""

    def __init__(self, host: str, port: int, keys: Keys | None = None) -> None:
        """Raises KeysError for an address that needs keys, WireError for one that makes no sense."""
        require_for(host, keys)
        self._address = address(host, port)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            self._socket = self._context.socket(zmq.DEALER)
            tune(self._socket, m.MAX_COORDINATE_BYTES)
            connect(self._socket, host, port, keys)
        except BaseException:
            self.close()
            raise

    def call(
        self, body: m.StatusAsk | m.StopAsk | m.KnobsAsk | m.LogAsk, timeout_s: float = 5.0
    ) -> m.Status | m.Done | m.Refused:
        """Ask and wait; raises WireError when no answer comes in time."""
        number = new_session()
        send(self._socket, [codec.encode(m.Call(number=number, body=body))])
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            if not self._socket.poll(_milliseconds(left)):
                break
            frames = self._socket.recv_multipart()
            try:
                answer = codec.answer(frames[0])
            except ValueError:
                continue
            if len(frames) == 1 and answer.number == number:
                return answer.body
        raise WireError(f"no shepherd answered at {self._address} within {timeout_s:g} s")

    def close(self) -> None:
        """Close the connection."""
        self._context.destroy(linger=0)
