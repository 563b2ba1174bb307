"""The physics of a twin: from a delay, a clock and a load to power, throughput and latency. Pure, no noise.

Symbols: f the clock in GHz, W the length of an interrupt interval in us, a the requests per core and us, n the requests
per batch, x the work offered to a core per unit of its time, u the busy fraction.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import product

import msgspec

from mustherd.node.twin.latency import Latency
from mustherd.node.twin.profiles import Profile
from mustherd.terms import Load

ADAPTIVE = 1
"""The itr-delay that hands the moderation to the driver."""

PRESETS = ("etc",)
"""Workloads that the constants were fitted to."""


class Batches(msgspec.Struct, frozen=True):
    """How interrupt moderation groups the requests of one queue."""

    size: float
    """Requests per batch, n."""
    at_once: float
    """Share of the requests that find the interval over and are served without waiting for it."""


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """What a node does at one setting under one load."""

    power_watts: float
    """Both packages."""
    uncore_watts: float
    """The part of it outside the cores."""
    busy_fraction: float
    achieved_qps: float
    read_us: dict[str, float]
    """avg, p50, p90, p95, p99, p999."""
    update_us: dict[str, float]


def batches(rate: float, interval: float) -> Batches:
    """Group Poisson arrivals of `rate` 1/us into batches `interval` us apart.

    An interrupt that brought requests is always followed by one for their sent replies, an interval later. An arrival
    meets no interval only after two empty ones, p = exp(-a W) each; so the intervals from one such arrival to the next
    number N = (1 + p) / p^2 on average, and they last N W + 1/a.
    """
    empty = math.exp(-rate * interval)
    intervals = (1 + empty) / empty**2
    cycle = intervals * interval + 1 / rate
    return Batches(size=rate * cycle / (1 + intervals * (1 - empty)), at_once=1 / (rate * cycle))


def interval_us(profile: Profile, itr_us: int, adaptive_us: float) -> float:
    """W: the interrupt interval of a delay; off still takes about a microsecond."""
    return profile.interval_per_us * (adaptive_us if itr_us == ADAPTIVE else max(1, itr_us))


def achieved_qps(profile: Profile, interval: float, ghz: float, load: Load) -> float:
    """Requests per second that the closed loop lets through.

    Bounded by the requests outstanding, which go round once in `windows` intervals (188.8e6 / itr at 256), and by the
    cores; between the two the bounds meet smoothly: (A^-k + B^-k)^(-1/k).
    """
    fit = profile.loop
    by_loop = load.outstanding / (fit.windows * interval) * 1e6
    by_cores = profile.cores * ghz * 1e6 / fit.kcycles
    k = fit.sharpness
    bound = math.pow(math.pow(by_loop, -k) + math.pow(by_cores, -k), -1 / k)
    return min(load.qps, bound)


def power_watts(profile: Profile, ghz: float, busy: float, interval: float) -> float:
    """Power of both packages: W = c0 + c1 f + c2 f^2 + u (c3 f + c4 f^3) + (1 - u) f^2 (sleep terms).

    The first part has the form fitted on another machine of the family, with the voltage in its powers of f. The sleep
    terms say that idle cores use less the longer they are left alone, until gaps of about 0.3 ms, where the kernel's
    choice of a sleep state becomes the wrong one.
    """
    fit = profile.power
    deeper = fit.sleep * (1 - math.exp(-interval / fit.sleep_us))
    wrong = fit.shallow / (1 + math.exp((fit.shallow_us - interval * (1 - busy)) / fit.shallow_width_us))
    running = fit.base + fit.linear * ghz + fit.square * ghz**2
    return running + busy * (fit.busy_linear * ghz + fit.busy_cube * ghz**3) + (1 - busy) * ghz**2 * (wrong - deeper)


def idle_watts(profile: Profile, mhz: int) -> float:
    """Power of both packages without load: the formula at u = 0 with the deepest sleep seen under load."""
    ghz = profile.ghz(mhz)
    return power_watts(profile, ghz, 0.0, profile.power.shallow_us * 0.8)


def predict(profile: Profile, itr_us: int, mhz: int, load: Load) -> Prediction:
    """What the node does with these knobs under `load`.

    ValueError for a load that the profile says nothing about: another preset, no requests, none outstanding.
    """
    check_load(load)
    ghz = profile.ghz(mhz)
    work, wait = profile.service, profile.latency
    interval = interval_us(profile, itr_us, work.adaptive_us)
    achieved = achieved_qps(profile, interval_us(profile, itr_us, wait.adaptive_us), ghz, load)
    rate = achieved / profile.cores / 1e6
    offered = rate * (work.kcycles / ghz + work.memory_us) * batches(rate, interval).size ** (work.batching - 1)
    busy = (1 - math.exp(-(offered**work.merging))) ** (1 / work.merging)
    read = latency(profile, interval_us(profile, itr_us, wait.adaptive_us), ghz, rate)
    reads = read.summary()
    longer = wait.update_kcycles / ghz
    return Prediction(
        power_watts=power_watts(profile, ghz, busy, interval),
        uncore_watts=profile.power.uncore,
        busy_fraction=busy,
        achieved_qps=achieved,
        read_us=reads,
        update_us={name: value + longer for name, value in reads.items()},
    )


def latency(profile: Profile, interval: float, ghz: float, rate: float) -> Latency:
    """The distribution of a read's latency for `rate` requests per core and us; see `Latency` for its parts."""
    fit = profile.latency
    group = batches(rate, interval)
    offered = rate * fit.work_kcycles / ghz * group.size ** (fit.work_batching - 1)
    queued = offered**fit.queue_power / (fit.queue_half**fit.queue_power + offered**fit.queue_power)
    waiting = offered**fit.waiting_power / (fit.waiting_half**fit.waiting_power + offered**fit.waiting_power)
    tail = fit.tail_us + fit.tail_kcycles / ghz
    return Latency(
        least=fit.wire_us + fit.kcycles / ghz + fit.interval_share * interval + fit.batch_kcycles * group.size / ghz,
        interval=interval,
        at_once=group.at_once,
        jitter=fit.jitter_us + fit.jitter_share * interval,
        tail=tail,
        queue=tail + (fit.queue_kcycles + fit.queue_slope * offered) / ghz * queued,
        queueing=fit.waiting_most * waiting,
    )


