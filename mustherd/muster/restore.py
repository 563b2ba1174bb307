"""Putting a node back by hand: from the journal and the knobs alone, with no shepherd and no muster."""

import contextlib
import logging
from pathlib import Path

import msgspec

from mustherd.muster.config import load
from mustherd.muster.journal import Journal, JournalError, PutBack
from mustherd.muster.nodes import open_node, own_knobs
from mustherd.muster.pasture import UNRESTORED, Pasture
from mustherd.terms import Reading

log = logging.getLogger(__name__)

PATIENCE_S = 3.0
"""How long the guardian of a muster that was killed may still be at it."""


class Restoration(msgspec.Struct, frozen=True, kw_only=True):
    """Every knob that was to be put back, read back; `error` of a reading says why it isn't."""

    readings: tuple[Reading, ...]
    untold: str = ""
    """Why the journal still says that what is back has to be put back; "" where it doesn't."""

    @property
    def exit_code(self) -> int:
        """UNRESTORED when a knob isn't back, or is and stays in the journal, else 0."""
        return UNRESTORED if self.untold or any(reading.error for reading in self.readings) else 0


def restore(file: Path) -> Restoration:
    """Put back what the muster configured in `file` has left changed.

    Raises ConfigError, JournalError when that muster runs (it would put back its own knobs when it is stopped) or its
    journal can't be read, and ClaimError when another muster has knobs that are to be put back. Others of this muster
    may be held: they are not asked for.
    """
    config = load(file)
    with contextlib.ExitStack() as held:
        node = open_node(config, file)
        held.callback(node.close)
        journal = Journal(Path(config.state), patience_s=PATIENCE_S)
        held.callback(journal.close)
        # What of this muster's was changed, and another one has by now, is that one's way back.
        journal.claim(own_knobs(config, node, journal), patience_s=PATIENCE_S, only_free=True)
        pasture = Pasture(node.knobs, {}, journal)
        readings = pasture.restore()
        if readings:
            word = PutBack(reason="its muster was gone; it was done from the journal", readings=readings)
            try:
                journal.leave_word(word)
            except JournalError as error:
                # What was done is what whoever asked has to know.
                log.warning("what was done is not noted for the next life: %s", error)
        return Restoration(readings=readings, untold=pasture.untold)


def take_word(state: Path) -> PutBack | None:
    """What was put back in place of the muster of a state folder, said once. JournalError when a muster runs there."""
    journal = Journal(state, patience_s=PATIENCE_S)
    try:
        return journal.take_word()
    finally:
        journal.close()
