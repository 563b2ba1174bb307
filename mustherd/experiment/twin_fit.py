"""A twin's profile from windows that were measured on a machine.

Robust least squares on the logarithms of power, throughput and latencies, with the model of mustherd.node.twin.model as
it is, from the constants of the c6220. A short sweep says little of some constants: each is held to where it began by a
weak prior, so that what the windows don't determine stays as it was. The errors are those of windows that the fit has
not seen: it is made several times, each time without a part of them.
"""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import tomli_w
from scipy.optimize import least_squares

from mustherd.definition import loads
from mustherd.errors import UserError
from mustherd.node.kinds import (
    ADAPTIVE,
    DVFS,
    GOVERNORS,
    GRO_FLUSH_TIMEOUT,
    IDLE_LATENCY,
    ITR_DELAY,
    NAPI_DEFER,
    POLLING,
    UNCORE_MAX,
)
from mustherd.node.twin.knobs import MORE
from mustherd.node.twin.mixes import FITTED as MIX
from mustherd.node.twin.model import predict
from mustherd.node.twin.more import under
from mustherd.node.twin.profiles import C6220, Profile
from mustherd.store.records import MusterRecord
from mustherd.store.store import DEFINITION, Store
from mustherd.terms import Load
from mustherd.trial import Trial, TrialState

LEAST_WINDOWS = 8
PARTS = 5
"""So many times the fit is made without a part of the windows."""

FITTED = (
    ("power", "base"), ("power", "linear"), ("power", "square"), ("power", "busy_linear"), ("power", "busy_cube"),
    ("service", "kcycles"), ("service", "memory_us"), ("service", "batching"),
    ("latency", "wire_us"), ("latency", "kcycles"), ("latency", "jitter_share"), ("latency", "tail_us"),
    ("latency", "tail_kcycles"), ("latency", "crowded"), ("latency", "queue_kcycles"), ("latency", "room_ghz"),
    ("loop", "intervals"), ("loop", "kcycles"), ("loop", "memory_us"),
)  # fmt: skip
"""The constants that a sweep of delays, clocks and loads can tell, as part and field."""

PRIOR = 0.1
"""Weight of a constant's own logarithm: off by a factor of 2.7, it costs as much as a tenth in one latency."""
FURTHEST = math.log(30.0)
WEIGHTS = {"power": 4.0, "throughput": 4.0, "p99": 2.0}
"""Of logarithms; any other's is 1."""
LATENCIES = ("avg", "p90", "p95", "p99")


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured at one setting under one load."""

    delay_us: int
    mhz: int
    load: Load
    watts: float
    achieved_qps: float
    read_us: dict[str, float]
    more: dict[str, int] = {}
    """Other knobs that the model knows, as they were set."""


class Error(msgspec.Struct, frozen=True, kw_only=True):
    """How far off what was foretold is, as shares."""

    median: float
    p90: float
    most: float


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """A profile, and how well it foretells what it was not fitted to."""

    profile: Profile
    windows: int
    errors: dict[str, Error]
    notes: tuple[str, ...] = ()


class FitError(UserError):
    """There is nothing that a profile could be made from; the message says what is missing."""


def fitted(folders: Sequence[Path], name: str) -> Fit:
    """A profile from experiments' folders. Raises FitError, StoreError."""
    windows: list[Window] = []
    musters: list[MusterRecord] = []
    left_out: Counter[str] = Counter()
    for folder in folders:
        with Store.open(folder, read_only=True) as store:
            definition = loads(store.experiment().definition, str(folder / DEFINITION))
            here = store.musters()
            musters += here.values()
            for trial in store.trials(state=TrialState.FINISHED):
                found = window_of(trial, trial.load or definition.workload.load())
                if isinstance(found, str):
                    left_out[found] += 1
                else:
                    windows.append(found)
    machines = {(m.facts.cpu, m.facts.cores, m.facts.packages) for m in musters}
    if len(machines) > 1:
        raise FitError(f"the experiments ran on {len(machines)} kinds of machines; a profile is of one")
    notes = tuple(f"left out: {count} windows, {why}" for why, count in left_out.most_common())
    _require(windows, notes)
    return fit(windows, _start(name, musters[0], windows), notes)


def window_of(trial: Trial, load: Load) -> Window | str:
    """A finished trial's window, or why it says nothing to the model."""
    applied = {r.knob: r.applied for r in trial.readings}
    delay, mhz = applied.get(ITR_DELAY.name), applied.get(DVFS.name)
    report = trial.load_report
    watts = trial.metrics.get("power_watts", 0.0)
    if delay is None or mhz is None:
        return "without one value of itr-delay and dvfs"
    if mhz == 0 or mhz in GOVERNORS:
        return "whose clock a governor chose"
    if watts <= 0:
        return "without a power (no energy meter)"
    if report is None or report.achieved_qps <= 0 or not report.read_us.get("p99"):
        return "without throughput and latencies"
    if load.preset != MIX or load.curve:
        return "under another load than memcached's etc at one rate"
    read_us = {part: report.read_us[part] for part in LATENCIES if report.read_us.get(part, 0.0) > 0}
    others = {name: value for name, value in applied.items() if name in MORE and value is not None}
    return Window(
        more=others, delay_us=delay, mhz=mhz, load=load, watts=watts, achieved_qps=report.achieved_qps, read_us=read_us
    )


