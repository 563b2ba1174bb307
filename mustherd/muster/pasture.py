"""The pasture: all knobs of a node behind this muster's ranges, with their way back."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from mustherd.errors import printable, text_of
from mustherd.muster.claims import Kept, Key
from mustherd.muster.journal import Journal, JournalError, PutBack
from mustherd.node.knob import Knob, Placed, check, elsewhere, texts, whole
from mustherd.node.ranges import Range
from mustherd.terms import KnobInfo, Reading, Setting, what_is_left

log = logging.getLogger(__name__)

UNRESTORED = 3
"""Exit code when a knob could not be put back."""

MAX_ERROR_CHARACTERS = 200
"""Of what a driver says about a knob: a node's readings have to fit into one message."""
PHRASE = 50
"""Characters of what a knob that has several places was found at, or is at: they may all differ."""

ANYTHING = (Exception, SystemExit)
"""What code of a package's knob may raise: none of it ends a muster, its guardian or a command that puts back."""


@dataclass(frozen=True)
class ApplyResult:
    """What became of settings: `applied`, `refused` (nothing was touched) or `failed` (put back as far as possible)."""

    word: str
    readings: tuple[Reading, ...]
    detail: str = ""


class Pasture:
    """Applies settings within the node's and the muster's ranges, and puts originals back.

    No error of a knob's driver gets out of here: it becomes a reading that doesn't hold, or an outcome.
    """

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
        self.untold = ""
        """Why the journal still has what is back, as it was said last."""
        self.readings_s = 0.0
        """How long `readings` took the last time."""
        self.on_step: Callable[[], None] = lambda: None
        """Called before each write to a knob, which may take its time."""
        self.on_close: Callable[[], None] = lambda: None
        """Called before another process may have the journal."""

    @property
    def infos(self) -> tuple[KnobInfo, ...]:
        """What this muster offers: the node's knobs within its ranges."""
        return tuple(self._infos.values())

    @property
    def changed(self) -> bool:
        """Whether any knob may differ from how it was found, or the journal says so of one that doesn't."""
        return self.unrestored > 0

    @property
    def unrestored(self) -> int:
        """Knobs whose original is still in the journal, be it that the journal can't be written any more."""
        return self._journal.unrestored

    def left(self, readings: Sequence[Reading]) -> str:
        """What `restore` could not do, "" where it could do all."""
        return what_is_left(readings, self.untold)

    def apply(self, settings: Sequence[Setting]) -> ApplyResult:
        """Set knobs, all or none: every setting is checked before the first write; a failed write undoes the rest.

        A knob that an earlier decision set and this one doesn't name is put back first, so that what is in force is
        just what the newest decision says.
        """
        wanted = {(s.sheep, s.knob): s.value for s in settings}
        problem = "a knob is named twice" if len(wanted) != len(settings) else self._objection(wanted)
        if problem:
            return ApplyResult("refused", (), problem)
        try:
            problem = self._remember(wanted)
        except ANYTHING as error:
            problem = f"nothing was touched: {_text(error)}"
        if problem:
            return ApplyResult("failed", (), problem)
        left_over = [key for key in self._journal.originals() if key not in wanted]
        problem = "; ".join(r.error for r in self._put_back(left_over) if r.error)
        for key, value in wanted.items():
            if problem:
                break
            self.on_step()
            try:
                self._knobs[key].write(value)
            except ANYTHING as error:
                problem = _text(error)
        if problem:
            readings = self.restore()
            return ApplyResult("failed", readings, f"{problem}; {self.left(readings) or 'the node is put back'}")
        self._asked = wanted
        return ApplyResult("applied", self.readings())

    def readings(self) -> tuple[Reading, ...]:
        """Every offered knob read back, judged against what was asked of it."""
        began = time.monotonic()
        found = tuple(_check(knob, self._asked.get(key)) for key, knob in self._knobs.items())
        self.readings_s = time.monotonic() - began
        return found

    def restore(self) -> tuple[Reading, ...]:
        """Put every journalled knob back; what can't be put back stays in the journal and is shouted about."""
        self._asked = {}
        return self._put_back(list(self._journal.originals()))

    def take_word(self) -> PutBack | None:
        """What the guardian of a former life did, said once."""
        return self._journal.take_word()

    def close(self) -> None:
        """Let another process have the journal."""
        self.on_close()
        self._journal.close()

    def _objection(self, wanted: Mapping[tuple[str, str], int]) -> str:
        for key, value in wanted.items():
            info = self._infos.get(key)
            if info is None:
                return f"no knob {key[1]} on {key[0]} in this muster's configuration"
            if not info.allows(value):
                return f"{key[1]} on {key[0]}: {value} is not allowed; allowed: {info.allowed_text()}"
        return ""

    def _remember(self, wanted: Mapping[tuple[str, str], int]) -> str:
        """Journal what is there; nothing is changed that the node would not take back."""
        known = self._journal.originals()
        found = {key: _found(self._knobs[key]) for key in wanted if key not in known}
        for key, value in found.items():
            if isinstance(value, int) and not self._knobs[key].info.takes_back(value):
                return f"nothing was touched: {key[1]} on {key[0]} is at {value}, which could not be put back"
        self._journal.record(found)
        return ""

    def _put_back(self, keys: Sequence[tuple[str, str]]) -> tuple[Reading, ...]:
        originals = self._journal.originals()
        wanted = {key: originals[key] for key in keys}
        readings = put_all_back(wanted, self._all, lambda key: self._put_one_back(key, wanted[key]))
        try:
            self._journal.forget(key for key, reading in readings.items() if not reading.error)
            self.untold = ""
        except JournalError as error:
            # The knobs are back; the journal is behind, and the next attempt writes it once more.
            self.untold = str(error)
            log.warning("%s", error)
        return tuple(readings.values())

    def _put_one_back(self, key: tuple[str, str], original: Kept) -> Reading:
        self.on_step()
        reading = put_one_back(self._all.get(key), key, original)
        if reading.error:
            log.error("NOT RESTORED: %s on %s to %s: %s", key[1], key[0], said(original), reading.error)
        return reading


