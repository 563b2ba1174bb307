"""Who is in the herd: hellos answered, silence noticed, and every muster as others see it."""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress

import msgspec

from mustherd.herd.alarms import NEVER, Alarms
from mustherd.herd.decisions import Decisions
from mustherd.herd.link import Link, LinkFullError
from mustherd.herd.membership import Change, Membership, Presence
from mustherd.herd.promises import holds
from mustherd.herd.story import Story
from mustherd.herd.timing import BEAT_PERIOD_S
from mustherd.reasons import Reason
from mustherd.shepherd.events import HerdError, HerdEvent, PresenceChanged
from mustherd.shepherd.session import MusterSession, objection
from mustherd.shepherd.sink import LogSink
from mustherd.wire import messages as m
from mustherd.wire.members import MAX_MUSTERS
from mustherd.wire.shepherd_endpoint import Received, ShepherdEndpoint

log = logging.getLogger(__name__)

GONE = {
    Presence.MISSING: Reason.MUSTER_MISSING,
    Presence.DEAD: Reason.MUSTER_DEAD,
    Presence.LEFT: Reason.MUSTER_LEFT,
}
"""Why nobody waits for a muster's answer any more."""


HERE = (Presence.ALIVE, Presence.LATE)

REFUSALS_S = 60.0
REFUSALS_LOGGED = 50
REFUSAL_CHARACTERS = 300
"""Of refusals so many are logged in so many seconds, each that long at most: whoever causes them must fill no disk."""


LIVES_S, LIVES_MOST = 60.0, 30
"""New lives of one muster in so many seconds. Each is an event that somebody has to take, so whoever makes them up
without an end would come before a stop that an operator asks for."""


