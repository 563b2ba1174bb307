"""How often a verdict is right: simulated experiments by the hundred, through the code that users run.

Each row asks one question of many runs: its `name`, what was `found`, what it `must_be`, whether it `passed`, how many
`runs` that rests on, and its `group`. `make bench NAME=verdict_calibration` prints all of them as one JSON object;
`python -m tests.benchmarks.verdict_calibration [--runs N] [GROUP ...]` prints some of them as a table.
MUSTHERD_BENCH_RUNS sets how many runs: 200, the default, take some ten minutes of one core, most of it for the groups
of whole experiments, which have fewer; `make test-nightly` has 1,000. A row passes when what was found is within its
limit, or beyond it by no more than chance explains once in a thousand times; which of the two it is, `within` says (in
the table `ok` or `near`).
"""

import argparse
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from mustherd.goal import Constraint, Goal
from mustherd.learn.base import Settings
from mustherd.learn.confirmation import Confirmation
from mustherd.learn.judging import Judged, RankingResult
from mustherd.learn.windows import Repeat
from tests.benchmarks import _attacked, _audited, _several, _shared
from tests.benchmarks import _whole_experiments as whole
from tests.benchmarks._rows import outliers, row, student

RUNS = 200
LIMIT_US = 500.0
QUIET = 0.0025
"""Relative noise of the energy of one window, as recorded."""
CALM = 0.012
"""The same of its p99."""
GOAL = Goal(limits=(Constraint("read_p99_us", LIMIT_US),), repeats=3)
DEFAULT = {"x": 0}


class Truth(NamedTuple):
    """A setting as it is, and how its windows scatter."""

    energy: float = 1000.0
    p99: float = 300.0
    energy_noise: float = QUIET
    p99_noise: float = CALM


class Scatter:
    """Where windows come from: one run's random numbers, nodes and time."""

    def __init__(
        self,
        settings: Sequence[Truth],
        seed: int,
        *,
        node_p99: Callable[[int, str], float] = lambda place, node: 1.0,
        node_energy: Callable[[str], float] = lambda node: 1.0,
        node_noise: Callable[[str], float] = lambda node: 1.0,
        step: tuple[int, float] | None = None,
        tail: Callable[[random.Random], float] | None = None,
    ) -> None:
        """`step`: the window from which on everything uses so many times the energy; `tail`: what p99 is multiplied by
        instead of its normal noise."""
        self._settings = settings
        self._draw = random.Random(f"windows/{seed}")
        self._node_p99 = node_p99
        self._node_energy = node_energy
        self._node_noise = node_noise
        self._step = step
        self._tail = tail
        self.windows = 0

    def measure(self, point: Settings, node: str) -> dict[str, float]:
        """One window."""
        here, draw = self._settings[point["x"]], self._draw
        factor = self._step[1] if self._step is not None and self.windows >= self._step[0] else 1.0
        self.windows += 1
        noise = here.p99_noise * self._node_noise(node)
        wide = max(0.05, 1 + noise * draw.gauss(0, 1)) if self._tail is None else self._tail(draw)
        energy = here.energy * max(0.05, 1 + here.energy_noise * draw.gauss(0, 1))
        return {
            "energy_joules": energy * factor * self._node_energy(node),
            "read_p99_us": here.p99 * wide * self._node_p99(point["x"], node),
            "achieved_ratio": 1.0,
        }


class Run(NamedTuple):
    """One confirmation from its first round to its end."""

    outcome: RankingResult
    scatter: Scatter
    trials: int

    @property
    def winner(self) -> Judged | None:
        """What was announced; None where nothing was."""
        return self.outcome.winner if self.outcome.word == "met" else None


def confirm(
    settings: Sequence[Truth], seed: int, *, nodes: Sequence[str] = ("node-0",), scatter: Any = None, **options: Any
) -> Run:
    """Confirm all settings but the first, which is the default, in the order in which they are given."""
    points = [{"x": place} for place in range(len(settings))]
    confirmation = Confirmation(
        msgspec.structs.replace(GOAL, seed=seed, **options),
        points[1:],
        default=DEFAULT,
        expected=[{"read_p99_us": s.p99} for s in settings[1:]],
    )
    windows = Scatter(settings, seed, **(scatter or {}))
    while confirmation.round():
        confirmation.add(
            [
                Repeat(point=one.point, metrics=windows.measure(one.point, node), where=node)
                for number, node in enumerate(nodes)
                for one in confirmation.round(number)
                if one.where in ("", node)
            ]
        )
    return Run(confirmation.outcome(), windows, windows.windows)


