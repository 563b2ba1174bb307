"""Membership: who is in the herd, judged by heartbeats. Late, missing and dead are three things."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from mustherd.herd.alarms import NEVER, Alarms
from mustherd.herd.promises import holds
from mustherd.herd.story import Step, Story
from mustherd.herd.timing import DEAD_AFTER_S, LATE_AFTER_S, MISSING_AFTER_S

PAST_LIVES = 16
"""Former lives of a muster that are remembered, so that a delayed hello of one doesn't replace the present one."""


class Presence(StrEnum):
    """How a muster stands with the shepherd."""

    ALIVE = "alive"
    LATE = "late"
    MISSING = "missing"
    DEAD = "dead"
    LEFT = "left"


@dataclass(frozen=True)
class Change:
    """A muster's presence changed. `new_life`: the process behind the name is another one than before."""

    muster: str
    before: Presence | None
    after: Presence
    new_life: bool = False
    silent_s: float = 0.0


@dataclass
class _Member:
    muster_epoch: int
    presence: Presence
    heard: float
    past: deque[int] = field(default_factory=lambda: deque(maxlen=PAST_LIVES))


class Membership:
    """The shepherd's book of musters. Every call takes the time and returns the changes that it brought."""

    def __init__(self, story: Story | None = None) -> None:
        """`story` gets what happens to each muster, beside what others tell of it."""
        self._members: dict[str, _Member] = {}
        self._alarms = Alarms()
        """When a muster would be late, missing or dead by what was last known; that it was heard since is seen then."""
        self._story = Story() if story is None else story

    def hello(self, muster: str, muster_epoch: int, now: float) -> list[Change]:
        """A muster introduced itself.

        A repeated hello of the same life is a sign of life and no more; one of a life that has ended is nothing.
        """
        if self.ended(muster, muster_epoch):
            return []
        member = self._members.get(muster)
        if member is None:
            self._members[muster] = _Member(muster_epoch, Presence.ALIVE, now)
            self._alarms.set(muster, now + LATE_AFTER_S)
            return self._told(Change(muster, None, Presence.ALIVE, new_life=True), now)
        if member.muster_epoch == muster_epoch:
            return self.heard(muster, muster_epoch, now)
        before = member.presence
        member.past.append(member.muster_epoch)
        member.muster_epoch, member.presence, member.heard = muster_epoch, Presence.ALIVE, now
        self._alarms.set(muster, now + LATE_AFTER_S)
        return self._told(Change(muster, before, Presence.ALIVE, new_life=True), now)

    def heard(self, muster: str, muster_epoch: int, now: float) -> list[Change]:
        """Anything arrived from a muster; nothing changes for a life that isn't the current one."""
        member = self._members.get(muster)
        if member is None or member.muster_epoch != muster_epoch or member.presence is Presence.LEFT:
            return []
        silent = now - member.heard
        member.heard = max(member.heard, now)
        if member.presence is Presence.ALIVE:
            return []
        before, member.presence = member.presence, Presence.ALIVE
        self._alarms.set(muster, member.heard + LATE_AFTER_S)
        return self._told(Change(muster, before, Presence.ALIVE, silent_s=silent), now)

    def left(self, muster: str, muster_epoch: int, now: float) -> list[Change]:
        """A muster said goodbye."""
        member = self._members.get(muster)
        if member is None or member.muster_epoch != muster_epoch or member.presence is Presence.LEFT:
            return []
        before, member.presence = member.presence, Presence.LEFT
        member.heard = now
        return self._told(Change(muster, before, Presence.LEFT), now)

    def tick(self, now: float) -> list[Change]:
        """Time passed: who has fallen silent."""
        changes: list[Change] = []
        for name in self._alarms.due(now):
            member = self._members[name]
            if member.presence is Presence.LEFT:
                continue
            silent = now - member.heard
            after, more = _judge(silent)
            self._alarms.set(name, member.heard + more)
            if after is not member.presence:
                changes += self._told(Change(name, member.presence, after, silent_s=silent), now)
                member.presence = after
        return changes

    def knows(self, muster: str, muster_epoch: int) -> bool:
        """Whether this life of a muster is the one in the book."""
        member = self._members.get(muster)
        return member is not None and member.muster_epoch == muster_epoch and member.presence is not Presence.LEFT

    def ended(self, muster: str, muster_epoch: int) -> bool:
        """Whether this life of a muster is over: it said goodbye, or another life of that name came after it."""
        member = self._members.get(muster)
        if member is None:
            return False
        return muster_epoch in member.past or (member.muster_epoch == muster_epoch and member.presence is Presence.LEFT)

    def presence(self, muster: str) -> Presence | None:
        """How a muster stands; None for one that never said hello."""
        member = self._members.get(muster)
        return member.presence if member is not None else None

    def silent_s(self, muster: str, now: float) -> float:
        """How long a known muster has not been heard."""
        return now - self._members[muster].heard

    def story(self, muster: str) -> list[Step]:
        """What happened to a muster of late."""
        return self._story.of(muster)

    def validate(self) -> None:
        """Raise AssertionError where the state breaks a promise; for tests."""
        for name, member in self._members.items():
            holds(member.muster_epoch not in member.past, f"{name}: its present life is over")
            holds(len(set(member.past)) == len(member.past), f"{name}: a life that ended twice")
            silent = member.presence in {Presence.DEAD, Presence.LEFT}
            holds(silent or self._alarms.at(name) <= member.heard + DEAD_AFTER_S, f"{name}: nobody would miss it")
            holds(self.knows(name, member.muster_epoch) != self.ended(name, member.muster_epoch), f"{name}: both")

    def _told(self, change: Change, now: float) -> list[Change]:
        """The change, once it is a part of the muster's story."""
        life = " in another life" if change.new_life and change.before is not None else ""
        self._story.passed(now)
        self._story.add(change.muster, f"{change.after}{life}")
        return [change]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)


def _judge(silent_s: float) -> tuple[Presence, float]:
    """How a muster stands after a silence, and after which one it will stand otherwise."""
    if silent_s >= DEAD_AFTER_S:
        return Presence.DEAD, NEVER
    if silent_s >= MISSING_AFTER_S:
        return Presence.MISSING, DEAD_AFTER_S
    if silent_s >= LATE_AFTER_S:
        return Presence.LATE, MISSING_AFTER_S
    return Presence.ALIVE, LATE_AFTER_S
