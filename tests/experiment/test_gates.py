"""Every gate fires on what it is for, says the value found and the value wanted, and on nothing else."""

import inspect
import re
from typing import Any

import msgspec
import pytest

from mustherd.definition.model import Band, Gates
from mustherd.experiment import gates
from mustherd.experiment.gates import Fired, band_watts, judge
from mustherd.load.saturation import SaturationLimits, why
from mustherd.reasons import Reason
from mustherd.terms import Energy, Facts, Load, LoadReport, Reading, Setting, Zone
from mustherd.wire.messages import Measured
from tests.definition.make import made

SETTINGS = (Setting("node-0", "dvfs", 1200),)
HELD = Reading(sheep="node-0", knob="dvfs", asked=1200, applied=1200, running=1200, held=True)
LOAD = LoadReport(
    generator="twin", t0_s=0, t1_s=30, offered_qps=1000, achieved_qps=999, requests=29970, misses=0, samples=29970,
    read_us={"p99": 400.0}, update_us={"p99": 410.0},
)  # fmt: skip
GOOD = Measured(
    measure=1, in_force=7, t0_s=0, t1_s=30, energies=(Energy(zone="package-0", kind="package", joules=1800),),
    before=(HELD,), after=(HELD,), load=LOAD, rows={"power": 30}, rows_lost={"power": 0}, last_block=3,
)  # fmt: skip


MISREAD = Zone(
    name="package-0", kind="package", package=0, joules_per_count=2.0**-14, counts_per_wrap=2**32,
    named_joules_per_count=2.0**-16,
)  # fmt: skip


def fired(
    measured: Measured = GOOD, facts: Facts | None = None, limits: Gates | None = None, **changes: Any
) -> Fired | None:
    given = {"settings": SETTINGS, "seq": 7, "window_seconds": 30.0, "times_late": 0, "log_complete": True, **changes}
    return judge(limits or Gates(), measured, facts=facts or Facts(kind="linux"), **given)


def but(**changes: Any) -> Measured:
    return msgspec.structs.replace(GOOD, **changes)


def load(**changes: Any) -> Measured:
    return but(load=msgspec.structs.replace(LOAD, **changes))


def told(**counters: float) -> Measured:
    """A load of which the generator tells this of itself."""
    return load(counters=counters)


def reading(**changes: Any) -> tuple[Reading, ...]:
    return (msgspec.structs.replace(HELD, **changes),)


def test_a_good_window_passes() -> None:
    assert fired() is None
    assert fired(but(load=None, energies=(), rows={}, rows_lost={})) is None
    assert fired(but(in_force=0, before=(), after=()), settings=(), seq=0) is None


@pytest.mark.parametrize(
    ("offered", "said"),
    [
        ({"name": "command", "options": {"command": ["x", "{seconds}"]}}, "give it `begins`, a pattern that it prints"),
        ({"name": "command", "options": {"command": ["x", "{seconds}"], "begins": "^go"}}, ""),
        ({"name": "builtin"}, ""),
    ],
)
def test_a_load_that_does_not_say_when_it_begins_is_told_how(offered: dict[str, Any], said: str) -> None:
    more = {"metrics": {"requests": {"at": "([0-9]+)"}}} if offered["name"] == "command" else {}
    whole = {**offered, "options": {**offered.get("options", {}), **more}}
    experiment = made(
        herd={"local": {}}, workload={"qps": 500, "window_seconds": 2, "load": whole}, knobs={"server-cores": [1]},
        objective="server_cpu_seconds", constraints=[],
    )  # fmt: skip
    nearer = gates.nearer(experiment.workload)
    found = fired(load(t0_s=-0.7), nearer=nearer)
    assert found is not None
    assert found.detail.endswith("longer workload.window_seconds" if said else "a share of the window)")
    assert said in found.detail
    assert (found := fired(but(t1_s=25.0), nearer=nearer)) is not None
    assert "begins" not in found.detail


CASES: list[tuple[Measured, dict[str, Any], str, str]] = [
    (GOOD, {"times_late": 2}, Reason.MUSTER_LATE, "late 2 times during the trial, allowed 0"),
    (but(in_force=0), {}, Reason.DECISION_NOT_IN_FORCE, "decision 0 was in force at the window's end instead of 7"),
    (but(after=reading(held=False, applied=2800)), {}, Reason.KNOB_NOT_HELD, "asked 1200, the node keeps 2800"),
    (but(before=reading(asked=1300)), {}, Reason.KNOB_NOT_HELD, "before the window"),
    (but(before=()), {}, Reason.KNOB_NOT_HELD, "was not read back"),
    (but(after=reading(error="EIO")), {}, Reason.KNOB_NOT_HELD, "EIO"),
    (but(t1_s=25.0), {}, Reason.WINDOW_LENGTH, "25.00 s instead of 30 s"),
    (load(t0_s=-0.7), {}, Reason.WINDOW_MISMATCH, "up to 0.700 s apart, allowed 0.6 s"),
    (load(t1_s=30.7), {}, Reason.WINDOW_MISMATCH, "up to 0.700 s apart"),
    (load(t0_s=0.4, counters={"clock_uncertainty_s": 0.3}), {}, Reason.WINDOW_MISMATCH, "up to 0.700 s apart"),
    (but(meter_error="permission denied"), {}, Reason.ENERGY_UNREADABLE, "permission denied"),
    (
        but(energies=(Energy(zone="p", kind="package", joules=1.0),)),
        {},
        Reason.ENERGY_IMPLAUSIBLE,
        "outside 5..2000",
    ),
    (
        GOOD,
        {"zones": (MISREAD,)},
        Reason.ENERGY_UNIT,
        "would come out 4 times the true",
    ),
    (load(offered_qps=800.0), {"load": Load(qps=1000)}, Reason.LOAD_MISMATCH, "to send 800 requests per second"),
    (load(requests=0), {}, Reason.NO_LOAD, "not one request"),
    (load(saturated=True), {}, Reason.GENERATOR_SATURATED, "(twin) was itself the bottleneck: it says so itself"),
    (told(generator_busy=0.97), {}, Reason.GENERATOR_SATURATED, "busy for 97.0% of the window, allowed 95.0%"),
    (told(generator_wait_share=0.6), {}, Reason.GENERATOR_SATURATED, "for a core for 60.0%"),
    (told(generator_unsent_share=0.011), {}, Reason.GENERATOR_SATURATED, "1.1% of what was due was left unsent"),
    (told(generator_late_share=0.51), {}, Reason.GENERATOR_SATURATED, "51.0% of the mean latency"),
    (
        told(leader_shortfall=0.03, leader_slots_in_use=0.2),
        {},
        Reason.GENERATOR_SATURATED,
        "the leader sent 3.0% less than it was asked to, allowed 2.0%, with 20.0% of its places in flight in use",
    ),
    (load(misses=1000), {}, Reason.CACHE_MISSES, "1000 of 29970"),
    (but(rows_lost={"power": 2}), {}, Reason.LOG_ROWS_LOST, "2 rows"),
    (GOOD, {"log_complete": False}, Reason.LOG_INCOMPLETE, "up to 3"),
]


