"""Rows of verdict_calibration that take whole experiments: search, confirmation, verdict, on surfaces with a truth."""

import functools
import random
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from scipy.special import stdtrit

from mustherd.definition import Experiment, goal
from mustherd.experiment.again import Record, for_today
from mustherd.experiment.calibration import Scatter, Whole, definition, experiment
from mustherd.goal import keeps
from mustherd.learn.replay import Table
from mustherd.learn.surfaces import LIMIT, SHAPES, surface
from tests.benchmarks._cases import Case, solved
from tests.benchmarks._rows import Row, outliers, row, student
from tests.recorded import DEFAULT, LOADS, table

MEASURED = Scatter(noise={"energy_joules": 0.0025, "read_p99_us": 0.012, "achieved_ratio": 0.0005})
GROWING = msgspec.structs.replace(MEASURED, at_limit={"read_p99_us": 0.2})
"""As MEASURED, and near the limit what was recorded there."""


def defined(answers: Table, default: Mapping[str, int], trials: int = 25, **keys: Any) -> Experiment:
    """The experiment with all its defaults on a table."""
    keys = {"limits": (LIMIT,), **keys}
    return definition(answers, objective="energy_joules", default=dict(default), trials=trials, **keys)


def unconfirmed(runs: int) -> list[Row]:
    """`repeats: 0` on settings that all use the same: what is said of what was measured once?"""
    words = []
    for seed in range(runs):
        answers, default = surface("flat", seed)
        told = defined(answers, default, 6, repeats=0, search={"method": "random"})
        words.append(experiment(answers, told, MEASURED, seed).verdict.verdict)
    return [
        row("repeats: 0 on a plateau: 'met'", [w == "met" for w in words], most=0.0),
        row("repeats: 0 on a plateau: 'not certain'", [w == "not certain" for w in words], least=1.0),
    ]


@functools.cache
def _on(source: str, qps: int) -> tuple[Table, Experiment]:
    answers = solved(Case(source, qps))[0]
    return answers, defined(answers, DEFAULT)


def growing(runs: int) -> list[Row]:
    """Whole experiments where noise grows towards the limit."""
    tables = [_on(source, qps) for source in ("recorded", "twin") for qps in LOADS]
    found = [experiment(*tables[seed % len(tables)], GROWING, seed) for seed in range(runs)]
    return _of_announced("noise that grows to 20 % at the limit, recorded grid and twin", found, power=0.6)


def _of_announced(name: str, found: list[Whole], power: float) -> list[Row]:
    said = [one for one in found if one.true_percent is not None]
    rows = [
        row(f"{name}: what is announced truly keeps the limits", [bool(o.keeps_limits) for o in said], least=0.975),
        row(f"{name}: and is within 5 % of the best", [bool(o.near) for o in said], least=0.95),
        row(f"{name}: the interval covers the saving", [bool(o.covered) for o in said], least=0.95),
        row(f"{name}: the next window is over the limit", [bool(o.next_over) for o in said], most=0.05),
        row(f"{name}: announced", [o.true_percent is not None for o in found], least=power),
    ]
    rows[-1]["trials"] = sum(o.trials for o in found) / len(found)
    return rows


class _Tailed(Scatter, frozen=True, kw_only=True):
    """MEASURED, but what p99 is multiplied by is drawn otherwise."""

    tail: Callable[[random.Random], float]

    def window(self, truth: Mapping[str, float], goal: Any, draw: random.Random) -> dict[str, float]:
        """What one window measures."""
        usual = MEASURED.window(truth, goal, draw)
        return {**usual, "read_p99_us": truth["read_p99_us"] * self.tail(draw)}


def tails(runs: int) -> list[Row]:
    """Whole experiments with heavy tails in p99."""
    rows = []
    for name, tail, power in (
        ("p99 t with 3 degrees of freedom, 20 %", student(3, 0.2), 0.0),
        ("p99, 10 % of windows x 3", outliers(0.1, 3.0, 0.02), 0.3),
    ):
        tables = [_on("recorded", qps) for qps in LOADS]
        scatter = _Tailed(tail=tail)
        found = [experiment(*tables[seed % len(tables)], scatter, seed) for seed in range(runs)]
        said = [one for one in found if one.true_percent is not None]
        whole = f"whole experiments, {name}"
        rows += [
            row(
                f"{whole}: what is announced truly keeps the limits", [bool(o.keeps_limits) for o in said], least=0.975
            ),
            row(f"{whole}: the search tried one within 5 %", [o.near_after is not None for o in found], least=0.9),
            row(f"{whole}: announced", [o.true_percent is not None for o in found], least=power),
        ]
    return rows


