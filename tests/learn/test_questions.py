"""Questions: windows that a node measures beside the rounds, where one broke a limit at times."""

from collections.abc import Callable

import msgspec

from mustherd.goal import Constraint, Goal
from mustherd.learn.base import Settings
from mustherd.learn.confirmation import Confirmation
from mustherd.learn.judging import RankingResult
from mustherd.learn.windows import Repeat

DEFAULT = {"x": 0}
DEAR = {"x": 1}
GOAL = Goal(limits=(Constraint("read_p99_us", 300.0),), repeats=3)


def start(rounds: int = 3) -> Confirmation:
    return Confirmation(msgspec.structs.replace(GOAL, rounds=rounds), [DEAR], default=DEFAULT)


def true(point: Settings) -> dict[str, float]:
    return {"energy_joules": 2000.0 - 500.0 * point["x"], "read_p99_us": 100.0, "achieved_ratio": 1.0}


def sometimes_over(confirmation: Confirmation, over: Callable[[int], bool]) -> tuple[RankingResult, list[bool]]:
    """The outcome where every window of the candidate that `over` names by its number has 330 us of 300."""
    seen: list[bool] = []
    while wanted := confirmation.round():
        measured = []
        for w in wanted:
            metrics = dict(true(w.point))
            if w.point == DEAR:
                seen.append(over(len(seen)))
                metrics["read_p99_us"] = 330.0 if seen[-1] else 250.0 + len(seen) % 2
            measured.append(Repeat(point=w.point, metrics=metrics, where="node-0"))
        confirmation.add(measured)
    return confirmation.outcome(), seen


def test_a_window_over_the_limit_is_one_of_twenty_before_anything_is_promised() -> None:
    outcome, seen = sometimes_over(start(rounds=8), lambda number: number == 2)
    assert (outcome.word, len(seen), seen.count(True)) == ("met", 20, 1)
    # That is for a window that is contradicted, and comes once.
    outcome, seen = sometimes_over(start(rounds=8), lambda number: number in (2, 11))
    assert outcome.word == "not certain"
    assert len(seen) < 20, "a second one settles it"
    outcome, seen = sometimes_over(start(), lambda number: False)
    assert (outcome.word, len(seen)) == ("met", 6)


def test_a_window_over_each_of_two_limits_is_one_too_many_of_twenty() -> None:
    limits = (*GOAL.limits, Constraint("update_p99_us", 300.0))
    for second, word in ((6, "not certain"), (2, "met")):
        confirmation = Confirmation(msgspec.structs.replace(GOAL, limits=limits, rounds=8), [DEAR], default=DEFAULT)
        over = {"read_p99_us": 2, "update_p99_us": second}
        count = 0
        while wanted := confirmation.round():
            measured = []
            for w in wanted:
                metrics = {**true(w.point), "update_p99_us": 100.0}
                if w.point == DEAR:
                    metrics |= {m: 330.0 if count == place else 250.0 + count % 2 for m, place in over.items()}
                    count += 1
                measured.append(Repeat(point=w.point, metrics=metrics, where="node-0"))
            confirmation.add(measured)
        assert confirmation.outcome().word == word
        assert (count == 20) == (word == "met"), "a second one settles it; one that broke both limits is one"


def test_a_node_that_is_gone_is_not_asked_for_ever() -> None:
    confirmation = start(rounds=8)
    count = 0
    while wanted := confirmation.round():
        asked_more = [w.where for w in wanted] == ["node-0"] * 4
        measured = []
        for w in wanted:
            metrics = dict(true(w.point))
            if w.point == DEAR:
                count += 1
                metrics["read_p99_us"] = 330.0 if count == 3 else 250.0 + count % 2
            measured.append(Repeat(point=w.point, metrics=metrics, where="node-0"))
        confirmation.add([] if asked_more else measured)
        assert count < 50
    assert confirmation.outcome().word == "not certain"


def test_nothing_is_announced_while_a_window_of_the_winner_is_questioned() -> None:
    confirmation = start(rounds=8)
    count = 0
    while confirmation.chosen is None or len(confirmation.round()) != 4:
        measured = []
        for w in confirmation.round():
            metrics = dict(true(w.point))
            if w.point == DEAR:
                count += 1
                metrics["read_p99_us"] = 330.0 if count == 3 else 250.0 + count % 2
            measured.append(Repeat(point=w.point, metrics=metrics, where="node-0"))
        confirmation.add(measured)
    outcome = confirmation.outcome()
    assert (outcome.word, outcome.asked) == ("not certain", True)