# --- rows ---


def covers(run: Run, saving: float) -> bool:
    """Whether the interval of what was announced holds the true saving."""
    winner = run.winner
    return winner is not None and winner.saving_percent is not None and winner.saving_percent.covers(saving)


def announced(runs: Iterable[Run]) -> list[Run]:
    """The runs that announced something."""
    return [run for run in runs if run.winner is not None]


def flat(runs: int) -> list[dict[str, Any]]:
    """Nothing to save: how often is a saving announced?"""
    found = []
    for candidates, rounds in ((1, 3), (1, 8), (10, 8), (10, 20)):
        for noise in (0.05, QUIET):
            said = [
                confirm([Truth(energy_noise=noise)] * (candidates + 1), s, rounds=rounds).winner for s in range(runs)
            ]
            name = f"flat, noise {noise:g}, candidates {candidates}, rounds {rounds}: announced"
            found.append(row(name, [one is not None for one in said], most=0.025))
    return found


def savings(runs: int) -> list[dict[str, Any]]:
    """Ten settings that save the same: is the announced interval right, and how often is anything announced?"""
    found = []
    for percent, noise, power in ((2, 0.05, 0.0), (2, 0.01, 0.5), (10, 0.05, 0.6), (30, 0.05, 0.9), (35, QUIET, 0.97)):
        settings = [Truth(energy_noise=noise), *[Truth(1000 - 10 * percent, energy_noise=noise)] * 10]
        done = [confirm(settings, s) for s in range(runs)]
        said = announced(done)
        name = f"saving {percent} %, noise {noise:g}"
        rows = [row(f"{name}: the announced interval covers it", [covers(r, percent) for r in said], least=0.95)]
        if not said:
            rows[-1] |= {"name": f"{name}: nothing was announced", "passed": True, "within": True}
        rows.append(row(f"{name}: announced", [r.winner is not None for r in done], least=power))
        rows[-1]["trials"] = statistics.fmean(r.trials for r in done)
        if said:
            rows[-1]["announced_percent"] = round(statistics.fmean(_saving(r) for r in said), 2)
        found += rows
    return found


def _saving(run: Run) -> float:
    assert run.winner is not None
    assert run.winner.saving_percent is not None
    return run.winner.saving_percent.mean


def noisy_beside_quiet(runs: int) -> list[dict[str, Any]]:
    """The cheapest setting misses its limit by 3 %, and scatters where the others don't."""
    found = []
    for noise in (0.1, 0.2):
        settings = [Truth(p99=100), Truth(600, 515, p99_noise=noise), Truth(700, 400), Truth(750, 350)]
        done = [confirm(settings, s) for s in range(runs)]
        judged = [j for r in done for j in r.outcome.judged if j.point == {"x": 1}]
        name = f"true p99 515 of 500, noise {noise:g}, beside quiet ones"
        covered = [j.limits["read_p99_us"].mean.covers(515) for j in judged]
        wrong = [r.winner is not None and r.winner.point == {"x": 1} for r in done]
        found += [
            row(f"{name}: its interval covers it", covered, least=0.95),
            row(f"{name}: announced", wrong, most=0.025),
            row(f"{name}: another one announced", [r.winner is not None for r in done], least=0.9),
        ]
    return found


SLOPE = [Truth(600 + 8 * place, 495 - 15 * place) for place in range(26)]
"""Settings that are the cheaper the nearer they come to the limit."""


def next_window(runs: int) -> list[dict[str, Any]]:
    """What was announced, measured once more: is it over the limit?"""
    found = []
    for noise, power in ((CALM, 0.95), (0.05, 0.7), (0.1, 0.4), (0.2, 0.05)):
        settings = [Truth(p99=100, p99_noise=noise), *[s._replace(p99_noise=noise) for s in SLOPE]]
        done = [confirm(settings, s) for s in range(runs)]
        over, right = [], []
        for run in announced(done):
            assert run.winner is not None
            once_more = run.scatter.measure(run.winner.point, "node-0")["read_p99_us"]
            over.append(once_more > LIMIT_US)
            right.append(run.winner.limits["read_p99_us"].mean.covers(settings[run.winner.point["x"]].p99))
        name = f"p99 noise {noise:g}"
        found += [
            row(f"{name}: the window after 'met' is over the limit", over, most=0.05),
            row(f"{name}: the announced p99's interval covers it", right, least=0.93),
            row(f"{name}: announced", [r.winner is not None for r in done], least=power),
        ]
    return found


