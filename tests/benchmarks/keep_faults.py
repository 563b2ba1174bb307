"""Kills of the keeper and of musters, partitions and dead latency sources at 50 random moments.

Never is a node at learnt settings for longer than the lease with no keeper, no link to it or no fresh latency. Nodes
put themselves back when their lease has ended, a keeper that comes back goes on from what it stored.
"""

import random

from mustherd.herd.timing import LEASE_S
from mustherd.keep.keeper import Keeper
from mustherd.keep.options import Options
from mustherd.node.twin.live import LiveTwin, day
from tests.benchmarks._keep_world import DEFAULT, LIMIT, SAFE, World, twin_book

NODES = [f"n{i}" for i in range(4)]
MOMENTS = 50
APART_S = 60.0
KINDS = ("keeper", "muster", "partition", "latency")


def run() -> dict[str, object]:
    draw = random.Random(4)
    faults = []
    for number in range(MOMENTS):
        at = (number + 1) * APART_S + draw.uniform(0, 20)
        faults.append((KINDS[number % 4], at, at + draw.uniform(1, 30), draw.choice(NODES)))

    def during(kinds: tuple[str, ...], at: float, name: str = "") -> bool:
        return any(k in kinds and a <= at < b and (k == "keeper" or n == name) for k, a, b, n in faults)

    options = Options(limit=LIMIT, settle_s=1.0, safe=SAFE, baseline=DEFAULT, controls=0.02)
    trace = day(100e3, 1.1e6, 0.02, period_s=1200)
    world = World(
        Keeper(options, twin_book(1.0)),
        {name: LiveTwin(trace, seed=seed) for seed, name in enumerate(NODES)},
        frame_s=options.frame_s,
        cut=lambda name, at: during(("muster", "partition"), at, name),
        gone=lambda at: during(("keeper",), at),
        mute=lambda name, at: ("latency",) if during(("latency",), at, name) else (),
    )
    world.start()
    world.run((MOMENTS + 2) * APART_S)
    kept_s = sum(day.kept_s for day in world.keeper.ledger.days)
    share = kept_s / (len(NODES) * world.now)
    return {
        "moments": MOMENTS,
        "longest_unguarded_s": world.unguarded_s,
        "lease_s": LEASE_S,
        "share_of_time_at_learnt_settings": round(share, 3),
        "passed": world.unguarded_s <= LEASE_S and share > 0.5,
    }
