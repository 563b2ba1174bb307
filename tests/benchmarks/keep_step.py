"""A step from 100k to 1.2M requests a second: seconds until a node is at settings that hold at 1.2M.

200 steps at random moments of a frame. The settings hold when p99 is within the limit and 98 % are answered, by the
twin's own physics; the way from the decision to the knobs takes 0.1 s.
"""

import random

from mustherd.keep.keeper import Keeper
from mustherd.keep.options import Options
from mustherd.node.twin.live import LiveTwin
from tests.benchmarks._keep_world import DEFAULT, LIMIT, SAFE, World, twin_book

LOW, HIGH = 100e3, 1.2e6
QUIET_S, BUSY_S = 40.0, 20.0
STEPS = 200
MEDIAN_S, MOST_S = 2.0, 3.0


def run() -> dict[str, object]:
    draw = random.Random(1)
    starts = [n * (QUIET_S + BUSY_S) + QUIET_S + draw.random() for n in range(STEPS)]

    def trace(at: float) -> float:
        start = starts[min(STEPS - 1, int(at // (QUIET_S + BUSY_S)))]
        return HIGH if start <= at < start + BUSY_S - 2 else LOW

    options = Options(limit=LIMIT, settle_s=1.0, safe=SAFE, baseline=DEFAULT, controls=0.0)
    twin = LiveTwin(trace, seed=3)
    world = World(Keeper(options, twin_book(1.0)), {"n0": twin}, frame_s=options.frame_s)
    world.start()
    took = []
    for start in starts:
        world.run(start - 1)
        world.decisions.clear()
        world.run(start + BUSY_S - 5)
        held = (at for at, d in world.decisions if at >= start and holds(twin, d.settings))
        took.append(next(held) + world.delay_s - start)
    took.sort()
    median, high = took[STEPS // 2], took[int(STEPS * 0.99)]
    return {
        "steps": STEPS,
        "median_s": round(median, 2),
        "p99_s": round(high, 2),
        "most_s": round(took[-1], 2),
        "limits_s": [MEDIAN_S, MOST_S],
        "passed": median <= MEDIAN_S and high <= MOST_S,
    }


def holds(twin: LiveTwin, settings: dict[str, int]) -> bool:
    served, _, latency = twin.true(0.0, HIGH, settings)
    return latency <= LIMIT and served >= 0.98 * HIGH
