"""That each `validate` of the herd's rules sees what it is there to see, and what a muster's story says."""

from collections.abc import Callable
from typing import Any

import pytest

from mustherd.herd.decisions import Decisions
from mustherd.herd.flow import Receiver, Sender
from mustherd.herd.lease import Lease
from mustherd.herd.link import Link
from mustherd.herd.membership import Membership
from mustherd.herd.story import STEPS, Story
from mustherd.herd.timing import DECISION_GIVE_UP_S, DECISION_RESEND_S, LATE_AFTER_S, LEASE_S, MISSING_AFTER_S
from mustherd.terms import Setting

SLOW = (Setting("node-0", "dvfs", 1200),)


def decisions() -> Decisions:
    made = Decisions()
    made.decide("m0", SLOW, 0.0)
    made.decide("m1", SLOW, 0.0)
    made.answered("m1", 2, holds=True)
    return made


def membership() -> Membership:
    made = Membership()
    made.hello("m0", 1, 0.0)
    made.hello("m0", 2, 1.0)
    return made


def lease() -> Lease:
    made = Lease(LEASE_S)
    made.welcome(shepherd_epoch=7, sent_s=0.0, hello_s=0.0, now=0.0)
    made.offer(shepherd_epoch=7, seq=3, settings=SLOW, issued_s=0.0, ttl_s=1.0, now=0.1)
    made.carried_out(3, changed=True)
    return made


def link() -> Link[int, int]:
    made: Link[int, int] = Link()
    for body in range(3):
        made.send(body, 0.0)
    made.acknowledged(1, 0.1)
    return made


def sender() -> Sender[str]:
    made: Sender[str] = Sender()
    made.add("one", 10)
    made.add("two", 20)
    made.credit(0, 0, 1000, 0.0)
    made.due(0.0)
    return made


def receiver() -> Receiver:
    made = Receiver(2)
    made.took(3)
    return made


BREAKS: list[tuple[Callable[[], Any], Callable[[Any], object], str]] = [
    (decisions, lambda d: setattr(d._wanted["m0"], "seq", 2), "used twice"),
    (decisions, lambda d: setattr(d, "_last", 1), "never given"),
    (decisions, lambda d: setattr(d._wanted["m0"], "tries", 0), "never published"),
    (decisions, lambda d: setattr(d._wanted["m1"], "settings", ()), "still wanted"),
    (decisions, lambda d: setattr(d._wanted["m0"], "next_try", float("inf")), "never published again"),
    (decisions, lambda d: setattr(d._wanted["m0"], "give_up", float("inf")), "never given up"),
    (membership, lambda b: b._members["m0"].past.append(2), "present life is over"),
    (membership, lambda b: b._members["m0"].past.append(1), "ended twice"),
    (lease, lambda x: setattr(x, "in_force", 4), "never acted on"),
    (lease, lambda x: setattr(x, "_shepherd_epoch", 0), "without a shepherd"),
    (lease, lambda x: setattr(x, "_until", -float("inf")), "without a lease"),
    (link, lambda x: x._unacked.popleft() and x._unacked.appendleft(x._unacked[0]), "not kept"),
    (link, lambda x: setattr(x, "_last_sent", 4), "not kept"),
    (link, lambda x: setattr(x, "_resend_at", float("inf")), "nothing is sent again"),
    (link, lambda x: setattr(x, "_pause_s", 0.0), "a pause of 0.0 s"),
    (sender, lambda s: setattr(s, "_got", 3), "acknowledged, got, sent, kept"),
    (sender, lambda s: setattr(s, "kept_bytes", 29), "kept is counted wrongly"),
    (sender, lambda s: setattr(s, "_flying", 10), "under way is counted wrongly"),
    (sender, lambda s: setattr(s, "_paused", True), "where to go on"),
    (receiver, lambda r: setattr(r, "durable", 4), "durable up to 4, of 3"),
]


@pytest.mark.parametrize(("make", "break_it", "said"), BREAKS)
def test_validate_sees_each_broken_promise(
    make: Callable[[], Any], break_it: Callable[[Any], object], said: str
) -> None:
    whole = make()
    whole.validate()
    break_it(whole)
    with pytest.raises(AssertionError, match=said):
        whole.validate()


def test_a_muster_s_story_is_told_in_order_by_all_who_know_of_it() -> None:
    story = Story()
    book, wanted = Membership(story), Decisions(story)
    book.hello("m0", 1, 0.0)
    wanted.decide("m0", SLOW, 0.1)
    wanted.tick(0.1 + DECISION_RESEND_S)
    wanted.answered("m0", 1, holds=True)
    book.tick(LATE_AFTER_S)
    book.tick(MISSING_AFTER_S)
    wanted.forget("m0")
    wanted.forget("m0")
    book.hello("m0", 2, 2.0)
    wanted.decide("m0", (), 2.5)
    wanted.tick(2.5 + DECISION_GIVE_UP_S)
    book.left("m0", 2, 13.0)
    assert book.story("m0") == wanted.story("m0")
    assert [(step.what, step.seq) for step in wanted.story("m0")] == [
        ("alive", 0),
        ("decided", 1),
        ("published again", 1),
        ("answered: it holds", 1),
        ("late", 0),
        ("missing", 0),
        ("forgotten", 1),
        ("alive in another life", 0),
        ("decided", 2),
        ("given up", 2),
        ("left", 0),
    ]
    assert [step.at for step in wanted.story("m0")] == sorted(step.at for step in wanted.story("m0"))
    assert str(wanted.story("m0")[1]) == "0.100 decided 1"
    assert wanted.story("m1") == []


def test_of_a_story_the_newest_steps_are_kept() -> None:
    story = Story()
    for number in range(3 * STEPS):
        story.add("m0", "decided", number)
    assert [step.seq for step in story.of("m0")] == list(range(2 * STEPS, 3 * STEPS))
