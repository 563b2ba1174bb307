"""Decisions on the shepherd's side: numbered, published until acknowledged, and watched while they should hold.

PUB/SUB drops what a subscriber was not there for and what a slow one could not take, and says nothing. So a decision
is published again, with growing pauses, until the muster has answered with the values it read back; and every
heartbeat of a muster names the decision in force on it, so that one which lost it is noticed.
"""

from dataclasses import dataclass, field

from mustherd.herd.promises import holds
from mustherd.herd.story import Step, Story
from mustherd.herd.timing import DECISION_GIVE_UP_S, DECISION_RESEND_MAX_S, DECISION_RESEND_S
from mustherd.terms import Setting


@dataclass(frozen=True)
class Publish:
    """Send decision `seq` to `muster` now."""

    muster: str
    seq: int
    settings: tuple[Setting, ...]


@dataclass(frozen=True)
class GaveUp:
    """No answer to decision `seq` came in time; nothing is wanted of the muster any more."""

    muster: str
    seq: int
    tries: int


@dataclass(frozen=True)
class Lost:
    """An answered decision is not in force on the muster any more, though it should be: its lease ran out, say."""

    muster: str
    seq: int
    in_force: int


Action = Publish | GaveUp | Lost


@dataclass
class _Wanted:
    seq: int
    settings: tuple[Setting, ...]
    answered: bool = False
    tries: int = 0
    next_try: float = 0.0
    give_up: float = field(default=float("inf"))


class Decisions:
    """What the shepherd wants of every muster. Calls take the time and return what is to be done.

    A decision without settings gives the node back. A newer decision for a muster supersedes an older one, which is
    never published again. Numbers rise over a shepherd's whole epoch and are never reused.
    """

    def __init__(self, story: Story | None = None) -> None:
        """`story` gets what happens to each muster, beside what others tell of it."""
        self._last = 0
        self._wanted: dict[str, _Wanted] = {}
        self._unanswered: dict[str, _Wanted] = {}
        """Those of them that somebody waits for: few, however many hold."""
        self._story = Story() if story is None else story

    def decide(self, muster: str, settings: tuple[Setting, ...], now: float) -> Publish:
        """Want `settings` of a muster from now on."""
        self._last += 1
        wanted = _Wanted(self._last, settings, give_up=now + DECISION_GIVE_UP_S)
        self._wanted[muster] = self._unanswered[muster] = wanted
        return self._publish(muster, wanted, now)

    def answered(self, muster: str, seq: int, *, holds: bool) -> None:
        """The muster answered `seq`; `holds` when its settings are now in force. Old answers change nothing."""
        wanted = self._wanted.get(muster)
        if wanted is None or wanted.seq != seq:
            return
        wanted.answered = True
        self._unanswered.pop(muster, None)
        self._story.add(muster, "answered: it holds" if holds else "answered: it doesn't hold", seq)
        if not holds or not wanted.settings:
            del self._wanted[muster]

    def carrying(self, muster: str, seq: int, now: float) -> None:
        """The muster is carrying `seq` out, and takes its time: that is waited for."""
        wanted = self._unanswered.get(muster)
        if wanted is not None and wanted.seq == seq:
            wanted.next_try = max(wanted.next_try, now + DECISION_RESEND_MAX_S)
            wanted.give_up = max(wanted.give_up, now + DECISION_GIVE_UP_S)

    def in_force(self, muster: str, seq: int) -> list[Action]:
        """A heartbeat named the decision in force. An answered one that went out of force is lost and forgotten.

        The caller passes on no heartbeat that is older than an answer it has passed on.
        """
        wanted = self._wanted.get(muster)
        if wanted is None or not wanted.answered or wanted.seq == seq:
            return []
        del self._wanted[muster]
        self._story.add(muster, "lost", wanted.seq)
        return [Lost(muster, wanted.seq, seq)]

    def forget(self, muster: str) -> None:
        """Want nothing of a muster any more, without telling it: it has died or was given up."""
        self._unanswered.pop(muster, None)
        forgotten = self._wanted.pop(muster, None)
        if forgotten is not None:
            self._story.add(muster, "forgotten", forgotten.seq)

    def tick(self, now: float) -> list[Action]:
        """Time passed: what is to be published again or given up."""
        self._story.passed(now)
        actions: list[Action] = []
        for muster, wanted in list(self._unanswered.items()):
            if now >= wanted.give_up:
                del self._wanted[muster], self._unanswered[muster]
                self._story.add(muster, "given up", wanted.seq)
                actions.append(GaveUp(muster, wanted.seq, wanted.tries))
            elif now >= wanted.next_try:
                actions.append(self._publish(muster, wanted, now))
        return actions

    def wanted(self, muster: str) -> int:
        """The decision that is in force or under way to a muster; 0: none, the node shall be as it was found.

        One that gives the node back counts until it is answered, so that a muster waits for it and answers.
        """
        wanted = self._wanted.get(muster)
        return wanted.seq if wanted is not None else 0

    def settings(self, muster: str) -> tuple[Setting, ...]:
        """What that decision asks for."""
        wanted = self._wanted.get(muster)
        return wanted.settings if wanted is not None else ()

    @property
    def unanswered(self) -> int:
        """How many decisions wait for an answer."""
        return len(self._unanswered)

    def next_tick(self) -> float:
        """When `tick` will next have something."""
        return min((min(w.next_try, w.give_up) for w in self._unanswered.values()), default=float("inf"))

    def story(self, muster: str) -> list[Step]:
        """What happened to a muster of late."""
        return self._story.of(muster)

    def validate(self) -> None:
        """Raise AssertionError where the state breaks a promise; for tests."""
        numbers = [wanted.seq for wanted in self._wanted.values()]
        holds(len(set(numbers)) == len(numbers), "a number is used twice")
        holds(all(0 < number <= self._last for number in numbers), "a number that was never given")
        unanswered = {muster: wanted for muster, wanted in self._wanted.items() if not wanted.answered}
        holds(self._unanswered == unanswered, "who waits for an answer is not known")
        for muster, wanted in self._wanted.items():
            holds(wanted.tries > 0, f"{muster}: decided and never published")
            holds(wanted.settings or not wanted.answered, f"{muster}: a node that was given back is still wanted")
            holds(wanted.next_try < float("inf"), f"{muster}: never published again")
            holds(wanted.give_up < float("inf"), f"{muster}: never given up")

    def _publish(self, muster: str, wanted: _Wanted, now: float) -> Publish:
        self._story.passed(now)
        self._story.add(muster, "published again" if wanted.tries else "decided", wanted.seq)
        pause = min(DECISION_RESEND_S * 2**wanted.tries, DECISION_RESEND_MAX_S)
        wanted.tries += 1
        wanted.next_try = now + pause
        return Publish(muster, wanted.seq, wanted.settings)
