"""How blocks of log rows come in: where each spool goes on, what has arrived, and the credit for more."""

import logging
from collections.abc import Callable

from mustherd.herd.flow import Receiver
from mustherd.shepherd.roster import Roster
from mustherd.shepherd.session import MusterSession, credit_of
from mustherd.shepherd.sink import LogSink
from mustherd.wire import messages as m
from mustherd.wire.shepherd_endpoint import ShepherdEndpoint

log = logging.getLogger(__name__)

BUSY_S = 1.0
"""After a block more of them are to be expected."""

CREDIT_PAUSE_S = 0.05
"""A muster that blocks come from is told so by then: it frees nothing by it, and sends again after FLOW_RESEND_S."""

GONE_LOGGED, GONE_S = 10, 60.0
"""Gaps of one muster that are logged in so many seconds: whoever makes up a new spool with each message has no end."""


class Intake:
    """Gives each block to the sink once and in order; without a sink musters are told nothing, and keep their rows."""

    def __init__(
        self,
        end: ShepherdEndpoint,
        roster: Roster,
        sink: LogSink | None,
        shepherd_epoch: int,
        *,
        now: Callable[[], float],
    ) -> None:
        self._end = end
        self._roster = roster
        self._sink = sink
        self._shepherd_epoch = shepherd_epoch
        self._owing: dict[str, float] = {}
        """Musters that are owed a credit, and by when."""
        self._now = now
        self.busy_until = -float("inf")
        """So long blocks are to be taken at once: their musters wait for room."""
        self._gaps: dict[str, tuple[float, int]] = {}
        """Of each muster since when gaps are counted, and how many there were."""

    def offer(self, name: str, muster: MusterSession, offer: m.Offer) -> None:
        """A muster says which spool it has; answered with where to go on."""
        if self._sink is None:
            return
        if muster.spool != offer.spool:
            muster.spool, muster.flow = offer.spool, Receiver(self._sink.watermark(name, offer.spool))
        if offer.first > muster.flow.got + 1:
            self._tell_of_gap(name, muster.flow.got + 1, offer.first - 1)
            muster.flow.begin_at(offer.first)
        self._owing[name] = self._now()

    def block(self, name: str, muster: MusterSession, block: m.Block, rows: memoryview) -> None:
        """A block arrived."""
        if self._sink is None or block.spool != muster.spool:
            return
        now = self._now()
        self.busy_until = now + BUSY_S
        # One credit for all that arrives meanwhile.
        self._owing.setdefault(name, now + CREDIT_PAUSE_S)
        if muster.flow.offer(block.seq):
            # First, so that a block which can't be taken doesn't come again and again.
            muster.flow.took(block.seq)
            self._sink.put(name, block, rows)

    def _tell_of_gap(self, name: str, first: int, last: int) -> None:
        now = self._now()
        since, count = self._gaps.get(name, (now, 0))
        if now - since >= GONE_S:
            since, count = now, 0
        self._gaps[name] = since, count + 1
        if count < GONE_LOGGED:
            log.error("muster %s: blocks %d to %d are gone", name, first, last)
        elif count == GONE_LOGGED:
            log.error("muster %s: further gaps are not logged for %g s", name, GONE_S)

    def durable(self, name: str, spool: int, number: int) -> None:
        """Blocks of that spool up to `number` are safe: its muster may forget them."""
        muster = self._roster.sessions.get(name)
        if muster is not None and muster.spool == spool:
            muster.flow.made_durable(number)
            self._owing[name] = self._now()

    def next_due(self) -> float:
        """When a muster is to be told by."""
        return min(self._owing.values(), default=float("inf"))

    def pay(self, now: float) -> None:
        """Send musters the credits that they are owed by now."""
        due = [name for name, by in self._owing.items() if by <= now]
        if not due:
            return
        sessions = self._roster.sessions
        offering = sum(1 for muster in sessions.values() if muster.spool)
        for name in due:
            del self._owing[name]
            if name in sessions and sessions[name].spool:
                self._end.send_credit(name, credit_of(sessions[name], self._shepherd_epoch, offering))
