"""The shepherd's end of the four channels: it listens, knows who is who, and ends what only takes its memory."""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import zmq

from mustherd.wire import codec
from mustherd.wire import messages as m
from mustherd.wire.gate import Gate
from mustherd.wire.inflow import Inflow, Watch
from mustherd.wire.keys import Keys, require_for
from mustherd.wire.members import Role
from mustherd.wire.ports import Ports
from mustherd.wire.sockets import (
    SEND_QUEUE_MESSAGES,
    Wake,
    WireError,
    address,
    listens,
    milliseconds,
    name_in,
    raise_descriptor_limit,
    send,
    tune,
)

log = logging.getLogger(__name__)

TCP_BACKLOG = 1024

NOTHING = memoryview(b"")

PARTS_MOST = 3
"""Frames of a message at most: route, message, rows."""

CONTROL_UP_BYTES = 1024
"""What may come from a muster on control: it sends nothing there, but its handshake counts."""

WAITING_BYTES = {
    "pulse": 16 * m.MAX_PULSE_BYTES,
    "log": 256 * m.MAX_LOG_BYTES,
    "control": 2 * m.MAX_CONTROL_BYTES,
    "coordinate": 8 * m.MAX_CALL_BYTES,
}
"""What one connection may have sent that the shepherd hasn't read yet. An honest muster says little on pulse and has
no more blocks under way than its credit; an honest operator waits for its answer."""

FRAME_BYTES, LONG_FRAME_BYTES, SEALED_BYTES = 2, 9, 33
"""What ZMTP adds to a frame of at most 255 bytes, to a longer one, and to either with keys (CURVE: RFC 26)."""

CALLS_AT_ONCE = 4
"""Operators' calls that are answered before anything else has its turn: an answer takes longer, the larger the herd."""

ANSWERS_QUEUED = 8
"""Answers that one operator has not read yet: a large herd's status is some megabytes."""


@dataclass(frozen=True)
class Received:
    """One message with its sender: the routing name that it gave itself and, with keys, the name its key stands for."""

    sender: str
    key_name: str | None
    """None without keys."""
    message: m.Up | m.Stranger | m.Block | m.Offer | m.Call
    payload: memoryview = NOTHING
    """The rows of a block, as they came."""
    role: Role | None = field(default=None, compare=False)
    """What its key is for; None without keys."""
    route: bytes = field(default=b"", compare=False)
    """The way back to just this connection."""


