"""The physics of a twin: from a delay, a clock and a load to power, throughput and latency. Pure, no noise.

One queueing model gives all three. Requests that come to a core are held back until its queue's next interrupt; the
batch is served at the core's clock, the larger the batch the less work per request; the load is closed, so that no more
than the requests outstanding can wait anywhere. The constants are a profile's, fitted to a recorded machine.

Symbols: f the clock in GHz, W the length of an interrupt interval in us, a the requests per core and us, n the requests
per batch, x the work offered to a core as a multiple of what it can do, u its busy fraction.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import product

import msgspec

from mustherd.node.kinds import ADAPTIVE, DVFS, GOVERNORS, ITR_DELAY, ONDEMAND, PERFORMANCE, POWERSAVE
from mustherd.node.twin import mixes, more
from mustherd.node.twin.latency import Latency
from mustherd.node.twin.profiles import Profile
from mustherd.terms import GUARD_LIMIT, Load

ENOUGH_BUSY = 0.8
"""The busy share that schedutil (its 1.25 times the use) and conservative (its up_threshold) keep a CPU below."""

LEAST_ROOM_US = 2.0
"""What a queue keeps in a closed loop that is all taken up by interrupt intervals."""


class Batches(msgspec.Struct, frozen=True):
    """How interrupt moderation groups the requests of one queue."""

    size: float
    """Requests per batch, n."""
    at_once: float
    """Share of the requests that find the interval over and are served without waiting for it."""
    interrupts: float
    """Interrupts of the queue per us, those for sent replies included."""


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """What a node does at one setting under one load."""

    power_watts: float
    """Both packages."""
    busy_fraction: float
    achieved_qps: float
    interrupts_per_s: float
    """Of each queue."""
    crowded: float
    """From 0 to 1: how often a core finds work waiting that it hasn't come to yet."""
    read_us: dict[str, float]
    """avg, p50, p90, p95, p99, p999."""
    update_us: dict[str, float]


def batches(rate: float, interval: float) -> Batches:
    """Group Poisson arrivals of `rate` 1/us into batches `interval` us apart.

    An interrupt that brought requests is always followed by one for their sent replies, an interval later. An arrival
    meets no interval only after two empty ones, p = exp(-a W) each; so the intervals from one such arrival to the next
    number N = (1 + p) / p^2 on average, and they last N W + 1/a. In that time N + 1 interrupts come.
    """
    empty = math.exp(-rate * interval)
    intervals = (1 + empty) / empty**2
    cycle = intervals * interval + 1 / rate
    return Batches(
        size=rate * cycle / (1 + intervals * (1 - empty)),
        at_once=1 / (rate * cycle),
        interrupts=(1 + intervals) / cycle,
    )


def interval_us(profile: Profile, itr_us: int) -> float:
    """W: the interrupt interval of a delay. Even with moderation off the adapter takes about a microsecond."""
    own = profile.interval_per_us * (profile.adaptive_us if itr_us == ADAPTIVE else max(1, itr_us))
    return max(own, profile.least_interval_us)


def loop_qps(profile: Profile, interval: float, outstanding: int) -> float:
    """Requests per second at which those outstanding all wait for interrupts: 188.8e6 / itr at 256 outstanding."""
    return outstanding / (profile.loop.intervals * interval) * 1e6


def achieved_qps(profile: Profile, interval: float, ghz: float, load: Load) -> float:
    """Requests per second that are served, at most those offered.

    Bounded by the interrupts (`loop_qps`), by the cores at the least work per request, and by the round trip of an idle
    server. Where bounds meet they give way smoothly: (A^-k + B^-k + C^-k)^(-1/k).
    """
    fit = profile.loop
    polling = 1 - fit.polling / (1 + (interval / fit.polling_us) ** 8)
    bounds = (
        loop_qps(profile, interval, load.outstanding),
        profile.cores / ((fit.kcycles / ghz + fit.memory_us) * polling) * 1e6,
        load.outstanding / (profile.latency.wire_us + profile.latency.kcycles / ghz) * 1e6,
    )
    return min(load.qps, math.pow(sum(math.pow(b, -fit.sharpness) for b in bounds), -1 / fit.sharpness))


