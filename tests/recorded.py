"""The recorded grid as tables, one per campaign and load."""

from mustherd.goal import Constraint
from mustherd.learn.base import Problem
from mustherd.learn.replay import Table, read_csv
from mustherd.node.kinds import DVFS, ITR_DELAY
from tests.shared_data import path

LOADS = (100_000, 200_000, 400_000, 600_000, 800_000, 1_200_000)
DEFAULT = {"itr-delay": 1, "dvfs": 2800}
"""Linux's performance default: adaptive moderation at the turbo clock."""


def table(qps: int, campaign: int = 0) -> Table:
    """What was measured at one load."""
    return Table(
        read_csv(
            path("c6220_memcached_grid.csv"),
            knobs={"itr-delay": "itr_delay_us", "dvfs": ("dvfs", lambda text: DVFS.value_of_word(int(text, 16)))},
            metrics={
                "energy_joules": "pkg_joules",
                "read_p99_us": "read_p99",
                "achieved_ratio": "achieved_qps/target_qps",
            },
            where={"campaign": campaign, "target_qps": qps},
        )
    )


OUTSTANDING = 256
"""Requests in flight at most when the grid was recorded."""


def problem(recorded: Table, qps: int, limit_us: float = 500.0, outstanding: int = OUTSTANDING) -> Problem:
    """Least energy with the limit on p99 and 98 % of the load carried."""
    searched = recorded.problem(
        "energy_joules",
        (Constraint("read_p99_us", limit_us), Constraint("achieved_ratio", 0.98, at_least=True)),
        default=DEFAULT,
        kinds={"itr-delay": ITR_DELAY, "dvfs": DVFS},
    )
    return searched.over(in_flight_us=outstanding / qps * 1e6)
