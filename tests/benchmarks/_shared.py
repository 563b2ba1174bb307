"""Rows of verdict_calibration on noise that windows share by their time, and on windows that break a limit at times."""

import math
import random
from collections.abc import Sequence

import msgspec

from mustherd.learn.judging import Judged
from tests.benchmarks._attacked import GOAL, Made, Metrics, Noise, Place, World, attacked, confirmed, said, truth
from tests.benchmarks._rows import Row, row

COMMON = 0.02
OWN = 0.005
"""Relative noise that all nodes have in common at a time, and a window's own."""


def shared(seed: int, memory: float = 0.0) -> Noise:
    """Noise that all nodes share at one time, `memory` of it with the window before; in units of COMMON."""
    draw = random.Random(f"shared/{seed}")
    series: dict[str, list[float]] = {}

    def noise(metric: str, place: Place) -> float:
        there = series.setdefault(metric, [draw.gauss(0, 1)])
        while len(there) <= place.window:
            there.append(memory * there[-1] + math.sqrt(1 - memory**2) * draw.gauss(0, 1))
        return there[place.window] + OWN / COMMON * draw.gauss(0, 1)

    return noise


def _sharing(memory: float = 0.0, drift: float = 0.0, apart: float = 0.0) -> Made:
    """`drift`: by how much everything grows from one window to the next; `apart`: how nodes differ, relatively."""

    def made(settings: Sequence[Metrics], seed: int) -> World:
        draw = random.Random(f"apart/{seed}")
        of_node: dict[str, float] = {}

        def factor(metric: str, place: Place) -> float:
            if metric not in SPREAD:
                return 1.0
            if place.node not in of_node:
                of_node[place.node] = math.exp(apart * draw.uniform(-0.5, 0.5)) if apart else 1.0
            return (1 + drift * place.window) * of_node[place.node]

        return World(settings, noise=shared(seed, memory), factor=factor, spread=SPREAD)

    return made


SPREAD = {"energy_joules": COMMON, "read_p99_us": COMMON}
CASES: tuple[tuple[str, Made, int, int], ...] = (
    *((f"{nodes} nodes, {of} candidates", _sharing(), nodes, of) for nodes in (1, 2, 4, 8) for of in (1, 3)),
    ("4 nodes, 10 candidates", _sharing(), 4, 10),
    ("4 nodes, half of it with the window before", _sharing(memory=0.5), 4, 3),
    ("4 nodes, and a drift of 0.2 % a window", _sharing(drift=0.002), 4, 3),
    ("4 nodes that are up to 10 % apart", _sharing(apart=0.1), 4, 3),
)
"""Name, world, nodes, candidates."""


def shares(runs: int) -> list[Row]:
    """Noise of 2 % that nodes share at one time, beside 0.5 % that each window has for itself."""
    rows = []
    for name, made, nodes, candidates in CASES:
        of = tuple(f"node-{k}" for k in range(nodes))
        rows += attacked(f"2 % in common, 0.5 % own: {name}", runs, made, nodes=of, candidates=candidates)
    return rows


# --- waves ---

PERIODS = (3, 4, 5, 6, 7, 8)
AMPLITUDE = 0.03
RIPPLE = 0.002


def waving(period: float) -> Made:
    """A wave of so many windows that everything is on at once, wherever it begins, and little other noise."""

    def made(settings: Sequence[Metrics], seed: int) -> World:
        begin = random.Random(f"wave/{seed}").uniform(0, 2 * math.pi)
        draw = random.Random(f"ripple/{seed}")

        def factor(metric: str, place: Place) -> float:
            wave = AMPLITUDE * math.sin(2 * math.pi * place.window / period + begin)
            return math.exp(wave) if metric == "energy_joules" else 1.0

        spread = {"energy_joules": RIPPLE, "read_p99_us": 0.012}
        return World(settings, noise=lambda metric, place: draw.gauss(0, 1), factor=factor, spread=spread)

    return made


def waves(runs: int) -> list[Row]:
    """Waves of a few windows on one node, and on two: are they taken for a saving?"""
    rows = []
    for nodes in (1, 2):
        of = tuple(f"node-{k}" for k in range(nodes))
        for period in PERIODS:
            name = f"a wave of 3 % and {period} windows, {nodes} nodes"
            # On one node a wave of four windows can be in step with all rounds: that is not promised.
            least = 0.85 if (nodes, period) == (1, 4) else 0.95
            rows += attacked(name, runs, waving(period), nodes=of, candidates=1, least=least)[:2]
    # In fewer than six rounds a wave isn't seen: that is not promised.
    few = msgspec.structs.replace(GOAL, repeats=2)
    return [
        *rows,
        attacked("a wave of 3 % and 4 windows, `repeats: 2`", runs, waving(4), candidates=1, most=0.12, goal=few)[0],
    ]


# --- windows that break a limit at times ---

ONE_IN = 6


def at_times(settings: Sequence[Metrics], seed: int) -> World:
    """p99 of 400 us, and of 520 in one window of six."""
    draw, quiet = random.Random(f"times/{seed}"), random.Random(f"quiet/{seed}")

    def factor(metric: str, place: Place) -> float:
        return 520 / 400 if metric == "read_p99_us" and place.setting and draw.random() < 1 / ONE_IN else 1.0

    spread = {"energy_joules": 0.0025, "read_p99_us": 0.012}
    return World(settings, noise=lambda metric, place: quiet.gauss(0, 1), factor=factor, spread=spread)


def returning(runs: int) -> list[Row]:
    """Windows that break the limit and are contradicted, and come back: is such a setting announced all the same?

    Of one in six the few windows of one node show none in a third of confirmations: that is not promised. Of three
    such settings the one is chosen that was lucky.
    """
    rows = []
    for nodes, candidates, most in ((1, 1, 0.4), (1, 3, 0.55), (2, 1, 0.2), (2, 3, 0.2), (4, 1, 0.05), (4, 3, 0.05)):
        settings = [truth(), *[truth(600.0, 400.0)] * candidates]
        of = tuple(f"node-{k}" for k in range(nodes))
        found = [confirmed(at_times(settings, s), len(settings), s, nodes=of) for s in range(runs)]
        name = f"520 us of 500 in 1 window of {ONE_IN}, {nodes} nodes, {candidates} candidates"
        if candidates == 1:
            seen = [said(o) for o in found if any(_seen(j) for j in o.judged)]
            rows.append(row(f"{name}: announced where one was seen", seen, most=0.05))
        rows.append(row(f"{name}: announced", [said(o) for o in found], most=most))
    return rows


def _seen(judged: Judged) -> bool:
    return any(held.kept < held.windows for held in judged.nodes["read_p99_us"])