def check_load(load: Load) -> None:
    """ValueError for a load that no profile says anything about."""
    if load.preset not in PRESETS:
        raise ValueError(f"a twin knows the load preset {', '.join(PRESETS)}, not {load.preset!r}")
    if not (math.isfinite(load.qps) and load.qps > 0):
        raise ValueError(f"a load needs a finite qps above 0, not {load.qps}")
    if load.outstanding < 1:
        raise ValueError(f"a load needs at least 1 request outstanding, not {load.outstanding}")


class Optimum(msgspec.Struct, frozen=True, kw_only=True):
    """The setting of least power that keeps the limits."""

    values: dict[str, int]
    prediction: Prediction


def exhaustive_optimum(
    profile: Profile,
    load: Load,
    values: Mapping[str, Sequence[int]],
    limit_us: float,
    achieved_ratio: float = 0.98,
) -> Optimum | None:
    """The true optimum over all combinations of `values` ("itr-delay", "dvfs"), without noise.

    None when nothing keeps read p99 <= `limit_us` and achieved / offered >= `achieved_ratio`.
    """
    best: Optimum | None = None
    for itr_us, mhz in product(values["itr-delay"], values["dvfs"]):
        found = predict(profile, itr_us, mhz, load)
        if found.read_us["p99"] > limit_us or found.achieved_qps < achieved_ratio * load.qps:
            continue
        if best is None or found.power_watts < best.prediction.power_watts:
            best = Optimum(values={"itr-delay": itr_us, "dvfs": mhz}, prediction=found)
    return best
