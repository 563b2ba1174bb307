"""How many trials each search needs on the recorded grid, and whether what is announced holds.

Campaign 0 at every load, p99 <= 500 us and 98 % of the load carried. Against Optuna's GP and TPE with constraints,
random search and the reference's penalty, in the same run; a peer that isn't installed is named as such. A run ends
when it is within 5 %. It takes many minutes; MUSTHERD_BENCH_SEEDS makes it shorter.
"""

import os
import random
from collections.abc import Callable
from typing import Any

from threadpoolctl import threadpool_limits

from mustherd.learn.confirm import Confirmation
from mustherd.learn.effect import idle_knobs
from mustherd.learn.replay import Table, replay, summarize
from mustherd.learn.search import Observation, Problem, Search
from mustherd.learn.searches import make
from tests.benchmarks._peers import Optuna, Penalty, missing
from tests.recorded import LOADS, problem, table

SEEDS = int(os.environ.get("MUSTHERD_BENCH_SEEDS", "30"))
TRIALS = 25
MEASURED_NOISE = {"energy_joules": 0.002, "read_p99_us": 0.012, "achieved_ratio": 0.0005}
"""Between repeats of one campaign: energy 0.1..0.25 %, p99 0.2..1.4 %."""
GREAT_NOISE = {"energy_joules": 0.05, "read_p99_us": 0.05}
CONFIRMATION_ROUNDS = 20

Maker = Callable[[Problem], Callable[[int], Search]]
SEARCHES: dict[str, Maker] = {
    "mustherd-gp": lambda p: lambda seed: make("gp", p, seed=seed, options={"stop": False}),
    "optuna-gp": lambda p: lambda seed: Optuna(p, "gp", seed),
    "optuna-tpe": lambda p: lambda seed: Optuna(p, "tpe", seed),
    "random": lambda p: lambda seed: make("random", p, seed=seed),
    "reference-penalty": lambda p: lambda seed: Penalty(p, seed),
}


def _trials(name: str) -> dict[str, Any] | str:
    if why := missing(name):
        return why
    found: dict[str, Any] = {}
    for qps in LOADS:
        recorded = table(qps)
        searched = problem(recorded)
        optimum = recorded.optimum(searched).metrics["energy_joules"]
        runs = replay(
            SEARCHES[name](searched),
            recorded,
            searched,
            seeds=range(SEEDS),
            trials=TRIALS,
            noise=MEASURED_NOISE,
            until=0.05,
        )
        summary = summarize(runs, optimum)
        found[str(qps)] = {**summary.trials_to["5 %"], "suggestion_ms_median": round(summary.suggestion_ms_median, 1)}
    return found


def announce(recorded: Table, searched: Problem, seed: int) -> dict[str, Any]:
    """One whole experiment with great noise: search, confirm, and look up what was announced."""
    draw = random.Random(f"announce/{seed}")
    search = make("gp", searched, seed=seed, options={"noise": GREAT_NOISE})
    for _ in range(30):
        if (point := search.ask()) is None:
            break
        search.tell([recorded.measure(point, GREAT_NOISE, draw)])
    ranking: Any = search.state()["ranking"]
    confirmation = Confirmation(
        searched,
        [r["point"] for r in ranking],
        default=searched.default,
        rounds=CONFIRMATION_ROUNDS,
        seed=seed,
    )
    measured = 0
    while points := confirmation.round():
        confirmation.add([(p, recorded.measure(p, GREAT_NOISE, draw).metrics) for p in points])
        measured += len(points)
    outcome = confirmation.outcome()
    if outcome.winner is None:
        return {"word": outcome.word, "feasible": False, "within_5": False, "measured": measured}
    true = recorded.measure(outcome.winner.point, {}, draw).metrics
    feasible = all(c.met_by(true[c.metric]) for c in searched.constraints)
    best = recorded.optimum(searched).metrics["energy_joules"]
    return {
        "word": outcome.word,
        "feasible": feasible,
        "within_5": feasible and true["energy_joules"] <= 1.05 * best,
        "measured": measured,
    }


def _announced() -> dict[str, Any]:
    found: dict[str, Any] = {}
    every: list[dict[str, Any]] = []
    for qps in LOADS:
        recorded = table(qps)
        searched = problem(recorded)
        results = [announce(recorded, searched, seed) for seed in range(SEEDS)]
        every += results
        found[str(qps)] = _shares(results)
    return {"noise": GREAT_NOISE, "by_load": found, "all": _shares(every)}


def _shares(results: list[dict[str, Any]]) -> dict[str, float]:
    count = len(results)
    return {
        "feasible": round(sum(r["feasible"] for r in results) / count, 3),
        "feasible_and_within_5_percent": round(sum(r["within_5"] for r in results) / count, 3),
        "verdict_met": round(sum(r["word"] == "met" for r in results) / count, 3),
        "confirmation_measurements": round(sum(r["measured"] for r in results) / count, 1),
    }


def _planted() -> dict[str, Any]:
    """Campaign 1, where something overwrote the clock, beside campaign 0, where nothing did."""
    found: dict[str, Any] = {}
    for campaign in (1, 0):
        for qps in LOADS:
            recorded = table(qps, campaign)
            searched = problem(recorded)
            search = make("gp", searched, seed=1, options={"stop": False})
            observations: list[Observation] = []
            while len(observations) < 30 and (point := search.ask()) is not None:
                observations.append(recorded.measure(point, {}, random.Random(0)))
                search.tell(observations[-1:])
            found.setdefault(f"campaign {campaign}", {})[str(qps)] = idle_knobs(searched, observations)
    return found


def run() -> dict[str, object]:
    with threadpool_limits(1):
        return {
            "seeds": SEEDS,
            "trials": TRIALS,
            "noise": MEASURED_NOISE,
            "target": {"median_trials_to_5_percent": 8, "all_within": 15},
            "trials_to": {name: _trials(name) for name in SEARCHES},
            "announced_with_great_noise": _announced(),
            "knobs_without_effect": _planted(),
        }
