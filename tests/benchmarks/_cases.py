"""Problems that searches are compared on: where their measurements come from, and what is asked of them."""

import functools
from typing import NamedTuple

from mustherd.learn.base import Observation, Problem
from mustherd.learn.replay import Table
from mustherd.node.twin.model import predict
from mustherd.node.twin.profiles import profile
from mustherd.terms import Load
from tests.recorded import LOADS, OUTSTANDING, problem, table

WINDOW_S = 30.0


class Case(NamedTuple):
    """A problem: where its measurements come from, and what is asked of them."""

    source: str
    """`recorded`, `twin` or `fine` (the twin, in steps of 2 us and 100 MHz)."""
    qps: int
    limit_us: float = 500.0
    drift: float = 1.0
    """What every p99 is multiplied by: another day."""
    outstanding: int = OUTSTANDING


@functools.cache
def solved(case: Case) -> tuple[Table, Problem]:
    """The table that answers for a case, and the problem on it."""
    recorded = table(case.qps) if case.source == "recorded" else twin(case)
    if case.drift != 1.0:
        recorded = Table(
            Observation(point=o.point, metrics={**o.metrics, "read_p99_us": o.metrics["read_p99_us"] * case.drift})
            for o in recorded.observations()
        )
    return recorded, problem(recorded, case.qps, case.limit_us, case.outstanding)


def twin(case: Case) -> Table:
    """What the simulated node would measure without noise."""
    known = profile("c6220")
    load = Load(preset="etc", qps=float(case.qps), update_ratio=0.25, outstanding=case.outstanding)
    if case.source == "fine":
        delays, clocks = [1, *range(2, 401, 2)], [*range(1200, 2601, 100), 2800]
    else:
        grid = table(LOADS[0])
        delays, clocks = list(grid.values("itr-delay")), list(grid.values("dvfs"))
    found = []
    for delay in delays:
        for clock in clocks:
            here = predict(known, delay, clock, load)
            found.append(
                Observation(
                    point={"itr-delay": delay, "dvfs": clock},
                    metrics={
                        "energy_joules": here.power_watts * WINDOW_S,
                        "read_p99_us": here.read_us["p99"],
                        "achieved_ratio": here.achieved_qps / case.qps,
                    },
                )
            )
    return Table(found)
