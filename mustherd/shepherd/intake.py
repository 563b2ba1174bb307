"""How blocks of log rows come in: where each spool goes on, what has arrived, and the credit for more."""

import logging

from mustherd.herd.flow import Receiver
from mustherd.shepherd.roster import Roster
from mustherd.shepherd.session import MusterSession, credit_of
from mustherd.shepherd.sink import LogSink
from mustherd.wire import messages as m
from mustherd.wire.shepherd_endpoint import ShepherdEndpoint

log = logging.getLogger(__name__)


class Intake:
    """Gives each block to the sink once and in order; without a sink musters are told nothing, and keep their rows."""

    def __init__(self, end: ShepherdEndpoint, roster: Roster, sink: LogSink | None, shepherd_epoch: int) -> None:
        self._end = end
        self._roster = roster
        self._sink = sink
        self._shepherd_epoch = shepherd_epoch

    def offer(self, name: str, muster: MusterSession, offer: m.Offer) -> None:
        """A muster says which spool it has; answered with where to go on."""
        if self._sink is None:
            return
        if muster.spool != offer.spool:
            muster.spool, muster.flow = offer.spool, Receiver(self._sink.watermark(name, offer.spool))
        if offer.first > muster.flow.got + 1:
            log.error("muster %s: blocks %d to %d are gone", name, muster.flow.got + 1, offer.first - 1)
            muster.flow.begin_at(offer.first)
        muster.owes_credit = True

    def block(self, name: str, muster: MusterSession, block: m.Block, rows: memoryview) -> None:
        """A block arrived."""
        if self._sink is None or block.spool != muster.spool:
            return
        # Answered at the next tick: one credit for all that has arrived by then.
        muster.owes_credit = True
        if muster.flow.offer(block.seq):
            # First, so that a block which can't be taken doesn't come again and again.
            muster.flow.took(block.seq)
            self._sink.put(name, block, rows)

    def durable(self, name: str, spool: int, number: int) -> None:
        """Blocks of that spool up to `number` are safe: its muster may forget them."""
        muster = self._roster.sessions.get(name)
        if muster is not None and muster.spool == spool:
            muster.flow.made_durable(number)
            muster.owes_credit = True

    def pay(self, name: str, muster: MusterSession) -> None:
        """Send a muster the credit that it is owed."""
        if muster.owes_credit:
            muster.owes_credit = False
            self._end.send_credit(name, credit_of(muster, self._shepherd_epoch, self._roster.sessions.values()))
