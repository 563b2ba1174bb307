"""Rows of verdict_calibration about faults that leave plausible numbers: each is planted, caught, and named."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from mustherd.experiment import baseline
from mustherd.experiment.gates import Fired
from mustherd.experiment.verdict import decide
from mustherd.goal import Constraint, Goal
from mustherd.node.kinds import DVFS, GOVERNORS, ITR_DELAY, ONDEMAND
from mustherd.node.twin.faults import TwinFaults
from mustherd.node.twin.model import governed_mhz, predict
from mustherd.node.twin.profiles import C6220
from mustherd.reasons import Reason
from mustherd.terms import NODE, Load, Reading
from mustherd.trial import Trial, TrialKind, TrialState
from tests import recorded
from tests.benchmarks._rows import Row, row
from tests.experiment.planted import judged, trial, written

LOADED = (400_000, 600_000, 800_000, 1_200_000)
Planted = Callable[[random.Random], Fired | None]


def _on_twin(faults: Callable[[random.Random], dict[str, Any]], cores: int = 0, **how: Any) -> Planted:
    """A window on a twin with a fault, at settings and a load drawn by chance where `how` doesn't say them."""

    def window(draw: random.Random) -> Fired | None:
        drawn = {
            "itr_us": draw.choice([1, 2, 20, 100, 200, 300]),
            "mhz": draw.choice([1200, 1600, 2000, 2600, 2800]),
            "qps": draw.choice(LOADED),
        }
        return trial(TwinFaults(**faults(draw)), cores=cores, seed=draw.randrange(10**6), **{**drawn, **how})

    return window


def _factor(draw: random.Random) -> float:
    return draw.choice([4.0, 0.25])


def _off(draw: random.Random) -> float:
    return draw.choice([0.9, 1.1])


DEFAULT = {"itr_us": 1, "mhz": 2800}
FAULTS: tuple[tuple[str, Planted, Reason | None], ...] = (
    (
        "the default's energy x 4 or / 4, twin",
        _on_twin(lambda d: {"energy_factor": _factor(d)}, **DEFAULT),
        Reason.ENERGY_IMPLAUSIBLE,
    ),
    (
        "powercap's unit x 4 or / 4 of MSR 0x606's, twin",
        _on_twin(lambda d: {"energy_unit_factor": _factor(d)}),
        Reason.ENERGY_UNIT,
    ),
    (
        "the rows' energy x 4 or / 4 of the meter's, twin",
        _on_twin(lambda d: {"log_energy_factor": _factor(d)}, 1),
        Reason.LOG_ENERGY,
    ),
    (
        "the rows' energy x 4 or / 4 of the meter's, written rows",
        lambda d: judged(written(30.0, watts := d.uniform(20, 90), 1.6, energy=_factor(d)), watts),
        Reason.LOG_ENERGY,
    ),
    ("TSC 10 % off, twin", _on_twin(lambda d: {"tsc_factor": _off(d)}, 1), Reason.LOG_SPAN),
    (
        "rows that span 27 s of a window of 30 s",
        lambda d: judged(written(27.0, watts := d.uniform(20, 90), 1.6), watts),
        Reason.LOG_SPAN,
    ),
    (
        "a clock without effect, twin",
        _on_twin(lambda d: {"knob_without_effect": ("dvfs",)}, 1, mhz=1600),
        Reason.KNOB_WITHOUT_EFFECT,
    ),
    (
        "a clock without effect, written rows",
        lambda d: judged(written(30.0, 40.0, d.choice([2.0, 2.6])), 40.0, mhz=d.choice([1200, 1600])),
        Reason.KNOB_WITHOUT_EFFECT,
    ),
    (
        "a delay without effect, twin",
        _on_twin(lambda d: {"knob_without_effect": ("itr-delay",)}, itr_us=350, mhz=2600, qps=400_000),
        Reason.KNOB_WITHOUT_EFFECT,
    ),
    (
        "load that the generator leaves out, twin",
        _on_twin(lambda d: {"load_forgotten": d.uniform(0.12, 0.5)}),
        Reason.LOAD_MISMATCH,
    ),
    ("nothing at all, twin", _on_twin(lambda d: {}, 1), None),
    ("nothing at all, written rows", lambda d: judged(written(30.0, w := d.uniform(20, 90), 1.6), w), None),
)
"""What is planted, a window with it, and what it must be named; None: nothing is to be said."""


