"""What searches do on a problem, some seeds at a time: searched, stopped, confirmed and measured again."""

import random
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from mustherd.learn.base import Dimension, Observation, Problem, Search
from mustherd.learn.confirmation import Confirmation
from mustherd.learn.registry import make
from mustherd.learn.replay import Run, Table, replay
from mustherd.learn.sensitivity import idle_knobs
from mustherd.learn.windows import Repeat
from tests.benchmarks._cases import Case, solved
from tests.recorded import LOADS, problem, table

TRIALS = 25
MEASURED_NOISE = {"energy_joules": 0.002, "read_p99_us": 0.012, "achieved_ratio": 0.0005}
"""Between repeats of one campaign: energy 0.1..0.25 %, p99 0.2..1.4 %."""
GREAT_NOISE = {"energy_joules": 0.05, "read_p99_us": 0.05}
CONFIRMATION_ROUNDS = 20
"""With noise that great an experiment file would say `confirmation: {rounds: 20}`."""
OURS = "mustherd-gp"
AGAIN = 20
"""Windows in which an announced setting is measured again, beside the default."""


def searching(name: str, searched: Problem) -> Callable[[int], Search]:
    """What makes the search of that name for a seed."""
    if name == OURS:
        return lambda seed: make("gp", searched, seed=seed, options={"stop": False})
    if name == "random":
        return lambda seed: make("random", searched, seed=seed)
    return lambda seed: make(name, searched, seed=seed, peers=True)


def runs_of(name: str, case: Case, seeds: Sequence[int]) -> list[Run]:
    """Some seeds of a search on a case; each ends when it has come within 5 %."""
    answers, searched = solved(case)
    return replay(
        searching(name, searched), answers, searched, seeds=seeds, trials=TRIALS, noise=MEASURED_NOISE, until=0.05
    )


