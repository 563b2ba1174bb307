import pytest
from hypothesis import given
from hypothesis import strategies as st

from mustherd.herd.lease import Act, GiveBack, Ignore, Lease, Offset, Welcomed
from mustherd.herd.timing import DECISION_TTL_S, OFFSET_WINDOW_S, WELCOME_MAX_S
from mustherd.terms import Setting

SLOW = (Setting("node-0", "dvfs", 1200),)
LEASE_S = 3.0
AHEAD_S = 1000.0
"""The muster's clock minus the shepherd's."""


def welcomed(now: float = 0.0, shepherd_epoch: int = 1) -> Lease:
    """A lease under `epoch`; times are the shepherd's, messages travel in no time."""
    lease = Lease(LEASE_S)
    assert lease.welcome(
        shepherd_epoch=shepherd_epoch, sent_s=now, hello_s=now + AHEAD_S, now=now + AHEAD_S
    ) == Welcomed(another=True)
    return lease


def offer(
    lease: Lease, seq: int, issued: float, now: float, settings: tuple[Setting, ...] = SLOW, *, shepherd_epoch: int = 1
) -> Act | Ignore:
    return lease.offer(
        shepherd_epoch=shepherd_epoch,
        seq=seq,
        settings=settings,
        issued_s=issued,
        ttl_s=DECISION_TTL_S,
        now=now + AHEAD_S,
    )


def beat(lease: Lease, sent: float, now: float, wanted: int = 1, shepherd_epoch: int = 1) -> GiveBack | None:
    return lease.beat(shepherd_epoch=shepherd_epoch, sent_s=sent, wanted=wanted, now=now + AHEAD_S)


def in_force(now: float = 0.0) -> Lease:
    lease = welcomed(now)
    assert offer(lease, 1, now, now) == Act(1, SLOW)
    lease.carried_out(1, changed=True)
    return lease


def test_nothing_is_acted_on_before_a_welcome_or_of_another_epoch() -> None:
    lease = Lease(LEASE_S)
    assert isinstance(offer(lease, 1, 0, 0), Ignore)
    assert isinstance(offer(welcomed(), 1, 0, 0, shepherd_epoch=2), Ignore)


def test_each_number_once_and_upwards_only() -> None:
    lease = in_force()
    assert offer(lease, 1, 0.1, 0.1) == Ignore("old or repeated")
    assert offer(lease, 3, 0.1, 0.1) == Act(3, SLOW)
    assert offer(lease, 2, 0.2, 0.2) == Ignore("old or repeated")


def test_an_old_copy_is_expired_and_a_fresh_copy_of_the_same_number_is_not() -> None:
    lease = welcomed()
    beat(lease, 1.0, 1.0, wanted=0)
    assert offer(lease, 1, 0.0, 1.5) == Ignore("expired")
    assert offer(lease, 1, 1.4, 1.5) == Act(1, SLOW)


def test_a_lease_runs_out_in_silence_and_is_renewed_by_when_a_beat_was_sent() -> None:
    lease = in_force()
    assert beat(lease, 1.0, 1.0) is None
    assert lease.next_tick() == pytest.approx(4.0 + AHEAD_S)
    assert beat(lease, 0.5, 2.0) is None
    assert lease.tick(3.99 + AHEAD_S) is None
    assert lease.tick(4.01 + AHEAD_S) == GiveBack("the lease ran out")
    assert lease.in_force == 0
    assert lease.next_tick() == float("inf")


def test_a_beat_after_the_lease_ran_out_does_not_bring_it_back() -> None:
    lease = in_force()
    assert beat(lease, 3.5, 3.5) == GiveBack("the lease ran out")
    assert lease.in_force == 0


def test_without_a_lease_only_giving_back_is_acted_on() -> None:
    lease = welcomed()
    assert offer(lease, 1, 5.0, 5.0) == Ignore("no lease")
    assert offer(lease, 1, 5.0, 5.0, settings=()) == Act(1, ())


