"""The endpoints of the four channels: the shepherd's, which listens, a muster's and an operator's, which connect.

An endpoint hides its sockets: it sends and receives typed messages and never blocks on a send. None of them is safe
to use from two threads, but `wake` may be called from any.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import zmq

from mustherd.terms import new_number
from mustherd.wire import codec
from mustherd.wire import messages as m
from mustherd.wire.keys import Keys, require_for
from mustherd.wire.ports import Ports
from mustherd.wire.sockets import (
    SEND_QUEUE_MESSAGES,
    Wake,
    WireError,
    address,
    connect,
    milliseconds,
    routing_id,
    send,
    tune,
)

__all__ = ["MusterEndpoint", "OperatorEndpoint", "WireError", "new_session"]

log = logging.getLogger(__name__)

LOG_SEND_BLOCKS = 8
"""Log blocks that a muster hands to ZeroMQ before the network has taken them: bounds its memory."""


def new_session() -> int:
    """A random number for one life of a process."""
    return new_number()


REDIAL_S = 10.0
"""Without a connection for so long, a line is connected anew."""
BUSY_TIMES = 6
"""So many times as long for the log, whose line can be busy with blocks that a slow shepherd takes."""

CREDITS_AT_MOST = 8
"""Credits that a muster takes before it looks at its other channels."""


@dataclass
class _Line:
    """A muster's way to one of the shepherd's ports."""

    socket: "zmq.Socket[bytes]"
    address: str
    connected_at: float = field(default_factory=time.monotonic)
    """When it was last known to have a connection."""


class MusterEndpoint:
    """A muster's side of pulse, log and control."""

    def __init__(self, muster: str, host: str, ports: Ports, keys: Keys | None = None) -> None:
        """Raises KeysError for an address that needs keys, WireError for one that makes no sense."""
        require_for(host, keys)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._malformed = codec.Malformed(log, time.monotonic)
        self._keys = keys
        self._route = routing_id(muster)
        self._wake = Wake()
        self._lines: list[_Line] = []
        self._next_redial = 0.0
        try:
            self._pulse = self._connect(host, ports.pulse, m.MAX_PULSE_BYTES)
            self._log = self._connect(host, ports.log, m.MAX_LOG_BYTES)
            self._control = self._connect(host, ports.control, m.MAX_CONTROL_BYTES)
        except BaseException:
            self._context.destroy(linger=0)
            self._wake.close()
            raise
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
        self._redial(time.monotonic())
        self._poller.modify(self._log, zmq.POLLIN | zmq.POLLOUT if log_room else zmq.POLLIN)
        for socket, _ in self._poller.poll(milliseconds(timeout_s)):
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
        """Send to the shepherd; False when nobody listens or the queue is full."""
        return send(self._pulse, [codec.encode(message)])

    def send_block(self, block: m.Block, payload: bytes | memoryview) -> bool:
        """Send rows to the shepherd; False when nobody listens or the queue is full."""
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

    def _connect(self, host: str, port: int, max_bytes: int) -> "zmq.Socket[bytes]":
        socket = self._context.socket(zmq.DEALER)
        tune(socket, max_bytes)
        socket.setsockopt(zmq.ROUTING_ID, self._route)
        # Nothing is queued for a shepherd that isn't there: it would meet its successor with a pile of old beats.
        socket.setsockopt(zmq.IMMEDIATE, 1)
        if max_bytes == m.MAX_LOG_BYTES:
            socket.setsockopt(zmq.SNDHWM, LOG_SEND_BLOCKS)
        connect(socket, host, port, self._keys)
        self._lines.append(_Line(socket, address(host, port)))
        return socket

    def _redial(self, now: float) -> None:
        """Connect lines anew that have had no connection for long.

        ZeroMQ tries on where nobody answers, but gives a connection up for good that has met a stranger: whoever
        listened there for a moment, in another protocol or without keys, would have muted this muster for ever.
        """
        if now < self._next_redial:
            return
        # Not at each message: to ask a socket takes as long as to read one.
        self._next_redial = now + REDIAL_S / 4
        for line in self._lines:
            # Nothing can be sent where there is no connection (IMMEDIATE); nor, on the log, while all are busy.
            if int(line.socket.getsockopt(zmq.EVENTS)) & zmq.POLLOUT:
                line.connected_at = now
            elif now - line.connected_at > REDIAL_S * (BUSY_TIMES if line.socket is self._log else 1):
                line.connected_at = now
                with suppress(zmq.ZMQError):
                    line.socket.disconnect(line.address)
                with suppress(zmq.ZMQError):
                    line.socket.connect(line.address)

    def _read(self, socket: "zmq.Socket[bytes]", frames: list[bytes]) -> m.Down | m.Credit | m.Decision | None:
        try:
            if len(frames) != 1:
                raise ValueError(f"{len(frames)} frames instead of 1")
            if socket is self._control:
                return codec.decision(frames[0])
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
            self._refusals = self._socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_AUTH)
            connect(self._socket, host, port, keys)
        except BaseException:
            self.close()
            raise

    def call(
        self, body: m.StatusAsk | m.StopAsk | m.KnobsAsk | m.LogAsk, timeout_s: float = 5.0
    ) -> m.Status | m.Done | m.Refused:
        """Ask and wait; raises WireError when no answer comes in time, or this key may not ask."""
        number = new_session()
        send(self._socket, [codec.encode(m.Call(number=number, body=body))])
        poller = zmq.Poller()
        for socket in (self._socket, self._refusals):
            poller.register(socket, zmq.POLLIN)
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            ready = dict(poller.poll(milliseconds(left)))
            if self._refusals in ready:
                raise WireError(f"the shepherd doesn't accept this key at {self._address}: it is not an operator's")
            if self._socket not in ready:
                break
            frames = self._socket.recv_multipart()
            try:
                answer = codec.answer(frames[0])
            except ValueError:
                continue
            if len(frames) == 1 and answer.number == number:
                return answer.body
        raise WireError(
            f"no shepherd answered at {self._address} within {timeout_s:g} s; fix: see that it runs, or say where:"
            " --shepherd ADDRESS --keys FOLDER, as the end of mustherd herd start has them"
        )

    def close(self) -> None:
        """Close the connection."""
        with suppress(AttributeError):
            self._refusals.close(linger=0)
        self._context.destroy(linger=0)