class Roster:
    """Every muster that ever said hello. For one thread, except `views`."""

    def __init__(
        self,
        end: ShepherdEndpoint,
        decisions: Decisions,
        shepherd_epoch: int,
        *,
        story: Story,
        sink: LogSink | None,
        tell: Callable[[HerdEvent], None],
        now: Callable[[], float],
    ) -> None:
        self.sessions: dict[str, MusterSession] = {}
        """The life of each muster that the shepherd talks to."""
        self.alarms = Alarms()
        """When each of them is to be sent something."""
        self._end = end
        self._decisions = decisions
        self._shepherd_epoch = shepherd_epoch
        self._sink = sink
        self._tell = tell
        self._now = now
        self._membership = Membership(story)
        self._refused: dict[str, str] = {}
        self._refusals = 0
        self._refusals_from = -float("inf")
        self._contested: set[str] = set()
        """Names under which two processes were heard at the same time."""
        self._lives: dict[str, tuple[float, int]] = {}
        """Of each muster since when its lives are counted, and how many there were."""
        self._lock = threading.Lock()
        self._views: dict[str, m.MusterView] = {}

    def validate(self) -> None:
        """Raise AssertionError where a muster's state breaks a promise; for tests."""
        self._membership.validate()
        holds(set(self._membership) == set(self.sessions), "a muster without a session, or a session of nobody")
        for session in self.sessions.values():
            session.link.validate()
            due = min(session.next_beat, session.link.next_due())
            holds(self.alarms.at(session.hello.muster) <= due, "a muster that nobody would send anything")
            session.flow.validate()

    def views(self) -> dict[str, m.MusterView]:
        """Every muster that ever said hello, as of now; callable from any thread."""
        with self._lock:
            views = dict(self._views)
        now, silent_s = self._now(), self._membership.silent_s
        return {name: msgspec.structs.replace(view, silent_s=silent_s(name, now)) for name, view in views.items()}

    def show(self, name: str) -> None:
        """Renew what `views` gives of a muster."""
        view = self.sessions[name].view(self._membership.presence(name), 0.0)
        with self._lock:
            self._views[name] = view

    def to_send(self, name: str, muster: MusterSession, *, beat_at: float | None = None) -> None:
        """Something may have come up that a muster is to be sent; `beat_at`: when its next heartbeat is."""
        if beat_at is not None:
            muster.next_beat = beat_at
        self.alarms.set(name, min(muster.next_beat, muster.link.next_due()))

    def present(self, name: str) -> MusterSession:
        """A muster that can be asked for something. HerdError when it is missing, or isn't in the herd."""
        presence = self._membership.presence(name)
        if presence not in HERE:
            reason = Reason.MUSTER_UNKNOWN if presence is None else GONE[presence]
            raise HerdError(reason, f"muster {name} is {presence or 'not in the herd'}")
        return self.sessions[name]

    def known(self, name: str, muster_epoch: int) -> MusterSession | None:
        """A muster in that life of it, None when it isn't the one that the shepherd talks to."""
        return self.sessions.get(name) if self._membership.knows(name, muster_epoch) else None

    def heard(self, name: str, muster_epoch: int) -> None:
        """Note that a muster was heard from."""
        for change in self._membership.heard(name, muster_epoch, self._now()):
            self._changed(change)

    def left(self, name: str, muster_epoch: int) -> None:
        """A muster said goodbye."""
        for change in self._membership.left(name, muster_epoch, self._now()):
            self._changed(change)

    def judge(self, now: float) -> None:
        """Find musters that have fallen silent."""
        for change in self._membership.tick(now):
            self._changed(change)

    def hello(self, received: Received, hello: m.Hello | m.Stranger) -> None:
        """Welcome a muster, or refuse it and say why."""
        name = received.sender
        reason, ended = self._objection(received, hello)
        known_life = isinstance(hello, m.Hello) and self._membership.knows(name, hello.muster_epoch)
        if not reason and not known_life and self._lives_again_and_again(name):
            reason = f"it has started more than {LIVES_MOST} times in {LIVES_S:g} s: see its own log for why"
        if reason or isinstance(hello, m.Stranger):
            self._refusal(name, reason)
            self._end.reply(received, m.Refusal(version=m.PROTOCOL_VERSION, reason=reason[:2000], ended=ended))
            return
        now = self._now()
        self._refused.pop(name, None)
        self._end.welcome(received, hello.groups)
        known = self.sessions.get(name)
        if known is None or not self._membership.knows(name, hello.muster_epoch):
            if known is not None:
                known.fail(Reason.MUSTER_RESTARTED, f"muster {name} started again")
            self._decisions.forget(name)
            late = known.times_late + 1 if known is not None else 0
            self.sessions[name] = MusterSession(hello, times_late=late)
        for change in self._membership.hello(name, hello.muster_epoch, now):
            self._changed(change)
        self.to_send(name, self.sessions[name], beat_at=now + BEAT_PERIOD_S)
        welcome = m.Welcome(
            version=m.PROTOCOL_VERSION,
            muster_epoch=hello.muster_epoch,
            shepherd_epoch=self._shepherd_epoch,
            sent_s=now,
            hello_s=hello.sent_s,
            log=self._sink.log if self._sink is not None else 0,
        )
        if self._sink is not None:
            self._sink.met(hello)
        self._end.send_pulse(name, welcome)

    def contested(self, name: str, muster_epoch: int) -> None:
        """A life of a muster that another one has taken the place of is still heard: two processes use one name.

        From now on the one that is there stays, for as long as it is heard, or they would take turns.
        """
        if self._membership.ended(name, muster_epoch) and self._membership.presence(name) in HERE:
            self._contested.add(name)

    def _lives_again_and_again(self, name: str) -> bool:
        now = self._now()
        since, count = self._lives.get(name, (now, 0))
        if now - since >= LIVES_S:
            since, count = now, 0
        self._lives[name] = since, count + 1
        return count >= LIVES_MOST

    def _refusal(self, name: str, reason: str) -> None:
        """Log a refusal, unless it is known, or there were too many of late."""
        if self._refused.get(name) == reason or len(self._refused) >= MAX_MUSTERS:
            return
        self._refused[name] = reason
        now = self._now()
        if now - self._refusals_from >= REFUSALS_S:
            self._refusals, self._refusals_from = 0, now
        self._refusals += 1
        if self._refusals <= REFUSALS_LOGGED:
            log.warning("muster %r refused: %s", name, reason[:REFUSAL_CHARACTERS])
        if self._refusals == REFUSALS_LOGGED:
            log.warning("further refusals are not logged for %g s", REFUSALS_S)

    def _objection(self, received: Received, hello: m.Hello | m.Stranger) -> tuple[str, int]:
        """Why a muster can't be taken in ("": it can), and the life of it that is over for good (0: none)."""
        name = received.sender
        if hello.version != m.PROTOCOL_VERSION or isinstance(hello, m.Stranger):
            return (
                f"it speaks protocol version {hello.version}, this shepherd {m.PROTOCOL_VERSION}; "
                "install the same version of mustherd on both"
            ), 0
        if hello.muster != name:
            return f"it calls itself {hello.muster} but connected as {name}", 0
        if received.key_name is not None and received.key_name != name:
            return f"its key was accepted for {received.key_name!r}, not for {name}", 0
        if self._membership.ended(name, hello.muster_epoch):
            return f"another process has joined as {name} since; do two nodes use one name?", hello.muster_epoch
        if name in self._contested and not self._membership.knows(name, hello.muster_epoch):
            return (
                f"two processes call themselves {name}, and the one that joined last stays: give each its own name",
                0,
            )
        if name not in self.sessions and len(self.sessions) >= MAX_MUSTERS:
            return f"the herd is full: {MAX_MUSTERS} musters", 0
        return objection(hello), 0

    def _changed(self, change: Change) -> None:
        muster = self.sessions[change.muster]
        if change.after is not Presence.ALIVE:
            muster.times_late += 1
        if change.after in GONE:
            self._contested.discard(change.muster)
            self._decisions.forget(change.muster)
            # Should it come back, it must not go on with what nobody waits for.
            for measure in muster.measuring:
                with suppress(LinkFullError):
                    muster.link.send(m.Cancel(measure=measure), self._now())
            self.to_send(change.muster, muster)
            muster.fail(
                GONE[change.after], f"muster {change.muster} is {change.after} ({change.silent_s:.1f} s silent)"
            )
        if change.after is Presence.LEFT:
            muster.link = Link()
            muster.next_beat = NEVER
        self.show(change.muster)
        self._tell(PresenceChanged(change))
