"""How many trials each search needs, whether what is announced holds, and what the rest of the learning is worth.

On the recorded grid (campaign 0) and on the twin, both at every recorded load, p99 <= 500 us and 98 % of the load
carried, with the noise that was measured; against Optuna's GP and TPE with constraints (as it is, and with the
points that ours begins with), Ax, chance and the reference's penalty in the same run. `checks` holds every promise with
its figure; `over_problems` how each search spreads over problems. Seeds run in one process for each core, with one
BLAS thread. MUSTHERD_BENCH_SEEDS sets their number, MUSTHERD_BENCH_PARTS runs only some of the parts; a peer that isn't
installed is named as such (`make peers` installs them).

The design's constants were chosen with the recorded problems in sight, so `robustness` asks again on others: other
limits, other days' latencies, a fine space, half the requests in flight. One constant was checked on those too, with
three seeds: how near adaptive moderation lies to short delays (0.3 to 0.5 did alike).
"""

import os
import statistics
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from threadpoolctl import threadpool_limits

from mustherd.learn import registry
from mustherd.learn.base import Problem
from mustherd.learn.replay import summarize
from mustherd.plugins import PEERS, plugins
from tests.benchmarks import suggestion_time
from tests.benchmarks._cases import Case, solved
from tests.benchmarks._pool import Pool
from tests.benchmarks._replays import (
    GREAT_NOISE,
    MEASURED_NOISE,
    OURS,
    TRIALS,
    announced,
    planted,
    runs_of,
    stopped,
    together,
    with_prior,
)
from tests.recorded import LOADS

SEEDS = 30
SEARCHES = (OURS, "optuna-gp", "optuna-gp-started", "optuna-tpe", "ax", "random", "penalty")
SEEDS_AT_MOST = {"ax": 3, "optuna-gp-started": 6}
"""Of searches that take seconds for a suggestion, or that differ little by the seed: what counts is the spread over
problems, since the seeds of a search that begins with given points are near copies of one another."""
MEDIAN, WORST = 8, 15
ROBUST_SEEDS = 6


def trials_to(pool: Pool, cases: Sequence[Case], names: Sequence[str], seeds: int) -> dict[str, Any]:
    """Each search on each case: trials until within 5 % of the optimum."""
    found: dict[str, Any] = {}
    peers = [name for name in names if name in plugins(PEERS)]
    absent = {name: why for name in peers if (why := _why_not(name, solved(cases[0])[1]))}
    able = [name for name in names if name not in absent]
    jobs = [(name, case) for name in able for case in cases]
    ran = {
        name: pool.spread(runs_of, [(name, case) for case in cases], min(seeds, SEEDS_AT_MOST.get(name, seeds)))
        for name in able
    }
    for name, case in jobs:
        runs = ran[name][cases.index(case)]
        answers, searched = solved(case)
        summary = summarize(runs, answers.optimum(searched).metrics["energy_joules"])
        found.setdefault(name, {})[_label(case)] = {
            **summary.trials_to["5 %"],
            "seeds": len(runs),
            "different_runs": len({tuple(tuple(p.items()) for p in run.points) for run in runs}),
            "suggestion_ms_median": round(summary.suggestion_ms_median, 1),
        }
    return found | {name: f"not available: {why}" for name, why in absent.items()}


def _why_not(name: str, searched: Problem) -> str:
    """Why that peer can't be run here; '' where it can."""
    try:
        registry.check(name, searched, {}, peers=True)
    except ValueError as error:
        return str(error)
    return ""


def _label(case: Case) -> str:
    usual = Case(case.source, case.qps)
    other = [f"{k} {v:g}" for k, v in case._asdict().items() if v != getattr(usual, k)]
    return ", ".join([f"{case.qps}", *other])


def sizes(values: Mapping[str, Any], key: str) -> list[Any]:
    return [row[key] for row in values.values()]


def check(must: str, figure: Any, passed: bool) -> dict[str, Any]:
    return {"must": must, "figure": figure, "passed": passed}


