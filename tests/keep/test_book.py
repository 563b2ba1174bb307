"""What a book says between its loads, beyond them, and where nothing holds."""

import pytest

from mustherd.keep.book import Book, Candidate
from mustherd.learn.windows import key_of

LOW, MIDDLE, HIGH = {"clock": 1}, {"clock": 2}, {"clock": 3}


def book() -> Book:
    return Book(
        {
            100.0: [Candidate(settings=LOW, power=10, latency=50), Candidate(settings=MIDDLE, power=20, latency=40)],
            200.0: [Candidate(settings=MIDDLE, power=30, latency=80), Candidate(settings=HIGH, power=40, latency=60)],
            400.0: [Candidate(settings=HIGH, power=60, latency=500)],
            800.0: [Candidate(settings=LOW, holds=False), Candidate(settings=HIGH, power=90, latency=60)],
        }
    )


def settings(load: float, limit: float = 100.0) -> list[dict[str, int]]:
    return [choice.settings for choice in book().choices(load, limit)]


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        (50.0, [LOW, MIDDLE]),
        (100.0, [LOW, MIDDLE]),
        (101.9, [LOW, MIDDLE]),
        (140.0, [MIDDLE]),
        (200.0, [MIDDLE]),
        (300.0, []),
        (400.0, []),
        # What holds at both would be none, as at 400 it breaks the limit: the higher load's.
        (600.0, [HIGH]),
        (800.0, [HIGH]),
        (900.0, []),
    ],
)
def test_what_holds_at_a_load(load: float, expected: list[dict[str, int]]) -> None:
    assert settings(load) == expected


def test_power_and_latency_lie_between_those_of_the_neighbours() -> None:
    [choice] = book().choices(141.4, 100.0)
    assert choice.power == pytest.approx(25, abs=0.1)
    assert choice.latency == pytest.approx(60, abs=0.2)
    assert book().foretell(key_of(MIDDLE), 141.4)[0] == pytest.approx(25, abs=0.1)
    assert book().foretell(key_of(LOW), 141.4) == (None, None)


def test_what_is_off_the_book_counts_where_a_choice_is_made() -> None:
    late = {key_of(LOW): (0.0, 0.8)}
    assert [c.settings for c in book().choices(100.0, 100.0, lambda key: late.get(key, (0.0, 0.0)))] == [MIDDLE]


def test_a_book_needs_loads_and_candidates() -> None:
    with pytest.raises(ValueError, match="loads above 0"):
        Book({})
    with pytest.raises(ValueError, match="candidates at each"):
        Book({10.0: []})