def test_what_is_not_wanted_any_more_ends_unless_the_beat_left_before_the_decision() -> None:
    lease = in_force(1.0)
    assert beat(lease, 0.9, 1.1, wanted=0) is None
    assert beat(lease, 1.0, 1.1, wanted=0) is None
    assert beat(lease, 1.2, 1.3, wanted=2) is None
    assert beat(lease, 1.4, 1.5, wanted=0) == GiveBack("the shepherd wants nothing of this node")


def test_another_epoch_ends_what_was_in_force_and_the_same_epoch_does_not() -> None:
    lease = in_force()
    assert lease.welcome(shepherd_epoch=1, sent_s=1.0, hello_s=AHEAD_S, now=1.0 + AHEAD_S) == Welcomed(another=False)
    assert lease.in_force == 1
    taken = lease.welcome(shepherd_epoch=2, sent_s=50.0, hello_s=1.9 + AHEAD_S, now=2.0 + AHEAD_S)
    assert taken == Welcomed(another=True, given_back=GiveBack("another shepherd took over"))
    assert isinstance(offer(lease, 5, 2.0, 2.0), Ignore)


def test_a_welcome_that_lay_in_a_queue_is_not_taken_so_nothing_behind_it_looks_fresh() -> None:
    lease = Lease(LEASE_S)
    late = 2 * WELCOME_MAX_S
    assert isinstance(lease.welcome(shepherd_epoch=1, sent_s=0.0, hello_s=AHEAD_S, now=late + AHEAD_S), Ignore)
    assert isinstance(offer(lease, 1, 0.1, late), Ignore)


def test_the_offset_follows_a_clock_that_runs_slow_or_fast() -> None:
    for drift in (1e-4, -1e-4):
        offset = Offset(0.0, 0.0)
        for k in range(0, 100_000, 5):
            offset.add(k * drift + 0.001, float(k))
            assert offset.seconds == pytest.approx(k * drift, abs=2.2 * OFFSET_WINDOW_S * 1e-4)


def test_a_flood_of_delayed_beats_after_a_standstill_does_not_move_the_offset() -> None:
    offset = Offset(0.001, 0.0)
    wake = 10 * OFFSET_WINDOW_S
    for k in range(1000):
        offset.add(wake - 1.0 - k * 0.4, wake + k * 1e-4)
        assert offset.seconds <= 0.001


@given(delays=st.lists(st.floats(0, 50), min_size=1, max_size=50))
def test_the_offset_is_too_high_by_the_shortest_travel_time_and_never_too_low(delays: list[float]) -> None:
    offset = Offset(delays[0], 0.0)
    for k, delay in enumerate(delays):
        offset.add(delay, k * 0.4)
        assert offset.seconds == min(delays[: k + 1])


def test_a_beat_that_waits_renews_a_lease_that_has_not_ended_and_no_other() -> None:
    lease = in_force()
    lease.lives_on(shepherd_epoch=1, sent_s=2.0, now=2.5 + AHEAD_S)
    assert lease.next_tick() == 2.0 + LEASE_S + AHEAD_S, "from when it was sent"
    lease.lives_on(shepherd_epoch=2, sent_s=4.0, now=4.0 + AHEAD_S)
    assert lease.next_tick() == 2.0 + LEASE_S + AHEAD_S, "of another shepherd"
    lease.lives_on(shepherd_epoch=1, sent_s=1.0, now=4.0 + AHEAD_S)
    assert lease.next_tick() == 2.0 + LEASE_S + AHEAD_S, "an old one"
    lease.lives_on(shepherd_epoch=1, sent_s=5.0, now=5.0 + AHEAD_S)
    assert lease.tick(5.0 + AHEAD_S) == GiveBack("the lease ran out"), "it had ended"


def test_a_beat_that_waits_ends_nothing_until_it_is_acted_on() -> None:
    lease = in_force()
    lease.lives_on(shepherd_epoch=1, sent_s=2.0, now=2.0 + AHEAD_S)
    assert lease.in_force == 1
    assert beat(lease, 2.0, 4.0, wanted=0) == GiveBack("the shepherd wants nothing of this node")
