"""What repeated measurements let one say."""

import math
import random

import msgspec
import pytest

from mustherd.goal import Constraint, Goal
from mustherd.learn.base import Settings
from mustherd.learn.confirmation import Confirmation, RankingResult, Repeat, interval
from mustherd.testing.search import PROBLEM

DEFAULT = {"itr-delay": 1, "dvfs": 1800}
CHEAP = {"itr-delay": 200, "dvfs": 1200}
DEAR = {"itr-delay": 100, "dvfs": 1400}
TRUTH = {
    (1, 1800): {"energy_joules": 2000.0, "read_p99_us": 100.0, "achieved_ratio": 1.0},
    (200, 1200): {"energy_joules": 1000.0, "read_p99_us": 330.0, "achieved_ratio": 1.0},
    (100, 1400): {"energy_joules": 1500.0, "read_p99_us": 250.0, "achieved_ratio": 1.0},
}


def confirmed(
    confirmation: Confirmation,
    noise: float = 0.005,
    drift: float = 0.0,
    truth: dict[tuple[int, int], dict[str, float]] | None = None,
) -> RankingResult:
    draw = random.Random(1)
    factor = 1.0
    while points := confirmation.round():
        measured = []
        for p in points:
            values = (truth or TRUTH)[p["itr-delay"], p["dvfs"]]
            measured.append((p, {m: v * factor * (1 + noise * draw.gauss(0, 1)) for m, v in values.items()}))
        confirmation.add([Repeat(point=p, metrics={**m, "achieved_ratio": 1.0}) for p, m in measured])
        factor *= 1 + drift
    return confirmation.outcome()


def start(candidates: list[Settings], **options: float) -> Confirmation:
    return Confirmation(msgspec.structs.replace(PROBLEM.goal, **options), candidates, default=DEFAULT)


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
    outcome = confirmed(start([CHEAP], rounds=4), noise=0.02, truth=near)
    assert outcome.word == "not certain"
    assert outcome.rounds == 4


def test_drift_cancels_in_pairs() -> None:
    outcome = confirmed(start([DEAR], rounds=6), drift=0.03, noise=0.001)
    assert outcome.winner is not None
    assert outcome.winner.saving_percent is not None
    assert outcome.winner.saving_percent.high - outcome.winner.saving_percent.low < 2


def test_a_margin_keeps_room_for_drift() -> None:
    assert confirmed(start([DEAR])).word == "met"
    assert confirmed(start([DEAR], margin=0.2)).word == "not met"


def test_one_round_is_never_enough() -> None:
    confirmation = start([DEAR], repeats=1, rounds=1)
    outcome = confirmed(confirmation)
    assert outcome.word == "not certain"
    assert outcome.winner is not None
    assert math.isinf(outcome.winner.limits["read_p99_us"].high)


def test_rounds_hold_every_setting_in_changing_order() -> None:
    orders = set()
    confirmation = start([CHEAP, DEAR, DEFAULT], seed=3)
    for p99 in (290.0, 310.0, 290.0, 310.0, 290.0, 310.0):
        points = confirmation.round()
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
    confirmation.add([Repeat(point=p, metrics=TRUTH[p["itr-delay"], p["dvfs"]]) for p in first])
    assert confirmation.round() == first[::-1]


def test_a_node_that_uses_more_is_not_a_saving() -> None:
    # Node b uses 10 % more; the candidate runs there two times of three.
    confirmation = start([DEAR], repeats=3, rounds=3)
    for number, where in enumerate(("ab", "ba", "ab")):
        measured = []
        for p, node in zip((DEFAULT, DEAR), where, strict=True):
            values = dict(TRUTH[p["itr-delay"], p["dvfs"]])
            values["energy_joules"] *= (1.1 if node == "b" else 1.0) * (1 + 0.001 * (-1) ** number * (p == DEAR))
            measured.append(Repeat(point=p, metrics=values, where=node))
        confirmation.add(measured)
    saving = confirmation.judge(DEAR).saving_percent
    assert saving is not None
    assert saving.mean == pytest.approx(25, abs=0.2)
    assert saving.high - saving.low < 5


def test_settings_that_never_shared_a_node_are_compared_as_they_are() -> None:
    confirmation = start([DEAR], repeats=3, rounds=3)
    for wobble in (1.0, 1.01, 0.99):
        confirmation.add(
            [
                Repeat(point=DEFAULT, metrics=TRUTH[1, 1800], where="a"),
                Repeat(
                    point=DEAR,
                    metrics={**TRUTH[100, 1400], "energy_joules": 1500 * wobble},
                    where="b",
                ),
            ]
        )
    saving = confirmation.judge(DEAR).saving_percent
    assert saving is not None
    assert saving.low < 25 < saving.high


def test_student_s_interval() -> None:
    # t(0.975, 4) = 2.776 by the tables.
    found = interval([1.0, 2.0, 3.0, 4.0, 5.0], math.sqrt(2.5), 4)
    assert found.high - found.mean == pytest.approx(2.776 * math.sqrt(2.5 / 5), rel=1e-3)


def test_wrong_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        start([DEAR], rounds=0)


def test_without_a_default_there_is_no_saving() -> None:
    goal = Goal(limits=(Constraint("x", 1.0),), guard=0.0, repeats=3)
    confirmation = Confirmation(goal, [DEAR])
    for _ in range(3):
        confirmation.add([Repeat(point=DEAR, metrics={"energy_joules": 5.0, "x": 0.5})])
    judged = confirmation.judge(DEAR)
    assert judged.saving_percent is None
    assert judged.word == "met"
