"""Rows of verdict_calibration that attack the statistics: noise and goals that break what a simple verdict assumes."""

import functools
import math
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from mustherd.goal import Constraint, Goal, Objective
from mustherd.learn.base import Settings
from mustherd.learn.confirmation import Confirmation
from mustherd.learn.inference import level_of, rounds_needed
from mustherd.learn.judging import RankingResult
from mustherd.learn.windows import Repeat
from mustherd.metrics import Direction
from tests.benchmarks._rows import Row, row

LIMIT_US = 500.0
GOAL = Goal(limits=(Constraint("read_p99_us", LIMIT_US),), repeats=3)
QUIET = {"energy_joules": 0.01, "read_p99_us": 0.05}
"""Relative noise of one window, greater than recorded: what is attacked has to have something to hide in."""
CALM = {"energy_joules": 0.003, "read_p99_us": 0.012}
Metrics = Mapping[str, float]
CANDIDATES = 3


def truth(energy: float = 1000.0, p99: float = 300.0, **more: float) -> dict[str, float]:
    """A setting as it is."""
    return {"energy_joules": energy, "read_p99_us": p99, "achieved_ratio": 1.0, **more}


class Place(NamedTuple):
    """Where and when a window is measured."""

    setting: int
    node: str
    round: int
    window: int
    """Its number in time: nodes measure side by side, so those of the same number are of the same time."""


Noise = Callable[[str, Place], float]
"""A metric and a window's place to the relative noise there, in standard deviations."""
Factor = Callable[[str, Place], float]
"""A metric and a window's place to what the truth is multiplied by there."""


class World:
    """Where windows come from."""

    def __init__(
        self,
        settings: Sequence[Metrics],
        *,
        noise: Noise,
        factor: Factor = lambda metric, place: 1.0,
        spread: Metrics = QUIET,
        rounded: Callable[[float], float] = lambda value: value,
        error: float = 0.0,
    ) -> None:
        """`rounded`: what is reported of a p99, with the relative `error` that the load then says it has."""
        self._settings = settings
        self._noise = noise
        self._factor = factor
        self._spread = spread
        self._rounded = rounded
        self._errors = {"read_p99_us": error} if error else {}

    def measure(self, point: Settings, node: str, round_: int, window: int) -> Repeat:
        """One window."""
        place = Place(point["x"], node, round_, window)
        found = {}
        for metric, true in self._settings[place.setting].items():
            off = self._spread.get(metric, 0.0) and self._spread[metric] * self._noise(metric, place)
            found[metric] = true * self._factor(metric, place) * math.exp(off)
        found["read_p99_us"] = self._rounded(found["read_p99_us"])
        return Repeat(point=point, metrics=found, where=node, errors=self._errors)


def independent(seed: int) -> Noise:
    """Normal noise that no window shares with another."""
    draw = random.Random(f"attacked/{seed}")
    return lambda metric, place: draw.gauss(0, 1)


def dependent(seed: int, share: float, of: Callable[[Place], Any]) -> Noise:
    """AR(1): a window's noise is `share` that of the window before it among those that `of` says belong together."""
    draw = random.Random(f"attacked/{seed}")
    last: dict[Any, float] = {}

    def noise(metric: str, place: Place) -> float:
        key = (metric, of(place))
        fresh = draw.gauss(0, 1)
        before = last.get(key)
        last[key] = fresh if before is None else share * before + math.sqrt(1 - share**2) * fresh
        return last[key]

    return noise


def confirmed(world: World, count: int, seed: int, *, nodes: Sequence[str] = ("node-0",), goal: Goal = GOAL) -> Any:
    """Confirm all settings but the first, which is the default."""
    points: list[Settings] = [{"x": place} for place in range(count)]
    confirmation = Confirmation(msgspec.structs.replace(goal, seed=seed), points[1:], default=points[0])
    rounds = windows = 0
    while confirmation.round():
        measured, longest = [], 0
        for number, node in enumerate(nodes):
            mine = [one.point for one in confirmation.round(number) if one.where in ("", node)]
            measured += [world.measure(point, node, rounds, windows + at) for at, point in enumerate(mine)]
            longest = max(longest, len(mine))
        confirmation.add(measured)
        rounds, windows = rounds + 1, windows + longest
    return confirmation.outcome()


