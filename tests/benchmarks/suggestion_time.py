"""How long a suggestion takes: a tell of one observation and the ask after it, with n told before, on one thread.

Against scikit-optimize's own Optimizer on the same penalty-free objective over the same space, in the same run.
"""

import random
import statistics
import time
import warnings
from collections.abc import Sequence

from skopt import Optimizer
from threadpoolctl import threadpool_limits

from mustherd.goal import Constraint, Goal
from mustherd.learn.base import Dimension, Observation, Problem, SearchSpace, Settings
from mustherd.learn.registry import make

COUNTS = (10, 50, 100)
MANY = (300, 1000)
"""Of ours alone: the other takes seconds there."""
ROUNDS = 12
PROBLEM = Problem(
    space=SearchSpace(
        dimensions=(
            Dimension(name="itr-delay", low=2, high=400, step=2, scale="log", role="delay"),
            Dimension(name="dvfs", low=1200, high=2600, step=100, role="clock"),
        )
    ),
    goal=Goal(limits=(Constraint("read_p99_us", 500.0),)),
)


def measured(point: Settings, draw: random.Random) -> Observation:
    """A plausible node, with the noise that real ones have."""
    delay, clock = point["itr-delay"], point["dvfs"] / 1000
    return Observation(
        point=point,
        metrics={
            "energy_joules": (900 + 500 * clock - delay / 2) * (1 + 0.002 * draw.gauss(0, 1)),
            "read_p99_us": (90 + delay + 900 / clock**3) * (1 + 0.01 * draw.gauss(0, 1)),
            "achieved_ratio": min(1.0, 320 / delay) * (1 + 0.0005 * draw.gauss(0, 1)),
        },
    )


def _random_points(count: int, draw: random.Random) -> list[Settings]:
    return [{"itr-delay": draw.randrange(2, 401, 2), "dvfs": draw.randrange(1200, 2601, 100)} for _ in range(count)]


def ours(counts: Sequence[int] = COUNTS) -> dict[str, dict[str, float]]:
    """Milliseconds of our search, by the number told before."""
    return {f"n={n}": _milliseconds(_ours(n)) for n in counts}


def _ours(count: int) -> list[float]:
    draw = random.Random(count)
    search = make("gp", PROBLEM, seed=1, options={"stop": False})
    search.tell([measured(p, draw) for p in _random_points(count, draw)])
    point = search.ask()
    seconds = []
    for _ in range(ROUNDS):
        assert point is not None
        observation = measured(point, draw)
        began = time.perf_counter()
        search.tell([observation])
        point = search.ask()
        seconds.append(time.perf_counter() - began)
    return seconds


def _scikit_optimize(count: int, acquisition: str) -> list[float]:
    draw = random.Random(count)
    optimizer = Optimizer([(1, 200), (12, 26)], base_estimator="GP", acq_func=acquisition, random_state=1)

    def energy(at: list[int]) -> float:
        return measured({"itr-delay": 2 * at[0], "dvfs": 100 * at[1]}, draw).metrics["energy_joules"]

    start = [[p["itr-delay"] // 2, p["dvfs"] // 100] for p in _random_points(count, draw)]
    optimizer.tell(start, [energy(at) for at in start])
    at = optimizer.ask()
    seconds = []
    for _ in range(ROUNDS):
        value = energy(at)
        began = time.perf_counter()
        optimizer.tell(at, value)
        at = optimizer.ask()
        seconds.append(time.perf_counter() - began)
    return seconds


def _milliseconds(seconds: list[float]) -> dict[str, float]:
    ranked = sorted(seconds)
    return {
        "median_ms": round(1000 * statistics.median(ranked), 1),
        "p95_ms": round(1000 * ranked[int(0.95 * (len(ranked) - 1))], 1),
    }


def run() -> dict[str, object]:
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "threads": 1,
            "rounds": ROUNDS,
            "points_in_space": 200 * 15,
            "mustherd_gp_with_two_constraints": ours((*COUNTS, *MANY)),
            "scikit_optimize_gp_hedge": {f"n={n}": _milliseconds(_scikit_optimize(n, "gp_hedge")) for n in COUNTS},
            "scikit_optimize_ei": {f"n={n}": _milliseconds(_scikit_optimize(n, "EI")) for n in COUNTS},
            "target_median_ms": {"n=50": 100, "n=100": 200},
        }
