"""How closely the twin follows the machine it was fitted to: every cell of the recorded grid as a trial on a twin.

The energy of a trial's 30 s is held against the recorded joules as they are, which also cover the seconds around the
load: that is how the profile was fitted, see mustherd.node.twin.profiles.
"""

import csv
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from mustherd.node.twin.faults import TwinOptions
from mustherd.node.twin.node import TwinNode
from mustherd.terms import Load
from tests.node.twin.stand import Stand
from tests.shared_data import path

CAMPAIGN = "0"
P99_LIMIT_US = 500.0
ACHIEVED_RATIO = 0.98
LIMITS_PERCENT = {"energy": 8.0, "read_p99": 20.0, "achieved": 3.0}
"""Largest median absolute errors: energy of all cells, p99 below saturation, throughput where it is capped."""

SPEED = 200.0


@dataclass(frozen=True)
class Outcome:
    """What a trial came to, on the machine or on the twin."""

    joules: float
    avg_us: float
    p99_us: float
    achieved_qps: float

    def valid(self, qps: float) -> bool:
        """Whether it keeps the limits."""
        return self.p99_us <= P99_LIMIT_US and self.achieved_qps >= ACHIEVED_RATIO * qps


@dataclass(frozen=True)
class Cell:
    """One setting under one load."""

    qps: int
    itr_us: int
    mhz: int
    recorded: Outcome
    twin: Outcome

    @property
    def saturated(self) -> bool:
        """The machine did not carry the load."""
        return self.recorded.achieved_qps < ACHIEVED_RATIO * self.qps


def measured(options: TwinOptions) -> list[Cell]:
    """Every cell of the campaign, and the same trial on a twin of these options."""
    stand = Stand(options)
    cells = []
    with path("c6220_memcached_grid.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["campaign"] == CAMPAIGN]
    for seed, row in enumerate(rows):
        qps, itr, mhz = int(row["target_qps"]), int(row["itr_delay_us"]), int(row["dvfs"], 16) // 0x100 * 100
        joules, report = stand.trial(itr, mhz, Load(qps=qps), seed=seed, seconds=float(row["seconds"]))
        cells.append(
            Cell(
                qps=qps,
                itr_us=itr,
                mhz=mhz,
                recorded=Outcome(
                    joules=float(row["pkg_joules"]),
                    avg_us=float(row["read_avg"]),
                    p99_us=float(row["read_p99"]),
                    achieved_qps=float(row["achieved_qps"]),
                ),
                twin=Outcome(
                    joules=joules,
                    avg_us=report.read_us["avg"],
                    p99_us=report.read_us["p99"],
                    achieved_qps=report.achieved_qps,
                ),
            )
        )
    return cells


def errors(cells: Sequence[Cell]) -> dict[str, list[float]]:
    """Absolute errors in percent of the recorded value, of the cells where each is judged."""
    return {
        "energy": [off(c.twin.joules, c.recorded.joules) for c in cells],
        "read_p99": [off(c.twin.p99_us, c.recorded.p99_us) for c in cells if not c.saturated],
        "achieved": [off(c.twin.achieved_qps, c.recorded.achieved_qps) for c in cells if c.saturated],
    }


def off(value: float, truth: float) -> float:
    """How far off, in percent."""
    return abs(value / truth - 1) * 100


def best(cells: Sequence[Cell], kind: str) -> Cell | None:
    """The valid cell of least energy as `kind` ("recorded" or "twin") has it."""
    valid = [c for c in cells if getattr(c, kind).valid(c.qps)]
    return min(valid, key=lambda c: getattr(c, kind).joules, default=None)


def by_load(cells: Sequence[Cell]) -> Iterator[tuple[int, list[Cell]]]:
    """The cells of each load."""
    for qps in sorted({c.qps for c in cells}):
        yield qps, [c for c in cells if c.qps == qps]


def saving_percent(cells: Sequence[Cell], kind: str) -> float:
    """How much less than the default (adaptive, turbo) the valid optimum uses."""
    optimum = best(cells, kind)
    default = next(c for c in cells if (c.itr_us, c.mhz) == (1, 2800))
    return 0.0 if optimum is None else (1 - getattr(optimum, kind).joules / getattr(default, kind).joules) * 100


def run() -> dict[str, object]:
    """Errors in percent per load and over all, the optimum of either, and what a trial costs in real time."""
    cells = measured(TwinOptions())
    overall = errors(cells)
    return {
        "benchmark": "twin_fidelity",
        "profile": "c6220",
        "cells": len(cells),
        "below_saturation": sum(not c.saturated for c in cells),
        "limits_median_percent": LIMITS_PERCENT,
        "within_limits": all(median(values) <= LIMITS_PERCENT[name] for name, values in overall.items()),
        "all_loads": summary(overall),
        "per_load": {str(qps): {**summary(errors(some)), "optimum": optima(some)} for qps, some in by_load(cells)},
        "trial_of_38_s": {"speed": SPEED, "wall_seconds": round(trial_wall_seconds(), 3)},
    }


def summary(found: dict[str, list[float]]) -> dict[str, object]:
    """Median and largest error of each metric."""
    return {
        name: {"cells": len(v), "median_percent": round(median(v), 2), "max_percent": round(max(v), 1)}
        for name, v in found.items()
        if v
    }


def optima(cells: Sequence[Cell]) -> dict[str, object]:
    """Where the machine and the twin have their optimum, and what it saves."""
    result: dict[str, object] = {}
    for kind in ("recorded", "twin"):
        found = best(cells, kind)
        result[kind] = found and {
            "itr_delay_us": found.itr_us,
            "dvfs_mhz": found.mhz,
            "energy_joules": round(getattr(found, kind).joules, 1),
            "read_p99_us": round(getattr(found, kind).p99_us, 1),
            "saving_percent": round(saving_percent(cells, kind), 1),
        }
    return result


def trial_wall_seconds() -> float:
    """Real seconds of settling 3 s, ramping 5 s and measuring 30 s, waiting as a muster does."""
    node = TwinNode(TwinOptions(speed=SPEED))
    began = time.monotonic()

    def live(seconds: float) -> None:
        deadline = node.clock.now() + seconds
        node.clock.stop_at(deadline)
        while (pause := node.clock.wall_seconds_until(deadline)) > 0:
            time.sleep(pause)

    live(3.0)
    running = node.start_load(Load(qps=600_000), seed=1)
    live(5.0)
    running.open_window()
    node.meter.read()
    live(30.0)
    node.meter.read()
    running.close_window()
    return time.monotonic() - began
