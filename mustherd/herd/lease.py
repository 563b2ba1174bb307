"""Decisions on a muster's side: which to act on, and how long one holds.

A decision holds for a lease that the shepherd's heartbeats renew. When it runs out the node is put back as it was
found. Clocks of two machines differ, so the muster estimates the offset between them: over recent heartbeats, the
smallest difference between its time of arrival and the shepherd's time of sending. What is left of a message's
difference is how long it travelled or lay in a queue (Cristian, Probabilistic clock synchronization, 1989).
"""

from dataclasses import dataclass

from mustherd.herd.promises import holds
from mustherd.herd.timing import OFFSET_WINDOW_S, WELCOME_MAX_S
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


@dataclass(frozen=True)
class Welcomed:
    """A shepherd took the muster in. `another`: not the one of before, and `given_back` what that ended."""

    another: bool
    given_back: GiveBack | None = None


class Offset:
    """How far this clock is ahead of another, from differences `arrival - sending`, each late by a travel time.

    The smallest difference of the window under way and of the one before it. A window ends only when a difference
    comes after its time, so a flood of delayed messages after a standstill never stands alone.
    """

    def __init__(self, first: float, now: float) -> None:
        self._before = float("inf")
        self._current = first
        self._began = now

    def add(self, difference: float, now: float) -> None:
        """One more difference, in seconds."""
        if now - self._began >= OFFSET_WINDOW_S:
            self._before, self._current, self._began = self._current, difference, now
        self._current = min(self._current, difference)

    @property
    def seconds(self) -> float:
        """The estimate; too high by at most the shortest travel time."""
        return min(self._before, self._current)


class Lease:
    """What a muster holds for its shepherd. Calls take the muster's time.

    Invariants: no decision of another epoch is acted on; numbers acted on rise; no copy of a decision is acted on that
    is older than its time to live (to within the shortest travel time seen); a decision is in force only while a
    heartbeat that was sent within the lease has been heard, and only until a heartbeat says that none is wanted.
    """

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._shepherd_epoch = 0
        self._offset = Offset(0.0, 0.0)
        self._until = -float("inf")
        self._seen = 0
        self._issued_s = 0.0
        self.in_force = 0
        """Number of the decision in force; 0: the node is as it was found."""

    @property
    def shepherd_epoch(self) -> int:
        """The shepherd's life that this muster obeys; 0 before it was welcomed."""
        return self._shepherd_epoch

    def welcome(self, *, shepherd_epoch: int, sent_s: float, hello_s: float, now: float) -> Welcomed | Ignore:
        """A shepherd took the muster in, in answer to the hello of `hello_s`.

        Another life than before means another herd: its decisions end. A welcome that took long is ignored: judged by
        it, what lay in the same queue would look fresh.
        """
        if shepherd_epoch == self._shepherd_epoch:
            ended = self.tick(now)
            self._renew(sent_s, now)
            return Welcomed(another=False, given_back=ended)
        if now - hello_s > WELCOME_MAX_S:
            return Ignore(f"{now - hello_s:.1f} s after its hello")
        self._shepherd_epoch = shepherd_epoch
        self._seen = 0
        self._offset = Offset(now - sent_s, now)
        self._until = now + self._lease_s
        return Welcomed(another=True, given_back=self._end("another shepherd took over") if self.in_force else None)

    def beat(self, *, shepherd_epoch: int, sent_s: float, wanted: int, now: float) -> GiveBack | None:
        """A heartbeat arrived; it renews the lease from when it was sent, or ends what isn't wanted any more."""
        if shepherd_epoch != self._shepherd_epoch:
            return None
        ended = self.tick(now)
        self._renew(sent_s, now)
        # A heartbeat that left before the decision did knows nothing of it.
        if self.in_force and not wanted and sent_s > self._issued_s:
            return self._end("the shepherd wants nothing of this node")
        return ended

    def lives_on(self, *, shepherd_epoch: int, sent_s: float, now: float) -> None:
        """A heartbeat lies there that will be acted on later: it renews a lease that has not ended, and no more."""
        if shepherd_epoch == self._shepherd_epoch and now < self._until:
            self._renew(sent_s, now)

    def offer(
        self, *, shepherd_epoch: int, seq: int, settings: tuple[Setting, ...], issued_s: float, ttl_s: float, now: float
    ) -> Act | Ignore:
        """A decision arrived: act on it or not."""
        if shepherd_epoch != self._shepherd_epoch:
            return Ignore("of another epoch")
        if seq <= self._seen:
            return Ignore("old or repeated")
        if now - self._offset.seconds - issued_s > ttl_s:
            return Ignore("expired")
        if settings and now >= self._until:
            return Ignore("no lease")
        self._seen = seq
        self._issued_s = issued_s
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

    def validate(self) -> None:
        """Raise AssertionError where the state breaks a promise; for tests."""
        holds(0 <= self.in_force <= self._seen, "in force is what was never acted on")
        holds(self._shepherd_epoch or not self._seen, "acted on without a shepherd")
        holds(not self.in_force or self._until > -float("inf"), "in force without a lease")

    def _renew(self, sent_s: float, now: float) -> None:
        self._offset.add(now - sent_s, now)
        self._until = max(self._until, sent_s + self._offset.seconds + self._lease_s)

    def _end(self, reason: str) -> GiveBack:
        self.in_force = 0
        return GiveBack(reason)
