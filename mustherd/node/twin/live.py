"""A twin under traffic that others make: a load in its own time, noise, and what can go wrong while it serves.

The same physics as a twin's windows, frame by frame. It has no clock: frames are asked for one after another, so that
days pass in minutes.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence

import msgspec

from mustherd.node.kinds import ITR_DELAY
from mustherd.node.twin.load import SAMPLES_PER_SECOND
from mustherd.node.twin.machine import ENERGY_SPREAD, LATENCY_SPREAD
from mustherd.node.twin.model import Prediction, idle_watts, predict_at
from mustherd.node.twin.profiles import DEFAULT, Profile
from mustherd.terms import GUARD_LIMIT, Load

Trace = Callable[[float], float]
"""Requests a second that are offered at a time."""

SLICE_S = 0.25
"""A frame is looked at in slices of this length at most, so that a step within it is seen."""
FINE = 100
"""Loads are told apart to 1 %: what is between two is interpolated."""
WANDER_S = 60.0
"""How long the slow part of the noise remembers."""
TAIL_SHARE = 0.1
"""Of p99, the mean of what lies beyond it: with the number of samples it says how noisy a frame's p99 is."""


def steps(levels: Sequence[float], seconds: float = 30.0) -> Trace:
    """Levels one after another, over and over."""
    return lambda at: levels[int(at // seconds) % len(levels)]


def day(low: float, high: float, noise: float = 0.0, seed: int = 0, period_s: float = 86_400.0) -> Trace:
    """A sine from `low` at midnight to `high` at noon, with noise that wanders within a minute."""
    middle, half = (low + high) / 2, (high - low) / 2
    kept: dict[int, float] = {}

    def at_minute(minute: int) -> float:
        if minute not in kept:
            if len(kept) > 64:
                kept.clear()
            kept[minute] = random.Random(f"{seed} {minute}").gauss(0, noise)
        return kept[minute]

    def trace(at: float) -> float:
        minute, part = divmod(at / 60, 1)
        wander = (1 - part) * at_minute(int(minute)) + part * at_minute(int(minute) + 1)
        return (middle - half * math.cos(2 * math.pi * at / period_s)) * math.exp(wander)

    return trace


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is different from a time on."""

    at_s: float
    latency: float = 1.0
    """Factor on every latency."""
    power: float = 1.0
    only: dict[str, tuple[int, int]] = {}
    """Knobs and the values from which to which the factors hold; of a knob that isn't named all."""
    without_effect: tuple[str, ...] = ()
    """Knobs whose values are taken and do nothing."""


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """A frame as a keeper's signals tell it, and as it truly was."""

    load: float
    """Requests a second that were answered."""
    latency: float
    power: float
    true_power: float
    """Without noise."""
    offered: float
    over_s: float
    """Seconds in which p99 was above the limit or less than 98 % of the load was answered."""


class LiveTwin:
    """One node. Times are on whatever clock its trace is on; they only rise."""

    def __init__(
        self,
        trace: Trace,
        *,
        profile: Profile = DEFAULT,
        seed: int = 0,
        noise: float = 1.0,
        burst: float = 0.01,
        limit_us: float = 500.0,
        changes: Sequence[Change] = (),
        outstanding: int = 256,
    ) -> None:
        """`noise` scales that of power and latency; `burst` is a frame's relative noise of the load."""
        self.trace = trace
        self.profile = profile
        self.settings: dict[str, int] = {}
        """{}: as it was found."""
        self._random = random.Random(f"live {seed}")
        self._noise = noise
        self._burst = burst
        self._limit = limit_us
        self._changes = sorted(changes, key=lambda c: c.at_s)
        self._outstanding = outstanding
        self._down_until = -math.inf
        self._wander = [0.0, 0.0]
        self._cache: dict[tuple[tuple[tuple[str, int], ...], int], Prediction] = {}
        self._key: tuple[tuple[str, int], ...] = ()

    def set(self, settings: Mapping[str, int], now: float) -> None:
        """Put knobs at values; those that aren't named go back to what was found."""
        found = self.profile.found_at
        before, after = ({**found, **s}[ITR_DELAY.name] for s in (self.settings, settings))
        border = self.profile.itr_reset_at_us
        if (before < border) != (after < border):
            self._down_until = now + self.profile.reset_seconds
        self.settings = dict(settings)

    def frame(self, until: float, seconds: float) -> Frame:
        """The frame that ends at `until`."""
        count = max(1, math.ceil(seconds / SLICE_S))
        slice_s = seconds / count
        begin = until - seconds
        first, last = self.trace(begin + slice_s / 2), self.trace(until - slice_s / 2)
        if count > 1 and abs(last - first) <= 0.02 * first:
            count, slice_s = 1, seconds
        load = power = worst = over = offered = 0.0
        for index in range(count):
            at = begin + (index + 0.5) * slice_s
            qps = self.trace(at)
            offered += qps / count
            served, watts, p99 = self.true(at, qps)
            load += served / count
            power += watts / count
            worst = max(worst, p99)
            if p99 > self._limit or served < GUARD_LIMIT * qps:
                over += slice_s
        noisy = self._noise
        for index, spread in ((0, ENERGY_SPREAD), (1, LATENCY_SPREAD)):
            keep = math.exp(-seconds / WANDER_S)
            self._wander[index] = keep * self._wander[index] + math.sqrt(1 - keep**2) * self._random.gauss(0, spread)
        sampled = TAIL_SHARE * math.sqrt(99 / (SAMPLES_PER_SECOND * seconds))
        return Frame(
            load=load * math.exp(self._burst / math.sqrt(seconds) * self._random.gauss(0, 1)),
            latency=worst * math.exp(noisy * (self._wander[1] + self._random.gauss(0, sampled))),
            power=power * math.exp(noisy * (self._wander[0] + self._random.gauss(0, ENERGY_SPREAD))),
            true_power=power,
            offered=offered,
            over_s=over,
        )

    def true(self, at: float, qps: float, settings: Mapping[str, int] | None = None) -> tuple[float, float, float]:
        """Answered load, power and p99 at a moment, at the settings in force or at others."""
        latency = power = 1.0
        dead: set[str] = set()
        for change in self._changes:
            if change.at_s > at:
                break
            dead.update(change.without_effect)
            here = self.settings if settings is None else settings
            if all(low <= here.get(name, high + 1) <= high for name, (low, high) in change.only.items()):
                latency, power = latency * change.latency, power * change.power
        if settings is None:
            if at < self._down_until:
                return 0.0, idle_watts(self.profile, self.profile.turbo_ask_mhz) * power, 1e6
            settings = self.settings
        key = tuple((name, value) for name, value in settings.items() if name not in dead)
        place = FINE * math.log(qps)
        low = math.floor(place)
        share = place - low
        a, b = self._predict(key, low), self._predict(key, low + 1)
        return (
            min(qps, a.achieved_qps + share * (b.achieved_qps - a.achieved_qps)),
            power * (a.power_watts + share * (b.power_watts - a.power_watts)),
            latency * (a.read_us["p99"] + share * (b.read_us["p99"] - a.read_us["p99"])),
        )

    def _predict(self, key: tuple[tuple[str, int], ...], step: int) -> Prediction:
        found = self._cache.get((key, step))
        if found is None:
            load = Load(qps=math.exp(step / FINE), outstanding=self._outstanding)
            found = self._cache[key, step] = predict_at(self.profile, dict(key), load)
        return found