def offered_work(profile: Profile, ghz: float, rate: float, batch: float, used: float) -> float:
    """x: work that `rate` requests per core and us bring, as a multiple of what a core can do.

    x = a (cycles / f + memory) n^(batching - 1) (1 - clumping used^power): batches share wake-ups, and so do the queues
    when the closed loop is full (`used`, the share of `loop_qps` that is achieved). More than 1 is possible: a crowded
    core finds more requests each time it looks and needs less for each.
    """
    fit = profile.service
    alone = fit.kcycles / ghz + fit.memory_us
    return rate * alone * math.pow(batch, fit.batching - 1) * (1 - fit.clumping * math.pow(used, fit.clumping_power))


def busy_fraction(profile: Profile, work: float) -> float:
    """u = (1 - exp(-x^m))^(1/m): x when there is little to do, 1 when there is too much."""
    merging = profile.service.merging
    return math.pow(1 - math.exp(-math.pow(work, merging)), 1 / merging)


def power_watts(profile: Profile, ghz: float, busy: float, interval: float) -> float:
    """Power of both packages: c0 + c1 f + c2 f^2 + u (c3 f + c4 f^3) + (1 - u) f^2 (wrong - deeper).

    The first part has the form found on another machine of the family, whose voltage is in the powers of f. The last
    says that idle cores use less the longer they are left alone between batches, until their gaps W (1 - u) come to
    about 0.3 ms, where the kernel's choice of a sleep state turns out the wrong one.
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


def crowding(profile: Profile, work: float) -> float:
    """h = x^k / (c^k + x^k): half at the work c, and the larger k the more suddenly."""
    fit = profile.latency
    crowded = math.pow(work, fit.crowded_power)
    return crowded / (math.pow(fit.crowded, fit.crowded_power) + crowded)


def latency(profile: Profile, interval: float, ghz: float, *, batch: Batches, work: float, room: float) -> Latency:
    """The distribution of a read's latency; see `Latency` for its parts.

    The queue grows with the work x once the cores are crowded, h (`crowding`), and holds no more than the closed
    loop has `room` for: its mean is 1 / (f / (q x h) + f / (g room)), with room = outstanding / qps less the intervals
    of a round trip, in us. That makes p99 U-shaped in the delay at a low clock: more delay, less work and less room.
    """
    fit = profile.latency
    crowded = crowding(profile, work)
    collisions = 1 + fit.tail_extra * math.exp(-interval / fit.tail_extra_us)
    tail = (fit.tail_us + fit.tail_kcycles / ghz) * collisions
    queue = 1 / (ghz / (fit.queue_kcycles * work * crowded + 1e-9) + ghz / (fit.room_ghz * room))
    return Latency(
        least=fit.wire_us
        + fit.interval_share * interval
        + (fit.kcycles + fit.batch_kcycles * batch.size + fit.crowd_kcycles * work * crowded) / ghz,
        interval=interval,
        at_once=batch.at_once,
        jitter=fit.jitter_us + fit.jitter_share * interval,
        tail=tail,
        queue=tail + queue,
        queueing=fit.queueing,
    )


def governed_mhz(profile: Profile, dvfs: int, itr_us: int, load: Load | None) -> int:
    """The clock that a value of `dvfs` comes to under `load` (None: idle): itself, or what the governor of that code
    settles at.

    performance takes the highest clock and powersave the lowest. ondemand takes low + u (high - low), where u is the
    busy share at that very clock; schedutil and conservative the lowest clock at which u is at most 0.8.
    """
    if dvfs not in GOVERNORS:
        return dvfs
    low, high = profile.nominal_mhz
    if dvfs == PERFORMANCE:
        return profile.turbo_ask_mhz
    if dvfs == POWERSAVE or load is None:
        return low
    for mhz in range(low, high + 1, DVFS.range_step):
        busy = predict(profile, itr_us, mhz, load).busy_fraction
        if (low + busy * (high - low) <= mhz) if dvfs == ONDEMAND else (busy <= ENOUGH_BUSY):
            return mhz
    return profile.turbo_ask_mhz


def predict(profile: Profile, itr_us: int, mhz: int, load: Load) -> Prediction:
    """What the node does with these knobs under `load`.

    ValueError for a load that the profile says nothing about: another preset, no requests, none outstanding. What mixes
    other than the one of the record come to is mustherd.node.twin.mixes' guess.
    """
    check_load(load)
    profile = mixes.under(profile, load)
    ghz = profile.ghz(mhz)
    interval = interval_us(profile, itr_us)
    achieved = achieved_qps(profile, interval, ghz, load)
    rate = achieved / profile.cores / 1e6
    batch = batches(rate, interval)
    used = min(1.0, achieved / loop_qps(profile, interval, load.outstanding))
    work = offered_work(profile, ghz, rate, batch.size, used)
    busy = busy_fraction(profile, work)
    room = max(LEAST_ROOM_US, load.outstanding / achieved * 1e6 - profile.loop.intervals * interval)
    read = latency(profile, interval, ghz, batch=batch, work=work, room=room).summary()
    longer = profile.latency.update_kcycles / ghz
    return Prediction(
        power_watts=power_watts(profile, ghz, busy, interval),
        busy_fraction=busy,
        achieved_qps=achieved,
        interrupts_per_s=batch.interrupts * 1e6,
        crowded=crowding(profile, work),
        read_us=read,
        update_us={name: value + longer for name, value in read.items()},
    )


LEAST_QPS, MOST_QPS = 1e-3, 1e9
"""Far beyond what was measured both ways; further out the model's own arithmetic ends."""