@pytest.mark.parametrize(("measured", "changes", "reason", "says"), CASES)
def test_a_gate_fires(measured: Measured, changes: dict[str, Any], reason: Reason, says: str) -> None:
    found = fired(measured, **changes)
    assert found is not None
    assert found.reason == reason
    assert says in found.detail


def test_every_gate_has_a_case_in_which_it_fires() -> None:
    reasons = {Reason[name] for name in re.findall(r"\bReason\.([A-Z_]+)", inspect.getsource(gates))}
    assert {reason for _, _, reason, _ in CASES} == reasons


@pytest.mark.parametrize(
    ("spelt", "measured", "changes"),
    [
        ({"miss_ratio": 0.04}, load(misses=1000), {}),
        ({"log_rows_lost": 2}, but(rows_lost={"power": 2}), {}),
        ({"times_late": 2}, GOOD, {"times_late": 2}),
        ({"window_tolerance": 0.2}, but(t1_s=25.0, load=None), {}),
        ({"window_tolerance": 0.03}, load(t0_s=-0.7), {}),
        ({"energy_watts": {"low": 0.0}}, but(energies=(Energy(zone="p", kind="package", joules=1.0),)), {}),
        ({"energy_watts": {"high": 50.0}}, GOOD, {}),
        ({"generator": {"busy": 0.98}}, told(generator_busy=0.97), {}),
        ({"generator": {"busy": 0.5}}, told(generator_busy=0.6), {}),
        ({"generator": {"waiting": 0.7}}, told(generator_busy=0.1, generator_wait_share=0.6), {}),
        ({"generator": {"unsent": 0.1}}, told(generator_unsent_share=0.05), {}),
        ({"generator": {"late": 0.6}}, told(generator_late_share=0.51), {}),
        ({"generator": {"leader_shortfall": 0.05}}, told(leader_shortfall=0.03, leader_slots_in_use=0.2), {}),
        ({"generator": {"leader_in_use": 0.1}}, told(leader_shortfall=0.03, leader_slots_in_use=0.2), {}),
        ({"generator": {"leader_in_use": 0.9}}, told(leader_shortfall=0.03, leader_slots_in_use=0.8), {}),
    ],
)
def test_the_file_moves_every_threshold(spelt: dict[str, Any], measured: Measured, changes: dict[str, Any]) -> None:
    moved = made(gates=spelt).gates
    assert (fired(measured, limits=moved, **changes) is None) != (fired(measured, **changes) is None)


def test_an_offer_that_was_counted_may_spread_as_arrivals_do() -> None:
    for requests, offered, sound in ((29970, 1029.0, True), (29970, 1100.0, False), (100, 1400.0, True)):
        report = load(requests=requests, offered_qps=offered)
        assert (fired(report, load=Load(qps=1000)) is None) == sound
    unit = msgspec.structs.replace(MISREAD, joules_per_count=15258e-9)
    assert fired(zones=(unit,)) is None, "the kernel cuts the unit to whole nJ"


def test_a_closed_loop_offers_what_is_answered() -> None:
    assert fired(load(offered_qps=33_395.0), load=Load(qps=0)) is None


def test_a_generator_that_is_within_the_file_s_limits_is_believed_though_the_usual_ones_are_stricter() -> None:
    report = msgspec.structs.replace(LOAD, saturated=True, counters={"generator_busy": 0.97})
    assert why(report) != ""
    assert why(report, SaturationLimits(busy=0.98)) == ""


def test_the_nodes_own_band_narrows_the_definitions() -> None:
    wide = Gates(energy_watts=Band(low=5.0, high=2000.0))
    own = Facts(kind="linux")
    assert band_watts(wide, own) == (5.0, 2000.0)
    for told, believed in (
        ((30.0, 250.5), (30.0, 250.5)),
        ((30.0, None), (30.0, 2000.0)),
        ((1.0, 9000.0), (5.0, 2000.0)),
    ):
        assert band_watts(wide, msgspec.structs.replace(own, plausible_watts=told)) == believed
    found = fired(facts=Facts(kind="linux", plausible_watts=(70.0, 250.0)))
    assert found is not None
    assert found.reason == Reason.ENERGY_IMPLAUSIBLE
