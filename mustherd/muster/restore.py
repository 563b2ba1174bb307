"""Putting a node back by hand: from the journal and the knobs alone, with no shepherd and no muster."""

from pathlib import Path

import msgspec

from mustherd.muster.config import load
from mustherd.muster.journal import Journal
from mustherd.muster.nodes import open_node
from mustherd.muster.pasture import Pasture
from mustherd.muster.service import UNRESTORED
from mustherd.terms import Reading

PATIENCE_S = 3.0
"""How long the guardian of a muster that was killed may still be at it."""


class Restoration(msgspec.Struct, frozen=True, kw_only=True):
    """Every knob that was to be put back, read back; `error` of a reading says why it isn't."""

    readings: tuple[Reading, ...]

    @property
    def exit_code(self) -> int:
        """UNRESTORED when a knob isn't back (it stays in the journal), else 0."""
        return UNRESTORED if any(reading.error for reading in self.readings) else 0


def restore(file: Path) -> Restoration:
    """Put back what the muster configured in `file` has left changed.

    Raises ConfigError, and JournalError when that muster runs (it would put back its own knobs when it is stopped) or
    its journal can't be read.
    """
    config = load(file)
    journal = Journal(Path(config.state), patience_s=PATIENCE_S)
    try:
        return Restoration(readings=Pasture(open_node(config, file).knobs, {}, journal).restore())
    finally:
        journal.close()