ANOTHER_DAY = 1.06
"""What p99 is multiplied by on another day: so far it moved between recorded campaigns."""


def another_day(runs: int) -> list[Row]:
    """What is announced on one day with defaults: are the limits kept on another?

    The other recorded campaign is one, but the clock had no effect there, so it is easily kept; the other has p99 as
    much longer as campaigns differ. Without a margin that one is mostly not kept: else the rows would show nothing.
    """
    both = [qps for qps in LOADS if _recorded(qps, 1)]
    rows = []
    for margin in (None, 0.0):
        said, told_today, held, longer, fell = [], [], [], [], []
        for seed in range(max(1, runs // len(both))):
            kept = []
            for qps in both:
                answers, told = _on("recorded", qps)
                if margin is not None:
                    confirmation = told.confirmation.model_copy(update={"margin": margin})
                    told = told.model_copy(update={"confirmation": confirmation})
                verdict = experiment(answers, told, MEASURED, seed).verdict
                best = verdict.best
                said.append(best is not None)
                told_today.append("today" in for_today(Path("experiment"), verdict, Record()))
                if best is not None:
                    today, limits = answers.at(best.knobs), goal(told).constraints
                    held.append(keeps(table(qps, 1).at(best.knobs), limits))
                    kept.append(keeps({**today, "read_p99_us": ANOTHER_DAY * today["read_p99_us"]}, limits))
            longer += kept
            fell.append(not all(kept))
        if margin is None:
            name = "announced on one day with the default margin"
            rows += [
                row(f"{name}: something, at each load", said, least=1.0),
                row(f"{name}: it is said to be for today", told_today, least=1.0),
                row(f"{name}: holds in the other campaign", held, least=1.0),
                row(f"{name}: holds where p99 is 6 % longer", longer, least=1.0),
            ]
        else:
            rows.append(row("announced with no margin: falls at some load where p99 is 6 % longer", fell, least=0.5))
    return rows


def _recorded(qps: int, campaign: int) -> bool:
    try:
        return len(table(qps, campaign)) > 0
    except ValueError:
        return False


SURFACES = 4
"""Of each kind at least: with twelve kinds more than 40."""
AHEAD = 0.975
"""Of one-sided bounds of a difference."""


def searches(runs: int) -> list[Row]:
    """Made-up surfaces, at least 4 of each of twelve kinds: is the search ever behind chance?

    Chance has as many different settings as the search had trials, on the same surface, so each surface has a
    difference of its own: found or not, less the chance of finding. Behind is a kind where that is certainly below 0,
    by the mean's one-sided bound; over all surfaces it has to be certainly not below.
    """
    rows: list[Row] = []
    every: list[float] = []
    for family in SHAPES:
        if family == "flat":
            continue
        found, chances = [], []
        for seed in range(max(SURFACES, runs // (len(SHAPES) - 1))):
            one = _searched(family, seed)
            found.append(one.near_after is not None)
            chances.append(one.chance)
        differences = [hit - chance for hit, chance in zip(found, chances, strict=True)]
        every += differences
        rows.append(_against_chance(f"search on {family}", differences, sum(found) / len(found), least=None))
    total = _against_chance("search on all surfaces", every, sum(every) / len(every), least=0.0)
    return [*rows, {**total, "name": f"{total['name']}: the difference"}]


def _searched(family: str, seed: int) -> Whole:
    answers, default = surface(family, seed)
    return experiment(answers, defined(answers, default, repeats=0), MEASURED, seed)


def _against_chance(name: str, differences: list[float], found: float, least: float | None) -> Row:
    """`least`: what the lower bound has to be; None: the upper one mustn't be below 0."""
    mean, count = statistics.fmean(differences), len(differences)
    half = float(stdtrit(count - 1, AHEAD)) * statistics.stdev(differences) / count**0.5
    passed = mean + half >= 0 if least is None else mean - half >= least
    return {
        "name": f"{name}: within 5 % of the best, less chance {mean:+.3f} (+- {half:.3f})",
        "found": round(found, 4),
        "must_be": ">= chance",
        "passed": passed,
        "within": mean >= 0,
        "runs": count,
    }
