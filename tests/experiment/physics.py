"""Trials as a real herd might have made them, from a toy node: smooth energy, latency with a cliff, a load guard."""

import random
from collections.abc import Iterable, Mapping
from typing import Any

from mustherd.definition.limits import limit
from mustherd.goal import Goal, Objective
from mustherd.store.store import Store
from mustherd.terms import Energy, KnobInfo, LoadReport, Reading
from mustherd.trial import Trial, TrialKind, TrialState

KNOBS = (
    KnobInfo(
        name="itr-delay", sheep="node-0", unit="us", values=(0, 1), low=2, high=1022, step=2,
        names={0: "off", 1: "adaptive"},
    ),
    KnobInfo(name="dvfs", sheep="node-0", unit="MHz", low=1200, high=2600, step=100, names={2800: "turbo"}),
)  # fmt: skip

DELAYS = (2, 20, 50, 100, 150, 200, 250, 300, 350, 400)
CLOCKS = (1200, 1400, 1600, 1800, 2000, 2200, 2400, 2600)
SECONDS = 30.0
ROOM = 0.85
"""What is confirmed keeps this share of the limit: the next window has to keep it too."""


def resolved(name: str = "toy", *, trials: int = 30, repeats: int = 3) -> dict[str, Any]:
    """What a definition of such an experiment comes to."""
    return {
        "name": name,
        "workload": {"preset": "etc", "qps": 600000.0, "ramp_seconds": 5.0, "window_seconds": 30.0},
        "knobs": {"itr-delay": list(DELAYS), "dvfs": list(CLOCKS)},
        "objective": "energy_joules",
        "constraints": ["read_p99_us <= 500"],
        "search": {"method": "gp", "seed": 1},
        "trials": trials,
        "repeats": repeats,
        "gates": {"achieved_ratio": 0.98},
    }


def goal_of(resolved: Mapping[str, Any]) -> Goal:
    """The goal of the keys of a definition that matter to it, each with its default."""
    qps: Any = (resolved.get("workload") or {}).get("qps") or []
    return Goal(
        objectives=tuple(map(Objective.of, resolved.get("objectives") or [resolved.get("objective", "energy_joules")])),
        limits=tuple(map(limit, resolved.get("constraints") or ())),
        guard=(resolved.get("gates") or {}).get("achieved_ratio", 0.98),
        loads=tuple(qps if isinstance(qps, list) else [qps]),
        repeats=resolved.get("repeats", 0),
    )


def measure(itr: int, mhz: int, noise: random.Random | None = None) -> dict[str, float]:
    """Metrics of a window of 30 s at 600k qps."""
    delay, ghz = (10 if itr == 1 else itr), mhz / 1000
    cycles = 16 * (0.62 + 0.38 / (1 + delay / 90))
    busy = min(1.0, cycles / (9.5 * ghz))
    watts = 29.0 + 2.36 * ghz + 3.1 * ghz**2 + busy * (9.0 * ghz + 1.4 * ghz**3) + 1500 / (delay + 60)
    p99 = 95.0 + 1.08 * delay + (2500.0 * (busy - 0.9) / 0.1 if busy > 0.9 else 18 * busy / (1 - busy))
    ratio = min(1.0, 188.8e6 / max(delay, 1) / 600e3, 1.0 if busy < 1 else cycles and 9.5 * ghz / cycles)
    gauss = noise.gauss if noise else lambda mean, _: mean
    return {
        "energy_joules": watts * SECONDS * gauss(1, 0.002),
        "power_watts": watts,
        "read_p99_us": p99 * gauss(1, 0.01),
        "read_avg_us": p99 / 3,
        "achieved_ratio": ratio,
        "achieved_qps": ratio * 600e3,
        "offered_qps": 600e3,
        "window_seconds": SECONDS,
    }


