"""Guessing the load from received bytes."""

import pytest

from mustherd.learn.load_estimate import C6220, LoadGuesser, guess


@pytest.mark.parametrize("delay", sorted(C6220))
def test_a_median_of_the_table_is_its_load_while_loads_can_be_told_apart(delay: int) -> None:
    for load in (1e5, 2e5):
        assert guess(C6220, delay, C6220[delay][load] * 1.02) == load


def test_the_row_of_the_nearest_delay_counts() -> None:
    assert guess(C6220, 110, 9642) == guess(C6220, 100, 9642) == 8e5
    assert guess(C6220, 1000, 3030) == 2e5


def test_a_load_is_believed_once_three_guesses_agree() -> None:
    guesser = LoadGuesser()
    medians = [C6220[100][load] for load in (2e5, 2e5, 4e5, 2e5, 2e5, 2e5, 8e5, 8e5)]
    assert [guesser.frame(100, m) for m in medians] == [None] * 5 + [2e5] * 3
    assert guesser.frame(100, medians[-1]) == 8e5


@pytest.mark.parametrize("medians", [{}, {100: {}}])
def test_an_empty_table_is_refused(medians: dict[int, dict[float, float]]) -> None:
    with pytest.raises(ValueError, match="each row a load"):
        guess(medians, 100, 1000)
    with pytest.raises(ValueError, match="at least 1"):
        LoadGuesser(streak=0)
