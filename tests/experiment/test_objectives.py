"""Every metric that can be an objective, and every one as a limit, from the definition to the report.

The twin answers over a grid of settings; held against it is what the search, the verdict and the report make of that.
"""

import itertools
import re
import statistics
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from mustherd import metrics
from mustherd.definition import content, goal, problem
from mustherd.experiment.results import front_of, volumes
from mustherd.experiment.verdict import Verdict, decide
from mustherd.goal import Goal
from mustherd.learn.base import Observation
from mustherd.learn.registry import make as make_search
from mustherd.metrics import Use, WindowMeasurement
from mustherd.node.twin.model import predict
from mustherd.node.twin.profiles import profile
from mustherd.report.html import render
from mustherd.report.view import View
from mustherd.store.store import Store
from mustherd.terms import Energy, LoadReport
from mustherd.trial import Trial, TrialKind, TrialState
from tests import running
from tests.definition.make import made
from tests.experiment import physics

# Those of a meter of the whole machine take one, which no twin has: tests/meters.
OURS = {name: metric for name, metric in metrics.OURS.items() if name not in metrics.OF_WALL}
AIMS = [name for name, metric in OURS.items() if metric.use is Use.OBJECTIVE]
LIMITED = [name for name, metric in OURS.items() if metric.use is not Use.REPORT]
DELAYS, CLOCKS = (2, 50, 150, 300, 400), (1200, 1600, 2000, 2600)
SECONDS = 30.0
KNOBS = {"itr-delay": list(DELAYS), "dvfs": list(CLOCKS)}
# Few places in flight: long delays leave load unsent, so that what is answered differs from setting to setting.
WORKLOAD = {"qps": 600_000, "outstanding": 24}
NODE = profile("c6220")


def answer(itr: int, mhz: int) -> dict[str, float]:
    """What a window on the twin would measure, and the CPU time that a server would have counted."""
    load = made(knobs=KNOBS, workload=WORKLOAD).workload.load()
    here = predict(NODE, itr, mhz, load)
    report = LoadReport(
        generator="twin", t0_s=0.0, t1_s=SECONDS, offered_qps=load.qps, achieved_qps=here.achieved_qps,
        requests=round(here.achieved_qps * SECONDS), misses=itr + mhz, samples=60_000,
        read_us=here.read_us, update_us=here.update_us,
        counters={
            "server_cpu_seconds": here.busy_fraction * 16 * SECONDS,
            "machine_cpu_seconds": (here.busy_fraction * 16 + 0.5) * SECONDS,
            "machine_cycles": (here.busy_fraction * 16 + 0.5) * SECONDS * mhz * 1e6,
        },
    )  # fmt: skip
    joules = {"package": here.power_watts * SECONDS, "dram": (here.power_watts / 8 + itr / 1e3) * SECONDS}
    joules["psys"] = sum(joules.values()) + 40 * SECONDS
    energies = tuple(Energy(zone=f"{kind}-0", kind=kind, joules=j) for kind, j in joules.items())
    # The window's length and the offered load are the same everywhere but for the clock's and the arrivals' chance.
    window = WindowMeasurement(seconds=SECONDS, energies=energies, load=report)
    return (
        metrics.measured(window)
        | {"window_seconds": SECONDS + itr / 1e6, "offered_qps": 6e5 + mhz}
        | held_back(itr, mhz)
    )


def held_back(itr: int, mhz: int) -> dict[str, float]:
    """What a pipeline's workers hold back, which another node tells: more with a long delay, and with a low clock."""
    return {metrics.BACKPRESSURE: itr / 1e3 + 100 / mhz}


GRID = {(itr, mhz): answer(itr, mhz) for itr, mhz in itertools.product(DELAYS, CLOCKS)}
DEFAULT = (DELAYS[2], CLOCKS[-1])


def trial(number: int, kind: TrialKind, at: tuple[int, int], metrics: dict[str, float]) -> Trial:
    settings = {} if kind is TrialKind.BASELINE else dict(zip(KNOBS, at, strict=True))
    return Trial(
        number=number, kind=kind, settings=settings, state=TrialState.FINISHED, metrics=metrics, muster="muster-0"
    )


def goal_of(**changes: Any) -> Goal:
    return goal(made(knobs=KNOBS, workload=WORKLOAD, **changes))


