"""Nodes that say the same thing twice, and one that never says anything."""

import math
import random
from collections.abc import Mapping, Sequence

import msgspec
import pytest

from mustherd.experiment.repeats import Rounds
from mustherd.goal import Constraint, Goal
from mustherd.learn.agreement import agreement
from mustherd.learn.windows import Block
from mustherd.trial import Trial, TrialKind, TrialState
from tests.benchmarks._attacked import Metrics, Place, World, confirmed, covering, said, truth

NODES = ("node-0", "node-1")
OPPOSITE, OWN = 0.05, 0.002


def opposed(settings: Sequence[Metrics], seed: int) -> World:
    """What one node gains from window to window the other loses, as where a load is shared between them."""
    draw = random.Random(f"opposed/{seed}")
    series: dict[str, list[float]] = {}

    def noise(metric: str, place: Place) -> float:
        there = series.setdefault(metric, [])
        while len(there) <= place.window:
            there.append(draw.gauss(0, 1))
        return there[place.window] * (1 if place.node == NODES[0] else -1) + OWN / OPPOSITE * draw.gauss(0, 1)

    return World(settings, noise=noise, factor=lambda _metric, _place: 1.0, spread={"energy_joules": OPPOSITE})


def blocks(differences: Mapping[int, Sequence[float]]) -> list[Block]:
    """Of the nodes of each round."""
    return [Block(f"node-{k}", d, 0.0, r) for r, of in differences.items() for k, d in enumerate(of)]


def test_equal_differences_of_a_round_are_one_finding() -> None:
    alike = {r: [value, value] for r, value in enumerate((-0.1, 0.1, -0.1, 0.1, -0.1, 0.1))}
    # 12 differences, of which 6 are independent: 11 / 5 is the ratio of the two variances.
    found = agreement(blocks(alike))
    assert found.wider == pytest.approx(math.sqrt(11 / 5))
    assert found.freedom == 5
    assert agreement(blocks({r: [value, -value] for r, value in enumerate((0.1, 0.2, 0.1))})) == (1, 5)
    assert agreement(blocks({r: [value] for r, value in enumerate((0.1, 0.2, 0.1))})) == (1, 2)
    assert agreement(blocks({0: [0.1, 0.2]})) == (1, 1)
    assert agreement(blocks({})) == (1, 0)
    assert agreement(blocks({0: [0.1, 0.1], 1: [0.1]})) == (1, 2)


def test_what_one_node_gains_and_the_other_loses_is_no_saving() -> None:
    flat: list[Metrics] = [truth()] * 2
    # Taken for two findings a round, it was announced in 4 to 6 %.
    assert sum(said(confirmed(opposed(flat, seed), 2, seed, nodes=NODES)) for seed in range(200)) <= 6
    saves = [truth(), truth(700.0)]
    covered = covering([confirmed(opposed(saves, seed), 2, seed, nodes=NODES) for seed in range(60)], 30.0)
    assert len(covered) >= 50
    assert covered.count(False) <= 3


def test_a_node_on_which_every_window_of_a_setting_failed_keeps_it_from_being_announced() -> None:
    draw = random.Random(1)
    goal = Goal(limits=(Constraint("read_p99_us", 500.0),), repeats=3)
    rounds = Rounds(goal, [{"x": 1}], default={})
    musters = ["m0", "m1", "m2"]
    number = 2
    while rounds.due(musters):
        for muster in musters:
            for settings, place in [due for due in rounds.due(musters) if due[1] == muster]:
                number += 1
                trial = Trial(
                    number=number,
                    kind=TrialKind.CONFIRM,
                    settings=settings,
                    round=rounds.step,
                    place=place,
                    muster=muster,
                )
                rounds.begun(trial)
                if settings and muster == "m0":
                    rounds.ended(msgspec.structs.replace(trial, state=TrialState.FAILED, reason="knob-not-held"))
                    continue
                joules = (700 if settings else 1000) * (1 + draw.gauss(0, 0.01))
                measured = {
                    "energy_joules": joules,
                    "achieved_ratio": 1.0,
                    "read_p99_us": 300 * (1 + draw.gauss(0, 0.02)),
                }
                rounds.ended(msgspec.structs.replace(trial, state=TrialState.FINISHED, metrics=measured))
    outcome = rounds.so_far().outcome()
    assert outcome.word == "not certain"
    assert outcome.winner is not None
    assert outcome.winner.missing == ("m0",)