def stopped(case: Case, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Whole searches that may stop by themselves: how many trials, and how good the pick is."""
    answers, searched = solved(case)
    runs = replay(
        lambda seed: make("gp", searched, seed=seed), answers, searched, seeds=seeds, trials=40, noise=MEASURED_NOISE
    )
    return [
        {"trials": r.trials, "within_5": r.pick_feasible and (r.pick_excess or 0.0) <= 0.05, "stopped": bool(r.reason)}
        for r in runs
    ]


def announced(case: Case, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Whole experiments with great noise: search, confirm, and measure again what was announced."""
    return [_announce(*solved(case), seed) for seed in seeds]


def _announce(answers: Table, searched: Problem, seed: int) -> dict[str, Any]:
    draw = random.Random(f"announce/{seed}")
    search = make("gp", searched, seed=seed, options={"noise": GREAT_NOISE})
    for _ in range(30):
        if (point := search.ask()) is None:
            break
        search.tell([answers.measure(point, GREAT_NOISE, draw)])
    ranking: Any = search.state()["ranking"]
    goal = msgspec.structs.replace(searched.goal, repeats=3, rounds=CONFIRMATION_ROUNDS, seed=seed)
    confirmation = Confirmation(goal, [r["point"] for r in ranking], default=searched.space.default)
    measured = 0
    while wanted := confirmation.round():
        points = [one.point for one in wanted]
        repeats = [Repeat(point=p, metrics=answers.measure(p, GREAT_NOISE, draw).metrics) for p in points]
        confirmation.add(repeats)
        measured += len(points)
    outcome = confirmation.outcome()
    found: dict[str, Any] = {
        "word": outcome.word, "measured": measured, "feasible": False, "within_5": False, "windows_over": None,
        "saved_again": None,
    }  # fmt: skip
    if outcome.winner is not None:
        again = measured_again(answers, outcome.winner.point, searched, random.Random(f"again/{seed}"))
        best = answers.optimum(searched).metrics["energy_joules"]
        found |= again | {"within_5": again["feasible"] and again["energy_joules"] <= 1.05 * best}
    return found


def measured_again(answers: Table, point: dict[str, int], searched: Problem, draw: random.Random) -> dict[str, Any]:
    """What a setting does in windows that nobody chose it by, in turn with the default: never looked up.

    `feasible`: by the means of its windows; `windows_over`: the share of them in which a limit broke; `saved_again`:
    per cent of the default's energy.
    """
    windows = [answers.measure(point, GREAT_NOISE, draw).metrics for _ in range(AGAIN)]
    default = searched.space.default
    usual = [answers.measure(default, GREAT_NOISE, draw).metrics for _ in range(AGAIN)] if default else []
    kept = [all(c.met_by(w[c.metric]) for c in searched.goal.constraints) for w in windows]
    mean = {m: statistics.fmean(w[m] for w in windows) for m in windows[0]}
    energy = mean["energy_joules"]
    return {
        "feasible": all(c.met_by(mean[c.metric]) for c in searched.goal.constraints),
        "windows_over": 1 - sum(kept) / len(kept),
        "energy_joules": energy,
        "saved_again": 100 * (1 - energy / statistics.fmean(w["energy_joules"] for w in usual)) if usual else None,
    }


def planted(campaign: int, qps: int) -> list[str]:
    """The knobs that an experiment on a campaign would say had no measurable effect."""
    recorded = table(qps, campaign)
    searched = problem(recorded, qps)
    search = make("gp", searched, seed=1, options={"stop": False})
    draw = random.Random(qps)
    observations: list[Observation] = []
    while len(observations) < 30 and (point := search.ask()) is not None:
        observations.append(recorded.measure(point, {}, draw))
        search.tell(observations[-1:])
    return idle_knobs(searched, observations)


def with_prior(case: Case, kind: str, seeds: Sequence[int]) -> list[int | None]:
    """Trials to within 5 % with a prior: the twin's, another load's, one that says the opposite, or none."""
    answers, searched = solved(case)
    prior: list[Observation] = []
    if kind == "twin":
        prior = solved(case._replace(source="twin"))[0].observations()
    elif kind == "another load":
        prior = solved(case._replace(qps=LOADS[(LOADS.index(case.qps) + 3) % len(LOADS)]))[0].observations()
    elif kind == "wrong":
        prior = _upside_down(answers.observations())
    searched = searched.over(prior=tuple(prior))
    runs = replay(
        lambda seed: make("gp", searched, seed=seed, options={"stop": False}),
        answers, searched, seeds=seeds, trials=TRIALS, noise=MEASURED_NOISE, until=0.05,
    )  # fmt: skip
    return [r.trials_to["5 %"] for r in runs]


def together(loads: tuple[int, ...], seeds: Sequence[int]) -> list[dict[str, Any]]:
    """All loads learnt together until the search stops by itself."""
    return [_together(loads, seed) for seed in seeds]


def _together(loads: Sequence[int], seed: int) -> dict[str, Any]:
    tables = {qps: solved(Case("recorded", qps)) for qps in loads}
    plain = tables[loads[0]][1]
    searched = msgspec.structs.replace(
        plain,
        dimensions=(Dimension(name="qps", values=tuple(loads), scale="log"), *plain.space.dimensions),
        context="qps",
        in_flight_us=None,
    )
    search = make("gp", searched, seed=seed)
    draw = random.Random(f"noise/{seed}")
    near: dict[int, int] = {}
    trials = 0
    while trials < TRIALS * len(loads) and (point := search.ask()) is not None:
        trials += 1
        qps = point["qps"]
        here = {k: v for k, v in point.items() if k != "qps"}
        search.tell([Observation(point=point, metrics=tables[qps][0].measure(here, MEASURED_NOISE, draw).metrics)])
        if _within(tables[qps], here):
            near.setdefault(qps, trials)
    rows: Any = search.state()["table"]
    picks = [_within(tables[row["load"]], row["point"]) for row in rows]
    return {"trials": trials, "within_5": sum(picks), "near": max(near.values()) if len(near) == len(loads) else None}


def _within(solved_: tuple[Table, Problem], point: dict[str, int]) -> bool:
    """Whether a point truly keeps the limits and is within 5 % of the optimum."""
    answers, searched = solved_
    true = answers.measure(point, {}, random.Random(0)).metrics
    best = answers.optimum(searched).metrics["energy_joules"]
    return true["energy_joules"] <= 1.05 * best and all(c.met_by(true[c.metric]) for c in searched.goal.aimed)


def _upside_down(observations: Sequence[Observation]) -> list[Observation]:
    """The same surface with the best where the worst was: each metric mirrored on its logarithm."""
    ends = {
        m: (min(o.metrics[m] for o in observations), max(o.metrics[m] for o in observations))
        for m in ("energy_joules", "read_p99_us")
    }
    return [
        Observation(
            point=o.point, metrics={**o.metrics, **{m: low * high / o.metrics[m] for m, (low, high) in ends.items()}}
        )
        for o in observations
    ]
