"""Replay: any search, on a table that was recorded, over many seeds.

A table answers every trial from what was measured once at its point, so a search that takes an hour on a machine takes
seconds here, and the true optimum is known. `noise` adds what another day's measurement would.
"""

import csv
import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from mustherd.goal import Constraint, Goal, Objective
from mustherd.learn.base import Dimension, Observation, Problem, Search, SearchSpace, Settings
from mustherd.learn.cluster import Each
from mustherd.terms import KnobKind

WITHIN = (0.01, 0.05, 0.10)
"""How near to the optimum a trial has to come, as a share of it, to be counted."""


class Table:
    """One observation for each point of a discrete space; repeats of a point are averaged."""

    def __init__(self, observations: Iterable[Observation]) -> None:
        """ValueError for no observations or points over different knobs."""
        groups: dict[tuple[tuple[str, int], ...], list[Mapping[str, float]]] = {}
        for observation in observations:
            groups.setdefault(tuple(sorted(observation.point.items())), []).append(observation.metrics)
        if not groups:
            raise ValueError("a table needs at least one observation")
        self.knobs = tuple(name for name, _ in next(iter(groups)))
        for key in groups:
            if tuple(name for name, _ in key) != self.knobs:
                raise ValueError(f"the point {dict(key)} isn't over {', '.join(self.knobs)}")
        self._rows = {
            key: {m: sum(r[m] for r in rows) / len(rows) for m in rows[0] if all(m in r for r in rows)}
            for key, rows in sorted(groups.items())
        }

    def __len__(self) -> int:
        return len(self._rows)

    def values(self, knob: str) -> tuple[int, ...]:
        """The values of a knob that occur, ascending."""
        return tuple(sorted({dict(key)[knob] for key in self._rows}))

    def observations(self) -> list[Observation]:
        """Every point once, without noise."""
        return [Observation(point=dict(key), metrics=metrics) for key, metrics in self._rows.items()]

    def at(self, point: Mapping[str, int]) -> Mapping[str, float]:
        """What was measured at a point of the table; KeyError for another one."""
        return self._rows[_key(point)]

    def measure(self, point: Settings, noise: Mapping[str, float], draw: random.Random) -> Observation:
        """What a trial at `point` would have found.

        Args:
            point: a point of the table; KeyError for another one.
            noise: metric to the standard deviation of its relative noise; a metric that isn't named has none.
            draw: where the noise comes from.
        """
        metrics = dict(self.at(point))
        for metric, share in noise.items():
            metrics[metric] *= max(0.1, 1 + share * draw.gauss(0, 1))
        return Observation(point=point, metrics=metrics)

    def problem(
        self,
        objective: str,
        constraints: Sequence[Constraint],
        default: Settings | None = None,
        kinds: Mapping[str, KnobKind] | None = None,
    ) -> Problem:
        """The search problem over the table's own points, knobs in alphabetical order.

        `kinds` says what some knobs are; nothing is known of the others. Where the table has holes, the points that it
        has are the space. ValueError for a metric that a row doesn't have, and for a default that is no row.
        """
        for metric in dict.fromkeys((objective, *(c.metric for c in constraints))):
            if without := [dict(key) for key, metrics in self._rows.items() if metric not in metrics]:
                have = ", ".join(sorted({m for metrics in self._rows.values() for m in metrics})) or "no metric"
                where = "was not measured" if len(without) == len(self) else f"was not measured at {without[0]}"
                raise ValueError(f"{metric} {where}; there is {have}")
        known = kinds or {}
        whole = math.prod(len(self.values(knob)) for knob in self.knobs) == len(self)
        if default is not None and _key(default) not in self._rows:
            raise ValueError(f"the default {default} was not measured: it is none of the {len(self)} settings")
        space = SearchSpace(
            points=() if whole else tuple(dict(key) for key in self._rows),
            dimensions=tuple(
                Dimension.of(knob, known.get(knob) or KnobKind(name=knob, unit=""), values, values=values)
                for knob, values in ((knob, self.values(knob)) for knob in self.knobs)
            ),
            default=default,
        )
        # What the guard is about may not have been recorded; where it was, it is one of the limits.
        goal = Goal(objectives=(Objective.of(objective),), limits=tuple(constraints), guard=0.0)
        return Problem(space=space, goal=goal)

    def optimum(self, problem: Problem) -> Observation:
        """The feasible observation with the best objective; ValueError if none is feasible."""
        met = [o for o in self.observations() if _feasible(problem, o)]
        if not met:
            raise ValueError("no point of the table meets the constraints")
        return min(met, key=problem.cost)