Made = Callable[[Sequence[Metrics], int], World]
"""Settings and a seed to where their windows come from."""


def _plain(settings: Sequence[Metrics], seed: int) -> World:
    return World(settings, noise=independent(seed))


def attacked(
    name: str,
    runs: int,
    made: Made,
    *,
    candidates: int = CANDIDATES,
    most: float = 0.025,
    least: float = 0.95,
    beyond: float = 0.025,
    **how: Any,
) -> list[Row]:
    """Three questions under one attack: a flat surface, a saving of 10 %, a limit that is missed by 3 %.

    `most`, `least` and `beyond`: how often the first may be announced, the interval has to cover the second, and the
    third may be announced.
    """
    flat = [truth()] * (candidates + 1)
    saves = [truth(), *[truth(900.0)] * candidates]
    misses = [truth(), *[truth(600.0, 515.0)] * candidates]
    false = [said(confirmed(made(flat, seed), len(flat), seed, **how)) for seed in range(runs)]
    found = [confirmed(made(saves, seed), len(saves), seed, **how) for seed in range(runs)]
    wrong = [said(confirmed(made(misses, seed), len(misses), seed, **how)) for seed in range(runs)]
    return [
        row(f"{name}: a saving where there is none", false, most=most),
        row(f"{name}: the announced interval covers 10 %", covering(found, 10.0), least=least),
        row(f"{name}: a setting of 515 us of 500", wrong, most=beyond),
    ]


def said(outcome: RankingResult) -> bool:
    """Whether anything was announced."""
    return outcome.word == "met"


def covering(outcomes: Sequence[RankingResult], percent: float) -> list[bool]:
    """Of what was announced, whether the interval of the saving holds the true one."""
    return [
        o.winner.saving_percent.covers(percent)
        for o in outcomes
        if said(o) and o.winner is not None and o.winner.saving_percent is not None
    ]


# --- what is attacked with ---

NODES = ("node-0", "node-1", "node-2")
HALF = 0.5
"""Of a window's noise, what it shares with the one before."""


def _in_time(settings: Sequence[Metrics], seed: int) -> World:
    return World(settings, noise=dependent(seed, HALF, lambda place: place.node))


def _in_setting(settings: Sequence[Metrics], seed: int) -> World:
    return World(settings, noise=dependent(seed, HALF, lambda place: (place.node, place.setting)))


def _drifting(settings: Sequence[Metrics], seed: int) -> World:
    """Everything uses 0.5 % more, and takes 0.2 % longer, window by window."""
    each = {"energy_joules": 0.005, "read_p99_us": 0.002}
    return World(settings, noise=independent(seed), factor=lambda metric, p: 1 + each.get(metric, 0.0) * p.window)


def _uneven(settings: Sequence[Metrics], seed: int) -> World:
    """Each setting uses up to some per cent more on one node than on another; over the nodes nothing."""
    draw = random.Random(f"uneven/{seed}")
    own = [[draw.gauss(0, 0.02) for _ in NODES] for _ in settings]
    even = [[value - statistics.fmean(of) for value in of] for of in own]

    def factor(metric: str, place: Place) -> float:
        return math.exp(even[place.setting][NODES.index(place.node)]) if metric == "energy_joules" else 1.0

    return World(settings, noise=independent(seed), factor=factor)


BIN = 0.1


def _in_bins(settings: Sequence[Metrics], seed: int) -> World:
    """p99 in bins 10 % wide, as mutilate prints it, wherever they begin; the load says what that makes of it."""
    begin = random.Random(f"bins/{seed}").random()

    def rounded(value: float) -> float:
        step = math.log1p(BIN)
        return math.exp((math.floor(math.log(value) / step - begin) + begin + 0.5) * step)

    return World(settings, noise=independent(seed), rounded=rounded, error=BIN / math.sqrt(12))


