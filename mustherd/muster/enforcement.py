"""What is in force on the node: decisions carried out, and the node put back where one ends or can't be."""

import logging
from collections.abc import Callable

from mustherd.herd.lease import Act, GiveBack, Lease
from mustherd.herd.timing import RESTORE_RETRY_MAX_S, RESTORE_RETRY_S
from mustherd.muster.pasture import Pasture
from mustherd.muster.windows import Windows
from mustherd.wire import messages as m

log = logging.getLogger(__name__)


class Enforcement:
    """Acts on the node for the muster's lease; a knob that won't go back is tried again, ever more slowly."""

    def __init__(
        self,
        pasture: Pasture,
        windows: Windows,
        *,
        report: Callable[[m.Report], None],
        now: Callable[[], float],
    ) -> None:
        self._pasture = pasture
        self._windows = windows
        self._report = report
        self._now = now
        self._late_report: m.Restored | None = None
        self._pause_s = RESTORE_RETRY_S
        self.next_attempt = float("inf")
        """When a knob that would not go back is to be tried again."""
        self.carrying = 0
        """The decision that is being carried out; 0: none."""
        self._unrestored, self._restoring = 0, False

    def unrestored(self, in_force: int) -> int:
        """Knobs that could not be put back; while knobs are being set or put back, those of before."""
        if not self.carrying and not self._restoring:
            self._unrestored = 0 if in_force else self._pasture.unrestored
        return self._unrestored

    def begin(self) -> None:
        """Put back what a former life left changed; before anything else."""
        if (word := self._pasture.take_word()) is not None:
            self._late_report = m.Restored(reason=word.reason[:2000], readings=word.readings)
        if self._pasture.changed:
            log.warning("a former life of this muster left knobs changed; putting them back")
            readings = self._pasture.restore()
            self._late_report = m.Restored(reason="a former life left the node changed", readings=readings)
            self._retry_later()

    def welcomed(self) -> None:
        """There is a shepherd to tell what a former life left."""
        if self._late_report is not None:
            self._report(self._late_report)
            self._late_report = None

    def carry_out(self, verdict: Act, lease: Lease) -> None:
        """Do what a decision says, and report what became of it."""
        self.carrying = verdict.seq
        try:
            self._carry_out(verdict, lease)
        finally:
            self.carrying = 0

    def _carry_out(self, verdict: Act, lease: Lease) -> None:
        self._windows.decided(sets=bool(verdict.settings))
        word, detail = "restored", ""
        if verdict.settings:
            outcome = self._pasture.apply(verdict.settings)
            word, detail, readings = outcome.word, outcome.detail, outcome.readings
            if word != "applied":
                log.error("decision %d %s: %s", verdict.seq, word, detail)
        lease.carried_out(verdict.seq, changed=word == "applied")
        if word != "applied" and self._pasture.changed:
            # Given back, or what was wanted can't be: what was in force before is over as well.
            self._windows.drop("superseded by a decision")
            readings = self._pasture.restore()
            if word == "restored" and self._pasture.changed:
                word, detail = "failed", self._pasture.left(readings)
        elif word == "restored":
            readings = self._pasture.readings()
        if not lease.in_force:
            self._retry_later()
        self._report(m.Applied(seq=verdict.seq, outcome=word, readings=readings, detail=detail[:2000]))

    def give_back(self, ended: GiveBack | None) -> None:
        """A lease ended, if one did: what was in force is put back."""
        if ended is not None:
            self._windows.drop(ended.reason)
            self._restore(ended.reason)

    def tick(self, now: float, lease: Lease) -> None:
        """Try again what would not go back, where it is time."""
        if now >= self.next_attempt:
            self.next_attempt = float("inf")
            if self._pasture.changed and not lease.in_force:
                self._restore("another attempt", again=True)

    def start_over(self, reason: str) -> None:
        """Put the node back for nobody to be told."""
        self._windows.drop(reason)
        self._pasture.restore()
        self._retry_later()

    def leave(self) -> None:
        """Put the node back at the end of this life, as far as it can be."""
        self._windows.drop("the muster stops")
        if self._pasture.changed and (left := self._pasture.left(self._pasture.restore())):
            log.error("%s; %d knobs stay in the journal", left, self._pasture.unrestored)

    def _restore(self, reason: str, *, again: bool = False) -> None:
        before = self._pasture.unrestored
        log.warning("putting the node back as it was found: %s", reason)
        self._restoring = True
        try:
            readings = self._pasture.restore()
        finally:
            self._restoring = False
        if not again or self._pasture.unrestored != before:
            self._report(m.Restored(reason=reason, readings=readings))
        self._retry_later()

    def _retry_later(self) -> None:
        if not self._pasture.changed:
            self._pause_s = RESTORE_RETRY_S
            return
        self.next_attempt = self._now() + self._pause_s
        self._pause_s = min(2 * self._pause_s, RESTORE_RETRY_MAX_S)
