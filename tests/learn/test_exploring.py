"""When a search explores, and when it measures its best point again."""

from mustherd.learn import exploring


def test_the_best_point_has_a_turn_of_its_own_even_where_the_model_always_hopes() -> None:
    later = range(exploring.CAUTIOUS, exploring.CAUTIOUS + 4 * exploring.EVERY)
    turns = [tried for tried in later if exploring.repeats(tried, quiet=False)]
    assert len(turns) == 4
    assert not any(exploring.due(tried, quiet=False) for tried in turns)
    assert not any(exploring.repeats(tried, quiet=False) for tried in range(exploring.CAUTIOUS))


def test_without_hope_each_turn_that_does_not_explore_may_be_the_best_point_s() -> None:
    assert all(exploring.repeats(tried, quiet=True) for tried in range(30))
