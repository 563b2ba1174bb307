"""The confirmation: what it measures, in which order, and what it says in the end."""

import math
import random
from collections.abc import Callable

import msgspec
import pytest

from mustherd.goal import Constraint, Goal
from mustherd.learn.base import Settings
from mustherd.learn.confirmation import Confirmation
from mustherd.learn.inference import interval
from mustherd.learn.judging import RankingResult
from mustherd.learn.windows import Repeat
from mustherd.testing.search import PROBLEM

DEFAULT = {"itr-delay": 1, "dvfs": 1800}
CHEAP = {"itr-delay": 200, "dvfs": 1200}
DEAR = {"itr-delay": 100, "dvfs": 1400}
TRUTH = {
    (1, 1800): {"energy_joules": 2000.0, "read_p99_us": 100.0, "achieved_ratio": 1.0},
    (200, 1200): {"energy_joules": 1000.0, "read_p99_us": 330.0, "achieved_ratio": 1.0},
    (100, 1400): {"energy_joules": 1500.0, "read_p99_us": 250.0, "achieved_ratio": 1.0},
}


def true(point: Settings) -> dict[str, float]:
    return TRUTH[point["itr-delay"], point["dvfs"]]


def confirmed(
    confirmation: Confirmation,
    noise: float = 0.005,
    drift: float = 0.0,
    truth: Callable[[Settings], dict[str, float]] = true,
    nodes: tuple[str, ...] = ("",),
) -> RankingResult:
    draw = random.Random(1)
    factor = 1.0
    while wanted := confirmation.round():
        measured = []
        for one in wanted:
            for node in [one.where] if one.where else nodes:
                values = {m: v * factor * (1 + noise * draw.gauss(0, 1)) for m, v in truth(one.point).items()}
                measured.append(Repeat(point=one.point, metrics={**values, "achieved_ratio": 1.0}, where=node))
        confirmation.add(measured)
        factor *= 1 + drift
    return confirmation.outcome()


GOAL = msgspec.structs.replace(PROBLEM.goal, repeats=3)


def start(candidates: list[Settings], **options: float) -> Confirmation:
    return Confirmation(msgspec.structs.replace(GOAL, **options), candidates, default=DEFAULT)


def exact(confirmation: Confirmation, where: str = "") -> list[Repeat]:
    """The present round, measured without noise."""
    return [Repeat(point=one.point, metrics=true(one.point), where=where) for one in confirmation.round()]


def test_the_next_one_wins_when_the_first_misses_its_limit() -> None:
    outcome = confirmed(start([CHEAP, DEAR], parallel=1))
    assert outcome.word == "met"
    assert outcome.winner is not None
    assert outcome.winner.point == DEAR
    assert outcome.winner.saving_percent is not None
    assert outcome.winner.saving_percent.low < 25 < outcome.winner.saving_percent.high
    assert [j.word for j in outcome.judged] == ["not met", "met"]
    assert "met: dvfs=1400, itr-delay=100" in outcome.text


def test_nothing_holds() -> None:
    outcome = confirmed(start([CHEAP]))
    assert outcome.word == "not met"
    assert outcome.winner is None


def test_a_limit_that_lies_within_the_noise_is_not_certain() -> None:
    near = {**TRUTH, (200, 1200): {**TRUTH[200, 1200], "read_p99_us": 300.0}}
    outcome = confirmed(start([CHEAP], rounds=4), noise=0.02, truth=lambda p: near[p["itr-delay"], p["dvfs"]])
    assert outcome.word == "not certain"
    assert outcome.rounds == 4


def test_a_mean_below_the_limit_is_not_a_promise_for_the_next_window() -> None:
    # The mean of p99 is certainly below 300 us, every fifth window is not.
    near = {**TRUTH, (200, 1200): {**TRUTH[200, 1200], "read_p99_us": 280.0}}
    outcome = confirmed(start([CHEAP], rounds=20), noise=0.08, truth=lambda p: near[p["itr-delay"], p["dvfs"]])
    [judged] = outcome.judged
    held = judged.limits["read_p99_us"]
    assert held.p_value < 0.025
    assert held.bound > 300.0
    assert outcome.word == "not certain"


def test_drift_cancels_within_blocks() -> None:
    outcome = confirmed(start([DEAR], rounds=6), drift=0.03, noise=0.001)
    assert outcome.winner is not None
    assert outcome.winner.saving_percent is not None
    assert outcome.winner.saving_percent.high - outcome.winner.saving_percent.low < 2