def _whole(settings: Sequence[Metrics], seed: int) -> World:
    """p99 in tens of us, and hardly any noise: windows that all say the same."""
    spread = {"energy_joules": 0.01, "read_p99_us": 0.002}
    return World(settings, noise=independent(seed), spread=spread, rounded=lambda value: round(value, -1))


EIGHT = tuple(f"node-{k}" for k in range(8))


def _disturbed(settings: Sequence[Metrics], seed: int) -> World:
    """In one window of ten, whichever setting it is of, something else makes p99 half as long again and uses 20 % more.

    Such windows of a candidate are measured again for their p99, those of the default never.
    """
    draw = random.Random(f"disturbed/{seed}")
    hit: dict[Place, bool] = {}

    def factor(metric: str, place: Place) -> float:
        if metric == "energy_joules":  # The first of a window's metrics.
            hit[place] = draw.random() < 0.1
        return {"energy_joules": 1.2, "read_p99_us": 1.5}.get(metric, 1.0) if hit[place] else 1.0

    return World(settings, noise=independent(seed), factor=factor, spread=CALM)


ATTACKS: tuple[tuple[str, Made, dict[str, Any]], ...] = (
    ("windows in time share half their noise", _in_time, {}),
    ("rounds of a setting share half their noise", _in_setting, {}),
    ("a drift through the confirmation", _drifting, {}),
    ("settings that differ from node to node", _uneven, {"nodes": NODES}),
    ("windows of all settings that are disturbed", _disturbed, {"nodes": EIGHT}),
    ("p99 in bins of 10 %", _in_bins, {}),
    ("p99 in tens of us", _whole, {}),
    ("1 round", _plain, {"goal": msgspec.structs.replace(GOAL, repeats=1, rounds=1)}),
    ("20 rounds", _plain, {"goal": msgspec.structs.replace(GOAL, rounds=20)}),
)


def attacks(runs: int) -> list[Row]:
    """Every attack over so many confirmations for each of its questions."""
    return [one for name, made, how in ATTACKS for one in attacked(name, runs, made, **how)]


# --- noise with a memory ---

ONE_IN_THIRTY = 1 / 30
ONE_IN_SEVENTEEN = 1 / 17
LOUD = 10
MEMORIES: tuple[tuple[float, dict[str, Any]], ...] = (
    (0.3, {}),
    (0.6, {}),
    # Where a setting's rounds are nearly one and the same, nobody can know it from ten of them: this is not promised.
    (0.9, {"most": 0.2, "least": 0.65, "beyond": 0.1}),
)
"""What a window's noise keeps of the setting's round before, and how often what is announced may be wrong then."""


def memories(runs: int) -> list[Row]:
    """Noise that a setting keeps from round to round: is it told, and does what is announced hold all the same?"""
    rows = []
    for share, how in MEMORIES:

        def made(settings: Sequence[Metrics], seed: int, share: float = share) -> World:
            return World(settings, noise=dependent(seed, share, lambda place: (place.node, place.setting)))

        rows += attacked(f"rounds keep {share:g} of a setting's noise", runs, made, **how)
        rows.append(row(f"rounds keep {share:g} of a setting's noise: it is said", _told(made, runs), least=share / 3))
    rows.append(row("rounds that keep nothing: it is said that they do", _told(_plain, runs), most=ONE_IN_THIRTY))
    for name, loud in (("the default", 0), ("a candidate", 1)):

        def louder(settings: Sequence[Metrics], seed: int, loud: int = loud) -> World:
            noise = independent(seed)
            return World(settings, noise=lambda m, p: noise(m, p) * (LOUD if p.setting == loud else 1), spread=CALM)

        rows.append(row(f"the same, {name} {LOUD} times as noisy", _told(louder, runs, 0.0), most=ONE_IN_SEVENTEEN))
    return rows


def _told(made: Made, runs: int, percent: float = 10.0) -> list[bool]:
    settings = [truth(), *[truth(1000.0 - 10 * percent)] * CANDIDATES]
    return [confirmed(made(settings, seed), len(settings), seed).memory.seen for seed in range(runs)]