def nodes(runs: int) -> list[dict[str, Any]]:
    """Nodes that differ, and a setting that keeps its limit on one of them only."""
    apart = []
    for seed in range(runs):
        # Whatever is asked, each setting is measured on a node of its own.
        confirmation = Confirmation(msgspec.structs.replace(GOAL, seed=seed), [{"x": 1}], default=DEFAULT)
        windows = Scatter([Truth()] * 2, seed, node_energy=lambda node: 0.9 if node == "node-1" else 1.0)
        while wanted := confirmation.round():
            repeats = []
            for one in wanted:
                node = f"node-{one.point['x']}"
                repeats.append(Repeat(point=one.point, metrics=windows.measure(one.point, node), where=node))
            confirmation.add(repeats)
        apart.append(confirmation.outcome().word == "not certain")
    factors = {"node-0": 451 / 480, "node-1": 509 / 480}
    settings = [Truth(p99=100), Truth(600, 480)]
    scatter = {"node_p99": lambda place, node: factors[node] if place else 1.0}
    done = [confirm(settings, s, nodes=tuple(factors), scatter=scatter) for s in range(runs)]
    named = [j.limits["read_p99_us"].node == "node-1" and j.word != "met" for r in done for j in r.outcome.judged]
    both = [confirm([Truth(p99=100), Truth(600, 400)], s, nodes=tuple(factors)) for s in range(runs)]
    return [
        row("nodes 10 % apart, each setting on one of its own, flat: not certain", apart, least=1.0),
        row("p99 451 on one node, 509 on the other: announced", [r.winner is not None for r in done], most=0.0),
        row("p99 451 on one node, 509 on the other: the node that doesn't keep the limit is named", named, least=1.0),
        row("two nodes that keep it: announced", [r.winner is not None for r in both], least=0.95),
    ]


def loud_node(runs: int) -> list[dict[str, Any]]:
    """One node of eight scatters eight times as much as the others: is its window after 'met' over the limit?"""
    found = []
    names = tuple(f"node-{number}" for number in range(8))
    settings = [Truth(p99=100, p99_noise=0.01), *[s._replace(p99_noise=0.01) for s in SLOPE[:20]]]
    scatter = {"node_noise": lambda node: 8.0 if node == names[0] else 1.0}
    for how, options, power in (("defaults", {}, 0.3), ("2 repeats, 4 rounds", {"repeats": 2, "rounds": 4}, 0.05)):
        done = [confirm(settings, s, nodes=names, scatter=scatter, margin=0.0, **options) for s in range(runs)]
        over = []
        for run in announced(done):
            assert run.winner is not None
            over.append(run.scatter.measure(run.winner.point, names[0])["read_p99_us"] > LIMIT_US)
        name = f"p99 noise 8 % on one node, 1 % on seven, {how}"
        found += [
            row(f"{name}: the window after 'met' is over the limit there", over, most=0.05),
            row(f"{name}: announced", [r.winner is not None for r in done], least=power),
        ]
    return found


def step(runs: int) -> list[dict[str, Any]]:
    """Everything uses 10 % more from some window on."""
    found = []
    for noise in (QUIET, 0.01):
        for percent in (0, 5):
            done = []
            for seed in range(runs):
                at = random.Random(f"step/{seed}").randrange(1, 18)
                settings = [Truth(energy_noise=noise), Truth(1000 - 10 * percent, energy_noise=noise)]
                done.append(confirm(settings, seed, scatter={"step": (at, 1.1)}))
            name = f"a step of 10 % in the middle, saving {percent} %, noise {noise:g}"
            if not percent:
                found.append(row(f"{name}: announced", [r.winner is not None for r in done], most=0.025))
            intervals = [j.saving_percent for r in done for j in r.outcome.judged if j.saving_percent is not None]
            found.append(row(f"{name}: the interval covers it", [i.covers(percent) for i in intervals], least=0.95))
            if percent:
                found.append(row(f"{name}: announced", [r.winner is not None for r in done], least=0.8))
    return found


