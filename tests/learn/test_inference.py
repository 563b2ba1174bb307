"""The numbers behind a verdict, against tables, textbooks and simulation."""

import math
import random

import numpy as np
import pytest
from scipy import stats

from mustherd.learn.inference import (
    LEAST_SPREAD,
    above,
    average,
    chance_within,
    enough,
    exceeds,
    holm,
    interval,
    level_of,
    looks,
    next_window,
    quantile,
    reach,
    rounds_needed,
    spread,
    squares,
)


def test_quantiles_and_p_values_are_student_s() -> None:
    for level, freedom in ((0.975, 2), (0.95, 7), (0.999, 30)):
        assert quantile(level, freedom) == pytest.approx(stats.t.ppf(level, freedom))
        assert exceeds(quantile(level, freedom), freedom) == pytest.approx(1 - level)
    assert quantile(0.975, 0) == math.inf


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 8, 31, 100, 999, 20_000])
def test_quantiles_are_those_of_scipy_from_one_tail_to_the_other(freedom: int) -> None:
    for level in (1e-5, 0.01, 0.4, 0.5, 0.6, 0.894, 0.975, 0.9995, 1 - 0.025 / 60, 0.99999):
        assert quantile(level, freedom) == pytest.approx(stats.t.ppf(level, freedom), rel=1e-9, abs=1e-12), level


def test_a_t_of_no_freedom_says_nothing() -> None:
    assert exceeds(5.0, 0) == 1.0


def test_moments() -> None:
    values = [1.0, 2.0, 4.0, 9.0]
    assert average(values) == 4.0
    assert squares(values) == 38.0
    assert spread(values) == pytest.approx(math.sqrt(38 / 3))
    assert spread([1.0]) == math.inf


def test_an_interval_over_several_looks_is_wider() -> None:
    values = [1.0, 2.0, 3.0, 4.0, 5.0]
    once, thrice = interval(values), interval(values, looks=3)
    assert once.high - once.mean == pytest.approx(stats.t.ppf(0.975, 4) * math.sqrt(2.5 / 5))
    assert thrice.high - thrice.mean == pytest.approx(stats.t.ppf(1 - 0.025 / 3, 4) * math.sqrt(2.5 / 5))
    assert once.covers(3.5)
    assert not once.covers(8.0)
    assert interval([3.0]).low == -math.inf


def test_above_is_the_one_sided_t_test() -> None:
    values = [0.1, 0.4, 0.3, 0.2]
    wanted = stats.ttest_1samp(values, 0.05, alternative="greater").pvalue
    assert above(values, 0.05) == pytest.approx(wanted)
    assert above([1.0], 0.0) == 1.0
    # Windows that agree exactly don't make anything certain.
    error = LEAST_SPREAD / math.sqrt(3)
    assert above([0.001] * 3, 0.0) == pytest.approx(exceeds(0.001 / error, 2))


def test_the_next_window_stays_within_its_bound_as_often_as_said() -> None:
    draw = random.Random(4)
    kept = 0
    for _ in range(4000):
        values = [draw.gauss(0, 1) for _ in range(5)]
        kept += draw.gauss(0, 1) <= average(values) + next_window(5, spread(values), 4, chance=0.95)
    assert kept / 4000 == pytest.approx(0.95, abs=0.012)
    assert next_window(5, 1.0, 4) == pytest.approx(reach(5))
    assert next_window(1, 0.0, 0) == math.inf


def test_a_window_s_own_error_is_the_least_that_is_allowed_for() -> None:
    assert next_window(4, 0.001, 3, own_error=0.03) == pytest.approx(1.959964 * 0.03 * math.sqrt(1.25))
    assert next_window(4, 0.1, 3, own_error=0.03) == next_window(4, 0.1, 3)


def test_looks_are_few_and_end_at_the_last_round() -> None:
    assert looks(3, 8) == (3, 5, 8)
    assert looks(3, 20) == (3, 5, 8, 12, 20)
    assert looks(1, 1) == (2,)
    assert looks(3, 3) == (3,)
    assert looks(4, 7) == (4, 7)
    for least in range(1, 12):
        for rounds in range(1, 60):
            found = looks(least, rounds)
            assert found[0] == max(2, least)
            assert found[-1] == max(2, least, rounds)
            assert list(found) == sorted(set(found))


def test_holm_hands_on_the_share_of_what_was_rejected() -> None:
    assert holm([1.0, 1.0, 1.0, 1.0], [False] * 4) == [0.25] * 4
    assert holm([1.0, 1.0, 1.0], [False, True, False]) == [0.5, 0.0, 0.5]
    assert holm([1.0, 0.5, 0.5], [False] * 3) == [0.5, 0.25, 0.25]
    assert holm([1.0], [True]) == [0.0]


def test_looks_and_candidates_together_are_wrong_no_more_often_than_said() -> None:
    draw = random.Random(8)
    at, candidates, wrong, runs = looks(3, 8), 4, 0, 1500
    for _ in range(runs):
        values = [[draw.gauss(0, 1) for _ in range(8)] for _ in range(candidates)]
        level = 0.05 / candidates / len(at)
        wrong += any(above(mine[:n], 0.0) <= level for mine in values for n in at)
    assert wrong / runs <= 0.05


