"""The pasture: all knobs of a node behind this muster's ranges, with their way back."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mustherd.muster.config import Range
from mustherd.muster.journal import Journal, JournalError
from mustherd.node.knob import Knob, KnobError, check
from mustherd.terms import KnobInfo, Reading, Setting

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What became of settings: `applied`, `refused` (nothing was touched) or `failed` (the originals are back)."""

    word: str
    readings: tuple[Reading, ...]
    detail: str = ""


class Pasture:
    """Applies settings within the node's and the muster's ranges, and puts originals back."""

    def __init__(self, knobs: Sequence[Knob], ranges: Mapping[str, Range], journal: Journal) -> None:
        self._journal = journal
        self._all = {(k.info.sheep, k.info.name): k for k in knobs}
        offered = {k.info.name for k in knobs}
        for name in ranges:
            if name not in offered:
                log.warning("the configuration names knob %s, which this node doesn't have", name)
        self._knobs = {key: k for key, k in self._all.items() if k.info.name in ranges}
        self._infos = {key: ranges[k.info.name].narrow(k.info) for key, k in self._knobs.items()}
        self._asked: dict[tuple[str, str], int] = {}

    @property
    def infos(self) -> tuple[KnobInfo, ...]:
        """What this muster offers: the node's knobs within its ranges."""
        return tuple(self._infos.values())

    @property
    def changed(self) -> bool:
        """Whether any knob may differ from how it was found."""
        return len(self._journal) > 0

    @property
    def unrestored(self) -> int:
        """Knobs whose original is still in the journal."""
        return len(self._journal)

    def apply(self, settings: Sequence[Setting]) -> Outcome:
        """Set knobs, all or none: every setting is checked before the first write; a failed write undoes the rest.

        A knob that an earlier decision set and this one doesn't name is put back first, so that what is in force is
        just what the newest decision says.
        """
        wanted = {(s.sheep, s.knob): s.value for s in settings}
        if len(wanted) != len(settings):
            return Outcome("refused", (), "a knob is named twice")
        for key, value in wanted.items():
            info = self._infos.get(key)
            if info is None:
                return Outcome("refused", (), f"no knob {key[1]} on {key[0]} in this muster's configuration")
            if not info.allows(value):
                return Outcome(
                    "refused", (), f"{key[1]} on {key[0]}: {value} is not allowed; allowed: {info.allowed_text()}"
                )
        try:
            self._journal.record({key: self._knobs[key].read() for key in wanted})
        except (JournalError, KnobError) as error:
            return Outcome("failed", (), f"nothing was touched: {error}")
        left_over = [key for key in self._journal.originals() if key not in wanted]
        problem = "; ".join(r.error for r in self._put_back(left_over) if r.error)
        for key, value in wanted.items():
            try:
                if not problem:
                    self._knobs[key].write(value)
            except KnobError as error:
                problem = str(error)
        if problem:
            readings = self.restore()
            return Outcome("failed", readings, f"{problem}; the node is put back")
        self._asked = wanted
        return Outcome("applied", self.readings())

    def readings(self) -> tuple[Reading, ...]:
        """Every offered knob read back, judged against what was asked of it."""
        return tuple(check(knob, self._asked.get(key)) for key, knob in self._knobs.items())

    def restore(self) -> tuple[Reading, ...]:
        """Put every journalled knob back; what can't be put back stays in the journal and is shouted about."""
        self._asked = {}
        return self._put_back(list(self._journal.originals()))

    def _put_back(self, keys: Sequence[tuple[str, str]]) -> tuple[Reading, ...]:
        originals = self._journal.originals()
        readings = []
        for key in keys:
            original = originals[key]
            knob = self._all.get(key)
            if knob is None:
                error = f"knob {key[1]} on {key[0]} is gone; it was {original} before"
                readings.append(
                    Reading(
                        sheep=key[0], knob=key[1], asked=original, applied=None, running=None, held=False, error=error
                    )
                )
                log.error("NOT RESTORED: %s", error)
                continue
            try:
                knob.write(original)
            except KnobError as error:
                log.error("NOT RESTORED: %s on %s to %d: %s", key[1], key[0], original, error)  # noqa: TRY400
                readings.append(
                    Reading(
                        sheep=key[0],
                        knob=key[1],
                        asked=original,
                        applied=None,
                        running=None,
                        held=False,
                        error=str(error),
                    )
                )
                continue
            reading = check(knob, original)
            readings.append(reading)
            if reading.applied == knob.lands_on(original):
                self._forget(key)
            else:
                log.error("NOT RESTORED: %s on %s reads %s, was %d", key[1], key[0], reading.applied, original)
        return tuple(readings)

    def _forget(self, key: tuple[str, str]) -> None:
        try:
            self._journal.forget(key)
        except JournalError as error:
            # The knob is back; an entry that stays makes the next start put the same value back once more.
            log.warning("%s", error)