def tails(runs: int) -> list[dict[str, Any]]:
    """p99 with heavy tails: what is announced truly keeps the limit, and a bad window is questioned."""
    found = []
    settings = [Truth(p99=100), *[Truth(600 + 15 * place, 560 - 20 * place) for place in range(25)]]
    for name, tail, power in (
        ("t with 3 degrees of freedom, 20 %", student(3, 0.2), 0.1),
        ("10 % of windows x 3", outliers(0.1, 3.0, 0.02), 0.5),
    ):
        done = [confirm(settings, s, scatter={"tail": tail}) for s in range(runs)]
        kept = [settings[r.winner.point["x"]].p99 <= LIMIT_US for r in announced(done) if r.winner is not None]
        found += [
            row(f"p99 {name}: what is announced truly keeps the limit", kept, least=0.975),
            row(f"p99 {name}: announced", [r.winner is not None for r in done], least=power),
        ]
    # One bad window among good ones, which chance alone would never give: it is measured again and condemns nothing.
    bad = [confirm([Truth(p99=100), Truth(600, 400)], s, scatter={"node_p99": _once(s % 6, 3.0)}) for s in range(runs)]
    again = [any(j.limits["read_p99_us"].windows > j.rounds for j in r.outcome.judged) for r in bad]
    found += [
        row("one window x 3: it is measured again", again, least=1.0),
        row("one window x 3: the setting is announced all the same", [r.winner is not None for r in bad], least=0.9),
    ]
    return found


def _once(at: int, factor: float) -> Callable[[int, str], float]:
    """A factor for the candidate's window of that number alone."""
    count = iter(range(10**6))
    return lambda place, node: factor if place and next(count) == at else 1.0


ROWS: dict[str, Callable[[int], list[dict[str, Any]]]] = {
    "flat": flat,
    "savings": savings,
    "noisy-beside-quiet": noisy_beside_quiet,
    "next-window": next_window,
    "nodes": nodes,
    "loud-node": lambda runs: loud_node(max(20, runs // 2)),
    "step": step,
    "tails": tails,
    "attacks": _attacked.attacks,
    "memory": _attacked.memories,
    "shared": lambda runs: _shared.shares(max(20, runs // 2)),
    "waves": lambda runs: _shared.waves(max(20, runs // 2)),
    "returning": _shared.returning,
    "several": _several.several,
    "goals": _attacked.goals,
    "power": lambda runs: _attacked.power(max(50, runs // 4)),
    "audits": lambda runs: _audited.audits(max(4, runs // 10)),
    "unconfirmed": lambda runs: whole.unconfirmed(max(6, runs // 10)),
    "growing-noise": lambda runs: whole.growing(max(12, runs // 2)),
    "whole-tails": lambda runs: whole.tails(max(12, runs // 8)),
    "another-day": lambda runs: whole.another_day(max(6, runs // 5)),
    "surfaces": whole.searches,
}
"""The last few are of whole experiments: fewer of them."""
QUICK = tuple(ROWS)[: list(ROWS).index("growing-noise")]
"""What takes no search that learns."""


def run(
    runs: int = int(os.environ.get("MUSTHERD_BENCH_RUNS", RUNS)), rows: Sequence[str] = tuple(ROWS)
) -> dict[str, object]:
    """Every row over so many runs."""
    if unknown := set(rows) - set(ROWS):
        raise SystemExit(f"no such rows: {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    found: list[dict[str, Any]] = []
    for name in rows:
        began = time.perf_counter()
        found += [{"group": name, **one} for one in ROWS[name](runs)]
        print(f"{name}: {time.perf_counter() - began:.1f} s", file=sys.stderr, flush=True)
    return {"runs": runs, "passed": all(one["passed"] for one in found), "rows": found}


def main() -> int:
    """Print the rows as a table, or as JSON; 1 when one fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("rows", nargs="*", default=list(ROWS))
    given = parser.parse_args()
    found: Any = run(given.runs, given.rows)
    if given.json:
        print(json.dumps(found, indent=2))
    else:
        for one in found["rows"]:
            more = "".join(f", {k} {v:.4g}" for k, v in one.items() if k in ("trials", "announced_percent"))
            shown = "-" if one["found"] is None else f"{one['found']:.3f}"
            word = "FAIL" if not one["passed"] else "ok  " if one["within"] else "near"
            print(f"{word} {shown:>6} {one['must_be']:>9}  {one['name']} (of {one['runs']}{more})")
    return 0 if found["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