def _key(point: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(point.items()))


def read_csv(
    path: Path,
    *,
    knobs: Mapping[str, str | tuple[str, Callable[[str], int]]],
    metrics: Mapping[str, str],
    where: Mapping[str, float] | None = None,
) -> list[Observation]:
    """Observations from a CSV file with a header.

    Args:
        path: the file.
        knobs: knob to column, or to a column and how its text becomes the knob's canonical value.
        metrics: metric to column, or to `column/column` for a quotient.
        where: column to the number it must hold; other rows are left out.

    A row in which a metric's cell is empty was not measured: it is left out.

    Raises:
        ValueError: a column is missing or a cell is no number; the message has the file and the line.
    """
    found = []
    with path.open(newline="", encoding="utf-8-sig") as file:
        for row in _rows(reader := csv.DictReader(file), path):
            try:
                if any(float(row[column]) != wanted for column, wanted in (where or {}).items()):
                    continue
                point = {}
                for knob, source in knobs.items():
                    column, parse = (source, int) if isinstance(source, str) else source
                    point[knob] = parse(row[column])
                values = {}
                for metric, expression in metrics.items():
                    numerator, _, denominator = expression.partition("/")
                    if not all((row[name] or "").strip() for name in filter(None, (numerator, denominator))):
                        break
                    values[metric] = float(row[numerator]) / (float(row[denominator]) if denominator else 1.0)
            except KeyError as error:
                raise ValueError(f"{path}: there is no column {error}; columns are {', '.join(row)}") from None
            except (TypeError, ValueError, ZeroDivisionError) as error:
                raise ValueError(f"{path}, line {reader.line_num}: {error}") from error
            if len(values) == len(metrics):
                found.append(Observation(point=point, metrics=values))
    return found