def audits(runs: int) -> list[Row]:
    """Each fault over so many windows."""
    rows = []
    for name, window, reason in FAULTS:
        found = [window(random.Random(f"{name}/{seed}")) for seed in range(runs)]
        hits = [(None if one is None else one.reason) is reason for one in found]
        said = "not a word" if reason is None else f"invalid, for {reason.value}"
        rows.append(row(f"{name}: {said}", hits, least=1.0))
    return [*rows, *_losing(runs), *_named(), *_governors()]


def _losing(runs: int) -> list[Row]:
    """A setting that loses load, and saves much by it."""
    kept_quiet, named = [], []
    noise = {"energy_joules": 0.002, "read_p99_us": 0.008}
    goal = Goal(limits=(Constraint("read_p99_us", 500.0),), repeats=3)
    for seed in range(runs):
        draw = random.Random(f"losing/{seed}")
        table = recorded.table(draw.choice(recorded.LOADS))
        chosen = draw.choice([o for o in table.observations() if o.metrics["read_p99_us"] <= 450]).point
        lost = draw.uniform(0.021, 0.6)
        found = decide(list(_trials(table, chosen, lost, noise, draw)), goal)
        kept_quiet.append(found.verdict == "not met" and found.best is None)
        named.append("achieved_ratio" in found.reason)
    name = "a setting that loses 2.1 to 60 % of the load"
    return [
        row(f"{name}: 'not met'", kept_quiet, least=1.0),
        row(f"{name}: the load is named", named, least=1.0),
    ]


def _trials(table: Any, chosen: dict[str, int], lost: float, noise: Any, draw: random.Random) -> Iterator[Trial]:
    kinds = [(TrialKind.BASELINE, {}), (TrialKind.SEARCH, chosen)]
    kinds += [(TrialKind.CONFIRM, dict(settings)) for _ in range(12) for settings in ({}, chosen)]
    for number, (kind, values) in enumerate(kinds, 1):
        metrics = dict(table.measure(values or recorded.DEFAULT, noise, draw).metrics)
        metrics["achieved_ratio"] = 1 - lost if values else 1.0
        made = Trial(number=number, kind=kind, settings=values)
        yield msgspec.structs.replace(
            made, state=TrialState.FINISHED, metrics=metrics, muster="m", ended_at=float(number)
        )


def _named() -> list[Row]:
    """Whatever the default is, the verdict's own sentence says it: moderation, and governor or clock."""
    knobs = (
        DVFS.offer(values=tuple(GOVERNORS), low=1200, high=2600, step=100, default=ONDEMAND),
        ITR_DELAY.offer(values=(1,), low=2, high=400),
    )
    named = []
    for code, governor in GOVERNORS.items():
        for settings in ({}, {"dvfs": code, "itr-delay": 1}):
            readings = [
                Reading(sheep=NODE, knob=knob, asked=None, applied=value, running=value, held=True)
                for knob, value in (("dvfs", code), ("itr-delay", 1))
            ]
            made = Trial(number=1, kind=TrialKind.BASELINE, settings=settings)
            made = msgspec.structs.replace(made, state=TrialState.FINISHED, readings=tuple(readings))
            said = baseline.said([made], knobs)
            named.append(governor in said and "adaptive" in said and ("as found" in said) == (not settings))
    return [row("the baseline is named for what it is: governor, moderation, found or asked for", named, least=1.0)]


def _governors() -> list[Row]:
    """At low load a governor that follows it draws less than the highest clock: so much less is there to save."""
    less = []
    for qps in (100_000, 200_000):
        load = Load(qps=qps)
        usual = predict(C6220, 1, C6220.turbo_ask_mhz, load).power_watts
        governed = predict(C6220, 1, governed_mhz(C6220, ONDEMAND, 1, load), load).power_watts
        less.append(0.15 <= 1 - governed / usual <= 0.38)
    return [row("ondemand draws 15 to 38 % less than the default at 100,000 and 200,000/s, twin", less, least=1.0)]