def check_trials(source: str, found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The promises on trials to within 5 %, each with its figures by load."""
    ours = found[OURS]
    medians, worst = sizes(ours, "median"), sizes(ours, "worst")
    by_load = {load: row["median"] for load, row in ours.items()}
    checks = [
        check(
            f"{source}: median trials to within 5 % of the true optimum <= {MEDIAN} on every load",
            by_load, all(m is not None and m <= MEDIAN for m in medians),
        ),
        check(
            f"{source}: every seed within {WORST} trials on every load",
            {load: row["worst"] for load, row in ours.items()}, all(w is not None and w <= WORST for w in worst),
        ),
    ]  # fmt: skip
    theirs = found.get("optuna-gp")
    must = f"{source}: never a worse median than Optuna's constrained GP"
    if not isinstance(theirs, Mapping):
        return [*checks, check(must, theirs, passed=False)]
    figure = {load: [by_load[load], theirs[load]["median"]] for load in by_load}
    ahead = all(a is not None and (b is None or a <= b) for a, b in figure.values())
    return [*checks, check(must, figure, ahead)]


def over_problems(sources: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """How each search's median number of trials spreads over the problems of all sources; 26 stands for never."""
    found: dict[str, Any] = {}
    for name in dict.fromkeys(name for by in sources.values() for name in by):
        rows = [row for by in sources.values() if isinstance(by.get(name), Mapping) for row in by[name].values()]
        if not rows:
            continue
        medians = sorted(TRIALS + 1 if row["median"] is None else row["median"] for row in rows)
        low, middle, high = statistics.quantiles(medians, n=4, method="inclusive") if len(medians) > 1 else medians * 3
        found[name] = {
            "problems": len(medians), "median_of_medians": middle, "quartiles": [low, high], "worst": medians[-1],
            "different_runs_of_seeds": [sum(r["different_runs"] for r in rows), sum(r["seeds"] for r in rows)],
        }  # fmt: skip
    return found


def check_over_problems(found: Mapping[str, Any]) -> dict[str, Any]:
    """The promise on problems, not seeds."""
    figure = {name: row["median_of_medians"] for name, row in found.items()}
    must = "over all problems the median of medians is not behind any other search's, those with our first points too"
    return check(must, figure, all(figure[OURS] <= other for other in figure.values()))


def _announced(pool: Pool, loads: Sequence[int], seeds: int) -> tuple[dict[str, Any], dict[str, Any]]:
    jobs = [(Case("recorded", qps),) for qps in loads]
    by_load = dict(zip(map(str, loads), pool.spread(announced, jobs, seeds), strict=True))
    every = [r for results in by_load.values() for r in results]
    met = [r for r in every if r["word"] == "met"]
    share = statistics.fmean(r["within_5"] for r in met) if met else 0.0
    found = {
        "noise": GREAT_NOISE,
        "all_runs": _shares(every),
        "announced_as_met": _shares(met) if met else None,
        "by_load": {load: _shares(results) for load, results in by_load.items()},
    }
    must = "with 5 % noise >= 95 % of announced winners are feasible and within 5 % when measured again"
    return found, check(must, {"of_met": round(share, 3), "runs_met": len(met), "runs": len(every)}, share >= 0.95)


def _shares(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "runs": len(results),
        "feasible": round(statistics.fmean(r["feasible"] for r in results), 3),
        "feasible_and_within_5_percent": round(statistics.fmean(r["within_5"] for r in results), 3),
        "windows_over_a_limit": _mean(r["windows_over"] for r in results),
        "saved_percent_when_measured_again": _mean(r["saved_again"] for r in results),
        "words": {w: sum(r["word"] == w for r in results) for w in ("met", "not certain", "not met")},
        "confirmation_measurements": round(statistics.fmean(r["measured"] for r in results), 1),
    }


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(statistics.fmean(known), 3) if known else None


def _planted(pool: Pool, loads: Sequence[int]) -> tuple[dict[str, Any], dict[str, Any]]:
    jobs = [(campaign, qps) for campaign in (1, 0) for qps in loads]
    found: dict[str, Any] = {}
    for (campaign, qps), idle in zip(jobs, pool.each(planted, jobs), strict=True):
        found.setdefault(f"campaign {campaign}", {})[str(qps)] = idle
    must = "a clock without effect (campaign 1) is named at every load, and nothing is at campaign 0"
    caught = all(idle == ["dvfs"] for idle in found["campaign 1"].values())
    quiet = not any(found["campaign 0"].values())
    return found, check(must, found, caught and quiet)


def _robustness(pool: Pool, loads: Sequence[int], seeds: int) -> tuple[dict[str, Any], dict[str, Any]]:
    cases = [Case("recorded", q, limit_us=limit) for limit in (300.0, 700.0, 1000.0) for q in loads]
    cases += [Case("recorded", q, drift=drift) for drift in (0.9, 1.12) for q in loads]
    cases += [Case("fine", q) for q in loads]
    cases += [Case("twin", q, outstanding=128) for q in loads if q <= 800_000]
    cases = [case for case in cases if _has_optimum(case)]
    found: dict[str, Any] = {}
    for source in dict.fromkeys(case.source for case in cases):
        there = [case for case in cases if case.source == source]
        found[source] = trials_to(pool, there, (OURS, "optuna-gp"), seeds)
    ours = {f"{s} {load}": row for s, by in found.items() for load, row in by[OURS].items()}
    theirs = {
        f"{s} {load}": row
        for s, by in found.items()
        if isinstance(by["optuna-gp"], Mapping)
        for load, row in by["optuna-gp"].items()
    }
    medians = [m if (m := row["median"]) is not None else TRIALS + 1 for row in ours.values()]
    figure = {
        "problems": len(ours),
        "median_of_medians": statistics.median(medians),
        "median_within_8": sum(m <= MEDIAN for m in medians),
        "every_seed_within_15": sum(row["worst"] is not None and row["worst"] <= WORST for row in ours.values()),
        "median_not_worse_than_optuna_gp": sum(
            (row["median"] or TRIALS + 1) <= (theirs[name]["median"] or TRIALS + 1)
            for name, row in ours.items()
            if name in theirs
        ),
    }
    must = f"on other problems, the median is <= {MEDIAN} on 9 of 10"
    return {"summary": figure, **found}, check(must, figure, figure["median_within_8"] >= 0.9 * len(ours))


def _has_optimum(case: Case) -> bool:
    answers, searched = solved(case)
    try:
        answers.optimum(searched)
    except ValueError:
        return False
    return True


def _priors(pool: Pool, loads: Sequence[int], seeds: int) -> tuple[dict[str, Any], dict[str, Any]]:
    kinds = ("none", "twin", "another load", "wrong")
    jobs = [(Case("recorded", qps), kind) for kind in kinds for qps in loads]
    found: dict[str, Any] = {}
    for (case, kind), reached in zip(jobs, pool.spread(with_prior, jobs, seeds), strict=True):
        trials = [n if n is not None else TRIALS + 1 for n in reached]
        row = {"median": statistics.median(trials), "worst": max(trials)}
        found.setdefault(kind, {})[str(case.qps)] = row
    means = {kind: round(statistics.fmean(sizes(found[kind], "median")), 2) for kind in kinds}
    costs = max(found["wrong"][q]["median"] - found["none"][q]["median"] for q in found["none"])
    must = "a wrong prior costs at most 3 trials in the median, and the twin's costs none on average"
    return {"mean_of_medians": means, **found}, check(
        must, {**means, "wrong_costs_at_most": costs}, costs <= 3 and means["twin"] <= means["none"]
    )


def _context(pool: Pool, loads: Sequence[int], seeds: int) -> tuple[dict[str, Any], dict[str, Any]]:
    [joint] = pool.spread(together, [(tuple(loads),)], seeds)
    single = pool.spread(stopped, [(Case("recorded", qps),) for qps in loads], seeds)
    by_seed = list(zip(*single, strict=True))
    figure = {
        "together": {
            "trials_median": statistics.median(r["trials"] for r in joint),
            "picks_within_5_percent": round(sum(r["within_5"] for r in joint) / len(joint) / len(loads), 3),
            "trials_until_each_load_was_within_5_percent": [r["near"] for r in joint],
        },
        "one_by_one": {
            "trials_median": statistics.median(sum(r["trials"] for r in each) for each in by_seed),
            "picks_within_5_percent": round(statistics.fmean(r["within_5"] for each in by_seed for r in each), 3),
        },
    }
    fewer = figure["together"]["trials_median"] < figure["one_by_one"]["trials_median"]
    as_good = figure["together"]["picks_within_5_percent"] >= 0.9
    must = "loads learnt together end after fewer trials than one by one, with 9 of 10 rows within 5 %"
    return figure, check(must, figure, fewer and as_good)


def _stopping(pool: Pool, loads: Sequence[int], seeds: int) -> dict[str, Any]:
    jobs = [(Case("recorded", qps),) for qps in loads]
    found = {}
    for qps, runs in zip(loads, pool.spread(stopped, jobs, seeds), strict=True):
        found[str(qps)] = {
            "trials_median": statistics.median(r["trials"] for r in runs),
            "stopped_by_itself": round(statistics.fmean(r["stopped"] for r in runs), 3),
            "pick_within_5_percent": round(statistics.fmean(r["within_5"] for r in runs), 3),
        }
    return found


def _suggestions() -> tuple[dict[str, Any], dict[str, Any]]:
    with threadpool_limits(1):
        found = suggestion_time.ours((50, 100))
    figure = {n: row["median_ms"] for n, row in found.items()}
    must = "median time per suggestion on one thread <= 100 ms at n = 50 and <= 200 ms at n = 100"
    return found, check(must, figure, figure["n=50"] <= 100 and figure["n=100"] <= 200)


def _say(part: str) -> None:
    """Tell whoever waits what is being run."""
    print(f"{time.strftime('%H:%M:%S')} {part}", file=sys.stderr, flush=True)


PARTS = ("suggestions", "recorded", "twin", "announced", "planted", "priors", "context", "robustness", "stopping")


def run(
    seeds: int = int(os.environ.get("MUSTHERD_BENCH_SEEDS", SEEDS)),
    loads: Sequence[int] = LOADS,
    parts: Sequence[str] = tuple(os.environ.get("MUSTHERD_BENCH_PARTS", ",".join(PARTS)).split(",")),
) -> dict[str, object]:
    """Run `parts` with so many seeds."""
    if unknown := set(parts) - set(PARTS):
        raise SystemExit(f"no such parts: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    checks: list[dict[str, Any]] = []
    found: dict[str, Any] = {}
    if "suggestions" in parts:
        found["suggestions"], passed = _suggestions()
        checks.append(passed)
    pool = Pool()
    few = min(seeds, ROBUST_SEEDS)
    try:
        for source in ("recorded", "twin"):
            if source in parts:
                _say(source)
                found[source] = trials_to(pool, [Case(source, qps) for qps in loads], SEARCHES, seeds)
                checks += check_trials(source, found[source])
        asked: dict[str, Any] = {source: found[source] for source in ("recorded", "twin") if source in found}
        if asked:
            found["over_problems"] = over_problems(asked)
            checks.append(check_over_problems(found["over_problems"]))
        for part, work, count in (
            ("announced", _announced, seeds),
            ("priors", _priors, few),
            ("context", _context, few),
            ("robustness", _robustness, few),
        ):
            if part in parts:
                _say(part)
                found[part], passed = work(pool, loads, count)
                checks.append(passed)
        if "planted" in parts:
            _say("planted")
            found["planted"], passed = _planted(pool, loads)
            checks.append(passed)
        if "stopping" in parts:
            _say("stopping")
            found["stopping"] = _stopping(pool, loads, few)
    finally:
        pool.close()
    return {"seeds": seeds, "trials": TRIALS, "noise": MEASURED_NOISE, "checks": checks, **found}