def test_a_margin_keeps_room_for_drift() -> None:
    assert confirmed(start([DEAR])).word == "met"
    assert confirmed(start([DEAR], margin=0.2)).word == "not met"


def test_one_round_is_never_enough() -> None:
    confirmation = start([DEAR], repeats=1, rounds=1)
    confirmation.add(exact(confirmation))
    outcome = confirmation.outcome()
    assert outcome.word == "not certain"
    assert outcome.winner is not None
    assert math.isinf(outcome.winner.limits["read_p99_us"].mean.high)
    assert outcome.winner.saving_percent is not None
    assert math.isinf(outcome.winner.saving_percent.low)
    assert confirmation.round()


def test_the_winner_s_numbers_come_from_rounds_after_it_was_chosen() -> None:
    confirmation = start([DEAR])
    energies = iter([1400.0, 1500.0, 1390.0, 1480.0, 1520.0])
    while wanted := confirmation.round():
        measured = []
        for one in wanted:
            values = dict(true(one.point))
            if one.point == DEAR:
                values["energy_joules"] = next(energies, 1500.0)
            measured.append(Repeat(point=one.point, metrics=values))
        confirmation.add(measured)
    outcome = confirmation.outcome()
    assert (outcome.word, outcome.rounds, outcome.fresh) == ("met", 6, 3)
    assert outcome.winner is not None
    assert outcome.winner.saving_percent is not None
    # Chosen for 28.5 %, announced for the 25 % that it then saved.
    assert outcome.winner.saving_percent.mean == pytest.approx(25.0, abs=0.01)
    assert (outcome.winner.rounds, outcome.winner.blocks) == (6, 3)


def test_rounds_that_contradict_the_choice_make_another_winner_or_none() -> None:
    for candidates, word in (([DEAR], "not certain"), ([DEAR, {"itr-delay": 100, "dvfs": 1800}], "met")):
        confirmation = start(candidates)
        energies = iter([1500.0, 1501.0, 1502.0])
        while wanted := confirmation.round():
            measured = []
            for one in wanted:
                energy = {1: 2000.0, 100: 1800.0}[one.point["itr-delay"]]
                if one.point == DEAR:
                    energy = next(energies, 2100.0)
                metrics = {"energy_joules": energy, "read_p99_us": 100.0, "achieved_ratio": 1.0}
                measured.append(Repeat(point=one.point, metrics=metrics))
            confirmation.add(measured)
        outcome = confirmation.outcome()
        assert outcome.word == word
        assert outcome.winner is not None
        assert outcome.winner.point == candidates[-1]


def test_rounds_hold_every_setting_in_changing_order() -> None:
    orders = set()
    confirmation = start([CHEAP, DEAR, DEFAULT], seed=3)
    for p99 in (290.0, 310.0, 290.0, 310.0, 290.0, 310.0):
        points = [one.point for one in confirmation.round()]
        assert len(points) == 3
        orders.add(tuple(p["dvfs"] for p in points))
        confirmation.add(
            [
                Repeat(
                    point=p,
                    metrics={"energy_joules": 1.0 + (p == DEFAULT), "read_p99_us": p99, "achieved_ratio": 0.99},
                )
                for p in points
            ]
        )
    assert len(orders) > 1


def test_a_round_goes_backwards_after_one_that_went_forwards() -> None:
    confirmation = start([CHEAP, DEAR])
    first = confirmation.round()
    confirmation.add(exact(confirmation))
    assert confirmation.round() == first[::-1]


def test_nodes_measure_a_round_in_orders_of_their_own() -> None:
    confirmation = start([CHEAP, DEAR])
    first, second = confirmation.round(0), confirmation.round(1)
    assert second == first[::-1]
    assert {tuple(w.point["dvfs"] for w in confirmation.round(node)) for node in range(20)} > {
        tuple(w.point["dvfs"] for w in of) for of in (first, second)
    }
    confirmation.add(exact(confirmation))
    assert (confirmation.round(0), confirmation.round(1)) == (second, first)


