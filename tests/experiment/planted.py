"""Windows with a fault planted in them, through the gates and audits that every window goes through."""

from typing import Any

import msgspec
import numpy as np

from mustherd.definition.model import Gates
from mustherd.experiment.audits import audit
from mustherd.experiment.gates import Fired, judge
from mustherd.node.energy import Tally
from mustherd.node.intlog import COLUMNS
from mustherd.node.knob import check
from mustherd.node.node import Node
from mustherd.node.twin import profiles
from mustherd.node.twin.faults import TwinFaults, TwinOptions
from mustherd.rowlog.evidence import StreamEvidence, evidence_of
from mustherd.terms import Energy, Facts, Load, LoadReport, Setting, Zone
from mustherd.testing.logger import TextLoggerContract
from mustherd.wire.messages import Measured
from tests.node.twin.stand import Stand

WINDOW_S = 10.0


def rows_of(node: Node, zone: Zone) -> list[StreamEvidence]:
    """What the logs of a node say, read as the muster and the writer read them."""
    units = {
        "tsc_khz": float(node.facts.tsc_khz or 0),
        "joules_per_count": zone.joules_per_count,
        "counts_per_wrap": zone.counts_per_wrap,
    }
    found = []
    for log in node.text_loggers:
        lines = [line.split() for line in TextLoggerContract.drain(log).splitlines()]
        table = np.array(lines, dtype=np.uint64).reshape(len(lines), len(COLUMNS))
        said = evidence_of(log.stream, dict(zip(COLUMNS, table.T, strict=True)), units)
        found += [said] if said is not None else []
    return found


def trial(
    faults: TwinFaults | None = None,
    itr_us: int = 200,
    mhz: int = 1600,
    qps: float = 400_000,
    cores: int = 2,
    **how: Any,
) -> Fired | None:
    """One window on a twin of its own, through all gates and audits; `cores` write rows."""
    stand = Stand(TwinOptions(intlog_cores=cores, faults=faults or TwinFaults(), **how))
    node, load = stand.node, Load(qps=qps)
    asked = {stand.itr: itr_us, stand.dvfs: mhz}
    for knob, value in asked.items():
        knob.write(value)
    stand.live(stand.itr.info.settle_seconds)
    running = node.start_load(load, 1)
    stand.live(2.0)
    for log in node.text_loggers:
        TextLoggerContract.drain(log)
    running.open_window()
    t0, tally = node.clock.now(), Tally(node.meter.zones, node.meter.read())
    stand.live(WINDOW_S)
    tally.add(node.meter.read())
    rows = rows_of(node, node.meter.zones[0])
    readings = tuple(check(knob, value) for knob, value in asked.items())
    measured = Measured(
        measure=1, in_force=1, t0_s=t0, t1_s=node.clock.now(), energies=tally.energies(), before=readings,
        after=readings, load=running.close_window(), rows={}, rows_lost={}, last_block=1,
    )  # fmt: skip
    chosen = tuple(Setting(knob.info.sheep, knob.info.name, value) for knob, value in asked.items())
    infos = [knob.info for knob in node.knobs]
    fired = judge(
        Gates(), measured, settings=chosen, seq=1, facts=node.facts, zones=node.meter.zones, load=load,
        window_seconds=WINDOW_S, times_late=0, log_complete=True,
    )  # fmt: skip
    return fired or audit(measured, rows, settings=chosen, knobs=infos, facts=node.facts, window_tolerance=0.02)


FACTS = Facts(kind="linux", cpu="2 x E5-2650 v2", cores=16, packages=2, tsc_khz=2_600_000,
              plausible_watts=profiles.C6220.plausible_watts)  # fmt: skip
DELAY, CLOCK = profiles.C6220.itr_delay, profiles.C6220.dvfs
UNITS = {"tsc_khz": 2_600_000.0, "joules_per_count": 2.0**-16, "counts_per_wrap": 2.0**32}


def written(
    seconds: float,
    watts: float,
    ghz: float,
    *,
    start: int = 2**32 - 500_000,
    step_s: float = 2e-3,
    tsc: float = 1.0,
    energy: float = 1.0,
) -> dict[str, "np.ndarray"]:
    """Rows as the driver's, of one package of which the core is busy for a third of the time."""
    times = np.arange(step_s / 2, seconds, step_s)
    counts = (start + times * watts * energy * 2**16).astype(np.uint64) % 2**32
    return {
        "timestamp": (10**15 + times * 2.6e9 * tsc).astype(np.uint64),
        "joules": counts,
        "cycles": (10**12 + times * ghz * 1e9 / 3).astype(np.uint64),
        "ref_cycles": (10**12 + times * 2.6e9 / 3).astype(np.uint64),
    }


def judged(rows: dict[str, "np.ndarray"], watts: float, seconds: float = 30.0, mhz: int = 1600) -> Fired | None:
    said = evidence_of("ixgbe-log-core-3", rows, UNITS)
    energies = tuple(
        Energy(zone=f"package-{k}", kind="package", joules=share * watts * seconds) for k, share in ((0, 1.0), (1, 1.3))
    )
    measured = msgspec.structs.replace(EMPTY, t1_s=seconds, energies=energies)
    return audit(
        measured,
        [said] if said else [],
        settings=(Setting("node-0", "dvfs", mhz),),
        knobs=[DELAY, CLOCK],
        facts=FACTS,
        window_tolerance=0.02,
    )


EMPTY = Measured(
    measure=1, in_force=1, t0_s=0.0, t1_s=30.0, energies=(), before=(), after=(), load=None, rows={}, rows_lost={},
    last_block=1,
)  # fmt: skip


def report(qps: float, p99_us: float) -> LoadReport:
    return LoadReport(
        generator="mutilate", t0_s=0.0, t1_s=30.0, offered_qps=qps, achieved_qps=qps, requests=int(30 * qps), misses=0,
        samples=60_000, read_us={"p99": p99_us}, update_us={},
    )  # fmt: skip