def _rows(reader: "csv.DictReader[str]", path: Path) -> Iterator[dict[str, str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num + 1}: {error}") from None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One seed's replay."""

    seed: int
    trials: int
    """Trials made: fewer than allowed when the search said that nothing is left worth trying."""
    reason: str
    """Why the search ended before its trials did; empty if it didn't."""
    trials_to: dict[str, int | None]
    """`1 %` and so on to the number of the first trial whose true values were feasible and that near to the optimum."""
    pick: Settings | None
    """What the search would announce: the best of its measured trials that met the constraints, as measured."""
    pick_feasible: bool
    """Whether the pick's true values meet the constraints."""
    pick_excess: float | None
    """The cost of the pick's true objective over the optimum's, less 1; None without a pick."""
    ask_seconds: tuple[float, ...]
    """Wall time of each tell and the ask after it."""
    points: tuple[Settings, ...]


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Many seeds of one search on one problem."""

    runs: int
    optimum: float
    trials_to: dict[str, dict[str, float | int | None]]
    """By nearness: `median` (None: fewer than half got there), `worst` (None: not all), `share` that got there."""
    picks_feasible: float
    """Share of picks that are truly feasible."""
    picks_within_5: float
    """Share of picks that are truly feasible and within 5 % of the optimum."""
    suggestion_ms_median: float
    suggestion_ms_p95: float


def replay(
    search: Callable[[int], Search],
    table: Table,
    problem: Problem,
    *,
    seeds: Iterable[int],
    trials: int = 30,
    noise: Mapping[str, float] | None = None,
    until: float = -1.0,
    each: Each = map,
) -> list[Run]:
    """Run a search on a table once per seed.

    Args:
        search: makes the search for a seed, such as `lambda seed: make("gp", problem, seed=seed)`.
        table: answers the trials.
        problem: what is searched, from `Table.problem`.
        seeds: each decides its search's and its noise's random numbers.
        trials: at most so many per seed.
        noise: see `Table.measure`.
        until: end a run once a trial was truly this near to the optimum, as a share of it; below 0: never.
        each: where seeds are tried, see `mustherd.learn.cluster.workers`.
    """

    def one(seed: int) -> Run:
        return _replay_one(search(seed), table, problem, seed=seed, trials=trials, noise=noise or {}, until=until)

    return list(each(one, seeds))


def _replay_one(
    search: Search, table: Table, problem: Problem, *, seed: int, trials: int, noise: Mapping[str, float], until: float
) -> Run:
    draw = random.Random(f"noise/{seed}")
    truth = {tuple(sorted(o.point.items())): o for o in table.observations()}
    optimum = problem.cost(table.optimum(problem))
    excess: list[float | None] = []
    seconds: list[float] = []
    made: list[Observation] = []
    began = time.perf_counter()
    while len(made) < trials and (point := search.ask()) is not None:
        seconds.append(time.perf_counter() - began)
        made.append(table.measure(point, noise, draw))
        began = time.perf_counter()
        search.tell([made[-1]])
        true = truth[tuple(sorted(point.items()))]
        excess.append(problem.cost(true) / optimum - 1 if _feasible(problem, true) else None)
        if excess[-1] is not None and excess[-1] <= until + 1e-12:
            break
    seen = [o for o in made if _feasible(problem, o)]
    pick = min(seen, key=problem.cost).point if seen else None
    picked = None if pick is None else truth[tuple(sorted(pick.items()))]
    return Run(
        seed=seed,
        trials=len(made),
        reason=str(search.state().get("reason", "")) if len(made) < trials else "",
        trials_to={
            f"{100 * share:g} %": next(
                (n for n, e in enumerate(excess, 1) if e is not None and e <= share + 1e-12), None
            )
            for share in WITHIN
        },
        pick=pick,
        pick_feasible=picked is not None and _feasible(problem, picked),
        pick_excess=None if picked is None else problem.cost(picked) / optimum - 1,
        ask_seconds=tuple(seconds),
        points=tuple(o.point for o in made),
    )


def summarize(runs: Sequence[Run], optimum: float) -> Summary:
    """Medians, worst cases and shares over runs of the same search on the same problem."""
    trials_to: dict[str, dict[str, float | int | None]] = {}
    for name in runs[0].trials_to:
        reached = sorted(n for r in runs if (n := r.trials_to[name]) is not None)
        trials_to[name] = {
            "median": _median([*reached, *[None] * (len(runs) - len(reached))]),
            "worst": reached[-1] if len(reached) == len(runs) else None,
            "share": len(reached) / len(runs),
        }
    seconds = sorted(s for r in runs for s in r.ask_seconds)
    return Summary(
        runs=len(runs),
        optimum=optimum,
        trials_to=trials_to,
        picks_feasible=sum(r.pick_feasible for r in runs) / len(runs),
        picks_within_5=sum(
            r.pick_feasible and r.pick_excess is not None and r.pick_excess <= 0.05 + 1e-12 for r in runs
        )
        / len(runs),
        suggestion_ms_median=1000 * seconds[len(seconds) // 2],
        suggestion_ms_p95=1000 * seconds[int(0.95 * (len(seconds) - 1))],
    )


def _median(ranked: Sequence[int | None]) -> float | None:
    """The median of numbers, ascending, with those that were never reached (None) at the end."""
    low, high = ranked[(len(ranked) - 1) // 2], ranked[len(ranked) // 2]
    return None if low is None or high is None else (low + high) / 2


def _feasible(problem: Problem, observation: Observation) -> bool:
    return all(c.met_by(observation.metrics[c.metric]) for c in problem.goal.aimed)