def check_load(load: Load) -> None:
    """ValueError for a load that no profile says anything about."""
    if load.preset not in mixes.MIXES:
        raise ValueError(f"a twin knows the load presets {', '.join(mixes.MIXES)}, not {load.preset!r}")
    if not (math.isfinite(load.qps) and load.qps > 0):
        raise ValueError(f"a load needs a finite qps above 0, not {load.qps}")
    for qps in (load.qps, *(value for piece in load.curve for value in piece[1:] if value)):
        if not LEAST_QPS <= qps <= MOST_QPS:
            raise ValueError(f"a twin knows loads of {LEAST_QPS:g} to {MOST_QPS:g} qps, not {qps:g}")
    if not 0 <= load.update_ratio <= 1:
        raise ValueError(f"a load's update ratio is between 0 and 1, not {load.update_ratio}")
    if load.outstanding < 1:
        raise ValueError(f"a load needs at least 1 request outstanding, not {load.outstanding}")


def predict_at(profile: Profile, settings: Mapping[str, int], load: Load) -> Prediction:
    """What a node does at `settings`, by knob; a knob that isn't among them is as it was found."""
    values = {**profile.found_at, **settings}
    delay, profile = values[ITR_DELAY.name], more.under(profile, values)
    return predict(profile, delay, governed_mhz(profile, values[DVFS.name], delay, load), load)


class Optimum(msgspec.Struct, frozen=True, kw_only=True):
    """The setting of least power that keeps the limits."""

    values: dict[str, int]
    prediction: Prediction


def exhaustive_optimum(
    profile: Profile,
    load: Load,
    values: Mapping[str, Sequence[int]],
    limit_us: float,
    achieved_ratio: float = GUARD_LIMIT,
) -> Optimum | None:
    """The true optimum over all combinations of `values` ("itr-delay", "dvfs"), without noise.

    A knob without values stays as a twin is found: adaptive, turbo. None when nothing keeps read p99 <= `limit_us` and
    achieved / offered >= `achieved_ratio`.
    """
    best: Optimum | None = None
    names = list(profile.found_at)
    for setting in product(*(values.get(name, (found,)) for name, found in profile.found_at.items())):
        settings = dict(zip(names, setting, strict=True))
        found = predict_at(profile, settings, load)
        if found.read_us["p99"] > limit_us or found.achieved_qps < achieved_ratio * load.qps:
            continue
        if best is None or found.power_watts < best.prediction.power_watts:
            best = Optimum(values=settings, prediction=found)
    return best