def test_a_node_that_uses_more_is_not_a_saving() -> None:
    confirmation = start([DEAR], repeats=3, rounds=3)
    for number in range(3):
        measured = []
        for one in confirmation.round():
            for node in "ab":
                values = dict(true(one.point))
                wobble = 1 + 0.001 * (-1) ** number * (one.point == DEAR)
                values["energy_joules"] *= (1.1 if node == "b" else 1.0) * wobble
                measured.append(Repeat(point=one.point, metrics=values, where=node))
        confirmation.add(measured)
    saving = confirmation.judge(DEAR).saving_percent
    assert saving is not None
    assert saving.mean == pytest.approx(25, abs=0.2)
    assert saving.high - saving.low < 5


def test_settings_that_never_shared_a_node_are_not_compared() -> None:
    confirmation = start([DEAR], repeats=3, rounds=3)
    while wanted := confirmation.round():
        confirmation.add([Repeat(point=w.point, metrics=true(w.point), where="ab"[w.point == DEFAULT]) for w in wanted])
    outcome = confirmation.outcome()
    assert confirmation.judge(DEAR).saving_percent is None
    assert outcome.word == "not certain"


def test_a_node_that_misses_the_limit_is_named() -> None:
    draw = random.Random(2)
    confirmation = start([DEAR])
    while wanted := confirmation.round():
        measured = []
        for one in wanted:
            for node, p99 in (("good", 200.0), ("bad", 310.0)):
                values = {**true(one.point), "read_p99_us": p99 * draw.gauss(1, 0.005)}
                measured.append(Repeat(point=one.point, metrics=values, where=node))
        confirmation.add(measured)
    [judged] = confirmation.outcome().judged
    assert judged.word == "not met"
    assert judged.limits["read_p99_us"].node == "bad"
    assert {h.node: h.broken for h in judged.nodes["read_p99_us"]} == {"bad": True, "good": False}


def test_a_window_far_from_its_siblings_is_measured_twice_more() -> None:
    confirmation = start([DEAR], repeats=4, rounds=4)
    p99 = iter([249.0, 251.0, 900.0])
    for _ in range(3):
        confirmation.add(
            [
                Repeat(
                    point=w.point,
                    metrics={**true(w.point), "read_p99_us": next(p99) if w.point == DEAR else 100.0},
                    where="node-0",
                )
                for w in confirmation.round()
            ]
        )
    again = confirmation.round()
    assert [(w.point, w.where) for w in again] == [(DEAR, "node-0")] * 2
    more = [Repeat(point=DEAR, metrics={**true(DEAR), "read_p99_us": v}, where="node-0") for v in (250.5, 250.0)]
    confirmation.add(more)
    outcome = confirmed(confirmation, nodes=("node-0",))
    assert outcome.winner is not None
    held = outcome.winner.limits["read_p99_us"]
    # 900 us break the limit of 300: nothing is promised before that is one window of twenty.
    assert (held.windows, held.kept) == (20, 19)
    assert outcome.word == "met"


def test_a_bad_window_that_comes_again_is_believed() -> None:
    confirmation = start([DEAR], repeats=4, rounds=4)
    for number in range(20):
        wanted = confirmation.round()
        if not wanted:
            break
        confirmation.add(
            [
                Repeat(
                    point=w.point,
                    metrics={**true(w.point), "read_p99_us": 900.0 if w.where or number == 2 else 200.0 + number},
                    where="node-0",
                )
                for w in wanted
            ]
        )
    assert confirmation.outcome().word == "not certain"


def test_a_saving_that_isn_t_worth_it_is_not_announced() -> None:
    def little(point: Settings) -> dict[str, float]:
        return {**true(point), "energy_joules": 1000.0 if point == DEFAULT else 990.5}

    assert confirmed(start([DEAR], least_saving=0.5), noise=0.0005, truth=little).word == "met"
    outcome = confirmed(start([DEAR]), noise=0.0005, truth=little)
    assert outcome.word != "met"
    assert confirmed(start([DEAR], least_saving=3.0), noise=0.0005, truth=little).word == "not met"


def test_how_many_rounds_a_saving_needs_is_said() -> None:
    needed = confirmed(start([CHEAP]), noise=0.04).needed
    assert set(needed) == {1.0, 2.0, 5.0}
    # It is the least that is announced: half of such savings are not, in any number of rounds.
    assert needed[1.0] is None
    assert needed[2.0] is not None
    assert needed[5.0] is not None
    assert needed[2.0] > 4 * needed[5.0]