def trial(
    number: int,
    kind: TrialKind,
    settings: dict[str, int],
    noise: random.Random | None = None,
    *,
    muster: str = "muster-0",
    state: TrialState = TrialState.FINISHED,
    reason: str = "",
) -> Trial:
    itr, mhz = settings.get("itr-delay", 1), settings.get("dvfs", 2600)
    metrics = measure(itr, mhz, noise)
    applied = {"itr-delay": itr, "dvfs": mhz}
    return Trial(
        number=number,
        kind=kind,
        settings=settings,
        state=state,
        reason=reason,
        muster=muster,
        queued_at=1.7e9 + 2 * number,
        started_at=1.7e9 + 2 * number,
        ended_at=1.7e9 + 2 * number + 1.8,
        metrics=metrics,
        readings=tuple(
            Reading(sheep="node-0", knob=k, asked=settings.get(k), applied=v, running=v, held=True)
            for k, v in applied.items()
        ),
        energies=(Energy(zone="package-0", kind="package", joules=metrics["energy_joules"]),),
        load_report=LoadReport(
            generator="toy", t0_s=0.0, t1_s=SECONDS, offered_qps=600e3, achieved_qps=metrics["achieved_qps"],
            requests=int(metrics["achieved_qps"] * SECONDS), misses=0, samples=60_000,
            read_us={"p99": metrics["read_p99_us"]}, update_us={"p99": metrics["read_p99_us"]},
        ),
    )  # fmt: skip


def experiment(seed: int = 1, searches: int = 30, repeats: int = 3, limit: float = 500.0) -> list[Trial]:
    """Baselines every tenth trial, a search that homes in, and on one muster repeats of the best that it left some room
    to the limit: before it is chosen, and as many afterwards."""
    noise = random.Random(seed)
    trials: list[Trial] = []

    def add(kind: TrialKind, settings: dict[str, int]) -> Trial:
        muster = f"muster-{len(trials) % 2}"
        trials.append(trial(len(trials) + 1, kind, settings, noise, muster=muster))
        return trials[-1]

    def best(room: float = 1.0) -> dict[str, int]:
        kept = [
            t
            for t in trials
            if t.kind is TrialKind.SEARCH
            and t.metrics["read_p99_us"] <= room * limit
            and t.metrics["achieved_ratio"] >= 0.98
        ]
        return min(kept, key=lambda t: t.metrics["energy_joules"]).settings if kept else {}

    add(TrialKind.BASELINE, {})
    tried: set[tuple[int, int]] = set()
    while len(tried) < searches:
        if len(tried) % 10 == 9 and trials[-1].kind is not TrialKind.BASELINE:
            add(TrialKind.BASELINE, {})
        around = best()
        itr, mhz = noise.choice(DELAYS), noise.choice(CLOCKS)
        if around and noise.random() < 0.7:
            itr = _near(around["itr-delay"], DELAYS, noise)
            mhz = _near(around["dvfs"], CLOCKS, noise)
        if (itr, mhz) not in tried:
            tried.add((itr, mhz))
            add(TrialKind.SEARCH, {"itr-delay": itr, "dvfs": mhz})
    chosen = best(ROOM)
    for step in range(1, 2 * repeats + 1) if chosen else ():
        for settings in (chosen, {}):
            add(TrialKind.CONFIRM, settings)
            trials[-1].muster = trials[-1].place = "muster-0"
            trials[-1].round = step
    return trials


def _near(value: int, values: tuple[int, ...], noise: random.Random) -> int:
    index = values.index(value) + noise.choice((-2, -1, 0, 1, 2))
    return values[max(0, min(len(values) - 1, index))]


def fill(store: Store, trials: Iterable[Trial]) -> None:
    """Put finished trials into a store as the trial loop would."""
    for one in trials:
        begun = store.start(store.add(one), one.muster)
        begun.state, begun.reason, begun.detail, begun.ended_at = one.state, one.reason, one.detail, one.ended_at
        begun.metrics, begun.readings, begun.energies, begun.load_report = (
            one.metrics,
            one.readings,
            one.energies,
            one.load_report,
        )
        store.finish(begun)