class ShepherdEndpoint:
    """The listening side of all four channels.

    A message goes to a muster by the route that `welcome` gave it, so that whoever connects under another's name gets
    nothing that is meant for that.
    """

    def __init__(self, host: str = "127.0.0.1", ports: Ports | None = None, keys: Keys | None = None) -> None:
        """Raises KeysError for an address that needs keys, WireError for one that can't be had."""
        require_for(host, keys)
        raise_descriptor_limit()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._keys = keys
        self._gate: Gate | None = None
        self._watch: Watch | None = None
        self._reread = False
        self._routes: dict[str, bytes] = {}
        self._groups: dict[str, set[str]] = {}
        self._known: set[str] = set()
        """Names of musters that were welcomed, ever."""
        self._malformed = codec.Malformed(log, time.monotonic)
        self._wake = Wake()
        self._poller = zmq.Poller()
        self._urgent = zmq.Poller()
        """What ends a rest: another thread's wish, an operator's call, who asks to be let in."""
        for poller in (self._poller, self._urgent):
            poller.register(self._wake.descriptor, zmq.POLLIN)
        try:
            if keys is not None:
                self._gate = Gate(self._context, keys)
                self._poller.register(self._gate.socket, zmq.POLLIN)
                self._urgent.register(self._gate.socket, zmq.POLLIN)
            asked = ports or Ports()
            self._pulse, pulse = self._bind("pulse", host, asked.pulse, m.MAX_PULSE_BYTES)
            self._log, log_port = self._bind("log", host, asked.log, m.MAX_LOG_BYTES)
            self._control, control = self._bind("control", host, asked.control, CONTROL_UP_BYTES)
            self._coordinate, coordinate = self._bind(
                "coordinate", host, asked.coordinate, m.MAX_CALL_BYTES, unread=ANSWERS_QUEUED
            )
            self._urgent.register(self._coordinate, zmq.POLLIN)
        except BaseException:
            self.close()
            raise
        self.host = host
        self.ports = Ports(pulse, log_port, control, coordinate)
        self._inflows = {
            socket: Inflow(socket, channel, WAITING_BYTES[channel])
            for channel, socket in (
                ("pulse", self._pulse),
                ("log", self._log),
                ("control", self._control),
                ("coordinate", self._coordinate),
            )
        }
        self._readers: dict[
            zmq.Socket[bytes],
            tuple[str, codec.Decoder[m.Up] | codec.Decoder[m.Block | m.Offer] | codec.Decoder[m.Call]],
        ] = {
            self._pulse: ("pulse", codec.up),
            self._log: ("log", codec.block),
            self._coordinate: ("coordinate", codec.call),
        }
        self._watch = Watch([*self._inflows.values()])
        for socket in self._inflows:
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

    def reread(self) -> None:
        """Have the next `receive` read the accepted keys again; from any thread or signal handler."""
        self._reread = True

    def receive(self, timeout_s: float, at_most: int = 1000, *, rest_s: float = 0.0) -> Iterator[Received]:
        """Wait up to `timeout_s` for messages and yield what is there, at most `at_most` a channel, of calls fewer.

        For `rest_s` of it messages are left to gather, unless `wake` or somebody who waits for an answer ends that.
        """
        if rest_s > 0:
            self._urgent.poll(milliseconds(rest_s))
            timeout_s = max(0.0, timeout_s - rest_s)
        self._look_after(time.monotonic())
        for source, _ in self._poller.poll(milliseconds(timeout_s)):
            if isinstance(source, int):
                self._wake.clear()
                continue
            if self._gate is not None and source is self._gate.socket:
                self._gate.answer()
                continue
            for _ in range(CALLS_AT_ONCE if source is self._coordinate else at_most):
                try:
                    frames, size_bytes = self._receive_whole(source)
                except zmq.Again:
                    break
                if len(frames) > 1:
                    self._inflows[source].delivered(frames[1], size_bytes)
                received = self._read(source, frames)
                if received is not None:
                    yield received

    def welcome(self, received: Received, groups: tuple[str, ...] = ()) -> None:
        """From now on what is for that muster, or for a group that it is in, goes the way that this message came."""
        self._routes[received.sender] = received.route
        self._known.add(received.sender)
        for members in self._groups.values():
            members.discard(received.sender)
        for group in groups:
            self._groups.setdefault(group, set()).add(received.sender)

    def reply(self, received: Received, message: m.Down) -> bool:
        """Answer on pulse, whoever sent that message and nobody else."""
        return send(self._pulse, [received.route, codec.encode(message)])

    def send_pulse(self, muster: str, message: m.Down) -> bool:
        """Send to one muster; False when it is not connected or its queue is full."""
        return self._send(self._pulse, muster, codec.encode(message))

    def publish(self, target: str, decision: m.Decision) -> None:
        """Send to a muster or a group, on the channel that may lose."""
        content = codec.encode(decision)
        # A muster says itself which groups it is in: one that is called like another muster is none.
        for muster in {target} if target in self._known else self._groups.get(target, {target}):
            self._send(self._control, muster, content)

    def send_credit(self, muster: str, credit: m.Credit) -> bool:
        """Acknowledge log blocks and allow more."""
        return self._send(self._log, muster, codec.encode(credit))

    def answer(self, asked: Received, answer: m.Answer) -> bool:
        """Answer an operator's call."""
        return send(self._coordinate, [asked.route, codec.encode(answer)])

    def close(self) -> None:
        """Close every socket; unsent messages are dropped."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()
        self._context.destroy(linger=0)
        self._wake.close()

    def _send(self, socket: "zmq.Socket[bytes]", muster: str, content: bytes) -> bool:
        route = self._routes.get(muster)
        return route is not None and send(socket, [route, content])

    def _look_after(self, now: float) -> None:
        """Do what is due now and then, whether messages come or not."""
        if self._watch is not None:
            self._watch.tick(now)
        if self._gate is not None:
            at_once, self._reread = self._reread, False
            for name in self._gate.look(now, at_once=at_once):
                # Nothing is for it any more: what is in force on it ends with its lease.
                self._routes.pop(name, None)

    def _bind(
        self,
        channel: str,
        host: str,
        port: int,
        max_bytes: int,
        *,
        unread: int = SEND_QUEUE_MESSAGES,
    ) -> "tuple[zmq.Socket[bytes], int]":
        socket = self._context.socket(zmq.ROUTER)
        tune(socket, max_bytes)
        listens(socket)
        socket.setsockopt(zmq.BACKLOG, TCP_BACKLOG)
        socket.setsockopt(zmq.SNDHWM, unread)
        # A muster that connects again takes its route over from the connection that was cut.
        socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        if self._keys is not None:
            socket.curve_server = True
            socket.curve_secretkey = self._keys.secret
            socket.curve_publickey = self._keys.public
            socket.zap_domain = channel.encode()
        where = address(host, port)
        try:
            socket.bind(where)
        except zmq.ZMQError as error:
            raise WireError(
                f"cannot listen on {where}: {error.strerror}; is another shepherd running? stop it"
                " (systemctl stop mustherd-shepherd, where it is a service), or choose other ports"
            ) from None
        return socket, int(socket.getsockopt_string(zmq.LAST_ENDPOINT).rsplit(":", 1)[1])

    def _receive_whole(self, socket: "zmq.Socket[bytes]") -> "tuple[list[zmq.Frame], int]":
        """A message's first parts, one more than any of ours has, and the bytes that all had on the wire.

        Raises zmq.Again.
        """
        sealed = 0 if self._gate is None else SEALED_BYTES
        frames = [socket.recv(zmq.DONTWAIT, copy=False)]
        size_bytes = 0
        last = frames[0]
        while last.more:
            # Whole in memory already: what is dropped is dropped as fast as can be, for others wait.
            last = socket.recv(copy=False)
            size = len(last) + sealed
            size_bytes += size + (FRAME_BYTES if size <= 255 else LONG_FRAME_BYTES)
            if len(frames) <= PARTS_MOST:
                frames.append(last)
        return frames, size_bytes

    def _read(self, socket: "zmq.Socket[bytes]", frames: "list[zmq.Frame]") -> Received | None:
        route = frames[0].bytes
        sender = name_in(route)
        if socket is self._control:
            self.report_malformed("control", sender, "nothing is said to the shepherd there")
            return None
        channel, decode = self._readers[socket]
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
        if self._gate is None:
            self._routes.setdefault(sender, route)
            return Received(sender, None, message, payload, route=route)
        member = self._gate.member(frames[1])
        if member is None:
            self.report_malformed(channel, sender, "its key is not accepted any more")
            return None
        if member.name == sender:
            self._routes.setdefault(sender, route)
        return Received(sender, member.name, message, payload, member.role, route)


def _stranger(data: memoryview) -> m.Stranger | None:
    try:
        hello = codec.stranger(data)
    except ValueError:
        return None
    return hello if hello.version != m.PROTOCOL_VERSION else None
