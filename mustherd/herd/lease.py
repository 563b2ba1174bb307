"""Decisions on a muster's side: which to act on, and how long one holds.

A decision holds for a lease that the shepherd's heartbeats renew. When it runs out the node is put back as it was
found. Clocks of two machines differ, so the muster estimates the offset between them: over all heartbeats, the
smallest difference between its time of arrival and the shepherd's time of sending. What is left of a message's
difference is how long it travelled or lay in a queue (Cristian, Probabilistic clock synchronization, 1989).
"""

from dataclasses import dataclass

from mustherd.terms import Setting


@dataclass(frozen=True)
class Act:
    """Carry decision `seq` out: these settings, or with none, the originals."""

    seq: int
    settings: tuple[Setting, ...]


@dataclass(frozen=True)
class Ignore:
    """Don't act, and why: a word for the log."""

    reason: str


@dataclass(frozen=True)
class GiveBack:
    """Put the node back as it was found: the lease is over, for this reason."""

    reason: str


class Lease:
    """What a muster holds for its shepherd. Calls take the muster's time.

    Invariants: no decision of another reign is acted on; numbers acted on rise; a decision is in force only while a
    heartbeat that is younger than the lease has been heard.
    """

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._reign = 0
        self._offset = float("inf")
        self._until = -float("inf")
        self._seen = 0
        self.in_force = 0
        """Number of the decision in force; 0: the node is as it was found."""

    @property
    def reign(self) -> int:
        """The shepherd's life that this muster obeys; 0 before it was welcomed."""
        return self._reign

    def welcome(self, reign: int, sent_s: float, now: float) -> GiveBack | None:
        """A shepherd took the muster in. Another life than before means another herd: its decisions end."""
        before, self._reign = self._reign, reign
        if before == reign:
            self.beat(reign, sent_s, now)
            return None
        self._seen = 0
        self._offset = now - sent_s
        self._until = now + self._lease_s
        return self._end("another shepherd reigns") if self.in_force else None

    def beat(self, reign: int, sent_s: float, now: float) -> None:
        """A heartbeat arrived; it renews the lease from when it was sent."""
        if reign != self._reign:
            return
        self._offset = min(self._offset, now - sent_s)
        self._until = max(self._until, sent_s + self._offset + self._lease_s)

    def offer(
        self, *, reign: int, seq: int, settings: tuple[Setting, ...], issued_s: float, ttl_s: float, now: float
    ) -> Act | Ignore:
        """A decision arrived: act on it or not."""
        if reign != self._reign:
            return Ignore("of another reign")
        if seq <= self._seen:
            return Ignore("old or repeated")
        if now - self._offset - issued_s > ttl_s:
            return Ignore("expired")
        if settings and now >= self._until:
            return Ignore("no lease")
        self._seen = seq
        return Act(seq, settings)

    def carried_out(self, seq: int, *, changed: bool) -> None:
        """The muster acted on `seq`; `changed` when the node now differs from how it was found."""
        self.in_force = seq if changed else 0

    def tick(self, now: float) -> GiveBack | None:
        """Time passed: is the lease over?"""
        if self.in_force and now >= self._until:
            return self._end("the lease ran out")
        return None

    def next_tick(self) -> float:
        """When the lease of the decision in force ends, if nothing renews it."""
        return self._until if self.in_force else float("inf")

    def _end(self, reason: str) -> GiveBack:
        self.in_force = 0
        return GiveBack(reason)