def fit(windows: Sequence[Window], start: Profile, notes: tuple[str, ...] = ()) -> Fit:
    """The profile that foretells these windows best, from `start`."""
    turbo = any(w.mhz > start.nominal_mhz[1] for w in windows)
    adaptive = any(w.delay_us == ADAPTIVE for w in windows)
    names = [*FITTED, *([("", "turbo_mhz")] if turbo else []), *([("", "adaptive_us")] if adaptive else [])]
    found = _best(windows, start, names)
    seen: dict[str, list[float]] = {}
    for part in range(PARTS):
        # Every fifth: a sweep's windows next to one another are alike.
        kept = [w for index, w in enumerate(windows) if index % PARTS != part]
        without = _best(kept, start, names)
        for window in windows[part::PARTS]:
            for name, error in _errors(without, window).items():
                seen.setdefault(name, []).append(abs(math.expm1(error)))
    errors = {
        name: Error(
            median=float(np.median(of)), p90=float(np.quantile(of, 0.9)), most=float(np.max(of))
        )
        for name, of in seen.items()
    }  # fmt: skip
    return Fit(profile=found, windows=len(windows), errors=errors, notes=notes)


def text(found: Fit) -> str:
    """The profile as a file."""
    lines = [
        "# A twin's profile, written by `mustherd twin fit`. A definition names this file by",
        "# herd: {simulated: {profile: my-profile.toml}}",
        f"# Fitted to {found.windows} windows. Errors of windows that the fit had not seen:",
        *(
            f"#   {name}: {error.median:.1%} in the median, {error.p90:.1%} for nine of ten, {error.most:.1%} at most"
            for name, error in found.errors.items()
        ),
        *(f"# {note}" for note in found.notes),
    ]
    plain = {key: value for key, value in msgspec.to_builtins(found.profile).items() if value is not None}
    return "\n".join(lines) + "\n\n" + tomli_w.dumps(plain)


def _require(windows: Sequence[Window], notes: Sequence[str]) -> None:
    why = f" ({'; '.join(notes)})" if notes else ""
    if len(windows) < LEAST_WINDOWS:
        raise FitError(f"a profile takes at least {LEAST_WINDOWS} measured windows, and there are {len(windows)}{why}")
    for what, values in (("delays", {w.delay_us for w in windows}), ("clocks", {w.mhz for w in windows})):
        if len(values) < 2:
            raise FitError(
                f"a profile takes several {what}, and all windows have {min(values)}{why}; sweep itr-delay and dvfs, as"
                " in examples/sweep.yml"
            )


def _start(name: str, muster: MusterRecord, windows: Sequence[Window]) -> Profile:
    """The c6220 with what the machine says of itself."""
    facts = muster.facts
    clocks = next((k for k in muster.knobs if k.name == DVFS.name), None)
    delays = next((k for k in muster.knobs if k.name == ITR_DELAY.name), None)
    there = {k.name: k for k in muster.knobs}
    uncore, idle = there.get(UNCORE_MAX.name), there.get(IDLE_LATENCY.name)
    low, high = (clocks.low, clocks.high) if clocks is not None and clocks.low <= clocks.high else (0, 0)
    asked = [w.mhz for w in windows]
    if not low:
        low, high = min(asked), max(asked)
    turbo = max([v for v in (clocks.values if clocks is not None else ()) if v > high], default=high + 200)
    watts = max(w.watts for w in windows)
    least, most = facts.plausible_watts or (0.5 * min(w.watts for w in windows), None)
    return msgspec.structs.replace(
        C6220,
        name=name,
        processor=facts.cpu.partition(" x ")[2] or facts.cpu or "unknown",
        cores=facts.cores or C6220.cores,
        packages=facts.packages or 1,
        nominal_mhz=(low, high),
        turbo_ask_mhz=turbo,
        turbo_mhz=float(high),
        itr_highest_us=max(delays.high if delays is not None else 0, 10),
        tsc_khz=facts.tsc_khz or high * 1000,
        uncore_mhz=(uncore.low, uncore.high) if uncore is not None else (0, 0),
        idle_us=tuple(us for us in idle.values if 0 < us < POLLING) if idle is not None else (),
        napi=NAPI_DEFER.name in there and GRO_FLUSH_TIMEOUT.name in there,
        busy_watts=watts,
        band_watts=(min(least, 0.9 * min(w.watts for w in windows)), most or 2 * watts),
    )


def _best(windows: Sequence[Window], start: Profile, names: Sequence[tuple[str, str]]) -> Profile:
    def residuals(logs: Sequence[float]) -> list[float]:
        profile = _put(start, names, logs)
        found = [PRIOR * log for log in logs]
        for window in windows:
            found += [WEIGHTS.get(name, 1.0) * error for name, error in _errors(profile, window).items()]
        return found

    result = least_squares(
        residuals, [0.0] * len(names), bounds=(-FURTHEST, FURTHEST), loss="soft_l1", f_scale=0.1, diff_step=1e-4,
        max_nfev=40,
    )  # fmt: skip
    return _put(start, names, result.x)


def _errors(profile: Profile, window: Window) -> dict[str, float]:
    """Logarithms of what is foretold against what was measured."""
    seen = predict(under(profile, window.more), window.delay_us, window.mhz, window.load)
    found = {
        "power": math.log(max(seen.power_watts, 1e-3) / window.watts),
        "throughput": math.log(max(seen.achieved_qps, 1e-3) / window.achieved_qps),
    }
    return found | {part: math.log(seen.read_us[part] / us) for part, us in window.read_us.items()}


def _put(start: Profile, names: Sequence[tuple[str, str]], logs: Sequence[float]) -> Profile:
    changed: dict[str, dict[str, float]] = {}
    for (part, field), log in zip(names, logs, strict=True):
        value = getattr(getattr(start, part) if part else start, field) * math.exp(log)
        changed.setdefault(part, {})[field] = value
    own = changed.pop("", {})
    parts = {part: msgspec.structs.replace(getattr(start, part), **fields) for part, fields in changed.items()}
    return msgspec.structs.replace(start, **parts, **own)
