"""Rows of verdict_calibration on several limits at once, each of which other windows break."""

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from mustherd.goal import Constraint, Goal, keeps
from mustherd.learn.base import Settings
from mustherd.learn.judging import RankingResult
from mustherd.learn.windows import Repeat
from tests.benchmarks._attacked import CALM, GOAL, LIMIT_US, Metrics, Place, World, confirmed, independent, said, truth
from tests.benchmarks._rows import Row, row

NODE = "node-0"
LIMITED = ("read_p99_us", "update_p99_us", "read_p95_us", "update_p95_us")
KEPT_US = 400.0
BROKEN_US = 520.0
HARDLY = 0.04
"""The share of windows that break one limit where few do."""
IN_ALL = 1 / 6
"""The share that break any where that is what the row `returning` has of one limit."""
OFTEN = 0.4
"""The share that break any where most confirmations show it."""


class Watched(World):
    """A world that keeps every window that was measured."""

    def __init__(self, settings: Sequence[Metrics], **how: Any) -> None:
        super().__init__(settings, **how)
        self.measured: list[Repeat] = []

    def measure(self, point: Settings, node: str, round_: int, window: int) -> Repeat:
        """One window."""
        self.measured.append(super().measure(point, node, round_, window))
        return self.measured[-1]


class Confirmed(NamedTuple):
    """A confirmation's end, and what its windows did."""

    outcome: RankingResult
    seen: int
    """How many windows broke a limit: of what was announced, else of any setting."""
    next: bool
    """Whether one window more of what was announced breaks one."""


def _each(in_all: float, limits: int) -> float:
    """The share of windows that break one of so many limits, where that share breaks any."""
    return float(1 - (1 - in_all) ** (1 / limits))


def _confirm(limits: int, share: float, seed: int, *, others: Sequence[Metrics] = ()) -> Confirmed:
    """Setting 1 saves 10 %, and `share` of its windows break each of so many limits; the others break none."""
    names = LIMITED[:limits]
    draw = random.Random(f"several/{seed}")

    def factor(metric: str, place: Place) -> float:
        return BROKEN_US / KEPT_US if metric in names and place.setting == 1 and draw.random() < share else 1.0

    spread = {"energy_joules": CALM["energy_joules"], **dict.fromkeys(names, CALM["read_p99_us"])}
    settings = [truth(**dict.fromkeys(names, 300.0)), truth(900.0, **dict.fromkeys(names, KEPT_US)), *others]
    world = Watched(settings, noise=independent(seed), factor=factor, spread=spread)
    goal: Goal = msgspec.structs.replace(GOAL, limits=tuple(Constraint(name, LIMIT_US) for name in names))
    outcome = confirmed(world, len(settings), seed, nodes=(NODE,), goal=goal)
    broken = Counter(one.point["x"] for one in world.measured if not keeps(one.metrics, goal.constraints))
    if not said(outcome) or outcome.winner is None:
        return Confirmed(outcome, broken.total(), False)
    last = world.measure(outcome.winner.point, NODE, outcome.rounds, len(world.measured))
    return Confirmed(outcome, broken[outcome.winner.point["x"]], not keeps(last.metrics, goal.constraints))


def several(runs: int) -> list[Row]:
    """Two and four limits: does a second window that breaks any of them end it, and does the next window keep all?

    What the next window does of a setting alone is the setting's share, whatever the rule; so that is asked where a
    dearer one keeps every limit and should be announced.
    """
    rows = []
    for limits in (2, 4):
        each = _each(IN_ALL, limits)
        safe = truth(950.0, **dict.fromkeys(LIMITED[:limits], KEPT_US))
        few = [_confirm(limits, HARDLY, seed) for seed in range(runs)]
        some = [_confirm(limits, each, seed) for seed in range(runs)]
        often = [_confirm(limits, _each(OFTEN, limits), seed, others=[safe]) for seed in range(runs)]
        for share, found in ((HARDLY, few), (each, some)):
            two = [said(one.outcome) and one.seen > 1 for one in found]
            name = f"{limits} limits, each broken by {100 * share:.1f} % of windows"
            rows.append(row(f"{name}: announced with two windows seen over a limit", two, most=0.0))
        seen = [said(one.outcome) for one in some if one.seen]
        over = [one.next for one in often if said(one.outcome)]
        name = f"{limits} limits, 2 windows of 5 break any, beside a setting that keeps them"
        rows += [
            row(f"{limits} limits, 1 window of 6 breaks any: announced where one was seen", seen, most=0.05),
            row(f"{name}: the window after 'met' breaks any limit", over, most=0.05),
            row(f"{name}: announced", [said(one.outcome) for one in often], least=0.9),
        ]
    return rows
