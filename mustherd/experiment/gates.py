"""Gates: when a measurement can't be trusted. An invalid trial is run again and never told to the search.

A setting under which the server answers too little of the offered load is not among them: that is measured well, and
is a constraint of the problem (`achieved_ratio`), so that the search learns where it happens.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mustherd.definition.model import Gates
from mustherd.definition.workload import COMMAND, Workload
from mustherd.load.saturation import why
from mustherd.reasons import Reason
from mustherd.terms import Facts, Load, LoadReport, Reading, Setting, Zone
from mustherd.wire.messages import Measured

UNIT_TOLERANCE = 0.001
"""Powercap's unit is cut to whole nJ, 0.005 % of the processor's; wrong ones are wrong by a power of two."""

TOLERANCE = "by gates.window_tolerance, a share of the window"
"""What bounds the times of a window; a busy machine, or a short window, may need another."""

OFFER_TOLERANCE = 0.03
OFFER_DEVIATIONS = 6.0
"""Of the root of the requests: twice what clumped arrivals (mutilate's ETC) spread by."""


@dataclass(frozen=True)
class Fired:
    """A gate fired: its reason code, and a sentence with the value found and the value wanted."""

    reason: Reason
    detail: str


def judge(
    gates: Gates,
    measured: Measured,
    *,
    settings: Sequence[Setting],
    later: Sequence[Setting] | None = None,
    seq: int,
    facts: Facts,
    zones: Sequence[Zone] = (),
    load: Load | None = None,
    window_seconds: float,
    times_late: int,
    log_complete: bool,
    nearer: str = "",
) -> Fired | None:
    """The first gate that a window doesn't pass, None when it can be trusted.

    `settings` and `seq` are the decision that should have been in force (0: none) at the window's begin and end; where
    knobs were set again within it, `later` is what `seq` says. `facts` and `zones` the node's,
    `load` what was to be offered, `times_late` how often the muster was silent for too long meanwhile, `log_complete`
    whether all its rows have arrived, `nearer` what brings the load's window nearer to the node's.
    """
    if times_late > gates.times_late:
        return Fired(
            Reason.MUSTER_LATE,
            f"the muster's heartbeats were late {times_late} times during the trial, allowed {gates.times_late}, so it"
            " may not have run freely",
        )
    if measured.in_force != seq:
        return Fired(
            Reason.DECISION_NOT_IN_FORCE,
            f"decision {measured.in_force} was in force at the window's end instead of {seq}",
        )
    after = settings if later is None else later
    for when, wanted, readings in (("before", settings, measured.before), ("after", after, measured.after)):
        lost = _not_held(wanted, readings)
        if lost:
            return Fired(Reason.KNOB_NOT_HELD, f"{when} the window {lost}")
    seconds = measured.t1_s - measured.t0_s
    if abs(seconds - window_seconds) > gates.window_tolerance * window_seconds:
        return Fired(
            Reason.WINDOW_LENGTH, f"the window lasted {seconds:.2f} s instead of {window_seconds:g} s ({TOLERANCE})"
        )
    apart = _apart(measured)
    if apart > gates.window_tolerance * window_seconds:
        return Fired(
            Reason.WINDOW_MISMATCH,
            f"energy and load were measured over windows up to {apart:.3f} s apart,"
            f" allowed {gates.window_tolerance * window_seconds:.3g} s ({TOLERANCE})"
            + (f"; {nearer}" if nearer else ""),
        )
    return (
        _unit(zones)
        or _energy(band_watts(gates, facts), facts, measured, seconds)
        or _load(gates, load, measured)
        or _log(gates, measured, log_complete)
    )


def nearer(workload: Workload) -> str:
    """What brings a load's window nearer to the node's: one by command that doesn't say when it begins to load is
    taken to begin when it is started."""
    name, options = workload.offered_by or ("", {})
    if name != COMMAND or options.get("begins"):
        return ""
    return (
        "the load counts from when it is started; fix: give it `begins`, a pattern that it prints when it begins to"
        " load, or a longer workload.window_seconds"
    )


def _apart(measured: Measured) -> float:
    """Seconds by which the load's window may differ from the node's at either end, uncertainty of clocks included."""
    load = measured.load
    if load is None:
        return 0.0
    ends = (load.t0_s - measured.t0_s, load.t1_s - measured.t1_s)
    return max(map(abs, ends)) + load.counters.get("clock_uncertainty_s", 0.0)


def _not_held(settings: Sequence[Setting], readings: Sequence[Reading]) -> str:
    found = {(r.sheep, r.knob): r for r in readings}
    for setting in settings:
        reading = found.get((setting.sheep, setting.knob))
        if reading is None:
            return f"{setting.knob} of {setting.sheep} was not read back"
        if reading.error:
            return f"{setting.knob} of {setting.sheep} could not be read: {reading.error}"
        if not reading.held or reading.asked != setting.value:
            return (
                f"{setting.knob} of {setting.sheep} did not hold: asked {setting.value}, "
                f"the node keeps {reading.applied}, {reading.running} runs"
            )
    return ""


def band_watts(gates: Gates, facts: Facts) -> tuple[float, float]:
    """Power that is believed: within the definition's band and, where the node knows its own, within that too."""
    low, high = gates.energy_watts.low, gates.energy_watts.high
    own_low, own_high = facts.plausible_watts or (low, high)
    return max(low, own_low), high if own_high is None else min(high, own_high)


def _unit(zones: Sequence[Zone]) -> Fired | None:
    for zone in zones:
        named = zone.named_joules_per_count
        if named and abs(zone.joules_per_count / named - 1) > UNIT_TOLERANCE:
            return Fired(
                Reason.ENERGY_UNIT,
                f"{zone.name} is read at {1e6 * zone.joules_per_count:.4g} uJ a count, and the processor says"
                f" {1e6 * named:.4g} uJ: its energy would come out {zone.joules_per_count / named:.3g} times the true",
            )
    return None


def _energy(band: tuple[float, float], facts: Facts, measured: Measured, seconds: float) -> Fired | None:
    if measured.meter_error:
        return Fired(Reason.ENERGY_UNREADABLE, measured.meter_error)
    joules = sum(e.joules for e in measured.energies if e.kind == "package")
    if not any(e.kind == "package" for e in measured.energies):
        return None
    watts = joules / seconds
    if not band[0] <= watts <= band[1]:
        who = f" that {facts.cpu or 'the node'} can draw" if facts.plausible_watts else ""
        return Fired(
            Reason.ENERGY_IMPLAUSIBLE,
            f"{watts:.1f} W lies outside {band[0]:g}..{band[1]:g} W{who}: the counter is"
            " broken, or read in a wrong unit",
        )
    return None


def _load(gates: Gates, asked: Load | None, measured: Measured) -> Fired | None:
    load = measured.load
    if load is None:
        return None
    if load.requests == 0:
        return Fired(Reason.NO_LOAD, "not one request was answered in the window")
    # A closed loop is asked for no rate: it offers what is answered.
    if asked is not None and asked.qps and abs(load.offered_qps - asked.qps) > _offer_spread(load) * asked.qps:
        return Fired(
            Reason.LOAD_MISMATCH,
            f"the load generator ({load.generator}) says that it was to send {load.offered_qps:,.0f} requests per"
            f" second, and the trial's load is {asked.qps:,.0f}",
        )
    if bottleneck := why(load, gates.generator):
        return Fired(
            Reason.GENERATOR_SATURATED, f"the load generator ({load.generator}) was itself the bottleneck: {bottleneck}"
        )
    ratio = load.misses / load.requests
    if ratio > gates.miss_ratio:
        return Fired(
            Reason.CACHE_MISSES,
            f"{load.misses} of {load.requests} requests were misses, more than {gates.miss_ratio:g}",
        )
    return None


def _offer_spread(load: LoadReport) -> float:
    """Share by which an offer that was counted may differ from what was asked for: arrivals come by chance."""
    return OFFER_TOLERANCE + OFFER_DEVIATIONS / math.sqrt(max(1, load.requests))


def _log(gates: Gates, measured: Measured, complete: bool) -> Fired | None:
    lost = sum(measured.rows_lost.values())
    if lost > gates.log_rows_lost:
        streams = ", ".join(f"{name} {n}" for name, n in measured.rows_lost.items() if n)
        return Fired(
            Reason.LOG_ROWS_LOST, f"{lost} rows were lost at the source ({streams}), allowed {gates.log_rows_lost}"
        )
    if not complete:
        return Fired(Reason.LOG_INCOMPLETE, f"the log's blocks up to {measured.last_block} did not all arrive")
    return None