def test_rounds_until_an_interval_is_half_as_wide_as_the_mean() -> None:
    assert enough(0.4, 0.0035, 1, 3, 8) == 3
    assert enough(0.05, 0.07, 1, 3, 8) == 8
    found = enough(0.1, 0.05, 1, 3, 20)
    assert stats.t.ppf(0.975, found - 1) * 0.05 / math.sqrt(found) <= 0.05
    assert stats.t.ppf(0.975, found - 2) * 0.05 / math.sqrt(found - 1) > 0.05
    assert enough(0.1, 0.05, 4, 3, 20) < found
    assert enough(0.1, 0.05, 1, 9, 8) == 9


@pytest.mark.parametrize(("percent", "deviation", "nodes"), [(5.0, 0.03, 1), (10.0, 0.05, 1), (5.0, 0.03, 2)])
def test_the_rounds_that_a_saving_needs_find_it_four_times_of_five(
    percent: float, deviation: float, nodes: int
) -> None:
    rounds = rounds_needed(percent, deviation, nodes=nodes)
    assert rounds is not None
    draw = random.Random(1)
    effect = -math.log(1 - percent / 100)
    found = [above([draw.gauss(effect, deviation) for _ in range(rounds * nodes)], 0.0) <= 0.025 for _ in range(1500)]
    assert 0.77 <= average(found) <= 0.97
    fewer = [
        above([draw.gauss(effect, deviation) for _ in range((rounds - 1) * nodes)], 0.0) <= 0.025 for _ in range(1500)
    ]
    assert average(fewer) < average(found)


def test_the_rounds_that_savings_need_are_those_by_scipy_s_quantiles() -> None:
    """One number of rounds after another by SciPy alone, over plans quiet and noisy."""

    def level(rounds: int) -> float:
        return level_of(3, rounds, 4)

    def needed(percent: float, deviation: float, nodes: int, least: float) -> int | None:
        stage, effect = math.sqrt(0.8), -math.log1p(-percent / 100)
        spare = effect + math.log1p(-least / 100)
        rounds = 2
        while spare > 0 and rounds <= 10_000:
            count = rounds * nodes
            found = stats.t.ppf(1 - level(rounds), count - 1) + stats.t.ppf(stage, count - 1)
            worth = stats.norm.ppf(stage) * effect / spare if least else 0.0
            if math.sqrt(count) * effect >= max(found, worth) * deviation:
                return rounds
            rounds += max(1, rounds // 50)
        return None

    plans = [
        (percent, deviation, nodes, least)
        for percent in (1.0, 2.0, 5.0)
        for deviation in (0.0025, 0.0035, 0.02, 0.07)
        for nodes, least in ((1, 1.0), (2, 0.5), (4, 0.0))
    ]
    found = [rounds_needed(p, d, nodes=nodes, level=level, least_percent=least) for p, d, nodes, least in plans]
    assert found == [needed(*each) for each in plans]
    assert None in found
    assert len(set(found)) > 10


def test_a_saving_near_the_least_that_is_announced_takes_more_rounds() -> None:
    alone, worth = rounds_needed(2.0, 0.03), rounds_needed(2.0, 0.03, least_percent=1.9)
    assert alone is not None
    assert worth is not None
    assert worth > 10 * alone
    # A true saving of just the least is estimated at less every other time, in any number of rounds.
    assert rounds_needed(1.0, 0.001, least_percent=1.0) is None


def test_more_rounds_bring_more_looks_which_cost_some() -> None:
    fixed = rounds_needed(2.0, 0.05, level=lambda _rounds: level_of(3, 3, 1))
    grown = rounds_needed(2.0, 0.05, level=lambda rounds: level_of(3, rounds, 1))
    assert fixed is not None
    assert grown is not None
    assert grown > fixed


@pytest.mark.parametrize(("room", "count", "total"), [(2.0, 3, 8), (3.0, 3, 8), (2.5, 5, 8), (3.0, 7, 8), (1.0, 3, 8)])
def test_the_chance_to_hold_by_the_end_is_that_of_all_that_may_be_true(room: float, count: int, total: int) -> None:
    draw = np.random.default_rng(1)
    runs, more, freedom = 20_000, total - count, count - 1
    true = np.sqrt(freedom / draw.chisquare(freedom, runs))
    mean = true / math.sqrt(count) * draw.standard_normal(runs)
    later = mean[:, None] + true[:, None] * draw.standard_normal((runs, more))
    between = count * more / total * later.mean(axis=1) ** 2
    squares_then = freedom + ((later - later.mean(axis=1, keepdims=True)) ** 2).sum(axis=1) + between
    bound = later.sum(axis=1) / total + reach(total) * np.sqrt(squares_then / (total - 1))
    assert abs(chance_within(room, 1.0, freedom, count, more) - float((bound <= room).mean())) < 0.035


def test_without_a_spread_anything_may_hold_and_without_rounds_nothing_changes() -> None:
    assert chance_within(0.01, 1.0, 0, 1, 5) == 1.0
    assert chance_within(reach(8) + 0.01, 1.0, 7, 8, 0) == 1.0
    assert chance_within(reach(8) - 0.01, 1.0, 7, 8, 0) == 0.0


def test_a_saving_within_the_noise_can_t_be_told_in_any_number_of_rounds() -> None:
    assert rounds_needed(0.01, 1.0) is None
    small, large = rounds_needed(1.0, 0.07), rounds_needed(5.0, 0.07)
    assert small is not None
    assert large is not None
    assert small > 20 * large
