"""The gate: which keys may connect to which channel, asked anew for every connection and every message.

ZeroMQ asks at each CURVE handshake (ZAP, RFC 27) whether that public key may use that socket. The answer is no, unless
the key is accepted and its role has business there. The accepted keys are read again whenever their files have changed,
so that a key which is taken out is nobody's from then on, connected or not.
"""

import logging

import zmq
from zmq.utils import z85

from mustherd.wire.keys import ACCEPTED, Keys, KeysError, accepted_in, signature
from mustherd.wire.members import Member, Role

log = logging.getLogger(__name__)

ADDRESS = "inproc://zeromq.zap.01"
"""Where ZeroMQ asks whether a key may connect, by RFC 27."""

BUSINESS = {
    "pulse": {Role.MUSTER},
    "log": {Role.MUSTER},
    "control": {Role.MUSTER},
    "coordinate": {Role.OPERATOR, Role.OBSERVER},
}
"""Which roles may use a channel; no other may."""

LOOK_EVERY_S = 2.0
"""Between two looks at whether the accepted keys have changed."""

TURNED_AWAY_KEPT = 1000
"""Strangers' keys that are remembered, so that each is logged once."""


class Gate:
    """Answers ZeroMQ's questions on `socket`, whenever `answer` is called. For one thread."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", keys: Keys) -> None:
        self.socket = context.socket(zmq.REP)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind(ADDRESS)
        self._folder = keys.folder
        self._accepted = dict(keys.accepted or {})
        self._signature = signature(self._folder) if self._folder is not None else None
        self._changed_ns = self._folder_changed()
        self._next_look = -float("inf")
        self._gone: set[str] = set()
        self._told = ""
        self._turned_away: set[tuple[str, bytes]] = set()

    def answer(self) -> None:
        """Answer all who ask now."""
        if (changed_ns := self._folder_changed()) != self._changed_ns:
            # One was taken out, or another put in, a moment ago.
            self._changed_ns = changed_ns
            self._read_again()
        while True:
            try:
                question = self.socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            self.socket.send_multipart(self._answer_to(question))

    def member(self, frame: zmq.Frame) -> Member | None:
        """Whose key a message came with; None for one that isn't accepted any more."""
        try:
            public = str(frame.get("User-Id"))
        except zmq.ZMQError:
            return None
        return self._accepted.get(public.encode())

    def look(self, now: float, *, at_once: bool = False) -> set[str]:
        """Read the accepted keys again where they have changed; gives the names that since the last look are gone."""
        if self._folder is not None and (at_once or now >= self._next_look):
            self._next_look = now + LOOK_EVERY_S
            if at_once or signature(self._folder) != self._signature:
                self._read_again()
        gone, self._gone = self._gone, set()
        return gone

    def _read_again(self) -> None:
        if self._folder is None:
            return
        self._signature = signature(self._folder)
        try:
            accepted = accepted_in(self._folder)
        except KeysError as error:
            # Looked at again, also when no file changes: what was in the way may be gone.
            self._signature = None
            if str(error) != self._told:
                self._told = str(error)
                log.error("the accepted keys can't be read again, those of before count: %s", error)  # noqa: TRY400
            return
        self._told = ""
        if accepted == self._accepted:
            return
        before, self._accepted = self._accepted, accepted
        self._turned_away.clear()
        gone = {member.name for key, member in before.items() if accepted.get(key) != member}
        self._gone |= gone
        log.warning("accepted keys have changed: %d now%s", len(accepted), f", without {sorted(gone)}" if gone else "")

    def _folder_changed(self) -> int:
        try:
            return (self._folder / ACCEPTED).stat().st_mtime_ns if self._folder is not None else 0
        except OSError:
            return 0

    def _answer_to(self, question: list[bytes]) -> list[bytes]:
        version, number, domain, _address, _identity, mechanism, *credentials = [*question, *([b""] * 7)][:8]
        channel, key = domain.decode("ascii", "replace"), b""
        if mechanism == b"CURVE" and len(credentials[0]) == 32:
            key = z85.encode(credentials[0])
        member = self._accepted.get(key)
        allowed = member is not None and member.role in BUSINESS.get(channel, set())
        if not allowed:
            self._complain(channel, key, member)
        status = [b"200", b"OK", key] if allowed else [b"400", b"not accepted here", b""]
        return [version or b"1.0", number, *status, b""]

    def _complain(self, channel: str, key: bytes, member: Member | None) -> None:
        if (channel, key) in self._turned_away or len(self._turned_away) >= TURNED_AWAY_KEPT:
            return
        self._turned_away.add((channel, key))
        who = "a key that isn't accepted" if member is None else f"the key of {member.role} {member.name}"
        log.warning("%s was turned away from %s: %s", who, channel, key.decode("ascii", "replace"))