def trials_of(confirmed: tuple[int, int] | None = None) -> list[Trial]:
    """The default, every setting once, and repeats of one beside the default's: before it is chosen, and after."""
    found = [trial(1, TrialKind.BASELINE, DEFAULT, GRID[DEFAULT])]
    found += [trial(n, TrialKind.SEARCH, at, GRID[at]) for n, at in enumerate(GRID, 2)]
    for n in range(6 if confirmed else 0):
        for kind_at in (confirmed, None):
            at, number = kind_at or DEFAULT, len(found) + 1
            noisy = {k: v * (1 + 1e-4 * (n % 3 - 1)) for k, v in GRID[at].items()}
            repeat = trial(number, TrialKind.CONFIRM, at, noisy)
            found.append(repeat if kind_at else msgspec.structs.replace(repeat, settings={}))
    return found


def best_of(objective: str, kept: Callable[[dict[str, float]], bool] = lambda _: True) -> tuple[int, int]:
    return min(
        (at for at in GRID if kept(GRID[at])),
        key=lambda at: metrics.of(objective).as_cost(GRID[at][objective]),
    )


def found_by_search(**changes: Any) -> dict[str, int]:
    """The best of what a search was told, which was the whole grid."""
    search = make_search("grid", problem(made(knobs=KNOBS, workload=WORKLOAD, **changes)))
    search.tell([Observation(point=dict(zip(KNOBS, at, strict=True)), metrics=GRID[at]) for at in GRID])
    best: Any = search.state()["best"]
    return dict(best["point"])


def test_the_list_of_aims_is_what_the_field_asks_for() -> None:
    wanted = {"energy_joules", "power_watts", "joules_per_request", "server_cpu_seconds", "achieved_qps"}
    wanted |= {f"{verb}_{p}_us" for verb in ("read", "update") for p in ("p50", "p90", "p95", "p99", "p999")}
    assert wanted <= set(AIMS)
    assert set(LIMITED) - set(AIMS) == {"offered_qps", "window_seconds", "misses"}
    assert set(AIMS) <= set(GRID[DEFAULT])


@pytest.mark.parametrize("objective", AIMS)
def test_as_objective(objective: str) -> None:
    free = {"objective": objective, "gates": {"achieved_ratio": 0}}
    truth = best_of(objective)
    assert found_by_search(**free) == dict(zip(KNOBS, truth, strict=True))
    wanted = goal_of(**free, repeats=3)
    assert (wanted.objective, wanted.constraints) == (objective, ())
    found = decide(trials_of(truth), wanted)
    assert found.best is not None
    assert found.default is not None
    assert found.saving_percent is not None
    assert found.best.knobs == dict(zip(KNOBS, truth, strict=True))
    assert found.saving_percent == pytest.approx(
        metrics.of(objective).better_percent(GRID[truth][objective], GRID[DEFAULT][objective]), abs=0.1
    )
    # Where the grid leaves nothing to gain, the default is among the best.
    assert found.verdict == ("met" if found.saving_percent > 1 else found.verdict)
    more = "more" if metrics.of(objective).maximized else "less"
    assert f"% {more} {metrics.of(objective).label} than the default" in found.reason or found.saving_percent < 1e-6
    assert found.sense == ("most" if metrics.of(objective).maximized else "least")


@pytest.mark.parametrize("at_least", [False, True], ids=["upper", "lower"])
@pytest.mark.parametrize("metric", sorted({*LIMITED} - {"achieved_ratio"}))
def test_as_constraint(metric: str, at_least: bool) -> None:
    limit = statistics.median(GRID[at][metric] for at in GRID)
    text = f"{metric} {'>=' if at_least else '<='} {limit!r}"
    changes = {"constraints": [text], "gates": {"achieved_ratio": 0}, "confirmation": {"margin": 0}}
    truth = best_of("energy_joules", lambda m: m[metric] >= limit if at_least else m[metric] <= limit)
    assert found_by_search(**changes) == dict(zip(KNOBS, truth, strict=True))
    found = decide(trials_of(), goal_of(**changes, repeats=0))
    assert found.best is not None
    assert found.saving_percent is not None
    assert found.best.knobs == dict(zip(KNOBS, truth, strict=True))
    other = best_of("energy_joules", lambda m: m[metric] < limit if at_least else m[metric] > limit)
    trials = [trial(1, TrialKind.BASELINE, DEFAULT, GRID[DEFAULT]), trial(2, TrialKind.SEARCH, other, GRID[other])]
    broken = decide(trials, goal_of(**changes, repeats=0))
    assert broken.verdict == "not met"
    assert broken.closest is not None


def test_who_wants_the_most_load_answered_is_not_held_to_what_is_offered() -> None:
    for changes in ({"objective": "achieved_qps"}, {"objectives": ["energy_joules", "achieved_qps"]}):
        assert made(**changes).gates.achieved_ratio == 0
        assert made(**changes, gates={"achieved_ratio": 0.5}).gates.achieved_ratio == 0.5
        assert all(c.metric != "achieved_ratio" for c in problem(made(**changes)).goal.aimed)
        assert goal_of(**changes).constraints == ()
    assert made().gates.achieved_ratio == 0.98


