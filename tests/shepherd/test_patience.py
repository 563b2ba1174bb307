"""Who was held up must not take its own absence for others' silence."""

from mustherd.herd.timing import BEAT_PERIOD_S
from mustherd.shepherd.shepherd import DEAF_AT_MOST_S, Patience


def test_it_judges_as_long_as_it_comes_round() -> None:
    patience = Patience(0.0)
    assert all(patience.may_judge(round_ * 0.1) for round_ in range(1, 50))


def test_after_a_hold_up_it_hears_what_waits_for_a_beat_first() -> None:
    """The round after a hold-up may find nothing yet: what waits is still on its way through ZeroMQ's own thread."""
    patience = Patience(0.0)
    assert not patience.may_judge(1.3)
    assert not patience.may_judge(1.3001)
    assert not patience.may_judge(1.3 + BEAT_PERIOD_S - 0.01)
    assert patience.may_judge(1.3 + BEAT_PERIOD_S)


def test_one_that_is_held_up_all_the_time_judges_every_so_often() -> None:
    patience, judged, now = Patience(0.0), [], 0.0
    for _ in range(100):
        now += 0.6
        if patience.may_judge(now):
            judged.append(now)
    assert len(judged) >= now / (DEAF_AT_MOST_S + 1.2) - 1