# --- goals that are attacked ---

MORE = msgspec.structs.replace(GOAL, objectives=(Objective("throughput", Direction.MORE),))
TWO = msgspec.structs.replace(GOAL, objectives=(*GOAL.objectives, Objective("throughput", Direction.MORE)))
UPDATES = msgspec.structs.replace(GOAL, limits=(*GOAL.limits, Constraint("update_p99_us", 400.0)))
NOISY = {**QUIET, "throughput": 0.01, "update_p99_us": 0.1}


def _noisy(settings: Sequence[Metrics], seed: int) -> World:
    return World(settings, noise=independent(seed), spread=NOISY)


def goals(runs: int) -> list[Row]:
    """Goals of another kind than the usual one, on settings that are no better and on some that are."""

    def every(settings: list[dict[str, float]], goal: Goal) -> list[RankingResult]:
        return [confirmed(_noisy(settings, seed), len(settings), seed, goal=goal) for seed in range(runs)]

    def each(first: dict[str, float], others: dict[str, float], goal: Goal) -> list[RankingResult]:
        return every([first, *[others] * CANDIDATES], goal)

    many = msgspec.structs.replace(GOAL, parallel=10)
    beyond = truth(p99=700.0)
    usual = truth(throughput=100.0, update_p99_us=200.0)
    cheap = truth(600.0, throughput=100.0, update_p99_us=200.0)
    none: tuple[tuple[str, list[RankingResult]], ...] = (
        ("p99 that is just the limit", each(truth(), truth(600.0, LIMIT_US), GOAL)),
        ("ten candidates, flat", every([truth()] * 11, many)),
        ("an objective to be maximized, flat", each(usual, usual, MORE)),
        ("two objectives, flat", each(usual, usual, TWO)),
        ("a baseline that breaks the limit, flat", each(beyond, truth(), GOAL)),
        ("the second of two limits is missed by 3 %", each(usual, {**cheap, "update_p99_us": 412.0}, UPDATES)),
    )
    some: tuple[tuple[str, list[RankingResult]], ...] = (
        ("ten candidates", every([truth(), *[truth(900.0)] * 10], many)),
        ("an objective to be maximized", each(usual, {**usual, "throughput": 110.0}, MORE)),
        ("two objectives", each(usual, {**usual, "energy_joules": 900.0}, TWO)),
        ("a baseline that breaks the limit", each(beyond, truth(900.0), GOAL)),
        ("two limits", each(usual, {**usual, "energy_joules": 900.0}, UPDATES)),
    )
    return [
        *(row(f"{name}: announced", [said(o) for o in found], most=0.025) for name, found in none),
        *(row(f"{name}: the announced interval covers 10 %", covering(of, 10.0), least=0.95) for name, of in some),
    ]


def power(runs: int) -> list[Row]:
    """A user who gives a confirmation the rounds that `plan` and the verdict name: is the saving then announced?"""
    rows = []
    for noise, percent, candidates in ((0.01, 2.0, 1), (0.01, 2.0, 3), (0.01, 5.0, 3), (0.03, 5.0, 3)):
        level = functools.partial(_level, candidates)
        rounds = rounds_needed(percent, math.sqrt(2) * noise, level=level, least_percent=GOAL.least_saving)
        assert rounds is not None
        goal = msgspec.structs.replace(GOAL, rounds=rounds)
        settings = [truth(), truth(1000 - 10 * percent), *[truth()] * (candidates - 1)]
        spread = {"energy_joules": noise, "read_p99_us": 0.02}
        worlds = [World(settings, noise=independent(seed), spread=spread) for seed in range(runs)]
        found = [confirmed(world, len(settings), seed, goal=goal) for seed, world in enumerate(worlds)]
        name = f"{percent:g} % at noise {noise:g}, {candidates} candidates, in the {rounds} rounds said"
        rows.append(row(f"{name}: announced", [said(o) for o in found], least=0.8))
    return rows


def _level(candidates: int, rounds: int) -> float:
    return level_of(GOAL.repeats, rounds, candidates)