def test_what_has_more_room_takes_the_place_of_what_is_too_noisy() -> None:
    candidates = [{"itr-delay": itr, "dvfs": 1200} for itr in range(10, 20)]
    expected = [{"read_p99_us": 295.0 - 20 * place} for place in range(10)]

    def noisy(point: Settings) -> dict[str, float]:
        place = point["itr-delay"] - 10 if point != DEFAULT else 9
        return {"energy_joules": 2000.0 if point == DEFAULT else 1000.0 + 10 * place, "read_p99_us": 295.0 - 20 * place}

    goal = msgspec.structs.replace(GOAL, parallel=2)
    confirmation = Confirmation(goal, candidates, default=DEFAULT, expected=expected)
    draw = random.Random(5)
    for _ in range(3):
        confirmation.add(
            [
                Repeat(point=w.point, metrics={**noisy(w.point), "achieved_ratio": 1.0, "read_p99_us": p99})
                for w in confirmation.round()
                for p99 in [noisy(w.point)["read_p99_us"] * draw.gauss(1, 0.1)]
            ]
        )
    next_ = [w.point for w in confirmation.round() if w.point != DEFAULT]
    assert all(candidates.index(p) > 2 for p in next_)


def test_what_was_beaten_is_back_when_its_better_falls() -> None:
    best, next_, open_, dear = ({"itr-delay": itr, "dvfs": 1200} for itr in (10, 11, 12, 13))
    confirmation = start([best, next_, open_, dear])
    joules = {10: 1000.0, 11: 1200.0, 12: 900.0, 13: 1500.0}

    def p99(place: int, round_: int) -> float:
        # The best keeps its limit of 300 us until it has been found to hold; of another it stays open.
        late = (100.0, 400.0)[round_ >= 3]
        return {10: late, 12: (225.0, 275.0, 250.0)[round_ % 3]}.get(place, 100.0)

    for round_ in range(20):
        wanted = confirmation.round()
        confirmation.add(
            [
                Repeat(
                    point=w.point,
                    metrics={
                        "energy_joules": joules.get(w.point["itr-delay"], 2000.0),
                        "read_p99_us": p99(w.point["itr-delay"], round_),
                        "achieved_ratio": 1.0,
                    },
                )
                for w in wanted
            ]
        )
    winner = confirmation.outcome().winner
    assert winner is not None
    assert (winner.point, winner.word) == (next_, "met")


def test_beside_one_that_holds_nothing_is_begun_that_is_expected_to_be_dearer() -> None:
    candidates = [{"itr-delay": itr, "dvfs": 1200} for itr in (10, 11, 12)]
    joules = {10: 1000.0, 11: 1200.0, 12: 1500.0}
    expected = [{"energy_joules": joules[c["itr-delay"]], "read_p99_us": 100.0} for c in candidates]
    goal = msgspec.structs.replace(GOAL, parallel=2)
    confirmation = Confirmation(goal, candidates, default=DEFAULT, expected=expected)
    for _ in range(3):
        confirmation.add(
            [
                Repeat(
                    point=w.point,
                    metrics={
                        "energy_joules": joules.get(w.point["itr-delay"], 2000.0),
                        "read_p99_us": 100.0,
                        "achieved_ratio": 1.0,
                    },
                )
                for w in confirmation.round()
            ]
        )
    assert confirmation.chosen == candidates[0]
    assert not confirmation.has(candidates[2])


def test_student_s_interval() -> None:
    # t(0.975, 4) = 2.776 by the tables.
    found = interval([1.0, 2.0, 3.0, 4.0, 5.0], math.sqrt(2.5), 4)
    assert found.high - found.mean == pytest.approx(2.776 * math.sqrt(2.5 / 5), rel=1e-3)


def test_wrong_numbers_are_refused() -> None:
    for wrong in ({"rounds": 0}, {"parallel": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            start([DEAR], **wrong)


def test_without_a_default_there_is_no_saving() -> None:
    confirmation = Confirmation(Goal(limits=(Constraint("x", 1.0),), guard=0.0, repeats=3), [DEAR])
    while wanted := confirmation.round():
        confirmation.add([Repeat(point=w.point, metrics={"energy_joules": 5.0, "x": 0.5}) for w in wanted])
    judged = confirmation.judge(DEAR)
    assert judged.saving_percent is None
    assert judged.word == "met"