def test_the_model_is_led_to_the_most_as_to_the_least() -> None:
    task = problem(made(knobs=KNOBS, workload=WORKLOAD, objective="achieved_qps", constraints=["read_p99_us <= 250"]))
    search = make_search("gp", task, seed=3)
    truth = best_of("achieved_qps", lambda m: m["read_p99_us"] <= 450)
    tried: list[tuple[int, int]] = []
    while len(tried) < 10 and (point := search.ask()) is not None:
        tried.append((point["itr-delay"], point["dvfs"]))
        search.tell([Observation(point=point, metrics=GRID[tried[-1]])])
    most = GRID[truth]["achieved_qps"]
    best: Any = search.state()["best"]
    assert best["metrics"]["achieved_qps"] >= 0.98 * most
    ranking: Any = search.state()["ranking"]
    foretold = [row["achieved_qps"] for row in ranking]
    assert foretold == sorted(foretold, reverse=True)
    assert foretold[0] == pytest.approx(most, rel=0.05)


@pytest.mark.parametrize(
    ("first", "second"),
    [("energy_joules", "achieved_qps"), ("achieved_qps", "energy_joules"), ("achieved_qps", "achieved_ratio"),
     ("energy_joules", "read_p99_us")],
)  # fmt: skip
def test_the_front_of_two(first: str, second: str) -> None:
    wanted = goal_of(objectives=[first, second], gates={"achieved_ratio": 0})
    trials = trials_of()

    def costs(at: tuple[int, int]) -> tuple[float, float]:
        return metrics.of(first).as_cost(GRID[at][first]), metrics.of(second).as_cost(GRID[at][second])

    beaten = {
        at for at, one in itertools.product(GRID, GRID)
        if costs(one) != costs(at) and all(a <= b for a, b in zip(costs(one), costs(at), strict=True))
    }  # fmt: skip
    front = front_of(trials, wanted)
    points = [(o.point["itr-delay"], o.point["dvfs"]) for o in front]
    assert {costs(at) for at in points} == {costs(at) for at in GRID if at not in beaten}
    assert [o.metrics[first] for o in front] == sorted(
        (o.metrics[first] for o in front), reverse=metrics.of(first).maximized
    )
    grown, reference = volumes(trials, wanted)
    volume = [value for _, value in grown]
    assert volume == sorted(volume)
    assert volume[-1] > 0 or first != "energy_joules"
    worst = min if metrics.of(first).maximized else max
    assert reference[0] == worst(GRID[at][first] for at in GRID)


def test_a_gain_is_told_as_one(tmp_path: Any) -> None:
    changes: dict[str, Any] = {"objectives": ["achieved_qps", "energy_joules"], "repeats": 3}
    experiment = made(knobs=KNOBS, workload=WORKLOAD, **changes)
    wanted, whole = goal(experiment), content(experiment)
    truth = best_of("achieved_qps")
    trials = trials_of(truth)
    # The default is one that leaves load unsent.
    worst = max(GRID, key=lambda at: metrics.of("achieved_qps").as_cost(GRID[at]["achieved_qps"]))
    trials = [
        t if t.settings else msgspec.structs.replace(t, metrics={**GRID[worst], "achieved_qps": 3e5 + t.number})
        for t in trials
    ]
    with Store.create(
        tmp_path / "one", name="most", definition="", resolved=whole, digest="d" * 64, goal=wanted
    ) as store:
        physics.fill(store, trials)
        found: Verdict = decide(store.trials(), wanted)
        assert found.verdict == "met", found.reason
        assert found.saving_percent is not None
        assert found.saving_percent > 50
        assert re.search(r"has [\d.]+ % more answered load than the default \(95 % interval", found.reason)
        store.set_verdict(msgspec.to_builtins(found))
        view = View.of(store)
        improved = [view.objective(t) or 0.0 for t in view.improvements()]
        assert improved == sorted(improved)
        page = render(view)
    assert f"<strong>{found.saving_percent:.1f} %</strong> more {metrics.of('achieved_qps').label}" in page
    assert (
        "saving" not in re.sub(r"<style.*?</style>|class=\"[^\"]*\"", "", page, flags=re.DOTALL).split("definition")[0]
    )


@pytest.mark.process
def test_an_experiment_that_wants_the_most_load(tmp_path: Any) -> None:
    text = running.definition(trials=8, repeats=2, method="gp") + "objective: achieved_qps\n"
    code, result, err = running.complete(tmp_path, text)
    assert code in (0, 1), err
    assert (result["objective"], result["sense"]) == ("achieved_qps", "most")
    assert result["trials"]["finished"] >= 8