def put_all_back(
    originals: Mapping[Key, Kept], knobs: Mapping[Key, Knob], put: Callable[[Key], Reading]
) -> dict[Key, Reading]:
    """Put back each knob, those last that take long to settle: no other one waits for that.

    What such a one changed on its way (a driver that makes everything anew) is put back once more.
    """
    order = sorted(originals, key=lambda key: _settles_s(knobs.get(key)))
    readings = {key: put(key) for key in order}
    slowest = _settles_s(knobs.get(order[-1])) if order else 0.0
    quick = [key for key in order if _settles_s(knobs.get(key)) < slowest and not readings[key].error]
    for key in quick:
        if not _is_at(knobs.get(key), originals[key]):
            readings[key] = put(key)
    return readings


def _settles_s(knob: Knob | None) -> float:
    try:
        return max(0.0, float(knob.info.settle_seconds)) if knob is not None else 0.0
    except ANYTHING:
        return 0.0


def _is_at(knob: Knob | None, original: Kept) -> bool:
    """Whether a knob that was put back is still there; so is one that went with its muster."""
    if knob is None or getattr(knob, "gone_with_muster", False):
        return True
    try:
        if isinstance(original, int):
            return knob.read() == knob.lands_on(original)
        return not isinstance(knob, Placed) or not elsewhere(original, knob.places())
    except ANYTHING:
        return False


def put_one_back(knob: Knob | None, key: tuple[str, str], original: Kept) -> Reading:
    """Write a knob's original and read it back; `error` says why it isn't there. None: the node has no such knob.

    One that is kept in several places is put back place by place, and nothing is `asked` of it as a whole.
    """
    sheep, name = key
    asked = original if isinstance(original, int) else None
    reading = Reading(sheep=sheep, knob=name, asked=asked, applied=None, running=None, held=False)
    if knob is None:
        error = f"knob {name} on {sheep} is gone; it was {said(original)} before"
    else:
        try:
            reading = _placed_back(knob, original) if isinstance(original, dict) else _written_back(knob, original)
            error = reading.error
        except ANYTHING as raised:
            error = _text(raised)
            # Read back all the same: whoever has to look wants to know what it is at.
            reading = _check(knob, asked)
        if error and asked is None:
            error = f"was found at {said(original)[:PHRASE]} and is at {_now(knob)[:PHRASE]} ({error})"
            error = error[:MAX_ERROR_CHARACTERS]
    return msgspec.structs.replace(reading, held=False, error=error) if error else reading


def said(kept: Kept) -> str:
    """An original in a phrase."""
    if isinstance(kept, int):
        return str(kept)
    texts = sorted(set(kept.values()))
    return texts[0] if len(texts) == 1 else ", ".join(f"{place} {text}" for place, text in sorted(kept.items()))


def _now(knob: Knob) -> str:
    try:
        return said(_found(knob))
    except ANYTHING:
        return "?"


def _found(knob: Knob) -> Kept:
    """What to journal of a knob. Raises KnobError."""
    return texts(knob, knob.places()) if isinstance(knob, Placed) else whole(knob, knob.read())


def _written_back(knob: Knob, original: int) -> Reading:
    knob.write(original)
    reading = _check(knob, original)
    if not reading.error and reading.applied != knob.lands_on(original):
        return msgspec.structs.replace(reading, error=f"it reads {reading.applied}")
    return reading


def _placed_back(knob: Knob, original: dict[str, str]) -> Reading:
    if not isinstance(knob, Placed):
        raise TypeError(f"it has no places any more, and was {said(original)} before")
    knob.put_back(original)
    if other := elsewhere(original, knob.places()):
        raise ValueError(f"after it was put back it reads {other}")
    reading = _check(knob, None)
    return msgspec.structs.replace(reading, error="") if reading.held else reading


def _check(knob: Knob, asked: int | None) -> Reading:
    try:
        reading = check(knob, asked)
    except ANYTHING as error:
        info = knob.info
        return Reading(
            sheep=info.sheep, knob=info.name, asked=asked, applied=None, running=None, held=False, error=_text(error)
        )
    if len(reading.error) > MAX_ERROR_CHARACTERS:
        reading = msgspec.structs.replace(reading, error=reading.error[:MAX_ERROR_CHARACTERS])
    return reading


def _text(error: BaseException) -> str:
    """In one line, which a package's need not be."""
    text = printable(" ".join(text_of(error).split()))
    if isinstance(error, SystemExit):
        text = f"SystemExit: {text}"
    return (text or type(error).__name__)[:MAX_ERROR_CHARACTERS]
